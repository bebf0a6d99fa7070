"""The thread that an engine lives in, and how other threads have things done there.

It is no daemon: the interpreter waits for it, and it ends by itself when no other thread is left that could use the
engine. So a program that never closes its portal ends as one that does.
"""

from __future__ import annotations

import contextvars
import math
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from echo_actors.engine import Engine
from echo_actors.errors import EngineClosed

T = TypeVar("T")

OWN_THREADS: Final = "echo-actors-"
"""How the names of an engine's own threads begin; the interpreter waits for them, and they for all others."""

LOOK_EVERY: Final = 0.2
"""Seconds between looks whether another thread is left. Nothing tells of a thread's end."""

TAKEN_WITHIN: Final = 10.0
"""Seconds that a cancelled call may take to be cancelled; a write to the disk comes to its end first."""


@attrs.define(eq=False)
class Call(Generic[T]):
    """Something that is done in the engine's thread.

    Attributes:
        if_cancelled: The result when the engine closes first, or the call is cancelled; ``EngineClosed`` if None.
        future: Gets the result, or the error with its traceback.
    """

    _thread: EngineThread
    _function: Callable[[], Awaitable[T]]
    if_cancelled: T | None = None
    future: Future[T] = attrs.Factory(Future)
    _context: contextvars.Context = attrs.Factory(contextvars.copy_context)
    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    def cancel(self) -> None:
        """Cancel it soon; its future is done when that is over."""
        self._thread.soon(self._scope.cancel)

    def begin(self, calls: trio.Nursery) -> None:
        """Run in a task of its own, which has the variables of the context that asked for it."""
        self._context.run(calls.start_soon, self._run)

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._fill()
        finally:
            del self  # An error's traceback has this frame, and would keep itself alive by way of the future.

    async def _fill(self) -> None:
        try:
            result = await self._function()
        except BaseException as error:
            cancelled = self._fail(error)
            if cancelled is not None:
                raise cancelled from None
            if not isinstance(error, Exception):
                raise
        else:
            self.future.set_result(result)
        finally:
            del self

    def _fail(self, error: BaseException) -> BaseException | None:
        """Tell whoever waits; give what of the error is trio's own."""
        cancelled, other = _parted(error)
        if other is None and self.if_cancelled is not None:
            self.future.set_result(self.if_cancelled)
        else:
            self.future.set_exception(other or EngineClosed("the engine closed, or the call was cancelled"))
        return cancelled


@attrs.define(eq=False)
class EngineThread:
    """Runs an engine on trio, in a thread of its own.

    Attributes:
        opened: Gets the engine, or the error that kept it from opening.
        ended: Done when the thread has nothing left to do; with the error, if the engine came down.
    """

    _opening: Callable[[], AbstractAsyncContextManager[Engine]]
    opened: Future[Engine] = attrs.field(factory=Future, init=False)
    ended: Future[None] = attrs.field(factory=Future, init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _token: trio.lowlevel.TrioToken | None = attrs.field(default=None, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _calls: trio.Nursery | None = attrs.field(default=None, init=False)
    _made: trio.MemorySendChannel[Call[Any]] = attrs.field(init=False)
    _broken_off: bool = attrs.field(default=False, init=False)
    _cut: bool = attrs.field(default=False, init=False)
    _closing: trio.Event = attrs.field(factory=trio.Event, init=False)
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context, init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._context.run, args=(self._run,), name=f"{OWN_THREADS}engine")

    def start(self) -> None:
        """Start the thread, which opens the engine."""
        self._thread.start()

    def call(self, function: Callable[[], Awaitable[T]], if_cancelled: T | None = None) -> Call[T]:
        """Have a coroutine function called, in a task of its own. Calls begin in the order in which they are made."""
        call = Call(self, function, if_cancelled)

        def begin() -> None:
            if self._calls is None:
                call.future.set_exception(EngineClosed("the engine is closed"))
            else:
                self._made.send_nowait(call)

        if not self.soon(begin):
            call.future.set_exception(EngineClosed("the engine is closed"))
        return call

    def direct(self, function: Callable[[], T]) -> Future[T]:
        """Have a function called that does not wait."""
        future: Future[T] = Future()
        context = contextvars.copy_context()

        def run() -> None:
            try:
                if self._calls is None:
                    raise EngineClosed("the engine is closed")  # noqa: TRY301 - one way to the future for all errors
                future.set_result(context.run(function))
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                future.set_exception(error)

        if not self.soon(run):
            future.set_exception(EngineClosed("the engine is closed"))
        return future

    def soon(self, function: Callable[..., object], *args: Any) -> bool:
        """Have a function called that raises nothing; False when the thread is gone, also by a fork."""
        if self._token is None or not self._thread.is_alive():
            return False
        try:
            self._token.run_sync_soon(function, *args)
        except trio.RunFinishedError:
            return False
        return True

    def close(self) -> None:
        """Drain the engine soon, then end the thread; while it is being opened, break that off."""
        if self.opened.done():
            self.soon(self._closing.set)
        else:
            self._broken_off = True
            self.soon(self._scope.cancel)

    def cut(self) -> None:
        """End running turns now instead of letting them end."""
        if not self._cut and self.opened.done() and self.opened.exception() is None:
            self._cut = True
            self.call(lambda: self.opened.result().drain(0))

    @property
    def will_end(self) -> bool:
        """Whether ``ended`` can be waited for: not where the thread never started, nor in the child of a fork."""
        return self._thread.is_alive() or self.ended.done()

    def join(self) -> None:
        """Wait until the thread is gone, which it is at once when ``ended`` is done."""
        self._thread.join()

    # -- in the thread

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            trio.run(self._main)
        except BaseException as problem:  # noqa: BLE001 - goes to whoever closes, or opens
            error = problem
        if not self.opened.done():
            self.opened.set_exception(error or EngineClosed("the opening was cancelled"))
            error = None
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        if self._broken_off:
            self._scope.cancel()
        with self._scope:
            async with self._opening() as engine, trio.open_nursery() as calls:
                self._calls = calls
                self._made, made = trio.open_memory_channel[Call[Any]](math.inf)
                self.opened.set_result(engine)
                calls.start_soon(self._close_when_alone)
                calls.start_soon(_begin_in_order, made, calls)
                try:
                    await self._closing.wait()
                    # Here and not only in the engine's own exit, so that those who wait learn how it went.
                    with trio.CancelScope(shield=True):
                        await engine.drain()
                finally:
                    self._calls = None
                    calls.cancel_scope.cancel()

    async def _close_when_alone(self) -> None:
        """Close the engine when nobody is left who could."""
        while any(map(_may_use_it, threading.enumerate())):  # noqa: ASYNC110 - nothing tells of a thread's end
            await trio.sleep(LOOK_EVERY)
        self._closing.set()


async def _begin_in_order(made: trio.MemoryReceiveChannel[Call[Any]], calls: trio.Nursery) -> None:
    """Begin calls, each one tick after the one before: of the tasks that begin in one, trio may run the last first."""
    try:
        async for call in made:
            call.begin(calls)
            del call  # While none comes, the last one, and its error, would be kept here.
    finally:
        with suppress(trio.WouldBlock):
            while True:
                made.receive_nowait().future.set_exception(EngineClosed("the engine is closed"))


def _may_use_it(thread: threading.Thread) -> bool:
    # The main thread counts as ended once the interpreter waits for the others.
    return thread.is_alive() and not thread.daemon and not thread.name.startswith(OWN_THREADS)


def _parted(error: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What of an error is trio's cancellation, which goes back to trio, and what is not."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)
    return (error, None) if isinstance(error, trio.Cancelled) else (None, error)
