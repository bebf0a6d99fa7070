"""The values that pass through every room: messages, replies and outcomes.

All are immutable. Times are aware ``datetime`` values in UTC; durations are seconds unless the name says
milliseconds; money is US dollars.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

import attrs


class Trust(enum.StrEnum):
    """How far a message's author is trusted; policy and fencing follow from it."""

    OWNER = "owner"
    MEMBER = "member"
    EXTERNAL = "external"


class BusyPolicy(enum.StrEnum):
    """What a message does when its channel is busy with another turn."""

    QUEUE = "queue"
    STEER = "steer"
    COLLECT = "collect"
    INTERRUPT = "interrupt"


class FullPolicy(enum.StrEnum):
    """What happens to a message that finds its channel's mailbox full."""

    REJECT = "reject"
    WAIT = "wait"
    DROP_OLDEST = "drop_oldest"


class SessionConflict(enum.StrEnum):
    """What a turn does when another engine, a terminal or another program has its session open."""

    WAIT = "wait"
    FORK = "fork"
    FAIL = "fail"


class BudgetPeriod(enum.StrEnum):
    """What a budget is for: a day or a calendar month, both of UTC."""

    DAY = "day"
    MONTH = "month"


class BudgetScope(enum.StrEnum):
    """Whose turns a budget is for."""

    CHANNEL = "channel"
    OVERALL = "overall"


class Clock(enum.StrEnum):
    """The clocks of a message; each has a setting ``<clock>_timeout`` in seconds."""

    QUEUE = "queue"
    START = "start"
    FIRST_EVENT = "first_event"
    IDLE = "idle"
    TOTAL = "total"
    TEARDOWN = "teardown"


class OutcomeKind(enum.StrEnum):
    """The ways in which an accepted message can end; each message has exactly one."""

    ANSWERED = "answered"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    DROPPED = "dropped"
    DEAD_LETTERED = "dead_lettered"


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
class Budget:
    """A limit on what turns may cost, and how much of it is used.

    Attributes:
        channel: The channel that it is for; empty for all together.
        limit_usd: How much may be spent in the period.
        spent_usd: How much was.
        resets_at: When the next period begins.
    """

    scope: BudgetScope
    channel: str
    period: BudgetPeriod
    limit_usd: float
    spent_usd: float
    resets_at: datetime

    @property
    def setting(self) -> str:
        """The setting, or the channel's option, that the limit comes from."""
        name = "daily_budget_usd" if self.period is BudgetPeriod.DAY else "monthly_budget_usd"
        return name if self.scope is BudgetScope.CHANNEL else f"overall_{name}"

    def __str__(self) -> str:
        whose = "all channels" if self.scope is BudgetScope.OVERALL else f"channel {self.channel!r}"
        return (
            f"the budget of {whose} for the {self.period.value} is used up: {self.spent_usd:.4f} of "
            f"{self.limit_usd:.4f} USD; the next one begins at {self.resets_at:%Y-%m-%d %H:%M} UTC, or raise "
            f"{self.setting}"
        )


@attrs.frozen(kw_only=True)
class Spending:
    """What turns cost in the current day and month.

    Attributes:
        channel: The channel; empty for all together.
        budgets: The limits on it, one for each period that has one.
    """

    channel: str
    today_usd: float
    month_usd: float
    budgets: tuple[Budget, ...] = ()


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
