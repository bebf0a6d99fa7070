"""The store's Protocol: what an engine asks of the place where its records are kept.

Every method is one transaction: done and on disk when it returns, or not done at all. A request is handed over before
the first await, so that the order of calls is the order of writes; one may be made while an earlier one is under way.
Cancellation does not interrupt ``accept``, ``start``, ``unstart``, ``finish`` and ``save``: they return when they are
done, so that a cancelled caller knows what became of its write. The other calls can be cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Protocol

from echo_actors.models import Message
from echo_actors.state.records import Charge, Claim, End, Note, SessionSnapshot, StoredMessage, StoreHealth


class Store(Protocol):
    """Where messages, outcomes and snapshots are kept.

    All methods raise ``StoreFull`` when there is no room and ``StoreError`` for every other failure to read or write.
    """

    @property
    def health(self) -> StoreHealth:
        """How the store is doing. May be asked in any thread."""

    async def claim(self, channel: str) -> Claim:
        """Take the right to write this channel's records, to be given to the writes below."""

    async def accept(self, message: Message, *, ends: Sequence[End] = ()) -> StoredMessage | None:
        """Keep a new message; if its id is already known, change nothing and give the stored one.

        Args:
            message: The message, with its sequence.
            ends: The ends of messages that were dropped to make room for it, kept with it or not at all.
        """

    async def start(self, claim: Claim, messages: Sequence[Message], *, turn_id: str, session_id: str) -> None:
        """Count one more attempt for each message, before the CLI sees it.

        Raises:
            StaleRevision: A message has ended or is not in the store under this sequence, or another owner has taken
                the channel since.
        """

    async def unstart(self, claim: Claim, message_ids: Sequence[str]) -> None:
        """Take back the counted attempt of messages that the CLI did not begin after all, or that a drain cut."""

    async def finish(
        self, claim: Claim, ends: Sequence[End], snapshot: SessionSnapshot | None, charge: Charge | None = None
    ) -> SessionSnapshot | None:
        """Keep the ends of messages and, with it, the snapshot they led to; give the snapshot with its new revision.

        An end for a message that already has one changes nothing: the first outcome stays. The charge is added to what
        its channel, and all channels together, have spent on its day: in the store, so that engines may share one.

        Raises:
            StaleRevision: The snapshot is not based on the stored revision, a message is unknown, or another owner has
                taken the channel.
        """

    async def save(self, claim: Claim, snapshot: SessionSnapshot, charge: Charge | None = None) -> SessionSnapshot:
        """Keep a snapshot, and a charge, without an end; raises as ``finish`` does."""

    async def message(self, message_id: str) -> StoredMessage | None:
        """A message by its id."""

    async def unfinished(self, channel: str, *, after: int, limit: int) -> list[StoredMessage]:
        """Messages of a channel without an outcome, by sequence, those after the given one."""

    async def unfinished_channels(self) -> list[tuple[str, int]]:
        """Channels that have messages without an outcome, and how many."""

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        """A page of messages that were dead-lettered, by sequence, those after the given one."""

    async def revive(self, message_id: str) -> bool:
        """Take a dead letter's outcome and attempts away, so that it runs again; False when it is none."""

    async def discard(self, message_id: str) -> bool:
        """Drop a dead letter for good; False when it is none."""

    async def snapshot(self, channel: str) -> SessionSnapshot | None:
        """A channel's snapshot."""

    async def snapshots(self, *, after: str = "", limit: int = 100) -> list[SessionSnapshot]:
        """A page of snapshots of channels with a session, by channel name, those after the given name."""

    async def forget(self, *, before: datetime) -> int:
        """Drop ended messages from before a time, and with them their idempotency; give how many.

        Done in several transactions, so that a long list keeps nobody waiting. Dead letters stay.
        """

    async def forget_replies(self, *, after: datetime, before: datetime) -> int:
        """Drop the replies, not the outcomes, of messages that ended between two times; give how many.

        Done in several transactions, as ``forget`` is.
        """

    async def spending(self, channel: str | None, *, since: date) -> dict[date, float]:
        """What was charged to a channel, or with None to all together, by day, from one on; only days with charges."""

    async def forget_spending(self, *, before: date) -> int:
        """Drop the charges of days before one; give how many days of channels that were."""

    async def note(self, key: str) -> Note | None:
        """A kept fact."""

    async def put_note(self, key: str, value: Note) -> None:
        """Keep a fact in place of the one of that key."""

    async def last_sequence(self) -> int:
        """The highest sequence ever given to a message, 0 at first."""

    async def aclose(self) -> None:
        """Finish what was asked for and let go of the store."""
