"""The default store: one SQLite database in the state directory, owned by one engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import attrs
import trio

from echo_actors.errors import StaleRevision
from echo_actors.models import Message
from echo_actors.state import statements
from echo_actors.state.codec import Codec, decode_note, encode_note, make_codec
from echo_actors.state.lock import DirectoryLock
from echo_actors.state.moves import finish_moves
from echo_actors.state.opening import Opening, own_directory
from echo_actors.state.records import Charge, Claim, End, Note, SessionSnapshot, StoredMessage, StoreHealth
from echo_actors.state.writer import Writer

DATABASE_NAME = "store.sqlite3"

FORGET_BATCH = 500
"""How many messages are dropped in one transaction, so that the writes of running turns get in between."""

QUICK_ROWS = 100
"""How many rows a page may have that is read without a thread."""

_ALL = ""
"""The channel, which no real one is called, of what all channels have spent together."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def open_sqlite_store(
    state_dir: Path, *, owner: str, now: Callable[[], datetime], max_pages: int | None = None
) -> AsyncIterator[SQLiteStore]:
    """Own a state directory and open the store in it; both end with the block.

    Args:
        state_dir: The directory, which is made if it does not exist.
        owner: The engine's name in claims.
        now: The time, for the lock's text and the name of a store that is set aside.
        max_pages: The most pages of 4 KiB that the database may have; without limit by default.

    Raises:
        StoreLocked: Another engine owns the directory.
        StoreFull: There is no room to open it.
        StoreError: It cannot be read or written, or belongs to another program or a newer version of this one.
    """
    codec = make_codec()
    lock = await own_directory(state_dir, now)
    opening = Opening(state_dir / DATABASE_NAME, now, max_pages)
    writer = Writer(opening, last=statements.mark_clean, guard=lock.check)
    try:
        finish_moves(state_dir)
        await writer.start()
    except BaseException:
        lock.release()
        raise
    store = SQLiteStore(writer, lock, codec, Claim(owner, opening.epoch), opening.set_aside)
    try:
        yield store
    finally:
        await store.aclose()


@attrs.define(eq=False)
class SQLiteStore:
    """The Store Protocol on SQLite; made by ``open_sqlite_store``.

    Attributes:
        set_aside: Where a damaged database was moved when this store was opened, to be announced.
    """

    _writer: Writer
    _lock: DirectoryLock
    _codec: Codec
    _claim: Claim
    set_aside: Path | None

    @property
    def health(self) -> StoreHealth:
        """How the database is doing."""
        return self._writer.health

    async def claim(self, channel: str) -> Claim:  # noqa: ARG002 - one claim holds for all channels here
        """Give the one claim of this run."""
        await trio.lowlevel.checkpoint()
        return self._claim

    async def accept(self, message: Message, *, ends: Sequence[End] = ()) -> StoredMessage | None:
        """Keep a new message and the ends that made room for it, or give the stored one of that id."""
        row = (message.sequence, message.message_id, message.channel, self._codec.message.encode(message))
        rows = self._end_rows(ends)
        known = await self._writer.write(lambda connection: statements.accept(connection, row, rows))
        return None if known is None else self._stored(known)

    async def start(self, claim: Claim, messages: Sequence[Message], *, turn_id: str, session_id: str) -> None:
        """Count one more attempt for each message; a ``StoreError`` if one has ended or is unknown."""
        self._check(claim)
        rows = [(turn_id, session_id, message.sequence, message.message_id) for message in messages]
        await self._writer.write(lambda connection: statements.start(connection, rows))

    async def unstart(self, claim: Claim, message_ids: Sequence[str]) -> None:
        """Take back the counted attempt of messages that have not ended."""
        self._check(claim)
        ids = tuple(message_ids)
        await self._writer.write(lambda connection: statements.unstart(connection, ids))

    async def finish(
        self, claim: Claim, ends: Sequence[End], snapshot: SessionSnapshot | None, charge: Charge | None = None
    ) -> SessionSnapshot | None:
        """Keep the ends of messages and what they led to; a ``StoreError`` if a message is unknown."""
        self._check(claim)
        rows = self._end_rows(ends)
        saved = None if snapshot is None else attrs.evolve(snapshot, revision=snapshot.revision + 1)
        row = None if saved is None else self._row(saved)
        charges = _charge_rows(charge)
        await self._writer.write(lambda connection: statements.finish(connection, rows, row, charges))
        return saved

    async def save(self, claim: Claim, snapshot: SessionSnapshot, charge: Charge | None = None) -> SessionSnapshot:
        """Keep a snapshot, and a charge, without an end."""
        saved = await self.finish(claim, (), snapshot, charge)
        assert saved is not None  # noqa: S101 - there was one to save
        return saved

    async def message(self, message_id: str) -> StoredMessage | None:
        """A message by its id."""
        row = await self._writer.run(lambda connection: statements.message(connection, message_id))
        return None if row is None else self._stored(row)

    async def unfinished(self, channel: str, *, after: int, limit: int) -> list[StoredMessage]:
        """A page of a channel's messages that have not ended."""
        rows = await self._writer.run(
            lambda connection: statements.unfinished(connection, channel, after, limit), slow=limit > QUICK_ROWS
        )
        return [self._stored(row) for row in rows]

    async def unfinished_channels(self) -> list[tuple[str, int]]:
        """Channels that have messages without an outcome, and how many."""
        return await self._writer.run(statements.unfinished_channels, slow=True)

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        """A page of messages that were dead-lettered."""
        rows = await self._writer.run(
            lambda connection: statements.dead_letters(connection, after, limit), slow=limit > QUICK_ROWS
        )
        return [self._stored(row) for row in rows]

    async def revive(self, message_id: str) -> bool:
        """Let a dead letter run again."""
        return await self._writer.write(lambda connection: statements.revive(connection, message_id))

    async def discard(self, message_id: str) -> bool:
        """Drop a dead letter for good."""
        return await self._writer.write(lambda connection: statements.discard(connection, message_id))

    async def snapshot(self, channel: str) -> SessionSnapshot | None:
        """A channel's snapshot."""
        body = await self._writer.run(lambda connection: statements.snapshot(connection, channel))
        return None if body is None else self._codec.snapshot.decode(body)

    async def snapshots(self, *, after: str = "", limit: int = 100) -> list[SessionSnapshot]:
        """A page of snapshots of channels with a session."""
        bodies = await self._writer.run(
            lambda connection: statements.snapshots(connection, after, limit), slow=limit > QUICK_ROWS
        )
        return [self._codec.snapshot.decode(body) for body in bodies]

    async def forget(self, *, before: datetime) -> int:
        """Drop ended messages from before a time, in transactions of ``FORGET_BATCH``."""
        limit, total = _micros(before), 0
        while True:
            drop = partial(statements.forget, before=limit, limit=FORGET_BATCH)
            dropped = await self._writer.run(drop, slow=True)
            total += dropped
            if dropped < FORGET_BATCH:
                return total

    async def forget_replies(self, *, after: datetime, before: datetime) -> int:
        """Drop the replies of messages that ended between two times, in transactions of ``FORGET_BATCH``."""
        since, until, total = _micros(after), _micros(before), 0
        while True:
            drop = partial(statements.forget_replies, since=since, until=until, limit=FORGET_BATCH)
            last, dropped = await self._writer.run(drop, slow=True)
            total += dropped
            if dropped < FORGET_BATCH:
                return total
            since = max(last, since + 1)

    async def spending(self, channel: str | None, *, since: date) -> dict[date, float]:
        """What was charged to a channel, or to all together, by day."""
        rows = await self._writer.run(
            lambda connection: statements.spending(connection, channel or _ALL, since.isoformat())
        )
        return {date.fromisoformat(day): cost for day, cost in rows}

    async def forget_spending(self, *, before: date) -> int:
        """Drop the charges of days before one."""
        limit = before.isoformat()
        return await self._writer.run(lambda connection: statements.forget_spending(connection, limit), slow=True)

    async def note(self, key: str) -> Note | None:
        """A kept fact."""
        value = await self._writer.run(lambda connection: statements.note(connection, key))
        return None if value is None else decode_note(value)

    async def put_note(self, key: str, value: Note) -> None:
        """Keep a fact in place of the one of that key."""
        data = encode_note(value)
        await self._writer.write(lambda connection: statements.put_note(connection, key, data))

    async def last_sequence(self) -> int:
        """The highest sequence ever given to a message."""
        return await self._writer.run(statements.last_sequence)

    async def aclose(self) -> None:
        """Finish what was asked, mark the store as properly closed, and give the directory up.

        Raises:
            StoreError: The disk did not take the writes in time; the directory stays locked until the process ends.
        """
        await self._writer.aclose()
        self._lock.release()

    def _check(self, claim: Claim) -> None:
        if claim is not self._claim and claim != self._claim:
            raise StaleRevision(f"the claim of {claim.owner!r} (epoch {claim.epoch}) is not of this run of the engine")

    def _end_rows(self, ends: Sequence[End]) -> list[tuple[str, bytes, int, str]]:
        encode = self._codec.outcome.encode
        return [(end.outcome.kind.value, encode(end.outcome), _micros(end.ended_at), end.message_id) for end in ends]

    def _row(self, saved: SessionSnapshot) -> tuple[str, int, str | None, bytes]:
        return (saved.channel, saved.revision, saved.session_id, self._codec.snapshot.encode(saved))

    def _stored(self, row: statements.Row) -> StoredMessage:
        body, attempts, turn_id, session_id, outcome, ended_at = row
        return StoredMessage(
            message=self._codec.message.decode(body),
            attempts=attempts,
            turn_id=turn_id,
            session_id=session_id,
            outcome=None if outcome is None else self._codec.outcome.decode(outcome),
            ended_at=None if ended_at is None else _EPOCH + timedelta(microseconds=ended_at),
        )


def _micros(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _charge_rows(charge: Charge | None) -> list[tuple[str, str, float]]:
    if charge is None:
        return []
    return [(channel, charge.day.isoformat(), charge.cost_usd) for channel in (charge.channel, _ALL)]
