"""Records of CLI processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echo_actors.audit.kinds import Field, Kind
from echo_actors.audit.vocabulary.words import CHANNEL, MODEL, PID, PROCESS, REASON, RETRY_IN, SESSION

PROCESSES: Final[Mapping[str, Kind]] = {
    "process.spawned": Kind(
        "A CLI process was started.",
        {
            "channel": Field(str, "The channel that it is for; empty for a spare."),
            "session": SESSION,
            "process": PROCESS,
            "pid": PID,
            "resumed": Field(bool, "Whether it goes on with an earlier session."),
            "spare": Field(bool, "Whether it waits for a channel to come."),
            "model": MODEL,
            "withheld": Field(str, "The names of the variables that it did not get, with commas between."),
        },
    ),
    "process.stopped": Kind(
        "A CLI process and all that it started have ended.",
        {
            "channel": Field(str, "The channel that it was for; empty for a spare."),
            "process": PROCESS,
            "pid": PID,
            "spare": Field(bool, "Whether it still waited for a channel."),
            "reason": REASON,
            "how": Field(str, "The last means that it took."),
            "exit_code": Field(int, "Negative for a signal.", null="it is not known"),
            "reaped": Field(int, "How many processes were left of what it had started, and were ended."),
            "seconds": Field(float, "How long the end took.", "s"),
        },
    ),
    "spare.claimed": Kind(
        "A spare process becomes a channel's.", {"channel": CHANNEL, "session": SESSION, "process": PROCESS}
    ),
    "spare.failed": Kind("A spare process could not be made.", {"reason": REASON, "retry_in": RETRY_IN}),
}
