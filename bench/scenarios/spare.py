"""New channels, one after the other: when each gets its first reply, with a spare process waiting and without."""

from __future__ import annotations

import time
from typing import Final

import attrs
import trio

from bench.harness import Harness
from bench.report import Result, Round, Target
from bench.statistics import summarize
from echo_actors import Engine, open_engine
from echo_actors.claude.residency import Residency

CHANNELS: Final = 8

SPARE: Final = Target("first reply, spare : no spare", "<=", 0.4)


async def run(harness: Harness) -> Result:
    """Measure both in alternation."""
    channels = harness.size.of("channels", full=CHANNELS, quick=2)
    newcomers = _Newcomers(harness, channels)
    result = Result(
        scenario="spare",
        parameters={"channels": channels},
        full=channels == CHANNELS,
        rounds=await harness.alternate({"spare": newcomers.with_spare, "no spare": newcomers.without}),
    )
    return attrs.evolve(result, checks=[result.ratio(SPARE, "spare", "no spare", "first_reply_s")])


@attrs.frozen
class _Newcomers:
    """Channels that come when the engine has nothing else to do."""

    harness: Harness
    channels: int

    async def with_spare(self) -> Round:
        """Each comes when a spare is ready."""
        return await self._measure(spares=1)

    async def without(self) -> Round:
        """Each finds no process."""
        return await self._measure(spares=0)

    async def _measure(self, spares: int) -> Round:
        waits = []
        with self.harness.workplace() as workplace:
            async with open_engine(self.harness.settings(workplace, spares=spares)) as engine:
                for number in range(self.channels):
                    await _spares_ready(engine, spares)
                    began = time.perf_counter()
                    await engine.ask(f"bench:{number}", "hello")
                    waits.append(time.perf_counter() - began)
        return {"first_reply_s": summarize(waits).median}


async def _spares_ready(engine: Engine, count: int) -> None:
    """Wait until so many spares wait for a channel; the engine tells nobody, so it is looked at."""
    driver = engine._services.driver  # noqa: SLF001 - a user has no need to know this
    assert isinstance(driver, Residency)
    while sum(each.listener is None and each.usable for each in driver.roster.spares) < count:  # noqa: ASYNC110 - see above
        await trio.sleep(0.01)
