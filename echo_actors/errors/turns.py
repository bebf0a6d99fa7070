"""Why a message that was accepted has no answer."""

from __future__ import annotations

import attrs

from echo_actors.errors.refusals import BudgetExceeded
from echo_actors.errors.root import EchoActorsError
from echo_actors.models import Clock, Outcome


@attrs.define(slots=False, eq=False)
class TurnFailed(EchoActorsError, RuntimeError):
    """A message ended without an answer. Never raised for a message that was not accepted."""

    outcome: Outcome

    def __str__(self) -> str:
        return f"{self.outcome.kind.value.replace('_', ' ')}: {self.outcome.reason or 'no reason was given'}"


@attrs.define(slots=False, eq=False)
class TurnTimedOut(TurnFailed, TimeoutError):
    """One of the message's clocks ran out; ``clock`` names it."""

    @property
    def clock(self) -> Clock | None:
        """The clock that ran out."""
        return self.outcome.clock


@attrs.define(slots=False, eq=False)
class CallTimedOut(EchoActorsError, TimeoutError):
    """A turn took too long for a caller of ``echo_core``, who tells this from a RuntimeError."""

    outcome: Outcome

    def __str__(self) -> str:
        return self.outcome.reason


@attrs.define(slots=False, eq=False)
class TurnOverBudget(TurnFailed, BudgetExceeded):
    """The message was accepted, and when its turn came a budget was used up."""
