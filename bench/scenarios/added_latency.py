"""What the engine adds to a warm turn: one channel, on a CLI that answers at once, engine against a bare loop."""

from __future__ import annotations

from typing import Final

import attrs

from bench.contenders import Conversation
from bench.harness import Harness
from bench.report import Result, Target

MESSAGES: Final = 500

ADDED: Final = Target("added p50 latency, ms", "<=", 1.5)


async def run(harness: Harness) -> Result:
    """Measure both in alternation."""
    messages = harness.size.of("messages", full=MESSAGES, quick=20)
    conversation = Conversation(attrs.evolve(harness, cli=harness.scripted_cli), 1, messages)
    contenders = {"engine": conversation.engine, "bare loop": conversation.warm_processes}
    result = Result(
        scenario="added latency",
        parameters={"messages": messages},
        full=messages == MESSAGES,
        rounds=await harness.alternate(contenders),
    )
    return attrs.evolve(result, checks=[result.difference(ADDED, "engine", "bare loop", "later_reply_p50_ms")])
