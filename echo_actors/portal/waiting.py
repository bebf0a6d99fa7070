"""How a thread waits for the engine's thread. Ctrl-C, and whatever else a signal handler raises, ends the wait."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, wait
from typing import TypeVar

import trio

from echo_actors.errors import WrongLoop
from echo_actors.portal.thread import TAKEN_WITHIN, Call

T = TypeVar("T")


def check_blockable(instead: str) -> None:
    """Make sure that no event loop runs in this thread, which a wait would stop.

    Args:
        instead: What to use under asyncio.

    Raises:
        WrongLoop: One does.
    """
    if trio.lowlevel.in_trio_run():
        raise WrongLoop("this would stop the trio loop that runs here; use `async with open_engine()` under trio")
    if asyncio._get_running_loop() is not None:  # noqa: SLF001 - the one way to look that raises nothing; documented
        raise WrongLoop(f"this would stop the asyncio loop that runs here; {instead}")


def result_of(call: Call[T]) -> T:
    """Wait for a call's result. When the wait is broken off, the call is cancelled first, and that waited for.

    Raises:
        Exception: What the call raised.
    """
    try:
        call.future.exception()
    except BaseException:
        call.cancel()
        wait([call.future], TAKEN_WITHIN)
        raise
    try:
        return unwrapped(call.future)
    finally:
        del call


def unwrapped(future: Future[T]) -> T:
    """The result of a future, or its error as it was raised in the engine's thread."""
    try:
        return future.result()
    finally:
        del future  # The error's traceback has this frame, and would keep itself alive.
