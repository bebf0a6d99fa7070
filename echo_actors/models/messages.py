"""A message on its way: who wrote it, what the model answered, how it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from echo_actors.models.budgets import Budget
from echo_actors.models.choices import BusyPolicy, Clock, OutcomeKind, Trust


@attrs.frozen
class Author:
    """Who wrote a message, as the chat platform names them. Both parts are a stranger's text."""

    name: str
    id: str | None = None


@attrs.frozen(kw_only=True)
class Message:
    """One accepted input of a channel.

    Attributes:
        message_id: A UUID chosen by the caller or the engine; the idempotency key.
        sequence: The place in the engine's order of acceptance.
        deadline: When the message expires if its turn has not begun.
    """

    message_id: str
    channel: str
    text: str
    sequence: int
    accepted_at: datetime
    author: Author | None = None
    trust: Trust = Trust.MEMBER
    busy: BusyPolicy = BusyPolicy.QUEUE
    deadline: datetime | None = None

    def numbered(self, sequence: int) -> Message:
        """The message with its place in the order."""
        return Message(
            message_id=self.message_id,
            channel=self.channel,
            text=self.text,
            sequence=sequence,
            accepted_at=self.accepted_at,
            author=self.author,
            trust=self.trust,
            busy=self.busy,
            deadline=self.deadline,
        )


@attrs.frozen
class Usage:
    """The tokens of one turn, as the CLI counted them over all models it used."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0


@attrs.frozen(kw_only=True)
class Spent:
    """What a turn took, whether it was answered or not.

    Attributes:
        cost_usd: Of this turn alone.
        context_tokens: The size of the conversation as the model last saw it, 0 when it was not asked.
    """

    usage: Usage = Usage()
    cost_usd: float = 0.0
    duration_ms: int = 0
    context_tokens: int = 0


@attrs.frozen
class Block:
    """One finished piece of the assistant's output.

    Attributes:
        kind: ``text``, ``thinking``, ``tool_use``, or another content type of the Messages API.
        text: The text of a text or thinking block, else empty.
        name: The tool of a ``tool_use`` block.
        data: The tool's input, or the raw block of an unknown kind.
    """

    kind: str
    text: str = ""
    name: str | None = None
    data: dict[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Reply:
    """What the assistant answered.

    Attributes:
        text: The assistant's text blocks, stripped, joined by a blank line.
        turn_id: Common to all messages that one turn answered.
        structured_output: What the model gave by the setting ``json_schema``; None where there is none, or it gave
            nothing by it.
        cost_usd: The cost of the turn, not of the session.
        context_tokens: The size of the conversation as the model last saw it.
    """

    text: str
    blocks: tuple[Block, ...] = ()
    structured_output: dict[str, Any] | None = None
    session_id: str
    turn_id: str
    model: str = ""
    usage: Usage = Usage()
    cost_usd: float = 0.0
    duration_ms: int = 0
    context_tokens: int = 0


@attrs.frozen(kw_only=True)
class Outcome:
    """The one announced end of a message.

    Attributes:
        reason: What happened, in words for people.
        clock: The clock that ran out, for ``timed_out`` and ``expired``.
        error: The kind of failure, for programs, such as ``authentication_failed``.
        attempts: How often the message was started.
        budget: The budget that was used up, for the error ``budget_exceeded``.
    """

    kind: OutcomeKind
    reason: str = ""
    clock: Clock | None = None
    reply: Reply | None = None
    error: str | None = None
    attempts: int = 0
    budget: Budget | None = None


@attrs.frozen
class Receipt:
    """The proof that a message was accepted and is on disk.

    Attributes:
        position: How many messages of the channel were ahead of it, running one included.
    """

    message_id: str
    sequence: int
    position: int
