"""Channels in conversation: an engine and its peers on one CLI and one model."""

from __future__ import annotations

from functools import partial
from typing import Final

import attrs

from bench.contenders import Conversation
from bench.harness import Contender, Harness
from bench.report import Result, Target
from bench.sdk import sdk_clients

CHANNELS: Final = 16
MESSAGES: Final = 20

AGAINST_WARM: Final = Target("turns/s, engine : warm processes", ">=", 0.95)
AGAINST_SDK: Final = Target("turns/s, engine : SDK clients", ">=", 1.1)
AGAINST_PER_MESSAGE: Final = Target("turns/s, engine : process per message", ">=", 8)


async def run(harness: Harness) -> Result:
    """Measure all of them in alternation."""
    channels = harness.size.of("channels", full=CHANNELS, quick=2)
    messages = harness.size.of("messages", full=MESSAGES, quick=3)
    conversation = Conversation(harness, channels, messages)
    contenders: dict[str, Contender] = {
        "engine": conversation.engine,
        "warm processes": conversation.warm_processes,
        "SDK clients": partial(sdk_clients, conversation),
        "process per message": conversation.process_per_message,
    }
    result = Result(
        scenario="channels",
        parameters={"channels": channels, "messages": messages},
        full=(channels, messages) == (CHANNELS, MESSAGES),
        rounds=await harness.alternate(contenders),
    )
    checks = [
        result.ratio(AGAINST_WARM, "engine", "warm processes", "turns_per_s"),
        result.ratio(AGAINST_SDK, "engine", "SDK clients", "turns_per_s"),
        result.ratio(AGAINST_PER_MESSAGE, "engine", "process per message", "turns_per_s"),
    ]
    return attrs.evolve(result, checks=checks)
