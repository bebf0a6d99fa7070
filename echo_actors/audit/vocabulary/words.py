"""Fields that many kinds of record have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echo_actors.audit.kinds import Field

COMMON: Final[Mapping[str, Field]] = {
    "seq": Field(int, "The record's number, counted from 1 over all runs and files."),
    "time": Field(str, "When it happened: UTC, with microseconds."),
    "event": Field(str, "Its kind."),
    "run": Field(str, "The run of the engine."),
    "prev": Field(str, "The SHA-256 of the line before."),
}
"""What every record has: the first four before its own fields, the last after them."""

CHANNEL: Final = Field(str, "The channel's name.")
MESSAGE: Final = Field(str, "The message's id.")
SESSION: Final = Field(str, "The CLI's session.")
MODEL: Final = Field(str, "The model, as it was asked for.")
PROCESS: Final = Field(str, "The CLI process, by an id that is in the environment of all that it starts.")
PID: Final = Field(int, "Its process id.")
REASON: Final = Field(str, "Why, in words.")
PREVIOUS: Final = Field(str, "The session before; empty without one.")
RETRY_IN: Final = Field(float, "How long until the next attempt.", "s")
HASH: Final = Field(str, "The SHA-256 of that line.")
