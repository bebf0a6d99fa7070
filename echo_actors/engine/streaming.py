"""One message's events, as ``engine.stream`` gives them."""

from __future__ import annotations

from typing import Self

import attrs

from echo_actors.actors.mailbox import Entry
from echo_actors.actors.topic import Subscription
from echo_actors.errors import EngineClosed, TurnFailed, TurnOverBudget, TurnTimedOut
from echo_actors.events import Event, Lagged, TurnEnded, TurnStarted
from echo_actors.models import Outcome, OutcomeKind, Reply
from echo_actors.state.records import StoredMessage


@attrs.define(eq=False)
class Stream:
    """An async iterator over one message's events, the last of which is its ``TurnEnded``.

    Attributes:
        outcome: The message's end, once it was seen.
    """

    message_id: str
    _subscription: Subscription
    _message: Entry | StoredMessage
    outcome: Outcome | None = None
    _turns: set[str] = attrs.Factory(set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while self.outcome is None:
            if self._message.outcome is not None and self._subscription.empty:
                # Its end was among the events that this subscriber was too slow for.
                self.outcome = self._message.outcome
                break
            event = await self._subscription.__anext__()
            if not self._concerns(event):
                continue
            if isinstance(event, TurnStarted):
                self._turns.add(event.turn_id)
            elif isinstance(event, TurnEnded):
                self.outcome = event.outcome
            return event
        raise StopAsyncIteration

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
        if self.outcome is None and isinstance(self._message, Entry) and self._message.ended.is_set():
            raise EngineClosed("the engine closed before the message ended; it runs at the next start")
        if self.outcome is None:
            raise RuntimeError("the turn has not ended; iterate to its end first")
        return answer(self.outcome)

    def _concerns(self, event: Event) -> bool:
        if event.message_id == self.message_id or isinstance(event, Lagged):
            return True
        # Blocks of a shared turn carry its first message; the ends of the others are theirs alone.
        return event.turn_id in self._turns and not isinstance(event, TurnStarted | TurnEnded)


def answer(outcome: Outcome) -> Reply:
    """The reply in an outcome.

    Raises:
        TurnTimedOut: A clock ran out.
        TurnOverBudget: A budget was used up when its turn came.
        TurnFailed: There is none for another reason.
    """
    if outcome.kind is OutcomeKind.ANSWERED and outcome.reply is not None:
        return outcome.reply
    if outcome.kind is OutcomeKind.ANSWERED:
        outcome = attrs.evolve(outcome, reason="its reply is older than the setting reply_retention keeps")
    if outcome.budget is not None:
        raise TurnOverBudget(outcome=outcome, budget=outcome.budget)
    raise (TurnTimedOut if outcome.kind is OutcomeKind.TIMED_OUT else TurnFailed)(outcome)
