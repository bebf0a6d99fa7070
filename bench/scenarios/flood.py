"""Fairness: one channel floods, fifteen polite ones ask one after the other; what the flood does to their latency.

There are fewer turn slots than channels, and turns take a little. The flood is queued before the polite ones begin and
outlasts them. Once with a driver whose answers wait, once with the scripted CLI.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Final

import attrs
import trio

from bench.harness import Harness
from bench.report import Result, Round, Target
from bench.statistics import percentile
from bench.workload import talk
from echo_actors import open_engine
from echo_actors.claude.driver import Driver, TurnRequest, TurnResult
from echo_actors.testing.instant_driver import InstantDriver, echo

CHANNELS: Final = 16
MESSAGES: Final = 200
FLOOD: Final = 1000
SLOTS: Final = 4
TURN_SECONDS: Final = 0.005

_DRIVER: Final = "driver"
_CLI: Final = "scripted CLI"

FAIR: Final = Target(f"polite p99, with the flood : without, {_DRIVER}", "<=", 2)
FAIR_CLI: Final = Target(f"polite p99, with the flood : without, {_CLI}", "<=", 2)


async def run(harness: Harness) -> Result:
    """Measure with and without the flood, in alternation."""
    channels = harness.size.of("channels", full=CHANNELS, quick=6)
    messages = harness.size.of("messages", full=MESSAGES, quick=5)
    flood = FLOOD * messages // MESSAGES
    load = _Load(attrs.evolve(harness, cli=harness.scripted_cli), channels, messages)
    contenders = {
        f"{kind}, {name}": partial(load.measure, flood=number, with_cli=kind is _CLI)
        for kind in (_DRIVER, _CLI)
        for name, number in (("flood", flood), ("no flood", 0))
    }
    result = Result(
        scenario="flood",
        parameters={"channels": channels, "messages": messages, "flooding messages": flood, "turn slots": SLOTS},
        full=(channels, messages) == (CHANNELS, MESSAGES),
        rounds=await harness.alternate(contenders),
    )
    checks = [
        result.ratio(target, f"{kind}, flood", f"{kind}, no flood", "polite_p99_ms")
        for target, kind in ((FAIR, _DRIVER), (FAIR_CLI, _CLI))
    ]
    return attrs.evolve(result, checks=checks)


@attrs.frozen
class _Load:
    """Puts an engine under load.

    Attributes:
        channels: How many there are, the flooding one included.
        messages: How many each polite one sends.
    """

    harness: Harness
    channels: int
    messages: int

    async def measure(self, *, flood: int, with_cli: bool) -> Round:
        """Time the polite channels' messages while another has so many queued."""
        driver: Driver | None = None if with_cli else InstantDriver(_slowly, requests=deque(maxlen=1))
        with self.harness.workplace() as workplace:
            settings = self.harness.settings(workplace, turn_slots=SLOTS, max_residents=self.channels)
            async with open_engine(settings, driver=driver) as engine:
                polite = [f"polite:{number}" for number in range(self.channels - 1)]
                # Every channel has its actor, and its process if there are any, before anything is timed.
                await talk(engine, [*polite, "flooding"], 1)
                async with trio.open_nursery() as nursery:
                    for number in range(flood):
                        nursery.start_soon(engine.post, "flooding", f"flood {number}")
                latencies = await talk(engine, polite, self.messages)
                if flood:
                    assert engine.status().queued_messages > 0, "the flood was over before the polite ones"
                # What is left of the flood shall not be waited for.
                await engine.drain(timeout=0.1)
        return {
            "polite_p50_ms": percentile(latencies, 50) * 1000,
            "polite_p99_ms": percentile(latencies, 99) * 1000,
            "polite_worst_ms": max(latencies) * 1000,
        }


async def _slowly(request: TurnRequest) -> TurnResult:
    await trio.sleep(TURN_SECONDS)
    return echo(request)
