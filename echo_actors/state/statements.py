"""What the SQLite store does within a transaction: SQL on a connection, rows in and out.

Each raises its ``StoreError`` before it changes anything where it can, which spares the writer a rollback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from echo_actors.errors import StaleRevision

_MESSAGE = "body, attempts, turn_id, session_id, outcome, ended_at"

_ACCEPT = """
    INSERT INTO messages (sequence, message_id, channel, body) VALUES (?, ?, ?, ?)
    ON CONFLICT (message_id) DO NOTHING
"""
_START = """
    UPDATE messages SET attempts = attempts + 1, turn_id = ?, session_id = ?
    WHERE sequence = ? AND message_id = ? AND kind IS NULL
"""
_UNSTART = "UPDATE messages SET attempts = attempts - 1 WHERE message_id = ? AND kind IS NULL AND attempts > 0"
_END = "UPDATE messages SET kind = ?, outcome = ?, ended_at = ? WHERE message_id = ? AND kind IS NULL"
_SAVE = "UPDATE channels SET revision = ?, session_id = ?, body = ? WHERE channel = ? AND revision = ?"
_BY_ID = f"SELECT {_MESSAGE} FROM messages WHERE message_id = ?"  # noqa: S608 - a constant
_UNFINISHED = f"""
    SELECT {_MESSAGE} FROM messages
    WHERE channel = ? AND kind IS NULL AND sequence > ? ORDER BY sequence LIMIT ?
"""  # noqa: S608 - a constant
_DEAD = f"""
    SELECT {_MESSAGE} FROM messages WHERE kind = 'dead_lettered' AND sequence > ? ORDER BY sequence LIMIT ?
"""  # noqa: S608 - a constant
_REVIVE = """
    UPDATE messages SET kind = NULL, outcome = NULL, ended_at = NULL, attempts = 0
    WHERE message_id = ? AND kind = 'dead_lettered'
"""
_DISCARD = "DELETE FROM messages WHERE message_id = ? AND kind = 'dead_lettered' RETURNING sequence"
_OLD = """
    SELECT sequence FROM messages
    WHERE kind IS NOT NULL AND kind <> 'dead_lettered' AND ended_at < ? ORDER BY ended_at LIMIT ?
"""

_ANSWERED = """
    SELECT sequence, ended_at FROM messages
    WHERE kind = 'answered' AND ended_at >= ? AND ended_at < ? ORDER BY ended_at LIMIT ?
"""
_DROP_REPLY = """
    UPDATE messages SET outcome = CAST(json_remove(CAST(outcome AS TEXT), '$.reply') AS BLOB) WHERE sequence = ?
"""
_CHARGE = """
    INSERT INTO spending VALUES (?, ?, ?)
    ON CONFLICT (channel, day) DO UPDATE SET cost_usd = cost_usd + excluded.cost_usd
"""
_SPENT = "SELECT day, cost_usd FROM spending WHERE channel = ? AND day >= ?"

Row = tuple[Any, ...]


def open_run(connection: sqlite3.Connection) -> int:
    """Begin a run of the program: give its epoch, and take the mark of a proper close away."""
    (epoch,) = connection.execute("UPDATE meta SET epoch = epoch + 1, clean = 0 RETURNING epoch").fetchone()
    return int(epoch)


def accept(
    connection: sqlite3.Connection, row: tuple[int, str, str, bytes], ends: Sequence[tuple[str, bytes, int, str]]
) -> Row | None:
    """Add a message of (sequence, id, channel, body) with the ends that made room, or give the row of this id."""
    if not connection.execute(_ACCEPT, row).rowcount:
        return message(connection, row[1])
    for end in ends:
        connection.execute(_END, end)
    return None


def start(connection: sqlite3.Connection, rows: Sequence[tuple[str, str, int, str]]) -> None:
    """Count an attempt for each (turn id, session id, sequence, message id)."""
    for row in rows:
        if not connection.execute(_START, row).rowcount:
            raise StaleRevision(f"message {row[3]!r} cannot be started: it has ended or is not in the store")


def unstart(connection: sqlite3.Connection, message_ids: Sequence[str]) -> None:
    """Take an attempt of each message back."""
    for message_id in message_ids:
        connection.execute(_UNSTART, (message_id,))


def finish(
    connection: sqlite3.Connection,
    ends: Sequence[tuple[str, bytes, int, str]],
    snapshot: tuple[str, int, str | None, bytes] | None,
    charges: Sequence[tuple[str, str, float]] = (),
) -> None:
    """Keep the ends, each (kind, outcome, time, message id), and with them the snapshot's row and the charges."""
    if snapshot is not None:
        save(connection, snapshot)
    for row in ends:
        if not connection.execute(_END, row).rowcount and message(connection, row[3]) is None:
            raise StaleRevision(f"message {row[3]!r} cannot end: it is not in the store")
    charge(connection, charges)


def save(connection: sqlite3.Connection, row: tuple[str, int, str | None, bytes]) -> None:
    """Keep a snapshot of (channel, new revision, session id, body) above the revision before it."""
    channel, revision, session_id, body = row
    if connection.execute(_SAVE, (revision, session_id, body, channel, revision - 1)).rowcount:
        return
    found = connection.execute("SELECT revision FROM channels WHERE channel = ?", (channel,)).fetchone()
    stored = found[0] if found else 0
    if stored != revision - 1:
        raise StaleRevision(f"channel {channel!r} is stored in revision {stored}, not in {revision - 1}")
    connection.execute("INSERT INTO channels VALUES (?, ?, ?, ?)", row)


def charge(connection: sqlite3.Connection, charges: Sequence[tuple[str, str, float]]) -> None:
    """Add to what was spent: (channel or '' for all, day, amount)."""
    for row in charges:
        connection.execute(_CHARGE, row)


def spending(connection: sqlite3.Connection, channel: str, since: str) -> list[tuple[str, float]]:
    """The days, from one on, on which a channel ('' for all) has spent something, and how much."""
    return connection.execute(_SPENT, (channel, since)).fetchall()


def forget_spending(connection: sqlite3.Connection, before: str) -> int:
    """Drop what was spent on days before one."""
    return connection.execute("DELETE FROM spending WHERE day < ?", (before,)).rowcount


def message(connection: sqlite3.Connection, message_id: str) -> Row | None:
    """The row of a message."""
    row: Row | None = connection.execute(_BY_ID, (message_id,)).fetchone()
    return row


def unfinished(connection: sqlite3.Connection, channel: str, after: int, limit: int) -> list[Row]:
    """A page of the rows of a channel's messages that have not ended."""
    return connection.execute(_UNFINISHED, (channel, after, limit)).fetchall()


def unfinished_channels(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Channels with messages that have not ended, and how many."""
    query = "SELECT channel, count(*) FROM messages WHERE kind IS NULL GROUP BY channel"
    return connection.execute(query).fetchall()


def dead_letters(connection: sqlite3.Connection, after: int, limit: int) -> list[Row]:
    """A page of the rows of dead letters."""
    return connection.execute(_DEAD, (after, limit)).fetchall()


def revive(connection: sqlite3.Connection, message_id: str) -> bool:
    """Make a dead letter a message that has not ended and was never started."""
    return bool(connection.execute(_REVIVE, (message_id,)).rowcount)


def discard(connection: sqlite3.Connection, message_id: str) -> bool:
    """Delete a dead letter; the highest sequence stays known."""
    found = connection.execute(_DISCARD, (message_id,)).fetchall()
    if found:
        connection.execute("UPDATE meta SET forgotten = max(forgotten, ?)", found[0])
    return bool(found)


def snapshot(connection: sqlite3.Connection, channel: str) -> bytes | None:
    """A channel's snapshot."""
    row = connection.execute("SELECT body FROM channels WHERE channel = ?", (channel,)).fetchone()
    return None if row is None else bytes(row[0])


def snapshots(connection: sqlite3.Connection, after: str, limit: int) -> list[bytes]:
    """A page of snapshots of channels with a session."""
    query = "SELECT body FROM channels WHERE channel > ? AND session_id IS NOT NULL ORDER BY channel LIMIT ?"
    return [body for (body,) in connection.execute(query, (after, limit))]


def forget(connection: sqlite3.Connection, before: int, limit: int) -> int:
    """Drop at most so many messages that ended before a time; the highest sequence stays known."""
    old = connection.execute(_OLD, (before, limit)).fetchall()
    if old:
        connection.executemany("DELETE FROM messages WHERE sequence = ?", old)
        connection.execute("UPDATE meta SET forgotten = max(forgotten, ?)", max(old))
    return len(old)


def forget_replies(connection: sqlite3.Connection, since: int, until: int, limit: int) -> tuple[int, int]:
    """Drop at most so many replies of messages that ended between two times; give the last one's time, and how many.

    Those that ended at the very time at which a batch stops are looked at again by the next one, which does no harm.
    """
    rows = connection.execute(_ANSWERED, (since, until, limit)).fetchall()
    connection.executemany(_DROP_REPLY, [(sequence,) for sequence, _ in rows])
    return (rows[-1][1] if rows else until), len(rows)


def note(connection: sqlite3.Connection, key: str) -> bytes | None:
    """A kept fact."""
    row = connection.execute("SELECT value FROM notes WHERE key = ?", (key,)).fetchone()
    return None if row is None else bytes(row[0])


def put_note(connection: sqlite3.Connection, key: str, value: bytes) -> None:
    """Keep a fact in place of the one of that key."""
    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, value))


def last_sequence(connection: sqlite3.Connection) -> int:
    """The highest sequence ever given to a message."""
    query = "SELECT max(forgotten, coalesce((SELECT max(sequence) FROM messages), 0)) FROM meta"
    (highest,) = connection.execute(query).fetchone()
    return int(highest)


def mark_clean(connection: sqlite3.Connection) -> None:
    """Note that the store was closed properly."""
    connection.execute("UPDATE meta SET clean = 1")
