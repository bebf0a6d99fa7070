"""The engine for asyncio programs: every call of it, for the loop that runs."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Protocol, TypeVar

import trio

from echo_actors.engine import Engine, open_engine
from echo_actors.errors import EngineClosed, WrongLoop
from echo_actors.portal.arguments import arguments_of
from echo_actors.portal.callbacks import on_loop, with_callbacks
from echo_actors.portal.holding import Held
from echo_actors.portal.iteration import AsyncEvents
from echo_actors.portal.lane import Lane
from echo_actors.portal.thread import TAKEN_WITHIN, Call, EngineThread
from echo_actors.portal.waiting import unwrapped
from echo_actors.shape import Kind, carried

T = TypeVar("T")


class _Carried(Protocol):
    """What has an engine in another thread, for one loop."""

    _thread: EngineThread
    _lane: Lane
    _engine: Engine


class _Entered(AbstractAsyncContextManager[Any]):
    """A context manager of the engine as one of asyncio."""

    def __init__(self, held: Held, lane: Lane) -> None:
        self._held = held
        self._lane = lane

    async def __aenter__(self) -> Any:
        self._lane.check()
        self._held.enter()
        try:
            await _done(self._held.entered, self._lane)
        except BaseException as error:
            self._held.call.cancel()
            if isinstance(error, asyncio.CancelledError):
                await _taken(self._held.call, self._lane)
            raise
        value, pipe = unwrapped(self._held.entered)
        return value if pipe is None else AsyncEvents(value, pipe, self._lane)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._held.leave((kind, error, traceback))
        if isinstance(error, GeneratorExit):
            return False
        if error is not None and not isinstance(error, Exception):
            await _taken(self._held.call, self._lane)
            return False
        return await _result_of(self._held.call, self._lane)


async def _result_of(call: Call[T], lane: Lane) -> T:
    """Wait for a call's result. When the wait is cancelled, so is the call, and that is waited for.

    Raises:
        Exception: What the call raised.
    """
    try:
        await _done(call.future, lane)
    except BaseException as error:
        call.cancel()
        if isinstance(error, asyncio.CancelledError):
            await _taken(call, lane)
        raise
    try:
        return unwrapped(call.future)
    finally:
        del call


async def _done(future: Future[Any], lane: Lane) -> None:
    """Wait until a future of the engine's thread is done, however."""
    done = asyncio.Event()
    future.add_done_callback(lambda _: lane.post(done.set))
    await done.wait()


async def _taken(call: Call[Any], lane: Lane) -> None:
    """Wait until a cancelled call has come to its end. No further cancellation ends this wait; its time does."""
    done = asyncio.Event()
    call.future.add_done_callback(lambda _: lane.post(done.set))
    timer = asyncio.get_running_loop().call_later(TAKEN_WITHIN, done.set)
    try:
        while not done.is_set():
            with suppress(asyncio.CancelledError):
                await done.wait()
    finally:
        timer.cancel()


def _awaited(call: Callable[..., Awaitable[Any]]) -> Any:
    @functools.wraps(call)
    async def awaitable(self: _Carried, *args: Any, **kwargs: Any) -> Any:
        self._lane.check()
        return await _result_of(self._thread.call(lambda: call(self._engine, *args, **kwargs)), self._lane)

    return awaitable


def _entered(call: Callable[..., Any]) -> Any:
    @functools.wraps(call)
    def manager(self: _Carried, *args: Any, **kwargs: Any) -> Any:
        return _Entered(Held(self._thread, lambda: call(self._engine, *args, **kwargs)), self._lane)

    return manager


def _direct(call: Callable[..., Any]) -> Any:
    @functools.wraps(call)
    def plain(self: _Carried, *args: Any, **kwargs: Any) -> Any:
        self._lane.check()
        return unwrapped(self._thread.direct(lambda: call(self._engine, *args, **kwargs)))

    return plain


def _anywhere(call: Callable[..., Any]) -> Any:
    @functools.wraps(call)
    def at_once(self: _Carried, *args: Any, **kwargs: Any) -> Any:
        return call(self._engine, *args, **kwargs)

    return at_once


def _read(original: property) -> Any:
    return property(lambda self: original.__get__(self._engine), doc=original.__doc__)


_WAYS: dict[Kind, Callable[[Any], Any]] = {
    Kind.AWAITED: _awaited,
    Kind.ENTERED: _entered,
    Kind.DIRECT: _direct,
    Kind.READ: _read,
    Kind.ANYWHERE: _anywhere,
}


@carried(Engine, _WAYS)
class AsyncEngine(Engine):
    """An engine in a thread of its own, with the calls of ``Engine`` for one asyncio loop.

    To cancel a task that waits in a call cancels the call, and waits until that has come to its end: ``ask`` then
    withdraws the message, or interrupts its turn. A call that does not wait, such as ``status``, stops the loop until
    the engine's thread has a moment for it.
    """

    def __init__(self, thread: EngineThread, lane: Lane) -> None:
        self._thread = thread
        self._lane = lane
        self._engine = thread.opened.result()


@arguments_of(open_engine)
@asynccontextmanager
async def open_async_portal(*args: Any, **kwargs: Any) -> AsyncIterator[Engine]:
    """Open an engine in a thread of its own, for a block of an asyncio program; leaving the block drains it.

    What the block gets has the calls of ``Engine``, to be awaited, entered and iterated on the loop that runs here.
    Arguments and errors are those of ``open_engine``; functions that it awaits run on the loop. To cancel the task
    while it leaves the block cuts the turns that still run, and waits for their end.

    Raises:
        WrongLoop: No loop of asyncio runs here.
    """
    if trio.lowlevel.in_trio_run() or asyncio._get_running_loop() is None:  # noqa: SLF001 - documented
        raise WrongLoop(
            "open_async_portal is for asyncio programs; use open_engine under trio, open_portal in threads"
        )
    lane = Lane(asyncio.get_running_loop())
    arguments = with_callbacks(open_engine, kwargs, lambda callback: on_loop(callback, lane))
    thread = EngineThread(lambda: open_engine(*args, **arguments))
    thread.start()
    try:
        await _done(thread.opened, lane)
        unwrapped(thread.opened)
        yield AsyncEngine(thread, lane)
    except GeneratorExit:
        thread.close()
        raise
    except BaseException as error:
        # What the block raised goes first; but that the engine is closed says less than what it came down with.
        with suppress(*([] if isinstance(error, EngineClosed) else [Exception])):
            await _close(thread, lane)
        raise
    await _close(thread, lane)


async def _close(thread: EngineThread, lane: Lane) -> None:
    """Wait until the engine has drained; raise what it came down with, if it did. A cancellation makes that short."""
    thread.close()
    cancelled: asyncio.CancelledError | None = None
    while thread.will_end and not thread.ended.done():
        try:
            await _done(thread.ended, lane)
        except asyncio.CancelledError as error:
            cancelled = error
            thread.cut()
    if thread.will_end:
        thread.join()
    if cancelled is not None:
        raise cancelled
    if thread.ended.done():
        unwrapped(thread.ended)
