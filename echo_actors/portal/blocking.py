"""The engine for programs with threads: every call of it, as one that blocks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import Any

from echo_actors.engine import Engine, open_engine
from echo_actors.portal.arguments import arguments_of
from echo_actors.portal.holding import Held
from echo_actors.portal.iteration import BlockingEvents
from echo_actors.portal.shape import Kind, kind_of, public
from echo_actors.portal.thread import EngineThread
from echo_actors.portal.waiting import check_blockable, result_of, unwrapped

INSTEAD = "use `async with open_async_portal()` there, or asyncio.to_thread"


class BlockingEngine:
    """An engine in a thread of its own. Its calls are those of ``Engine``; any thread may make them, and waits.

    A call that Ctrl-C breaks off is cancelled as its async original: ``ask`` then withdraws the message, or interrupts
    its turn. Context managers and iterators are plain ones.
    """

    def __init__(self, thread: EngineThread) -> None:
        self._thread = thread
        self._engine = thread.opened.result()


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
    def blocking(self: BlockingEngine, *args: Any, **kwargs: Any) -> Any:
        check_blockable(INSTEAD)
        return result_of(self._thread.call(lambda: call(self._engine, *args, **kwargs)))

    return blocking


def _entered(call: Callable[..., Any]) -> Any:
    @functools.wraps(call)
    def blocking(self: BlockingEngine, *args: Any, **kwargs: Any) -> Any:
        return _Entered(Held(self._thread, lambda: call(self._engine, *args, **kwargs)))

    return blocking


def _direct(call: Callable[..., Any]) -> Any:
    @functools.wraps(call)
    def blocking(self: BlockingEngine, *args: Any, **kwargs: Any) -> Any:
        check_blockable(INSTEAD)
        return unwrapped(self._thread.direct(lambda: call(self._engine, *args, **kwargs)))

    return blocking


def _read(original: property) -> Any:
    return property(lambda self: original.__get__(self._engine), doc=original.__doc__)


_WAYS: dict[Kind, Callable[[Any], Any]] = {
    Kind.AWAITED: _awaited,
    Kind.ENTERED: _entered,
    Kind.DIRECT: _direct,
    Kind.READ: _read,
}

for _name, _value in public(Engine).items():
    setattr(BlockingEngine, _name, _WAYS[kind_of(_value)](_value))


@arguments_of(open_engine)
@contextmanager
def open_portal(*args: Any, **kwargs: Any) -> Iterator[BlockingEngine]:
    """Open an engine in a thread of its own, for the block; leaving the block drains it.

    Arguments and errors are those of ``open_engine``. Ctrl-C while the block is left cuts the turns that still run;
    once more, and nobody waits for their processes to be gone. A program that ends without leaving the block drains
    the engine as well.

    Raises:
        WrongLoop: A loop of trio or asyncio runs in this thread.
    """
    check_blockable("use `async with open_async_portal()`")
    thread = EngineThread(lambda: open_engine(*args, **kwargs))
    try:
        thread.start()
        thread.opened.exception()
        unwrapped(thread.opened)
        yield BlockingEngine(thread)
    except BaseException:
        _close(thread)
        raise
    unwrapped(_close(thread).ended)


def _close(thread: EngineThread) -> EngineThread:
    """Wait until the engine has drained."""
    thread.close()
    try:
        thread.ended.exception()
    except BaseException:
        thread.cut()
        thread.ended.exception()
        raise
    return thread
