"""The lag of an asyncio loop whose program has the engine beside it, in a thread, with 50 channels under load.

The lag is how much later than asked a sleep of 10 ms ends. All channels talk at once, each sending its next message
when it has the answer, on the scripted CLI with deltas; one subscriber of the program reads every event. A control, a
loop that does the same with no engine, runs in another process at the same time: it has the same machine, as busy as
it is with the CLIs of those channels, and shows how much of the lag is the machine's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

import attrs
import trio

from bench.apart import apart
from bench.harness import Harness
from bench.report import Result, Round, Target
from bench.statistics import percentile
from echo_actors import Engine, Settings
from echo_actors.portal import open_async_portal

CHANNELS: Final = 50
SECONDS: Final = 60.0

_NAP: Final = 0.01
_MESSAGE: Final = "Hello [[deltas 20]]"

LAG: Final = Target("asyncio_lag_p99_ms", "<=", 50)


async def run(harness: Harness) -> Result:
    """Measure both at once, round after round."""
    channels = harness.size.of("channels", full=CHANNELS, quick=6)
    seconds = min(SECONDS, harness.size.load_seconds)
    result = Result(
        scenario="loop-lag",
        parameters={"channels": channels, "seconds": seconds},
        full=(channels, seconds) == (CHANNELS, SECONDS),
        rounds=await harness.alternate({"engine": partial(_beside, harness, channels, seconds)}),
    )
    return attrs.evolve(result, checks=[result.absolute(LAG, "engine")])


async def _beside(harness: Harness, channels: int, seconds: float) -> Round:
    """Run the program and the control at the same time, each in a process of its own."""
    found: dict[str, float] = {}

    async def note(measurement: Any, **parameters: Any) -> None:
        found.update(await apart(measurement, **parameters))

    with harness.workplace() as workplace:
        settings = {
            "state_dir": str(workplace.state),
            "working_dir": str(workplace.work),
            "environment": dict(workplace.environment),
            "claude_bin": str(harness.scripted_cli),
            "max_residents": channels,
            "turn_slots": channels,
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(note, program, settings=settings, channels=channels, seconds=seconds))
            nursery.start_soon(partial(note, control, seconds=seconds))
    return found


async def program(settings: Mapping[str, Any], channels: int, seconds: float) -> Round:
    """The lag of a loop with an engine, once every channel has its process."""
    return await trio.to_thread.run_sync(asyncio.run, _program(Settings(**settings), channels, seconds))


async def control(seconds: float) -> Round:
    """The lag of a loop without one."""
    lags = await trio.to_thread.run_sync(asyncio.run, _lags(seconds))
    return _figures("control", lags)


async def _program(settings: Settings, channels: int, seconds: float) -> Round:
    names = [f"bench:{number}" for number in range(channels)]
    async with open_async_portal(settings) as engine:
        await asyncio.gather(*(engine.ask(name, "Hello") for name in names))
        counts = {"turns": 0, "events": 0}
        began, cpu_began = time.perf_counter(), time.process_time()
        tasks = [asyncio.create_task(_talk(engine, name, counts)) for name in names]
        tasks.append(asyncio.create_task(_read(engine, counts)))
        lags = await _lags(seconds)
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
    return {
        **_figures("asyncio", lags),
        "turns_per_s": counts["turns"] / elapsed,
        "events_per_s": counts["events"] / elapsed,
        "own_cpu_share": cpu / elapsed,
    }


async def _talk(engine: Engine, channel: str, counts: dict[str, int]) -> None:
    while True:
        await engine.ask(channel, _MESSAGE)
        counts["turns"] += 1


async def _read(engine: Engine, counts: dict[str, int]) -> None:
    async with engine.subscribe() as events:
        async for _ in events:
            counts["events"] += 1


async def _lags(seconds: float) -> list[float]:
    """How late the naps of so many seconds ended, in seconds."""
    lags: list[float] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (began := loop.time()) < until:
        await asyncio.sleep(_NAP)
        lags.append(loop.time() - began - _NAP)
    return lags


def _figures(whose: str, lags: list[float]) -> dict[str, float]:
    return {
        f"{whose}_lag_p50_ms": percentile(lags, 50) * 1000,
        f"{whose}_lag_p99_ms": percentile(lags, 99) * 1000,
        f"{whose}_lag_worst_ms": max(lags) * 1000,
    }
