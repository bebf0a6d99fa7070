"""What Echo-Core's callers expect to be raised when a message has no answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import attrs

from echo_actors.claude.failures import EMPTY
from echo_actors.claude.locate import find_cli
from echo_actors.errors import CallTimedOut, TurnFailed, TurnOverBudget
from echo_actors.models import Outcome, OutcomeKind
from echo_actors.settings import Settings

SHOWN = 500
"""How many characters of what the CLI said are in an error."""

_SILENT = re.compile(r"\(exit code (-?\d+)\)$")
"""The end of a reason that has nothing of standard error after it."""


def failure(outcome: Outcome, texts: Sequence[str], settings: Settings, environ: Mapping[str, str]) -> Exception:
    """The error for a message that ended without an answer.

    Args:
        outcome: How it ended.
        texts: The last text blocks that came before that.
        settings: Of the engine.
        environ: Of the program.

    Raises:
        CLINotFound: That was the reason.
    """
    if outcome.error == "cli_not_found":
        find_cli(settings.claude_bin, environ)
    if outcome.clock is not None:
        return CallTimedOut(outcome)
    if outcome.budget is not None:
        return TurnOverBudget(outcome=outcome, budget=outcome.budget)
    return TurnFailed(attrs.evolve(outcome, reason=_reason(outcome, texts)))


def too_long(outcome: Outcome, seconds: float) -> CallTimedOut:
    """The error for a message whose turn took longer than its caller allows."""
    reason = f"the turn took longer than {seconds:g} seconds"
    return CallTimedOut(attrs.evolve(outcome, kind=OutcomeKind.TIMED_OUT, reason=reason))


def _reason(outcome: Outcome, texts: Sequence[str]) -> str:
    if outcome.error == EMPTY:
        return f"the result is empty: {outcome.reason}"
    silent = _SILENT.search(outcome.reason) if outcome.error == "cli_failed" else None
    if silent is None:
        return outcome.reason
    said = "\n".join(texts)[-SHOWN:]
    said = f": {said}" if said else ""
    return f"there was no result line; {outcome.reason}{said}" if silent[1] == "0" else f"{outcome.reason}{said}"
