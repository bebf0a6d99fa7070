"""One message's events, as an engine in another program gives them."""

from __future__ import annotations

from echo_actors.control.calls import Call
from echo_actors.control.client import RemoteEvents
from echo_actors.engine.streaming import Stream, answer
from echo_actors.errors import EngineClosed
from echo_actors.models import Outcome, Reply


class RemoteStream(RemoteEvents):
    """An async iterator over one message's events, the last of which is its ``TurnEnded``; as ``Stream``."""

    @property
    def message_id(self) -> str:
        """The message's id."""
        return str(self.facts["message_id"])

    @property
    def outcome(self) -> Outcome | None:
        """The message's end, once the iteration has ended."""
        found: Outcome | None = self.values.read(self.facts["outcome"], Outcome | None)
        return found

    @property
    def reply(self) -> Reply:
        """The answer, once the iteration has ended.

        Raises:
            TurnFailed: The message ended without an answer.
            TurnOverBudget: A budget was used up when its turn came.
            TurnTimedOut: One of its clocks ran out.
            EngineClosed: The engine closed before the message ended; it runs again at the next start.
            RuntimeError: The iteration has not ended yet.
        """
        outcome = self.outcome
        if outcome is None and not self.ended:
            raise RuntimeError("the turn has not ended; iterate to its end first")
        if outcome is None:
            raise EngineClosed("the engine closed before the message ended; it runs at the next start")
        return answer(outcome)


def events_of(call: Call) -> type[RemoteEvents]:
    """The class for the events of a call."""
    return RemoteStream if call.returns is Stream else RemoteEvents
