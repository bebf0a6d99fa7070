"""An async context manager of the engine, held open in the engine's thread while another thread is in its block."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import attrs
import trio

from echo_actors.errors import EngineClosed
from echo_actors.portal.pipe import Pipe
from echo_actors.portal.thread import Call, EngineThread

Raised = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]


@attrs.define(eq=False)
class Held:
    """A manager that one task of the engine's thread enters and leaves.

    Attributes:
        entered: Gets what the block is given: an object of the engine, and a pipe for its items if it can be iterated.
        call: Is done when the manager was left; its result says whether it has dealt with what the block raised.
    """

    _thread: EngineThread
    _make: Callable[[], AbstractAsyncContextManager[Any]]
    entered: Future[tuple[Any, Pipe | None]] = attrs.field(factory=Future, init=False)
    call: Call[bool] = attrs.field(init=False)
    _left: trio.Event = attrs.field(factory=trio.Event, init=False)
    _raised: Raised = attrs.field(default=(None, None, None), init=False)

    def enter(self) -> None:
        """Begin; what keeps it from being entered goes to ``entered``."""
        self.call = self._thread.call(self._hold, if_cancelled=False)
        self.call.future.add_done_callback(self._never_entered)

    def leave(self, raised: Raised) -> None:
        """Leave it soon, with what the block raised. To be broken off is to be cancelled, as on trio."""
        if raised[1] is not None and not isinstance(raised[1], Exception):
            self.call.cancel()
        else:
            self._raised = raised
            self._thread.soon(self._left.set)
        if not self._thread.will_end and not self.call.future.done():
            # In the child of a fork, where nothing is held.
            self.call.future.set_result(False)

    async def _hold(self) -> bool:
        manager = self._make()
        value = await manager.__aenter__()
        try:
            await self._serve(value)
        except BaseException:
            if not await manager.__aexit__(*sys.exc_info()):
                raise
            return False
        return bool(await manager.__aexit__(*self._raised))

    async def _serve(self, value: Any) -> None:
        if not hasattr(value, "__anext__"):
            self.entered.set_result((value, None))
            await self._left.wait()
            return
        pipe = Pipe(self._thread, value)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pipe.run)
            self.entered.set_result((value, pipe))
            await self._left.wait()
            nursery.cancel_scope.cancel()

    def _never_entered(self, future: Future[bool]) -> None:
        if not self.entered.done():
            self.entered.set_exception(future.exception() or EngineClosed("the engine closed before the block began"))
