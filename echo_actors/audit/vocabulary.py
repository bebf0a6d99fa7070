"""Every kind of record that the audit log has. Whoever records something new describes it here; a test asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echo_actors.audit.kinds import Field, Kind, of_text, sometimes

COMMON: Final[Mapping[str, Field]] = {
    "seq": Field(int, "The record's number, counted from 1 over all runs and files."),
    "time": Field(str, "When it happened: UTC, with microseconds."),
    "event": Field(str, "Its kind."),
    "run": Field(str, "The run of the engine."),
    "prev": Field(str, "The SHA-256 of the line before."),
}
"""What every record has: the first four before its own fields, the last after them."""

_CHANNEL = Field(str, "The channel's name.")
_MESSAGE = Field(str, "The message's id.")
_SESSION = Field(str, "The CLI's session.")
_MODEL = Field(str, "The model, as it was asked for.")
_PROCESS = Field(str, "The CLI process, by an id that is in the environment of all that it starts.")
_PID = Field(int, "Its process id.")
_REASON = Field(str, "Why, in words.")
_PREVIOUS = Field(str, "The session before; empty without one.")
_RETRY_IN = Field(float, "How long until the next attempt.", "s")
_HASH = Field(str, "The SHA-256 of that line.")

_SPENT = {
    "duration_ms": Field(int, "How long the CLI worked, as it says.", "ms", always=False),
    "cost_usd": Field(float, "What the turn cost.", "USD", always=False, null="the CLI did not say"),
    "input_tokens": Field(int, "Tokens of input that no cache had.", always=False),
    "output_tokens": Field(int, "Tokens of output.", always=False),
    "cache_read_tokens": Field(int, "Tokens of input that came from the cache.", always=False),
    "cache_creation_tokens": Field(int, "Tokens of input that went into the cache.", always=False),
}

_ENGINE: Final[Mapping[str, Kind]] = {
    "engine.started": Kind(
        "The engine opens.",
        {
            "version": Field(str, "Of the package."),
            "state_dir": Field(str, "The state directory."),
        },
    ),
    "engine.recovered": Kind("Messages of earlier runs go on.", {"messages": Field(int, "How many had no end yet.")}),
    "engine.draining": Kind("The engine takes no more messages."),
    "engine.closed": Kind("The engine has closed; the last record of its run."),
    "run.reaped": Kind(
        "An earlier run ended without closing, and what it left running was ended.",
        {"earlier": Field(str, "That run."), "processes": Field(int, "How many processes were ended.")},
    ),
    "store.set_aside": Kind(
        "The store was damaged; a new one begins.",
        {"path": Field(str, "Where the damaged one is now."), "reason": _REASON},
    ),
    "store.refused": Kind(
        "The store did not take something; it is tried again.",
        {"channel": sometimes(_CHANNEL), "reason": _REASON, "retry_in": _RETRY_IN},
    ),
    "cli.found": Kind(
        "The CLI that turns will run on.",
        {
            "path": Field(str, "Where it is."),
            "version": Field(str, "What it says that it is."),
            "defused": Field(bool, "Whether text is defused visibly, because the CLI is old."),
        },
    ),
    "gate.closed": Kind(
        "No turn starts for a while.",
        {
            "reason": _REASON,
            "error": Field(str, "The error that closed it."),
            "seconds": Field(float, "For how long.", "s"),
        },
    ),
}

_MESSAGES: Final[Mapping[str, Kind]] = {
    "message.accepted": Kind(
        "A message is on disk.",
        {
            "channel": _CHANNEL,
            "message": _MESSAGE,
            "sequence": Field(int, "Its number in the store."),
            "position": Field(int, "How many messages were before it in its channel."),
            "author": Field(str, "Who wrote it.", null="nobody was named"),
            "trust": Field(str, "owner, member or external."),
            **of_text("text", "the message's text"),
        },
    ),
    "message.not_ended": Kind(
        "The end of a message that nobody started could not be stored; the next start ends it.",
        {"channel": _CHANNEL, "reason": _REASON},
    ),
    "turn.started": Kind(
        "A message is given to the CLI.",
        {
            "channel": _CHANNEL,
            "message": _MESSAGE,
            "turn": Field(str, "The turn, by the uuid that the CLI knows the message by."),
            "session": Field(str, _SESSION.meaning, null="it is not known yet"),
            "model": _MODEL,
            "attempt": Field(int, "How often the message was started, with this time."),
        },
    ),
    "turn.not_joined": Kind(
        "A message could not join the running turn, and waits for its own.", {"channel": _CHANNEL, "reason": _REASON}
    ),
    "turn.retried": Kind(
        "A turn came to no end, and its messages are started again.",
        {"channel": _CHANNEL, "reason": _REASON, "attempt": Field(int, "How often they were started.")},
    ),
    "turn.ended": Kind(
        "A message's one end. What a turn of several messages spent is in the record of each.",
        {
            "channel": _CHANNEL,
            "message": _MESSAGE,
            "outcome": Field(str, "The kind of outcome."),
            "attempts": Field(int, "How often it was started.", always=False),
            "reason": sometimes(_REASON),
            "clock": Field(str, "The clock that ran out.", always=False),
            "error": Field(str, "The kind of error.", always=False),
            "session": Field(str, _SESSION.meaning, always=False),
            "model": Field(str, "The model that answered.", always=False),
            **_SPENT,
            **of_text("reply", "the reply's text", always=False),
        },
    ),
    "tool.started": Kind(
        "The model uses a tool.", {"channel": _CHANNEL, "message": _MESSAGE, "tool": Field(str, "Its name.")}
    ),
    "tool.finished": Kind(
        "A tool gave its result.",
        {"channel": _CHANNEL, "message": _MESSAGE, "error": Field(bool, "Whether it failed.")},
    ),
}

_CHANNELS: Final[Mapping[str, Kind]] = {
    "session.changed": Kind(
        "The channel's session, model or persona changed.",
        {"channel": _CHANNEL, "session": _SESSION, "previous": _PREVIOUS, "reason": _REASON},
    ),
    "session.busy": Kind(
        "The session is open elsewhere.",
        {
            "channel": _CHANNEL,
            "session": _SESSION,
            "holder": Field(str, "Who has it."),
            "conflict": Field(str, "What the turn does: the setting `session_conflict`."),
        },
    ),
    "session.forked": Kind(
        "The turn goes on in a copy of a session that is open elsewhere.",
        {"channel": _CHANNEL, "session": Field(str, "The copy."), "previous": Field(str, "The original.")},
    ),
    "channel.suspended": Kind(
        "The channel failed too often, and takes nothing until it is resumed.",
        {"channel": _CHANNEL, "reason": _REASON},
    ),
    "actor.crashed": Kind(
        "A channel's actor failed, and is started again.",
        {"channel": _CHANNEL, "reason": _REASON, "trace": Field(str, "The end of the traceback.")},
    ),
    "actor.not_recovered": Kind(
        "After a crash, a channel's messages could not be read.", {"channel": _CHANNEL, "reason": _REASON}
    ),
    "actor.helper_failed": Kind("What helps an actor failed; the actor goes on.", {"reason": _REASON}),
    "prewarm.failed": Kind(
        "A process that was to be ready before its message is not.", {"channel": _CHANNEL, "reason": _REASON}
    ),
    "operator.interrupt": Kind("A running turn was ended by a call.", {"channel": _CHANNEL, "reason": _REASON}),
    "operator.clear": Kind(
        "A conversation was to be forgotten by a call.",
        {"channel": _CHANNEL, "cleared": Field(bool, "Whether there was one.")},
    ),
    "operator.fork": Kind(
        "A conversation goes on in a second channel too, by a call.",
        {"channel": _CHANNEL, "forked": Field(str, "The second channel."), "session": Field(str, "Its session.")},
    ),
    "operator.set_model": Kind("A channel's model was chosen by a call.", {"channel": _CHANNEL, "model": _MODEL}),
    "operator.resume": Kind("A channel's suspension was lifted by a call.", {"channel": _CHANNEL}),
}

_PROCESSES: Final[Mapping[str, Kind]] = {
    "process.spawned": Kind(
        "A CLI process was started.",
        {
            "channel": Field(str, "The channel that it is for; empty for a spare."),
            "session": _SESSION,
            "process": _PROCESS,
            "pid": _PID,
            "resumed": Field(bool, "Whether it goes on with an earlier session."),
            "spare": Field(bool, "Whether it waits for a channel to come."),
            "model": _MODEL,
            "withheld": Field(str, "The names of the variables that it did not get, with commas between."),
        },
    ),
    "process.stopped": Kind(
        "A CLI process and all that it started have ended.",
        {
            "channel": Field(str, "The channel that it was for; empty for a spare."),
            "process": _PROCESS,
            "pid": _PID,
            "spare": Field(bool, "Whether it still waited for a channel."),
            "reason": _REASON,
            "how": Field(str, "The last means that it took."),
            "exit_code": Field(int, "Negative for a signal.", null="it is not known"),
            "reaped": Field(int, "How many processes were left of what it had started, and were ended."),
            "seconds": Field(float, "How long the end took.", "s"),
        },
    ),
    "spare.claimed": Kind(
        "A spare process becomes a channel's.", {"channel": _CHANNEL, "session": _SESSION, "process": _PROCESS}
    ),
    "spare.failed": Kind("A spare process could not be made.", {"reason": _REASON, "retry_in": _RETRY_IN}),
}

_LOG: Final[Mapping[str, Kind]] = {
    "audit.torn": Kind(
        "The bytes before this record are what a crash left of one; `prev` is their hash.",
        {
            "bytes": Field(int, "How many.", "bytes"),
            "sha256": Field(str, "The SHA-256 of them."),
            "after_sha256": Field(str, "The SHA-256 of the whole line before them."),
        },
    ),
    "audit.cut": Kind(
        "Lines that the store knows of were not there at the start.",
        {
            "expected_seq": Field(int, "The last line that the store knows of."),
            "expected_sha256": _HASH,
            "found_seq": Field(int, "The last line that was there; 0 without one."),
            "found_sha256": _HASH,
        },
    ),
    "audit.lost": Kind(
        "Here records are missing: the disk took none for too long, or they could not be made.",
        {"records": Field(int, "How many."), "problem": Field(str, "Why.")},
    ),
    "audit.pruned": Kind(
        "Old files are about to be removed, because of their age or number.",
        {
            "files": Field(int, "How many."),
            "until_seq": Field(int, "The last line that they have."),
            "until_sha256": _HASH,
        },
    ),
    "audit.unsynced": Kind(
        "The end of a turn was announced before the log was on the disk, because that took too long.",
        {
            "times": Field(int, "How often in this run."),
            "problem": Field(str, "What the disk says.", null="it only took too long"),
        },
    ),
}

EVENTS: Final[Mapping[str, Kind]] = {**_ENGINE, **_MESSAGES, **_CHANNELS, **_PROCESSES, **_LOG}
"""Every kind, by the name that is in its records."""
