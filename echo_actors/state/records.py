"""What the store keeps: messages with their ends, and a snapshot of each channel's session."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final

import attrs

from echo_actors.models import Message, Outcome, Spent
from echo_actors.settings import NO_OPTIONS, ChannelOptions


@attrs.frozen
class Claim:
    """The right to write a channel's records.

    One engine owns a whole SQLite store, so there it is a constant. In a store shared by hosts it is a lease: the
    epoch is a fencing token, and a write under an older epoch than the stored one is refused as stale.
    """

    owner: str
    epoch: int


@attrs.frozen(kw_only=True)
class SessionSnapshot:
    """What the engine knows of a channel between turns.

    The fields from ``session_id`` to ``context_tokens`` keep the names of Echo-Core's record.

    Attributes:
        session_id: The CLI's conversation; None before the first turn and after ``clear``.
        model: The channel's model at its last turn; the one that was chosen for it is among the options.
        duration_ms: The sum over all turns, like the totals.
        context_tokens: Of the last turn.
        revision: Rises by one with each write; a write must name the revision it was based on.
        working_dir: Where the CLI ran, where its transcript is looked for first.
        persona_hash: SHA-256 of the system prompt that the session was started with.
        options: What was set for the channel while the engine ran; it outlives the session.
        extra: What an imported record had that has no field here, or was written in another form; for its export.
    """

    channel: str
    session_id: str | None
    model: str
    created_at: datetime
    last_message_at: datetime
    message_count: int = 0
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_cost_usd: float = 0.0
    duration_ms: int = 0
    context_tokens: int = 0
    total_cache_read_tokens: int = 0
    total_cache_creation_tokens: int = 0
    revision: int = 0
    working_dir: str = ""
    persona_hash: str = ""
    options: ChannelOptions = NO_OPTIONS
    extra: dict[str, Any] = attrs.field(factory=dict)

    def after_turn(self, spent: Spent, *, messages: int, now: datetime, **changes: Any) -> SessionSnapshot:
        """The snapshot after a turn that ended so many messages, with further changes by field.

        The revision is the store's to raise.
        """
        return attrs.evolve(
            self,
            **changes,
            last_message_at=now,
            message_count=self.message_count + messages,
            total_input_tokens=self.total_input_tokens + spent.usage.input_tokens,
            total_output_tokens=self.total_output_tokens + spent.usage.output_tokens,
            total_cache_read_tokens=self.total_cache_read_tokens + spent.usage.cache_read_tokens,
            total_cache_creation_tokens=self.total_cache_creation_tokens + spent.usage.cache_creation_tokens,
            total_cost_usd=self.total_cost_usd + spent.cost_usd,
            duration_ms=self.duration_ms + spent.duration_ms,
            context_tokens=spent.context_tokens or self.context_tokens,
        )

    def forked(self, channel: str, session_id: str, *, revision: int, now: datetime) -> SessionSnapshot:
        """The snapshot of a channel whose conversation begins as a copy of this one.

        All that was chosen for this channel holds there too; what it took does not count there.

        Args:
            channel: The new one.
            session_id: The copy.
            revision: Of what is stored of the new channel, 0 for nothing.
            now: The time.
        """
        return attrs.evolve(
            self,
            channel=channel,
            session_id=session_id,
            created_at=now,
            last_message_at=now,
            message_count=0,
            total_input_tokens=0,
            total_output_tokens=0,
            total_cache_read_tokens=0,
            total_cache_creation_tokens=0,
            total_cost_usd=0.0,
            duration_ms=0,
            revision=revision,
        )


@attrs.frozen(kw_only=True)
class StoredMessage:
    """A message as the store has it.

    Attributes:
        attempts: How often it was started, over all runs of the program.
        turn_id: The uuid under which it was last given to the CLI.
        session_id: The session it was last started in; kept before the start, so that a crash in a first turn can
            be recovered.
        outcome: None while it has not ended.
    """

    message: Message
    attempts: int = 0
    turn_id: str | None = None
    session_id: str | None = None
    outcome: Outcome | None = None
    ended_at: datetime | None = None


@attrs.frozen(kw_only=True)
class End:
    """A message's end, to be stored."""

    message_id: str
    outcome: Outcome
    ended_at: datetime


@attrs.frozen
class StoreHealth:
    """How a store is doing.

    Attributes:
        problem: Why it failed to do what it was asked last; empty when it did not, and again after the next write.
        failures: How many requests failed by its fault. Those that were themselves at fault do not count.
        waiting: Seconds that the disk has already taken for the requests that it has now.
    """

    problem: str = ""
    failures: int = 0
    waiting: float = 0.0


@attrs.frozen
class Charge:
    """What a channel's attempt at a turn cost, to be stored with what it changes.

    Attributes:
        day: The day of UTC that it counts in.
    """

    channel: str
    day: date
    cost_usd: float


Note = dict[str, Any]
"""A small fact that the engine keeps across runs, such as the head of the audit log: plain JSON."""

AUDIT_HEAD: Final = "audit.head"
"""The note that has the number and the hash of the audit log's last line."""

RESTORED: Final = "restored"
"""The note that this store is that of a backup, and when that was made; empty once the audit log tells of it."""
