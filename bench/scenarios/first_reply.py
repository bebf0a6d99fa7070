"""New channels, all at once: when they get their first reply, with the engine's start ramp and without it."""

from __future__ import annotations

from typing import Final

import attrs

from bench.contenders import Conversation
from bench.harness import Harness
from bench.report import Result, Target

CHANNELS: Final = 16

RAMP: Final = Target("median first reply, ramp : no ramp", "<=", 0.6)


async def run(harness: Harness) -> Result:
    """Measure both in alternation."""
    channels = harness.size.of("channels", full=CHANNELS, quick=3)
    ramp = Conversation(harness, channels, messages=1)
    no_ramp = attrs.evolve(ramp, settings={"start_slots": channels})
    result = Result(
        scenario="first reply",
        parameters={"channels": channels},
        full=channels == CHANNELS,
        rounds=await harness.alternate({"ramp": ramp.engine, "no ramp": no_ramp.engine}),
    )
    return attrs.evolve(result, checks=[result.ratio(RAMP, "ramp", "no ramp", "first_reply_s")])
