"""A store that has been used for long, made in seconds: many channels, each with a snapshot and ended messages.

It is written by the SQLite store's own tables, statements and codec, so an engine finds nothing unusual in it. What
makes it quick is one transaction for all, in a page cache with room for all, without waiting for the disk.
"""

from __future__ import annotations

import contextlib
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs

from echo_actors.models import Message, Outcome, OutcomeKind, Reply, Usage
from echo_actors.state import statements
from echo_actors.state.codec import Codec, make_codec
from echo_actors.state.records import SessionSnapshot
from echo_actors.state.schema import connect
from echo_actors.state.sqlite import DATABASE_NAME

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_CACHE_KIB = 512 * 2**10
"""Room for the whole database: its index by random ids is written all over."""


def channel_name(number: int) -> str:
    """The name of a seeded channel; they sort by number."""
    return f"seeded:{number:07d}"


def seed_store(state_dir: Path, *, channels: int, messages: int) -> None:
    """Make a store with so many channels, each with a session and so many answered messages.

    The messages ended within the last day, so an engine that opens the store forgets none of them; those of one
    channel lie apart, as they do when channels talk by turns.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(connect(state_dir / DATABASE_NAME)) as connection:
        # Nothing is lost that could not be made again.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB:d}")
        connection.execute("BEGIN IMMEDIATE")
        past = _Past(make_codec(), datetime.now(UTC) - timedelta(days=1))
        for number in range(channels * messages):
            sequence, channel = number + 1, channel_name(number % channels)
            message_id, session_id = str(uuid.uuid4()), _session_id(number % channels)
            statements.accept(connection, past.message(sequence, message_id, channel), ())
            statements.start(connection, [(message_id, session_id, sequence, message_id)])
            statements.finish(connection, [past.end(sequence, message_id, session_id)], None)
        for number in range(channels):
            statements.save(connection, past.snapshot(number, messages))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@attrs.frozen
class _Past:
    """The rows of what has happened.

    Attributes:
        began: When the first message was accepted; each later one a millisecond after the one before.
    """

    codec: Codec
    began: datetime

    def message(self, sequence: int, message_id: str, channel: str) -> tuple[int, str, str, bytes]:
        message = Message(
            message_id=message_id,
            channel=channel,
            text=f"message {sequence}",
            sequence=sequence,
            accepted_at=self._time(sequence),
        )
        return (sequence, message_id, channel, self.codec.message.encode(message))

    def end(self, sequence: int, message_id: str, session_id: str) -> tuple[str, bytes, int, str]:
        reply = Reply(
            text=f"echo: message {sequence}",
            session_id=session_id,
            turn_id=message_id,
            model="sonnet",
            usage=Usage(input_tokens=100, output_tokens=20),
            cost_usd=0.0004,
            duration_ms=1,
            context_tokens=120,
        )
        kind = OutcomeKind.ANSWERED
        outcome = self.codec.outcome.encode(Outcome(kind=kind, reply=reply, attempts=1))
        micros = (self._time(sequence) - _EPOCH) // timedelta(microseconds=1)
        return (kind.value, outcome, micros, message_id)

    def snapshot(self, number: int, messages: int) -> tuple[str, int, str | None, bytes]:
        channel, session_id = channel_name(number), _session_id(number)
        snapshot = SessionSnapshot(
            channel=channel,
            session_id=session_id,
            model="sonnet",
            created_at=self.began,
            last_message_at=self._time(messages),
            message_count=messages,
            total_input_tokens=100 * messages,
            total_output_tokens=20 * messages,
            total_cost_usd=0.0004 * messages,
            duration_ms=messages,
            context_tokens=120,
            revision=1,
        )
        return (channel, snapshot.revision, session_id, self.codec.snapshot.encode(snapshot))

    def _time(self, sequence: int) -> datetime:
        return self.began + timedelta(milliseconds=sequence)


def _session_id(number: int) -> str:
    return str(uuid.UUID(int=number))
