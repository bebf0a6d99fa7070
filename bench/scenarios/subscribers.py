"""Subscribers: what they get in a second, whether a stuck one slows the others, and what they cost other channels.

A delivery is one event that one subscriber has received. On the hub alone, every event wakes every subscriber, or
they come in bursts, as the CLI's frames do; the CPU time of this process counts, which is what one core can do
however busy the machine is. A stuck subscriber never reads. Through the engine, a turn has as many blocks as a burst
has events.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

import attrs
import trio

from bench.harness import Harness
from bench.report import Result, Round, Target
from echo_actors import Engine, open_engine
from echo_actors.actors.topic import Hub, Subscription
from echo_actors.claude.driver import TurnRequest, TurnResult
from echo_actors.events import TextDelta
from echo_actors.models import Block
from echo_actors.testing.instant_driver import InstantDriver, echo

SUBSCRIBERS: Final = 100
EVENTS: Final = 10_000
ELSEWHERE: Final = 1000

_BURST: Final = 20
_CHANNEL: Final = "bench"
_TALKING: Final = 16
_TURNS: Final = 100

DELIVERIES: Final = Target("deliveries_per_cpu_s", ">=", 200_000)
STUCK: Final = Target("deliveries/CPU s, with a stuck subscriber : without", ">=", 0.95)
COST: Final = Target(f"CPU per turn, {ELSEWHERE:,} subscribers elsewhere : none", "<=", 1.2)


async def run(harness: Harness) -> Result:
    """Measure all of it in alternation."""
    subscribers = harness.size.of("channels", full=SUBSCRIBERS, quick=10)
    events = harness.size.of("messages", full=EVENTS, quick=200)
    turns = max(2, _TURNS * events // EVENTS)
    many = ELSEWHERE * subscribers // SUBSCRIBERS
    load = _Load(harness, subscribers, events, turns)
    hub, stuck, bursts, engine = "hub", "hub, one stuck", "hub, bursts", "engine"
    none, elsewhere = "none elsewhere", f"{many:,} elsewhere"
    result = Result(
        scenario="subscribers",
        parameters={"subscribers": subscribers, "events": events, "subscribers elsewhere": many},
        full=(subscribers, events) == (SUBSCRIBERS, EVENTS),
        rounds=await harness.alternate(
            {
                hub: partial(load.hub, burst=1, stuck=0),
                stuck: partial(load.hub, burst=1, stuck=1),
                bursts: partial(load.hub, burst=_BURST, stuck=0),
                engine: load.engine,
                none: partial(load.other_channels, 0),
                elsewhere: partial(load.other_channels, many),
            }
        ),
    )
    checks = [
        result.absolute(DELIVERIES, hub),
        result.ratio(STUCK, stuck, hub, "deliveries_per_cpu_s"),
        result.ratio(COST, elsewhere, none, "own_cpu_ms_per_turn"),
    ]
    return attrs.evolve(result, checks=checks)


@attrs.define(eq=False)
class _Load:
    """Puts subscribers under load.

    Attributes:
        turns: How many turns each talking channel has.
    """

    harness: Harness
    subscribers: int
    events: int
    turns: int

    async def hub(self, *, burst: int, stuck: int) -> Round:
        """Publish to one channel, so many events at a time, without an engine."""
        hub = Hub("bench", 10_000, 1000, lambda: datetime.now(UTC))

        async def publish() -> None:
            for number in range(self.events):
                hub.publish(TextDelta(channel=_CHANNEL, text=f"part {number}"))
                if number % burst == burst - 1:
                    await trio.lowlevel.checkpoint()
            hub.close()

        silent = [hub.subscribe(_CHANNEL) for _ in range(stuck)]
        found = await _deliver([hub.subscribe(_CHANNEL) for _ in range(self.subscribers)], publish)
        assert found["deliveries"] == self.events * self.subscribers
        assert all(not each.empty for each in silent)
        return found

    async def engine(self) -> Round:
        """Let one channel talk, whose turns have many blocks; all that its subscribers get counts."""

        async def answer(request: TurnRequest) -> TurnResult:
            await trio.lowlevel.checkpoint()
            blocks = tuple(Block("text", f"block {number}") for number in range(_BURST))
            return attrs.evolve(echo(request), blocks=blocks)

        async with self._engine(answer) as engine, AsyncExitStack() as open_ones:
            subscriptions = [
                await open_ones.enter_async_context(engine.subscribe(_CHANNEL)) for _ in range(self.subscribers)
            ]

            async def talk() -> None:
                for turn in range(self.turns):
                    await engine.ask(_CHANNEL, f"message {turn}")
                for subscription in subscriptions:
                    subscription.close()

            return await _deliver(subscriptions, talk)

    async def other_channels(self, elsewhere: int) -> Round:
        """Let channels talk that nobody listens to, while others have subscribers."""
        async with self._engine(echo) as engine, trio.open_nursery() as readers:
            for number in range(elsewhere):
                readers.start_soon(_listen, engine, f"elsewhere:{number}")

            async def talk(channel: str) -> None:
                for turn in range(self.turns):
                    await engine.ask(channel, f"message {turn}")

            began, cpu_began = time.perf_counter(), time.process_time()
            async with trio.open_nursery() as nursery:
                for number in range(_TALKING):
                    nursery.start_soon(talk, f"bench:{number}")
            elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
            readers.cancel_scope.cancel()
        turns = _TALKING * self.turns
        return {"own_cpu_ms_per_turn": cpu / turns * 1000, "turns_per_s": turns / elapsed}

    @asynccontextmanager
    async def _engine(
        self, answer: Callable[[TurnRequest], TurnResult | Awaitable[TurnResult]]
    ) -> AsyncIterator[Engine]:
        driver = InstantDriver(answer, requests=deque(maxlen=1))
        with self.harness.workplace() as workplace:
            async with open_engine(self.harness.settings(workplace), driver=driver) as engine:
                yield engine


async def _listen(engine: Engine, channel: str) -> None:
    async with engine.subscribe(channel) as events:
        async for _ in events:
            raise RuntimeError("a channel that nobody talks in has events")


async def _deliver(subscriptions: Sequence[Subscription], publish: Callable[[], Awaitable[None]]) -> Round:
    """Publish while all subscribers read to their end."""
    received = [0] * len(subscriptions)

    async def read(number: int) -> None:
        async for _ in subscriptions[number]:
            received[number] += 1

    began, cpu_began = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        for number in range(len(subscriptions)):
            nursery.start_soon(read, number)
        nursery.start_soon(publish)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    return {
        "deliveries": sum(received),
        "deliveries_per_s": sum(received) / elapsed,
        "deliveries_per_cpu_s": sum(received) / cpu,
    }
