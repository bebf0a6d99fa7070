"""The engine alone, durable, with a driver that answers at once: as fast as it goes, and at rates that are offered.

The program that holds the engine does here what one that serves much does: it keeps the garbage collector from looking
at what lives on (see docs/performance.md). One contender leaves it as Python has it. ``ask_us`` says how fast the
machine was in that round: what one question and its answer take between two tasks, through trio's channels.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import trio

from bench.harness import Harness
from bench.host import ask_seconds, collector
from bench.report import Result, Round, Target
from bench.statistics import percentile
from echo_actors import Engine, open_engine
from echo_actors.testing.instant_driver import InstantDriver

CHANNELS: Final = 256
MESSAGES: Final = 40
OFFERED_PER_S: Final = 3000
LIGHT_PER_S: Final = 1000

TURNS: Final = Target("turns_per_s", ">=", 5000)
ACCEPT: Final = Target("accept_p99_ms", "<=", 10)


async def run(harness: Harness) -> Result:
    """Measure both in alternation; each offers the same number of messages."""
    channels = harness.size.of("channels", full=CHANNELS, quick=16)
    messages = harness.size.of("messages", full=MESSAGES, quick=10)
    load = _Load(harness, channels, messages)
    offered, light = f"{OFFERED_PER_S} offered/s", f"{LIGHT_PER_S} offered/s"
    result = Result(
        scenario="engine alone",
        parameters={"channels": channels, "messages": messages},
        full=(channels, messages) == (CHANNELS, MESSAGES),
        rounds=await harness.alternate(
            {
                "full speed": load.full_speed,
                "full speed, collector as it is": partial(load.full_speed, tuned=False),
                offered: partial(load.offered, OFFERED_PER_S),
                light: partial(load.offered, LIGHT_PER_S),
            }
        ),
    )
    checks = [result.absolute(TURNS, "full speed"), result.absolute(ACCEPT, offered)]
    return attrs.evolve(result, checks=checks)


@attrs.define(eq=False)
class _Load:
    """Puts an engine under load.

    Attributes:
        accepted: How long each acceptance took, in seconds.
    """

    harness: Harness
    channels: int
    messages: int
    accepted: list[float] = attrs.field(factory=list, init=False)

    async def full_speed(self, *, tuned: bool = True) -> Round:
        """Every channel sends its next message when the last one has ended."""

        async def converse(engine: Engine, channel: str) -> None:
            for turn in range(self.messages):
                began = time.perf_counter()
                receipt = await engine.post(channel, f"message {turn}")
                self.accepted.append(time.perf_counter() - began)
                await engine.outcome(receipt.message_id)

        async def all_channels(engine: Engine) -> None:
            async with trio.open_nursery() as nursery:
                for number in range(self.channels):
                    nursery.start_soon(converse, engine, f"bench:{number}")

        return await self._measure(all_channels, tuned=tuned)

    async def offered(self, per_s: int) -> Round:
        """Messages come at a steady rate, whatever the engine does; each is timed from when it was due."""

        async def send(engine: Engine, number: int, due: float) -> None:
            await engine.post(f"bench:{number % self.channels}", f"message {number}")
            self.accepted.append(time.perf_counter() - due)

        async def steadily(engine: Engine) -> None:
            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for number in range(self.channels * self.messages):
                    due = began + number / per_s
                    if (early := due - time.perf_counter()) > 0:
                        await trio.sleep(early)
                    nursery.start_soon(send, engine, number, due)
            # A channel's last message ends after all others of it.
            for number in range(self.channels):
                await engine.ask(f"bench:{number}", "the last one")

        return await self._measure(steadily, tuned=True)

    async def _measure(self, load: Callable[[Engine], Awaitable[None]], *, tuned: bool) -> Round:
        self.accepted.clear()
        driver = InstantDriver(requests=deque(maxlen=1))
        with self.harness.workplace() as workplace:
            settings = self.harness.settings(workplace, turn_slots=self.channels)
            async with open_engine(settings, driver=driver) as engine:
                ask = await ask_seconds()
                with collector(tuned=tuned):
                    began, cpu_began = time.perf_counter(), time.process_time()
                    await load(engine)
                    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        turns = self.channels * self.messages
        return {
            "turns_per_s": turns / elapsed,
            "own_cpu_ms_per_turn": cpu / turns * 1000,
            "accept_p50_ms": percentile(self.accepted, 50) * 1000,
            "accept_p99_ms": percentile(self.accepted, 99) * 1000,
            "ask_us": ask * 1e6,
            "own_cpu_in_asks": cpu / turns / ask,
        }
