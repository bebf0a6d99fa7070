"""Channels in conversation: an engine and its peers on one CLI and one model.

The peers that start a process for each message get fewer messages per channel: a turn of theirs takes ten times as
long, and how many turns they do in a second does not depend on how many follow.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import attrs

from bench.contenders import Conversation
from bench.file_bridge import file_bridge
from bench.harness import Contender, Harness
from bench.report import Result, Target
from bench.sdk import sdk_clients, sdk_queries

CHANNELS: Final = 16
MESSAGES: Final = 20
SLOW_PART: Final = 5
"""The peers with a process per message get one in so many messages."""

AGAINST_WARM: Final = Target("turns/s, engine : warm processes", ">=", 0.95)
AGAINST_SDK: Final = Target("turns/s, engine : SDK clients", ">=", 1.1)
AGAINST_PER_MESSAGE: Final = Target("turns/s, engine : process per message", ">=", 8)


async def run(harness: Harness) -> Result:
    """Measure all of them in alternation."""
    channels = harness.size.of("channels", full=CHANNELS, quick=2)
    messages = harness.size.of("messages", full=MESSAGES, quick=5)
    warm = Conversation(harness, channels, messages)
    slow = Conversation(harness, channels, max(1, messages // SLOW_PART))
    contenders: dict[str, Contender] = {
        "engine": warm.engine,
        "warm processes": warm.warm_processes,
        "SDK clients": partial(sdk_clients, warm),
        "SDK query()": partial(sdk_queries, slow),
        "process per message": slow.process_per_message,
        "Echo-Core style": partial(file_bridge, slow),
    }
    result = Result(
        scenario="channels",
        parameters={
            "channels": channels,
            "messages": messages,
            "messages where each starts a process": slow.messages,
        },
        full=(channels, messages) == (CHANNELS, MESSAGES),
        rounds=await harness.alternate(contenders),
    )
    checks = [
        result.ratio(AGAINST_WARM, "engine", "warm processes", "turns_per_s"),
        result.ratio(AGAINST_SDK, "engine", "SDK clients", "turns_per_s"),
        result.ratio(AGAINST_PER_MESSAGE, "engine", "process per message", "turns_per_s"),
    ]
    return attrs.evolve(result, checks=checks)
