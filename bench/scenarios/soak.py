"""A soak: channels that come and go for ten minutes on the scripted CLI; nothing may grow, nothing may be left."""

from __future__ import annotations

from typing import Final

import attrs

from bench.harness import Harness
from bench.report import Check, Result, Round, Target
from bench.soak import grown, memory_growth, soak
from bench.statistics import summarize

SECONDS: Final = 600.0
CHANNELS: Final = 8

MEMORY: Final = Target("memory, end : after warm-up", "<=", 1.05)
LEFT: Final = Target("processes, descriptors, tasks left or grown", "<=", 0)


async def run(harness: Harness) -> Result:
    """Keep up the load once; rounds would be the same minutes again."""
    channels, seconds = harness.size.of("channels", full=CHANNELS, quick=4), harness.size.load_seconds
    harness.on_step(f"{seconds / 60:.2g} minutes", 0, 1)
    with harness.workplace() as workplace:
        settings = harness.settings(
            workplace,
            claude_bin=harness.scripted_cli,
            max_residents=max(1, channels // 2),
            turn_slots=max(1, channels // 2),
            hibernate_after=min(3.0, seconds / 20),
            passivate_after=min(2.0, seconds / 20),
            event_ring=1000,
            outcome_retention=30.0,
        )
        found = await soak(settings, channels=channels, seconds=seconds, every=min(3.0, seconds / 40))
    harness.on_step("done", 1, 1)
    loaded, rest = found.samples[:-1], found.samples[-1]
    problems = [*found.left, *grown(loaded)]
    figures: Round = {
        "turns": rest.turns,
        "memory_growth": memory_growth(loaded),
        "highest_rss_mb": max(each.rss for each in loaded) / 1e6,
    }
    return Result(
        scenario="soak",
        parameters={"channels": channels, "minutes": round(seconds / 60, 2), "problems": problems},
        full=(channels, seconds) >= (CHANNELS, SECONDS),
        rounds={"engine": [figures]},
        checks=[
            Check(MEMORY, summarize([figures["memory_growth"]])),
            Check(LEFT, summarize([float(len(problems))])),
        ],
        series=[attrs.asdict(each) for each in found.samples],
    )
