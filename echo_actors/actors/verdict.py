"""How an attempt at a turn ended, and why it was asked to."""

from __future__ import annotations

import attrs

from echo_actors.claude.driver import TurnResult
from echo_actors.models import Budget, Clock, OutcomeKind


@attrs.frozen
class Stop:
    """Why an attempt is to end.

    Attributes:
        kind: The outcome that its messages get; None for a drain, after which they run again.
    """

    kind: OutcomeKind | None
    reason: str


@attrs.frozen(kw_only=True)
class Verdict:
    """How an attempt ended.

    Attributes:
        kind: None when the messages have no end yet.
        result: What the CLI said, when it came to that.
        first_output: Seconds until the model said or did the first thing; None when it did not.
        lost_session: The session could not be resumed; nothing was done.
        budget: For whose sake no attempt was made.
    """

    kind: OutcomeKind | None
    reason: str = ""
    clock: Clock | None = None
    error: str | None = None
    result: TurnResult | None = None
    first_output: float | None = None
    lost_session: bool = False
    budget: Budget | None = None
