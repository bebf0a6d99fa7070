"""Items of an async iterator of the engine on their way to another thread, in batches.

Whoever reads asks for the next batch and gets all there is: while it deals with one, the next one grows. Only so many
items are taken ahead. A reader that is slow lags behind in the engine, where that has its rule and its limit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import attrs
import trio

from echo_actors.portal.thread import EngineThread

AHEAD: Final = 32
"""How many items are taken before they are asked for, and so the largest batch."""


@attrs.frozen
class Batch:
    """Items in order.

    Attributes:
        last: Whether nothing comes after them.
        error: What ended the iteration, if it was an error.
    """

    items: list[Any]
    last: bool = False
    error: Exception | None = None


@attrs.define(eq=False)
class Pipe:
    """Belongs to the engine's thread, except ``ask``."""

    _thread: EngineThread
    _source: AsyncIterator[Any]
    _ready: list[Any] = attrs.field(factory=list, init=False)
    _last: bool = attrs.field(default=False, init=False)
    _error: Exception | None = attrs.field(default=None, init=False)
    _deliver: Callable[[Batch], None] | None = attrs.field(default=None, init=False)
    _room: trio.Event = attrs.field(factory=trio.Event, init=False)

    def ask(self, deliver: Callable[[Batch], None]) -> None:
        """Have the next batch delivered, from the engine's thread; one at a time. Called in any thread."""
        if not self._thread.soon(self._asked, deliver):
            deliver(Batch([], last=True))

    async def run(self) -> None:
        """Take items until the iterator ends, or this is cancelled."""
        try:
            async for item in self._source:
                self._ready.append(item)
                self._hand_over()
                while len(self._ready) >= AHEAD:
                    self._room = trio.Event()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 - the reader gets it
            self._error = error
        finally:
            self._last = True
            self._hand_over()

    def _asked(self, deliver: Callable[[Batch], None]) -> None:
        self._deliver = deliver
        self._hand_over()

    def _hand_over(self) -> None:
        if self._deliver is None or not (self._ready or self._last):
            return
        deliver, self._deliver = self._deliver, None
        items, self._ready = self._ready, []
        self._room.set()
        deliver(Batch(items, self._last, self._error))
