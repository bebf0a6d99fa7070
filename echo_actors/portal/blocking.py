"""How each kind of call becomes one that blocks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any, Final

from echo_actors.events import Event
from echo_actors.portal.holding import Held
from echo_actors.portal.iteration import BlockingEvents
from echo_actors.portal.listening import listening
from echo_actors.portal.thread import EngineThread
from echo_actors.portal.waiting import check_blockable, result_of, unwrapped
from echo_actors.shape import Kind

INSTEAD = "use `async with open_async_portal()` there, or asyncio.to_thread"


class Blocking:
    """What has an engine in another thread, and calls that wait for it."""

    def __init__(self, thread: EngineThread) -> None:
        self._thread = thread
        self._engine = thread.opened.result()

    @contextmanager
    def on_event(
        self,
        callback: Callable[[Event], object],
        channel: str | None = None,
        *,
        since: str | None = None,
        buffer_size: int | None = None,
    ) -> Iterator[None]:
        """Have a function called with each event during the block, one at a time, in a thread of its own.

        The end of the block waits until it was called with all that happened before. While it is too slow, events are
        lost, and it is told how many, as any subscriber.

        Args:
            callback: What it raises goes to ``threading.excepthook``, and does not stop it.
            channel: As for ``subscribe``, like the rest.
            since: The cursor of the last event seen.
            buffer_size: How many events may wait.
        """
        subscription = unwrapped(
            self._thread.direct(lambda: self._engine.subscribe(channel, since=since, buffer_size=buffer_size))
        )
        with (
            _Entered(Held(self._thread, lambda: subscription)) as events,
            listening(events, callback, lambda: self._thread.direct(subscription.close)),
        ):
            yield


class _Entered(AbstractContextManager[Any]):
    """A context manager of the engine as a plain one."""

    def __init__(self, held: Held) -> None:
        self._held = held

    def __enter__(self) -> Any:
        check_blockable(INSTEAD)
        self._held.enter()
        try:
            self._held.entered.exception()
        except BaseException:
            self._held.call.cancel()
            with suppress(Exception):
                result_of(self._held.call)
            raise
        value, pipe = unwrapped(self._held.entered)
        return value if pipe is None else BlockingEvents(value, pipe)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._held.leave((kind, error, traceback))
        if error is not None and not isinstance(error, Exception):
            with suppress(Exception):
                result_of(self._held.call)
            return False
        return result_of(self._held.call)


def _awaited(call: Callable[..., Any]) -> Any:
    @functools.wraps(call)
    def blocking(self: Blocking, *args: Any, **kwargs: Any) -> Any:
        check_blockable(INSTEAD)
        return result_of(self._thread.call(lambda: call(self._engine, *args, **kwargs)))

    return blocking


def _entered(call: Callable[..., Any]) -> Any:
    @functools.wraps(call)
    def blocking(self: Blocking, *args: Any, **kwargs: Any) -> Any:
        return _Entered(Held(self._thread, lambda: call(self._engine, *args, **kwargs)))

    return blocking


def _direct(call: Callable[..., Any]) -> Any:
    @functools.wraps(call)
    def blocking(self: Blocking, *args: Any, **kwargs: Any) -> Any:
        check_blockable(INSTEAD)
        return unwrapped(self._thread.direct(lambda: call(self._engine, *args, **kwargs)))

    return blocking


def _anywhere(call: Callable[..., Any]) -> Any:
    @functools.wraps(call)
    def at_once(self: Blocking, *args: Any, **kwargs: Any) -> Any:
        return call(self._engine, *args, **kwargs)

    return at_once


def _read(original: property) -> Any:
    return property(lambda self: original.__get__(self._engine), doc=original.__doc__)


WAYS: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.AWAITED: _awaited,
    Kind.ENTERED: _entered,
    Kind.DIRECT: _direct,
    Kind.READ: _read,
    Kind.ANYWHERE: _anywhere,
}
"""Makes the call of a class that is ``Blocking`` from that of the engine."""
