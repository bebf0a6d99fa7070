"""Opening an engine in a thread of its own, and waiting for its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from echo_actors.engine import open_engine
from echo_actors.errors import EngineClosed
from echo_actors.portal.arguments import arguments_of
from echo_actors.portal.blocking_engine import BlockingEngine
from echo_actors.portal.callbacks import in_worker, with_callbacks
from echo_actors.portal.thread import EngineThread
from echo_actors.portal.waiting import check_blockable, unwrapped


@arguments_of(open_engine)
@contextmanager
def open_portal(*args: Any, **kwargs: Any) -> Iterator[BlockingEngine]:
    """Open an engine in a thread of its own, for the block; leaving the block drains it.

    Arguments and errors are those of ``open_engine``; functions that it awaits are plain ones here, and run in worker
    threads. Ctrl-C while the block is left cuts the turns that still run; once more, and nobody waits for them. A
    program that ends without leaving the block drains the engine as well, when all its threads but daemons have ended.

    Raises:
        WrongLoop: A loop of trio or asyncio runs in this thread.
    """
    check_blockable("use `async with open_async_portal()`")
    arguments = with_callbacks(open_engine, kwargs, in_worker)
    thread = EngineThread(lambda: open_engine(*args, **arguments))
    try:
        thread.start()
        thread.opened.exception()
        unwrapped(thread.opened)
        yield BlockingEngine(thread)
    except GeneratorExit:
        # The garbage collector closes what nobody left, in whichever thread it runs: it must not wait there.
        thread.close()
        raise
    except BaseException as error:
        # What the block raised goes first; but that the engine is closed says less than what it came down with.
        with suppress(*([] if isinstance(error, EngineClosed) else [Exception])):
            _close(thread)
        raise
    _close(thread)


def _close(thread: EngineThread) -> None:
    """Wait until the engine has drained; raise what it came down with, if it did."""
    thread.close()
    if not thread.will_end:
        return
    try:
        thread.ended.exception()
    except BaseException:
        thread.cut()
        thread.ended.exception()
        raise
    thread.join()
    unwrapped(thread.ended)
