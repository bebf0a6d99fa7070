"""The record of what the scripted model was asked."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import attrs

from echo_actors.simulator.conversation import Conversation
from echo_actors.simulator.prices import cost_usd


@attrs.frozen
class Call:
    """One request to the model.

    Attributes:
        user_text: The newest words of the user.
        history: The user's earlier words, in order.
        asked: Whether the words came with this request; False for one that only brings a tool's result.
        model: The model id asked for.
        tools: The names of the tools offered.
        system: The system prompt and every message of role "system", joined by newlines.
        session_id: The CLI's session, if the request names one.
        stream: Whether the answer was wanted as server-sent events.
        status: The HTTP status it got.
        at: When it came, in seconds since the epoch.
    """

    user_text: str
    history: tuple[str, ...]
    asked: bool
    model: str
    tools: tuple[str, ...]
    system: str
    session_id: str | None
    stream: bool
    status: int
    at: float


@attrs.define(eq=False)
class CallLog:
    """The newest `limit` calls in order, and what all of them cost.

    Attributes:
        limit: How many calls are kept.
        dropped: How many older ones were let go.
        by_text: How often the model was asked for each user text, among the calls kept; a request that only brings
            a tool's result does not ask again.
        answered: How many requests of each model were answered to the end.
    """

    limit: int
    calls: deque[Call] = attrs.field(factory=deque)
    dropped: int = 0
    by_text: Counter[str] = attrs.field(factory=Counter)
    answered: Counter[str] = attrs.field(factory=Counter)

    @property
    def cost_usd(self) -> float:
        """What the answered requests cost, in USD."""
        return sum(cost_usd(model, count) for model, count in self.answered.items())

    def add(self, conversation: Conversation, status: int, at: float) -> None:
        """Record a request on its arrival, with the status it is about to get."""
        call = Call(
            user_text=conversation.user_text,
            history=conversation.history,
            asked=conversation.asked,
            model=conversation.model,
            tools=conversation.tools,
            system=conversation.system,
            session_id=conversation.session_id,
            stream=conversation.stream,
            status=status,
            at=at,
        )
        self.calls.append(call)
        if call.asked:
            self.by_text[call.user_text] += 1
        if len(self.calls) > self.limit:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = self.calls.popleft()
        self.dropped += 1
        if oldest.asked:
            self.by_text[oldest.user_text] -= 1
            if not self.by_text[oldest.user_text]:
                del self.by_text[oldest.user_text]

    def clear(self) -> None:
        """Forget everything."""
        self.calls.clear()
        self.by_text.clear()
        self.answered.clear()
        self.dropped = 0

    def summary(self) -> dict[str, Any]:
        """Return the counts and the cost, ready for JSON."""
        return {
            "calls": len(self.calls) + self.dropped,
            "dropped": self.dropped,
            "answered": dict(self.answered),
            "cost_usd": self.cost_usd,
        }

    def as_json(self) -> dict[str, Any]:
        """Return the summary, the calls and their counts by text, ready for JSON."""
        calls = [attrs.asdict(call) for call in self.calls]
        return self.summary() | {"by_text": dict(self.by_text), "calls": calls}
