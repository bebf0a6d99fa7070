"""What tests of stores are made of: records that follow from a number or a name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from uuid import UUID

from echo_actors.errors import StoreError
from echo_actors.models import Author, Message, Outcome, OutcomeKind
from echo_actors.state.records import End, SessionSnapshot
from echo_actors.state.store import Store

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def make_message(sequence: int, channel: str = "chat:1") -> Message:
    """A message whose id follows from its sequence."""
    return Message(
        message_id=str(UUID(int=sequence)),
        channel=channel,
        text=f"text {sequence}",
        sequence=sequence,
        accepted_at=NOON,
        author=Author("ana"),
    )


def make_end(sequence: int, reason: str = "", ended_at: datetime = NOON) -> End:
    """The end of ``make_message`` of that sequence."""
    return End(
        message_id=str(UUID(int=sequence)), outcome=Outcome(kind=OutcomeKind.FAILED, reason=reason), ended_at=ended_at
    )


def make_snapshot(channel: str = "chat:1", session_id: str | None = "s") -> SessionSnapshot:
    """A snapshot that was never stored."""
    return SessionSnapshot(
        channel=channel, session_id=session_id, model="sonnet", created_at=NOON, last_message_at=NOON
    )


async def refused(kind: type[StoreError], call: Awaitable[object]) -> None:
    """Make the call, and fail unless it raises this error."""
    try:
        await call
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")
