"""Live idle actors: what each holds in memory, what is left when it has left memory, and what a message to it costs.

Memory is what only the engine's process has (USS), of a process of its own: that is what the machine loses.
``tracemalloc`` would count what Python allocated, not the pages that stay half used, and slows what it watches.
Every channel has had one answered message. Before that, one channel has had as many as fill the ring of past events
and the database's page cache, which are the engine's and not the actors'.

What passivated channels leave is measured between sets of channels that come and go after the first set has: what
that one leaves is memory that Python keeps for next time, and only what the others add to it grows.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from bench.apart import Measurement, apart
from bench.harness import Harness
from bench.memory import own_bytes, settle
from bench.report import Result, Round, Target
from echo_actors import Engine, Settings, open_engine
from echo_actors.testing.instant_driver import InstantDriver

CHANNELS: Final = 10_000
FEW: Final = 100
MESSAGES: Final = 3000

_AT_ONCE: Final = 100
_RING: Final = 1000
_SETS: Final = 2
_PASSIVATE_AFTER: Final = 0.5
_LEAST_KB: Final = 0.001
"""Less than a byte per channel is nothing: the rest of a page."""

LIVE: Final = Target("live_kb_per_actor", "<=", 10)
PASSIVATED: Final = Target("passivated_kb_per_channel", "<=", 0.1)


async def run(harness: Harness) -> Result:
    """Measure many live actors and few in alternation, and passivated ones beside them."""
    channels = harness.size.of("channels", full=CHANNELS, quick=200)
    messages = harness.size.of("messages", full=MESSAGES, quick=200)
    many, few, gone = f"{channels:,} live", f"{FEW} live", f"{channels:,} passivated"
    result = Result(
        scenario="live actors",
        parameters={"channels": channels, "messages": messages},
        full=(channels, messages) == (CHANNELS, MESSAGES),
        rounds=await harness.alternate(
            {
                many: partial(_apart, live, channels=channels, messages=messages),
                few: partial(_apart, live, channels=FEW, messages=messages),
                gone: partial(_apart, passivated, channels=channels),
            }
        ),
    )
    return attrs.evolve(result, checks=[result.absolute(LIVE, many), result.absolute(PASSIVATED, gone)])


async def _apart(measurement: Measurement, **sizes: int) -> Round:
    with tempfile.TemporaryDirectory(prefix="echo-actors-bench-") as state:
        return await apart(measurement, state_dir=state, **sizes)


async def live(state_dir: str, channels: int, messages: int) -> Round:
    """Bring channels into memory, where they stay, and talk to them again."""
    async with _actors(state_dir, math.inf) as actors:
        await actors.serve(["warm"] * messages)
        before = actors.held()
        names = [f"live:{number}" for number in range(channels)]
        began = time.perf_counter()
        await actors.serve(names)
        first = time.perf_counter() - began
        after = actors.held()
        assert actors.engine.status().live_channels == channels + 1
        again = [names[number % channels] for number in range(messages)]
        began, cpu_began = time.perf_counter(), time.process_time()
        await actors.serve(again)
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    return {
        "live_kb_per_actor": (after - before) / channels / 1000,
        "first_message_ms_per_channel": first / channels * 1000,
        "next_message_ms_per_channel": elapsed / messages * 1000,
        "own_cpu_ms_per_turn": cpu / messages * 1000,
    }


async def passivated(state_dir: str, channels: int) -> Round:
    """Bring channels into memory and let them leave it again, first some to warm up and then others."""
    async with _actors(state_dir, _PASSIVATE_AFTER) as actors:
        held = []
        for part in range(1 + _SETS):
            await actors.serve([f"part {part}:{number}" for number in range(channels)])
            held.append(await actors.rest())
    return {"passivated_kb_per_channel": max(_LEAST_KB, (held[-1] - held[0]) / channels / _SETS / 1000)}


@attrs.frozen
class _Actors:
    """The actors of an engine."""

    engine: Engine

    async def serve(self, channels: Sequence[str]) -> None:
        """Have one message answered for each name, some at a time."""
        names = iter(channels)

        async def ask_on() -> None:
            for name in names:
                await self.engine.ask(name, "a message")

        async with trio.open_nursery() as nursery:
            for _ in range(_AT_ONCE):
                nursery.start_soon(ask_on)

    async def rest(self) -> int:
        """The bytes that are in use when no channel is live any more."""
        while self.engine.status().live_channels:  # noqa: ASYNC110 - nothing tells when the last actor has left
            await trio.sleep(0.1)
        return self.held()

    def held(self) -> int:
        """The bytes that are in use now."""
        settle()
        return own_bytes()


@asynccontextmanager
async def _actors(state_dir: str, passivate_after: float) -> AsyncIterator[_Actors]:
    settings = Settings(state_dir=Path(state_dir), passivate_after=passivate_after, event_ring=_RING)
    async with open_engine(settings, driver=InstantDriver(requests=deque(maxlen=1))) as engine:
        yield _Actors(engine)
