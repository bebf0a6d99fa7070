"""Records of channels: their sessions, their actors, and what operators did to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echo_actors.audit.kinds import Field, Kind
from echo_actors.audit.vocabulary.words import CHANNEL, MESSAGE, MODEL, PREVIOUS, REASON, SESSION

CHANNELS: Final[Mapping[str, Kind]] = {
    "session.changed": Kind(
        "The channel's session, model or persona changed.",
        {"channel": CHANNEL, "session": SESSION, "previous": PREVIOUS, "reason": REASON},
    ),
    "session.busy": Kind(
        "The session is open elsewhere.",
        {
            "channel": CHANNEL,
            "session": SESSION,
            "holder": Field(str, "Who has it."),
            "conflict": Field(str, "What the turn does: the setting `session_conflict`."),
        },
    ),
    "session.moved": Kind(
        "The transcript went to where the CLI looks for it in another working directory.",
        {"session": SESSION, "path": Field(str, "Where it is now.")},
    ),
    "session.forked": Kind(
        "The turn goes on in a copy of a session that is open elsewhere.",
        {"channel": CHANNEL, "session": Field(str, "The copy."), "previous": Field(str, "The original.")},
    ),
    "channel.suspended": Kind(
        "The channel failed too often, and takes nothing until it is resumed.",
        {"channel": CHANNEL, "reason": REASON},
    ),
    "actor.crashed": Kind(
        "A channel's actor failed, and is started again.",
        {"channel": CHANNEL, "reason": REASON, "trace": Field(str, "The end of the traceback.")},
    ),
    "actor.not_recovered": Kind(
        "After a crash, a channel's messages could not be read.", {"channel": CHANNEL, "reason": REASON}
    ),
    "actor.helper_failed": Kind("What helps an actor failed; the actor goes on.", {"reason": REASON}),
    "prewarm.failed": Kind(
        "A process that was to be ready before its message is not.", {"channel": CHANNEL, "reason": REASON}
    ),
    "operator.interrupt": Kind("A running turn was ended by a call.", {"channel": CHANNEL, "reason": REASON}),
    "operator.clear": Kind(
        "A conversation was to be forgotten by a call.",
        {"channel": CHANNEL, "cleared": Field(bool, "Whether there was one.")},
    ),
    "operator.fork": Kind(
        "A conversation goes on in a second channel too, by a call.",
        {"channel": CHANNEL, "forked": Field(str, "The second channel."), "session": Field(str, "Its session.")},
    ),
    "operator.adopt": Kind(
        "A channel goes on with a given session of the CLI, by a call.", {"channel": CHANNEL, "session": SESSION}
    ),
    "operator.configure": Kind(
        "A channel's options were changed by a call.",
        {"channel": CHANNEL, "options": Field(str, "Which ones, with commas between; their values may be secrets.")},
    ),
    "operator.set_model": Kind("A channel's model was chosen by a call.", {"channel": CHANNEL, "model": MODEL}),
    "operator.suspend": Kind("A channel takes nothing, by a call.", {"channel": CHANNEL, "reason": REASON}),
    "operator.revive": Kind("A dead letter runs again, by a call.", {"channel": CHANNEL, "message": MESSAGE}),
    "operator.discard": Kind("A dead letter was dropped by a call.", {"channel": CHANNEL, "message": MESSAGE}),
    "operator.resume": Kind("A channel's suspension was lifted by a call.", {"channel": CHANNEL}),
}
