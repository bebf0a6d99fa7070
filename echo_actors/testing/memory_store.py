"""A store in memory: the Store Protocol without a disk, for tests of what stands above it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import attrs
import trio

from echo_actors.errors import StaleRevision, StoreError, StoreFull
from echo_actors.models import Message, OutcomeKind
from echo_actors.state.codec import Codec, decode_note, encode_note, make_codec
from echo_actors.state.records import Charge, Claim, End, Note, SessionSnapshot, StoredMessage, StoreHealth


@attrs.define(eq=False)
class MemoryDisk:
    """What outlives a MemoryStore; give it to the next one to act as after a restart.

    Attributes:
        spending: What was charged, by channel and day; all together under None.
        full: While true, every write raises ``StoreFull``.
    """

    messages: dict[str, StoredMessage] = attrs.field(factory=dict)
    snapshots: dict[str, SessionSnapshot] = attrs.field(factory=dict)
    notes: dict[str, bytes] = attrs.field(factory=dict)
    spending: dict[tuple[str | None, date], float] = attrs.field(factory=dict)
    highest: int = 0
    epoch: int = 0
    full: bool = False


@attrs.define(eq=False)
class MemoryStore:
    """Keeps everything on a MemoryDisk. Each call decides at once and then lets other tasks run."""

    owner: str = "memory"
    disk: MemoryDisk = attrs.field(factory=MemoryDisk)
    _codec: Codec = attrs.field(factory=make_codec, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _claim: Claim = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.disk.epoch += 1
        self._claim = Claim(self.owner, self.disk.epoch)

    @property
    def health(self) -> StoreHealth:
        """Whether the disk is full; nothing else can happen to it."""
        return StoreHealth("the memory disk is full" if self.disk.full else "", self._failures)

    async def claim(self, channel: str) -> Claim:  # noqa: ARG002 - one claim holds for all channels here
        """Give the one claim of this store."""
        await trio.lowlevel.checkpoint()
        return self._claim

    async def accept(self, message: Message, *, ends: Sequence[End] = ()) -> StoredMessage | None:
        """Keep a new message and the ends that made room for it, or give the stored one of that id."""
        self._writing()
        self._codec.message.encode(message)
        known = self.disk.messages.get(message.message_id)
        if known is None:
            if any(stored.message.sequence == message.sequence for stored in self.disk.messages.values()):
                raise StoreError(f"the sequence {message.sequence} is taken")
            self.disk.messages[message.message_id] = StoredMessage(message=message)
            self.disk.highest = max(self.disk.highest, message.sequence)
            self._end(ends)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return known

    async def start(self, claim: Claim, messages: Sequence[Message], *, turn_id: str, session_id: str) -> None:
        """Count one more attempt for each message."""
        self._writing(claim)
        found = [self._known(message.message_id) for message in messages]
        for stored, message in zip(found, messages, strict=True):
            if stored.outcome is not None or stored.message.sequence != message.sequence:
                raise StaleRevision(f"message {message.message_id!r} cannot be started: it has ended or is another")
        for stored in found:
            started = attrs.evolve(stored, attempts=stored.attempts + 1, turn_id=turn_id, session_id=session_id)
            self.disk.messages[stored.message.message_id] = started
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def unstart(self, claim: Claim, message_ids: Sequence[str]) -> None:
        """Take back the counted attempt of messages that have not ended."""
        self._writing(claim)
        for message_id in message_ids:
            stored = self.disk.messages.get(message_id)
            if stored is not None and stored.outcome is None and stored.attempts:
                self.disk.messages[message_id] = attrs.evolve(stored, attempts=stored.attempts - 1)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def finish(
        self, claim: Claim, ends: Sequence[End], snapshot: SessionSnapshot | None, charge: Charge | None = None
    ) -> SessionSnapshot | None:
        """Keep the ends of messages and what they led to."""
        self._writing(claim)
        for end in ends:
            self._known(end.message_id)
        saved = None if snapshot is None else self._save(snapshot)
        self._end(ends)
        self._charge(charge)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return saved

    async def save(self, claim: Claim, snapshot: SessionSnapshot, charge: Charge | None = None) -> SessionSnapshot:
        """Keep a snapshot, and a charge, without an end."""
        self._writing(claim)
        saved = self._save(snapshot)
        self._charge(charge)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return saved

    async def message(self, message_id: str) -> StoredMessage | None:
        """A message by its id."""
        await self._reading()
        return self.disk.messages.get(message_id)

    async def unfinished(self, channel: str, *, after: int, limit: int) -> list[StoredMessage]:
        """A page of a channel's messages that have not ended."""
        await self._reading()
        found = [s for s in self._unfinished() if s.message.channel == channel and s.message.sequence > after]
        return sorted(found, key=lambda stored: stored.message.sequence)[:limit]

    async def unfinished_channels(self) -> list[tuple[str, int]]:
        """Channels that have messages without an outcome, and how many."""
        await self._reading()
        channels = [stored.message.channel for stored in self._unfinished()]
        return sorted((channel, channels.count(channel)) for channel in set(channels))

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        """A page of messages that were dead-lettered."""
        await self._reading()
        dead = [s for s in self.disk.messages.values() if _is_dead(s) and s.message.sequence > after]
        return sorted(dead, key=lambda stored: stored.message.sequence)[:limit]

    async def revive(self, message_id: str) -> bool:
        """Let a dead letter run again."""
        self._writing()
        stored = self.disk.messages.get(message_id)
        if stored is not None and _is_dead(stored):
            self.disk.messages[message_id] = attrs.evolve(stored, outcome=None, ended_at=None, attempts=0)
        await trio.lowlevel.checkpoint()
        return stored is not None and _is_dead(stored)

    async def discard(self, message_id: str) -> bool:
        """Drop a dead letter for good."""
        self._writing()
        stored = self.disk.messages.get(message_id)
        if stored is not None and _is_dead(stored):
            del self.disk.messages[message_id]
        await trio.lowlevel.checkpoint()
        return stored is not None and _is_dead(stored)

    async def snapshot(self, channel: str) -> SessionSnapshot | None:
        """A channel's snapshot."""
        await self._reading()
        return self.disk.snapshots.get(channel)

    async def snapshots(self, *, after: str = "", limit: int = 100) -> list[SessionSnapshot]:
        """A page of snapshots of channels with a session."""
        await self._reading()
        found = [s for s in self.disk.snapshots.values() if s.session_id is not None and s.channel > after]
        return sorted(found, key=lambda snapshot: snapshot.channel)[:limit]

    async def forget(self, *, before: datetime) -> int:
        """Drop ended messages from before a time."""
        self._writing()
        ended = ((i, s) for i, s in self.disk.messages.items() if s.ended_at is not None and not _is_dead(s))
        old = [message_id for message_id, stored in ended if stored.ended_at is not None and stored.ended_at < before]
        for message_id in old:
            del self.disk.messages[message_id]
        await trio.lowlevel.checkpoint()
        return len(old)

    async def forget_replies(self, *, after: datetime, before: datetime) -> int:
        """Drop the replies of messages that ended between two times."""
        self._writing()
        count = 0
        for message_id, stored in self.disk.messages.items():
            if stored.ended_at is None or stored.outcome is None or not after <= stored.ended_at < before:
                continue
            if stored.outcome.kind is OutcomeKind.ANSWERED:
                self.disk.messages[message_id] = attrs.evolve(stored, outcome=attrs.evolve(stored.outcome, reply=None))
                count += 1
        await trio.lowlevel.checkpoint()
        return count

    async def spending(self, channel: str | None, *, since: date) -> dict[date, float]:
        """What was charged to a channel, or to all together, by day."""
        await self._reading()
        return {day: cost for (whose, day), cost in self.disk.spending.items() if whose == channel and day >= since}

    async def forget_spending(self, *, before: date) -> int:
        """Drop the charges of days before one."""
        self._writing()
        old = [key for key in self.disk.spending if key[1] < before]
        for key in old:
            del self.disk.spending[key]
        await trio.lowlevel.checkpoint()
        return len(old)

    async def note(self, key: str) -> Note | None:
        """A kept fact."""
        await self._reading()
        data = self.disk.notes.get(key)
        return None if data is None else decode_note(data)

    async def put_note(self, key: str, value: Note) -> None:
        """Keep a fact in place of the one of that key."""
        self._writing()
        self.disk.notes[key] = encode_note(value)
        await trio.lowlevel.checkpoint()

    async def last_sequence(self) -> int:
        """The highest sequence ever given to a message."""
        await self._reading()
        return self.disk.highest

    async def aclose(self) -> None:
        """Take no more requests; the disk keeps what it has."""
        self._closed = True
        await trio.lowlevel.checkpoint()

    def _writing(self, claim: Claim | None = None) -> None:
        if self._closed:
            raise StoreError("the store is closed")
        if claim is not None and claim != Claim(self.owner, self.disk.epoch):
            raise StaleRevision(f"the claim of {claim.owner!r} (epoch {claim.epoch}) is not the latest")
        if self.disk.full:
            self._failures += 1
            raise StoreFull("the memory disk is full")

    async def _reading(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")
        await trio.lowlevel.checkpoint()

    def _known(self, message_id: str) -> StoredMessage:
        if message_id not in self.disk.messages:
            raise StaleRevision(f"message {message_id!r} is not in the store")
        return self.disk.messages[message_id]

    def _end(self, ends: Sequence[End]) -> None:
        for end in ends:
            stored = self._known(end.message_id)
            if stored.outcome is None:
                ended = attrs.evolve(stored, outcome=end.outcome, ended_at=end.ended_at)
                self.disk.messages[end.message_id] = ended

    def _charge(self, charge: Charge | None) -> None:
        if charge is not None:
            for key in ((charge.channel, charge.day), (None, charge.day)):
                self.disk.spending[key] = self.disk.spending.get(key, 0.0) + charge.cost_usd

    def _unfinished(self) -> list[StoredMessage]:
        return [stored for stored in self.disk.messages.values() if stored.outcome is None]

    def _save(self, snapshot: SessionSnapshot) -> SessionSnapshot:
        stored = self.disk.snapshots.get(snapshot.channel)
        revision = stored.revision if stored else 0
        if revision != snapshot.revision:
            raise StaleRevision(
                f"channel {snapshot.channel!r} is stored in revision {revision}, not in {snapshot.revision}"
            )
        saved = attrs.evolve(snapshot, revision=revision + 1)
        self.disk.snapshots[snapshot.channel] = saved
        return saved


def _is_dead(stored: StoredMessage) -> bool:
    return stored.outcome is not None and stored.outcome.kind is OutcomeKind.DEAD_LETTERED
