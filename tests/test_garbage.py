"""The engine makes no garbage that only the cyclic collector finds; a host program may let that run seldom."""

from __future__ import annotations

import gc
from collections import deque
from pathlib import Path

import trio
from support import opened, plain_settings

from echo_actors.testing.instant_driver import InstantDriver

TURNS = 50


async def test_turns_leave_no_cycles_behind(tmp_path: Path) -> None:
    """Not one object for each turn, whoever waits for it and however it is asked for."""
    driver = InstantDriver(requests=deque(maxlen=1))
    async with opened(plain_settings(tmp_path), driver=driver) as engine:

        async def talk() -> None:
            for number in range(TURNS):
                receipt = await engine.post("one", f"message {number}")
                await engine.outcome(receipt.message_id)
                await engine.ask("two", f"message {number}")

        await talk()
        gc.collect()
        gc.disable()
        try:
            await talk()
            await trio.testing.wait_all_tasks_blocked()
            unreachable = gc.collect()
        finally:
            gc.enable()
    assert unreachable < TURNS
