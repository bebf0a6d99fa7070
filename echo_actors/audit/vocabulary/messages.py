"""Records of messages, their turns, and the tools that are used in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echo_actors.audit.kinds import Field, Kind, of_text, sometimes
from echo_actors.audit.vocabulary.words import CHANNEL, MESSAGE, MODEL, REASON, SESSION

_TURN = Field(str, "The turn, by the uuid that the CLI knows the first of its messages by.")

_SPENT = {
    "duration_ms": Field(int, "How long the CLI worked, as it says.", "ms", always=False),
    "cost_usd": Field(float, "What the turn cost.", "USD", always=False, null="the CLI did not say"),
    "input_tokens": Field(int, "Tokens of input that no cache had.", always=False),
    "output_tokens": Field(int, "Tokens of output.", always=False),
    "cache_read_tokens": Field(int, "Tokens of input that came from the cache.", always=False),
    "cache_creation_tokens": Field(int, "Tokens of input that went into the cache.", always=False),
}

MESSAGES: Final[Mapping[str, Kind]] = {
    "message.accepted": Kind(
        "A message is on disk.",
        {
            "channel": CHANNEL,
            "message": MESSAGE,
            "sequence": Field(int, "Its number in the store."),
            "position": Field(int, "How many messages were before it in its channel."),
            "author": Field(str, "Who wrote it.", null="nobody was named"),
            "trust": Field(str, "owner, member or external."),
            **of_text("text", "the message's text"),
        },
    ),
    "message.not_ended": Kind(
        "The end of a message that nobody started could not be stored; the next start ends it.",
        {"channel": CHANNEL, "reason": REASON},
    ),
    "turn.started": Kind(
        "A message is given to the CLI.",
        {
            "channel": CHANNEL,
            "message": MESSAGE,
            "turn": _TURN,
            "session": Field(str, SESSION.meaning, null="it is not known yet"),
            "model": MODEL,
            "attempt": Field(int, "How often the message was started, with this time."),
        },
    ),
    "turn.not_joined": Kind(
        "A message could not join the running turn, and waits for its own.", {"channel": CHANNEL, "reason": REASON}
    ),
    "turn.retried": Kind(
        "A turn came to no end, and its messages are started again.",
        {
            "channel": CHANNEL,
            "turn": _TURN,
            "reason": REASON,
            "attempt": Field(int, "How often they were started."),
            **_SPENT,
        },
    ),
    "turn.cut": Kind(
        "A turn was cut because the engine closes, and its messages are started again by the next run.",
        {"channel": CHANNEL, "turn": _TURN, "reason": REASON, **_SPENT},
    ),
    "turn.ended": Kind(
        "A message's one end. What a turn of several messages spent is in the record of each.",
        {
            "channel": CHANNEL,
            "message": MESSAGE,
            "turn": sometimes(_TURN),
            "outcome": Field(str, "The kind of outcome."),
            "attempts": Field(int, "How often it was started.", always=False),
            "reason": sometimes(REASON),
            "clock": Field(str, "The clock that ran out.", always=False),
            "error": Field(str, "The kind of error.", always=False),
            "session": Field(str, SESSION.meaning, always=False),
            "model": Field(str, "The model that answered.", always=False),
            "first_output_ms": Field(
                float, "How long after its start the turn had the model's first output.", "ms", always=False
            ),
            **_SPENT,
            **of_text("reply", "the reply's text", always=False),
        },
    ),
    "tool.started": Kind(
        "The model uses a tool.", {"channel": CHANNEL, "message": MESSAGE, "tool": Field(str, "Its name.")}
    ),
    "permission.asked": Kind(
        "The CLI asks whether a tool may be used.",
        {
            "channel": CHANNEL,
            "message": MESSAGE,
            "tool": Field(str, "Its name."),
            "agent": Field(str, "The agent that wants to use it; empty for the conversation's own."),
            **of_text("input", "the tool's input, as JSON"),
        },
    ),
    "permission.answered": Kind(
        "The question has its answer.",
        {
            "channel": CHANNEL,
            "message": MESSAGE,
            "tool": Field(str, "The tool's name."),
            "allowed": Field(bool, "Whether it may be used."),
            "by": Field(str, "Who, or what, decided."),
        },
    ),
    "permission.callback_failed": Kind(
        "The program's function that answers such questions failed.", {"channel": CHANNEL, "reason": REASON}
    ),
    "tool.finished": Kind(
        "A tool gave its result.",
        {"channel": CHANNEL, "message": MESSAGE, "error": Field(bool, "Whether it failed.")},
    ),
}
