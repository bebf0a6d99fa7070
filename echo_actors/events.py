"""What a subscriber sees.

Every event carries its channel, the message and the turn it belongs to (empty when it belongs to none; a turn may
serve several messages), the time it was published (UTC) and an opaque cursor: give the last one seen to
``subscribe(since=...)`` to go on from there, or ``BEGIN`` for all that the engine remembers.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import attrs

from echo_actors.models import AnsweredBy, Author, Block, Budget, Outcome, Spent, Trust

BEGIN: Final = "0"
"""The cursor before the first event of whichever engine is asked."""

_UNPUBLISHED = datetime.fromtimestamp(0, UTC)


@attrs.frozen(kw_only=True)
class Event:
    """The base of all events."""

    channel: str
    message_id: str = ""
    turn_id: str = ""
    time: datetime = _UNPUBLISHED
    cursor: str = ""


def stamped(event: Event, *, message_id: str, time: datetime, cursor: str) -> Event:
    """The event as it is published.

    One that has no cursor yet was made for this publication and is known to nobody else: it is filled in, because a
    copy costs as much as everything else that a publication does. One that was published before is copied.
    """
    if event.cursor:
        return attrs.evolve(event, message_id=message_id, time=time, cursor=cursor)
    object.__setattr__(event, "message_id", message_id)
    object.__setattr__(event, "time", time)
    object.__setattr__(event, "cursor", cursor)
    return event


@attrs.frozen(kw_only=True)
class Accepted(Event):
    """A message is on disk and waits for its turn."""

    sequence: int
    position: int


@attrs.frozen(kw_only=True)
class TurnStarted(Event):
    """The message was given to the CLI.

    Attributes:
        attempt: How often it was, over all runs of the program.
        model: That the channel's turns are run with.
        session_id: The conversation that the turn is in.
    """

    attempt: int
    model: str = ""
    session_id: str = ""


@attrs.frozen(kw_only=True)
class TextDelta(Event):
    """A part of a text block that is still being written; needs the setting ``stream_deltas``."""

    text: str


@attrs.frozen(kw_only=True)
class BlockFinished(Event):
    """A block of the answer is complete."""

    block: Block


@attrs.frozen(kw_only=True)
class ToolStarted(Event):
    """The assistant began to use a tool."""

    tool: str
    tool_use_id: str
    input: dict[str, Any]


@attrs.frozen(kw_only=True)
class ToolFinished(Event):
    """A tool gave its result."""

    tool_use_id: str
    is_error: bool
    text: str


@attrs.frozen(kw_only=True)
class PermissionAsked(Event):
    """The CLI asks whether a tool may be used; the turn's idle clock pauses until it is answered.

    Attributes:
        request_id: The question's name, for ``Engine.answer_permission``.
        input: What the tool is to be given. It is the model's text, and so may be a stranger's.
        tool_use_id: The same as in the tool's ``ToolStarted``; a sub-agent's tool has none of those.
        agent_id: The sub-agent that asks; empty for the conversation itself.
        description: The use in a few words, by the CLI.
        reason: Why it has to be asked, where the CLI says so.
        blocked_path: The file that it is about, where it is about one.
        suggestions: Rules that would have let it pass, as the CLI proposes them. The engine sets none.
        deadline: When it is denied unless somebody answers before; None for never.
        trust: Of the turn's messages, the least.
        authors: Of the turn's messages, in their order; None for one that names none.
    """

    request_id: str
    tool: str
    input: dict[str, Any]
    tool_use_id: str = ""
    agent_id: str = ""
    description: str = ""
    reason: str = ""
    blocked_path: str = ""
    suggestions: tuple[dict[str, Any], ...] = ()
    deadline: datetime | None = None
    trust: Trust = Trust.EXTERNAL
    authors: tuple[Author | None, ...] = ()


@attrs.frozen(kw_only=True)
class PermissionAnswered(Event):
    """A permission question is over, answered or not.

    Attributes:
        allowed: Whether the tool may be used.
        message: What the model is told where it may not.
        by: Who decided: the ``callback``, a ``call`` of ``Engine.answer_permission``, the ``deadline``, the ``limit``
            of questions that may be open at once; or it was ``withdrawn``, by the CLI or by the turn's end.
    """

    request_id: str
    tool: str
    allowed: bool
    message: str
    by: AnsweredBy


@attrs.frozen(kw_only=True)
class SessionChanged(Event):
    """The channel's session, options or persona changed, and why."""

    session_id: str | None
    previous: str | None
    reason: str


@attrs.frozen(kw_only=True)
class Retrying(Event):
    """Something failed and is tried again, by the CLI or by the engine.

    Attributes:
        delay: Seconds until then.
        turn_over: Whether the turn has ended with this, and its messages wait for another one.
        spent: What that turn took; None where it took nothing, or goes on.
    """

    reason: str
    attempt: int
    delay: float
    turn_over: bool = False
    spent: Spent | None = None


@attrs.frozen(kw_only=True)
class BudgetWarning(Event):
    """The setting ``budget_warning_share`` of a budget is used; told once in its period.

    That of a budget over all channels has an empty channel: only those see it who subscribe to all.
    """

    budget: Budget


@attrs.frozen(kw_only=True)
class Lagged(Event):
    """Events before this one were lost to this subscriber.

    Attributes:
        missed: How many; an upper bound where the ring no longer knows them, -1 when nothing is known.
    """

    missed: int


@attrs.frozen(kw_only=True)
class TurnEnded(Event):
    """The message's one end.

    Attributes:
        spent: What its turn took, answered or not; None where it took nothing, or the end of another message that
            shared the turn says so. Over all events, each turn's is therefore told once.
    """

    outcome: Outcome
    spent: Spent | None = None


@attrs.frozen(kw_only=True)
class UnknownFrame(Event):
    """The CLI said something that this version does not know, or a line that could not be read."""

    kind: str
    data: dict[str, Any]


@attrs.frozen(kw_only=True)
class AuditChanged(Event):
    """The audit log cannot be written, or can again, or records of it are lost; of no channel (its name is empty).

    Attributes:
        problem: What is wrong now; None when nothing is.
        lost: How many records this run has lost so far.
    """

    problem: str | None
    lost: int
