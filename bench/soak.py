"""``python -m bench.soak``: a moderate load for minutes, to see that nothing grows.

Every few seconds it notes what the engine's process holds: memory, tasks, descriptors, threads, and the processes
below it. Channels come and go, so that actors leave memory and CLI processes hibernate all the time. It fails when
memory rises after the warm-up, or when anything is left once the load has ended.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import attrs
import orjson
import psutil
import trio

from bench.harness import model_process
from bench.soak_picture import draw
from echo_actors import Engine, Settings, open_engine
from echo_actors.claude.locate import find_cli
from echo_actors.claude.process_tree import marked
from echo_actors.simulator.cli import write_scripted_cli

RESULTS = Path(__file__).parent / "results"
SAMPLE_EVERY = 3.0
WARM_UP = 0.4
"""The part of the run that does not count: caches of pages, the ring of events and the arenas fill meanwhile."""
MOST_GROWTH = 1.05
TASKS_OF_ONE_PROCESS = 8
"""Tasks that a resident and its stop may have at once: what the number of tasks may swing by per resident."""


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
            if trio.current_time() >= ends:
                return
            text = f"message {count} of {channel}"
            reply = await self.engine.ask(channel, text)
            assert reply.text == f"echo: {text}", reply.text
            self.turns += 1
            # Now and then for longer than an actor and a process stay.
            await trio.sleep(self.random.choice((0.05, 0.2, 0.2, 0.5, 0.5, 1.0, 6.0)))


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


async def soak(settings: Settings, *, channels: int, seconds: float) -> tuple[list[Sample], list[str]]:
    """Run the load; give the samples, and what is wrong."""
    samples: list[Sample] = []
    async with open_engine(settings) as engine:
        load, began, run_id = Load(engine, channels), trio.current_time(), engine.status().run_id
        before = take_sample(load, began)
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while True:
                    await trio.sleep(SAMPLE_EVERY)
                    samples.append(take_sample(load, began))

            nursery.start_soon(watch)
            await load.run(seconds)
            nursery.cancel_scope.cancel()
        await trio.sleep(settings.passivate_after + 3 * settings.hibernate_after)
        gc.collect()
        after = take_sample(load, began)
    left = len(marked({"ECHOACTORS_RUN": run_id}))
    wrong = [f"{left} processes outlived the engine"] if left else []
    return [*samples, after], wrong + judge(samples) + judge_rest(before, after)


def judge(samples: Sequence[Sample]) -> list[str]:
    """What grew between the first and the last third of what follows the warm-up."""
    steady = samples[int(len(samples) * WARM_UP) :]
    third = len(steady) // 3
    if not third:
        return ["too few samples to say anything"]
    wrong = []
    for name in ("rss", "uss", "tasks", "descriptors", "threads", "children"):
        early = median(getattr(sample, name) for sample in steady[:third])
        late = median(getattr(sample, name) for sample in steady[-third:])
        slack = 0 if name in {"rss", "uss"} else TASKS_OF_ONE_PROCESS
        if late > early * MOST_GROWTH + slack:
            wrong.append(f"{name} grew from {early:g} to {late:g}")
    return wrong


def judge_rest(before: Sample, after: Sample) -> list[str]:
    """What an engine still holds that has come to rest."""
    wrong = [f"{after.live_channels} channels are live at rest"] if after.live_channels else []
    pairs = ((name, getattr(before, name), getattr(after, name)) for name in ("tasks", "descriptors", "children"))
    return wrong + [f"{name}: {was} before the load, {now} after it" for name, was, now in pairs if now > was]


def summary(samples: Sequence[Sample], wrong: Sequence[str], about: dict[str, Any]) -> dict[str, Any]:
    """All of it, ready for JSON."""
    steady = samples[int(len(samples) * WARM_UP) : -1]
    third = max(1, len(steady) // 3)
    growth = {
        name: round(
            median(getattr(s, name) for s in steady[-third:]) / median(getattr(s, name) for s in steady[:third]), 4
        )
        for name in ("rss", "uss")
    }
    return {
        **about,
        "turns": samples[-1].turns,
        "growth_after_warm_up": growth,
        "wrong": list(wrong),
        "samples": [attrs.asdict(sample) for sample in samples],
    }


async def run(options: argparse.Namespace) -> dict[str, Any]:
    """Soak in temporary directories, and keep what was found."""
    with tempfile.TemporaryDirectory(prefix="echo-actors-soak-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        for part in ("work", "home"):
            (directory / part).mkdir()
        scripted = options.cli == "scripted"
        cli = write_scripted_cli(directory) if scripted else find_cli(None, os.environ)
        async with model_process() as model_url:
            settings = Settings(
                state_dir=directory / "state",
                working_dir=directory / "work",
                claude_bin=cli,
                environment={
                    "HOME": str(directory / "home"),
                    "CLAUDE_CONFIG_DIR": str(directory / "home" / ".claude"),
                    "ANTHROPIC_BASE_URL": model_url,
                    "ANTHROPIC_API_KEY": "no-key",
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                    "DISABLE_AUTOUPDATER": "1",
                    "DISABLE_ERROR_REPORTING": "1",
                    "DISABLE_TELEMETRY": "1",
                },
                max_residents=max(1, options.channels // 2),
                turn_slots=max(1, options.channels // 2),
                hibernate_after=3.0,
                passivate_after=2.0,
                event_ring=1000,
                outcome_retention=30.0,
            )
            samples, wrong = await soak(settings, channels=options.channels, seconds=options.minutes * 60)
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cli": options.cli,
        "minutes": options.minutes,
        "channels": options.channels,
    }
    return summary(samples, wrong, about)


def main() -> None:
    """Run what the command line says; exit code 1 when something grew or was left."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description="See that nothing grows under load.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--cli", choices=("real", "scripted"), default="scripted")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures and the picture are kept")
    options = parser.parse_args()
    found = trio.run(run, options)
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / f"soak-{options.cli}.json"
    path.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    path.with_suffix(".svg").write_text(draw(found), encoding="utf-8")
    print({name: value for name, value in found.items() if name != "samples"})
    print(found["samples"][-1])
    print(f"kept in {path}")
    sys.exit(bool(found["wrong"]))


if __name__ == "__main__":
    main()
