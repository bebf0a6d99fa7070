"""Records of the engine, its store, its budgets and its way to the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echo_actors.audit.kinds import Field, Kind, sometimes
from echo_actors.audit.vocabulary.words import CHANNEL, REASON, RETRY_IN

_BUDGET = {
    "channel": Field(str, "The channel whose turn it was, or whose budget it is."),
    "scope": Field(str, "Whether it is the channel's budget or that of all."),
    "period": Field(str, "How long it is for."),
    "spent_usd": Field(float, "What is spent of it.", "USD"),
    "limit_usd": Field(float, "How much it is.", "USD"),
    "resets_at": Field(str, "When it begins anew, in UTC."),
}

ENGINE: Final[Mapping[str, Kind]] = {
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
    "control.unavailable": Kind(
        "There can be no control socket, or none that takes clients now; the engine runs without.", {"reason": REASON}
    ),
    "control.refused": Kind(
        "A program of another user was at the control socket.", {"user": Field(int, "The number of that user.")}
    ),
    "control.failed": Kind("A call by the control socket met a fault of the program.", {"reason": REASON}),
    "store.set_aside": Kind(
        "The store was damaged; a new one begins.",
        {"path": Field(str, "Where the damaged one is now."), "reason": REASON},
    ),
    "store.restored": Kind(
        "The state is that of a backup: what came after it is not here.",
        {
            "made_at": Field(str, "When the backup was made, in UTC."),
            "restored_at": Field(str, "When it was put back, in UTC."),
        },
    ),
    "store.refused": Kind(
        "The store did not take something; it is tried again.",
        {"channel": sometimes(CHANNEL), "reason": REASON, "retry_in": RETRY_IN},
    ),
    "cli.found": Kind(
        "The CLI that turns will run on.",
        {
            "path": Field(str, "Where it is."),
            "version": Field(str, "What it says that it is."),
            "defused": Field(bool, "Whether text is defused visibly, because the CLI is old."),
        },
    ),
    "budget.warning": Kind("A budget is nearly used up.", _BUDGET),
    "budget.exceeded": Kind("A budget is used up; no turn that it is for starts until it begins anew.", _BUDGET),
    "gate.closed": Kind(
        "No turn starts for a while.",
        {
            "reason": REASON,
            "error": Field(str, "The error that closed it."),
            "seconds": Field(float, "For how long.", "s"),
        },
    ),
    "telemetry.failed": Kind(
        "Telemetry could not take an event, by a fault in it or in what takes the spans; told once, then counted.",
        {"reason": REASON},
    ),
}
