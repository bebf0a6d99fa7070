"""A load for minutes, to see that nothing grows: what the engine's process holds meanwhile, and what it may hold.

Channels come and go, so that actors leave memory and CLI processes hibernate all the time.
"""

from __future__ import annotations

import gc
import itertools
import random
from collections.abc import Sequence
from statistics import median

import attrs
import psutil
import trio

from echo_actors import Engine, Settings, open_engine
from echo_actors.claude.process_tree import marked

WARM_UP = 0.4
"""The part of the run that does not count: caches of pages, the ring of events and the arenas fill meanwhile."""

_MEMORY = ("rss", "uss")
_COUNTED = ("tasks", "descriptors", "threads", "children")
_TASKS_OF_ONE_PROCESS = 8
"""Tasks that a resident and its stop may have at once: what the number of tasks may swing by per resident."""
_MOST_GROWTH = 1.05


@attrs.frozen(kw_only=True)
class Sample:
    """What the engine's process held at one moment.

    Attributes:
        seconds: Since the load began.
        uss: Bytes of memory that only this process has.
        children: Living processes that carry the run's mark.
        turns: Answers so far.
    """

    seconds: float
    rss: int
    uss: int
    tasks: int
    descriptors: int
    threads: int
    children: int
    live_channels: int
    turns: int


@attrs.define(eq=False)
class Load:
    """Channels that talk, rest long enough to leave memory, and talk again."""

    engine: Engine
    channels: int
    random: random.Random = attrs.Factory(lambda: random.Random(1))  # noqa: S311 - a load, not a secret
    turns: int = 0

    async def run(self, seconds: float) -> None:
        """Talk in every channel for so long."""
        ends = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            for number in range(self.channels):
                nursery.start_soon(self._talk, f"channel {number}", ends)

    async def _talk(self, channel: str, ends: float) -> None:
        for count in itertools.count():
            text = f"message {count} of {channel}"
            reply = await self.engine.ask(channel, text)
            assert reply.text == f"echo: {text}", reply.text
            self.turns += 1
            # Now and then for longer than an actor and a process stay.
            pause = self.random.choice((0.05, 0.2, 0.2, 0.5, 0.5, 1.0, 6.0))
            await trio.sleep(min(pause, max(0.0, ends - trio.current_time())))
            if trio.current_time() >= ends:
                return


@attrs.frozen(kw_only=True)
class Soaked:
    """What a soak found.

    Attributes:
        samples: While the load was on; the last one is of the engine at rest.
        left: What was still there at rest, or after the engine had closed.
    """

    samples: Sequence[Sample]
    left: Sequence[str]


async def soak(settings: Settings, *, channels: int, seconds: float, every: float) -> Soaked:
    """Run the load, with a look at the process every so many seconds, until the engine has come to rest again."""
    samples: list[Sample] = []
    async with open_engine(settings) as engine:
        load, began, run_id = Load(engine, channels), trio.current_time(), engine.status().run_id
        before = take_sample(load, began)
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while True:
                    await trio.sleep(every)
                    samples.append(take_sample(load, began))

            nursery.start_soon(watch)
            await load.run(seconds)
            nursery.cancel_scope.cancel()
        await trio.sleep(settings.passivate_after + 3 * settings.hibernate_after)
        gc.collect()
        after = take_sample(load, began)
    outlived = len(marked({"ECHOACTORS_RUN": run_id}))
    left = [f"{outlived} processes outlived the engine"] if outlived else []
    return Soaked(samples=[*samples, after], left=[*left, *left_at_rest(before, after)])


def take_sample(load: Load, began: float) -> Sample:
    """Look at this process."""
    process, status = psutil.Process(), load.engine.status()
    memory = process.memory_full_info()
    return Sample(
        seconds=round(trio.current_time() - began, 1),
        rss=memory.rss,
        uss=memory.uss,
        tasks=trio.lowlevel.current_statistics().tasks_living,
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        children=len(marked({"ECHOACTORS_RUN": status.run_id})),
        live_channels=status.live_channels,
        turns=load.turns,
    )


def memory_growth(samples: Sequence[Sample]) -> float:
    """How much more memory the process has at the end of the load than after the warm-up, as a factor."""
    return max(late / early for early, late in (_early_and_late(samples, name) for name in _MEMORY))


def grown(samples: Sequence[Sample]) -> list[str]:
    """What else there was more of at the end of the load than after the warm-up."""
    pairs = {name: _early_and_late(samples, name) for name in _COUNTED}
    return [
        f"{name} grew from {early:g} to {late:g}"
        for name, (early, late) in pairs.items()
        if late > early * _MOST_GROWTH + _TASKS_OF_ONE_PROCESS
    ]


def left_at_rest(before: Sample, after: Sample) -> list[str]:
    """What an engine still holds that has come to rest."""
    left = [f"{after.live_channels} channels are live at rest"] if after.live_channels else []
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in ("tasks", "descriptors", "children"))
    return left + [f"{name}: {was} before the load, {now} after it" for name, was, now in pairs if now > was]


def _early_and_late(samples: Sequence[Sample], name: str) -> tuple[float, float]:
    """The median of a figure in the first and in the last third of what follows the warm-up."""
    steady = samples[int(len(samples) * WARM_UP) :]
    third = max(1, len(steady) // 3)
    early, late = (median(getattr(each, name) for each in part) for part in (steady[:third], steady[-third:]))
    return early, late
