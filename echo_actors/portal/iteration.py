"""The engine's iterators, ``Stream`` and ``Subscription``, as seen from another thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Any, Generic, Self, TypeVar

from echo_actors.portal.lane import Lane
from echo_actors.portal.pipe import Batch, Pipe
from echo_actors.portal.waiting import check_blockable

T = TypeVar("T")


class _Arrived(Generic[T]):
    """What has arrived through a pipe and was not read yet."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.items: deque[T] = deque()
        self.asked = False
        self.last = False
        self.error: Exception | None = None

    def take(self, batch: Batch) -> None:
        self.items.extend(batch.items)
        self.last, self.error = batch.last, batch.error
        self.asked = False

    def end(self) -> None:
        """Raise what ended the iteration, once, if it was an error."""
        error, self.error = self.error, None
        if error is not None:
            raise error


class BlockingEvents(Generic[T]):
    """An iterator over events; what else it has is that of the engine's own object, such as ``reply``.

    Several threads may read from one; each event goes to one of them.
    """

    def __init__(self, source: Any, pipe: Pipe) -> None:
        self._source = source
        self._arrived: _Arrived[T] = _Arrived(pipe)
        self._news = threading.Condition()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def get(self, timeout: float | None = None) -> T | None:
        """The next event; None when there will be no more.

        Args:
            timeout: Seconds to wait for it.

        Raises:
            TimeoutError: None came in time. Nothing is lost by that.
        """
        check_blockable("use open_async_portal")
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._news:
            while not self._arrived.items:
                if self._arrived.last:
                    self._arrived.end()
                    return None
                if not self._arrived.asked:
                    self._arrived.asked = True
                    self._arrived.pipe.ask(self._deliver)
                    continue
                left = None if deadline is None else deadline - time.monotonic()
                if (left is not None and left <= 0) or not self._news.wait(left):
                    raise TimeoutError(f"no event came within {timeout} s")
            return self._arrived.items.popleft()

    def __getattr__(self, name: str) -> Any:
        return _read(self._source, name)

    def _deliver(self, batch: Batch) -> None:
        with self._news:
            self._arrived.take(batch)
            self._news.notify_all()


class AsyncEvents(Generic[T]):
    """An async iterator over events; what else it has is that of the engine's own object, such as ``reply``.

    One task reads. To cancel it loses nothing: what has arrived is there for the next.
    """

    def __init__(self, source: Any, pipe: Pipe, lane: Lane) -> None:
        self._source = source
        self._arrived: _Arrived[T] = _Arrived(pipe)
        self._lane = lane
        self._news = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._arrived.items:
            if self._arrived.last:
                self._arrived.end()
                raise StopAsyncIteration
            if not self._arrived.asked:
                self._arrived.asked = True
                self._news.clear()
                self._arrived.pipe.ask(self._deliver)
            await self._news.wait()
        return self._arrived.items.popleft()

    def __getattr__(self, name: str) -> Any:
        return _read(self._source, name)

    def _deliver(self, batch: Batch) -> None:
        self._lane.post(self._take, batch)

    def _take(self, batch: Batch) -> None:
        self._arrived.take(batch)
        self._news.set()


def _read(source: Any, name: str) -> Any:
    """A public value of the engine's object. To read one is safe in any thread; to call something there is not."""
    if name.startswith("_"):
        raise AttributeError(name)
    value = getattr(source, name)
    if callable(value):
        raise AttributeError(f"{name!r} cannot be called through a portal")  # noqa: TRY004 - it is as if not there
    return value
