"""What the program that holds the engine does for speed, and how fast the machine is at this moment."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

THRESHOLDS: Final = (50_000, 20, 100)
"""How many new objects the collector waits for, and how many looks at them before it looks at older ones."""

_ASKS: Final = 2000


@contextmanager
def collector(*, tuned: bool) -> Iterator[None]:
    """Keep the garbage collector, for the block, from looking again and again at what lives on.

    The engine makes no cycles (``tests/test_garbage.py``), so for its sake the collector need never run.
    """
    if not tuned:
        yield
        return
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def ask_seconds() -> float:
    """What one question and its answer take between two tasks, through trio's memory channels, in processor time."""
    send_question, receive_question = trio.open_memory_channel[int](0)
    send_answer, receive_answer = trio.open_memory_channel[int](0)

    async def answer() -> None:
        async for question in receive_question:
            await send_answer.send(question)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        began = time.thread_time()
        for number in range(_ASKS):
            await send_question.send(number)
            await receive_answer.receive()
        taken = time.thread_time() - began
        nursery.cancel_scope.cancel()
    return taken / _ASKS
