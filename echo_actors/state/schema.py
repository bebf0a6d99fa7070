"""The database's tables, and the opening of a connection to them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from echo_actors.errors import StoreError

APPLICATION_ID = 0x65636861
"""Marks the file as this program's, where SQLite looks for such a mark; the letters "echa"."""

SCHEMA_VERSION = 2

BUSY_SECONDS = 5.0
"""How long to wait for another program, such as a backup, that has the database locked."""

_WAL_KEPT_BYTES = 64 * 2**20

# What turns cost, per day (of UTC, as 2026-01-31) and channel; in the rows of the channel '' all channels together.
_SPENDING = (
    """
    CREATE TABLE spending (
        channel TEXT NOT NULL,
        day TEXT NOT NULL,
        cost_usd REAL NOT NULL,
        PRIMARY KEY (channel, day)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX spending_by_day ON spending (day)",
)

_VERSION = f"PRAGMA user_version = {SCHEMA_VERSION}"

# A message's row is found by its sequence, so that new rows are appended; `kind` is NULL while it has not ended.
# Only the rows that are asked for are in the two partial indexes.
_SCHEMA = (
    """
    CREATE TABLE messages (
        sequence INTEGER PRIMARY KEY,
        message_id TEXT NOT NULL UNIQUE,
        channel TEXT NOT NULL,
        body BLOB NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        turn_id TEXT,
        session_id TEXT,
        kind TEXT,
        outcome BLOB,
        ended_at INTEGER
    )
    """,
    "CREATE INDEX unfinished ON messages (channel, sequence) WHERE kind IS NULL",
    "CREATE INDEX ended ON messages (ended_at) WHERE kind IS NOT NULL",
    "CREATE INDEX dead ON messages (sequence) WHERE kind = 'dead_lettered'",
    """
    CREATE TABLE channels (
        channel TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        session_id TEXT,
        body BLOB NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE TABLE notes (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    # `forgotten` is the highest sequence among dropped messages; `clean` is 1 while the store is closed properly.
    "CREATE TABLE meta (epoch INTEGER NOT NULL, clean INTEGER NOT NULL, forgotten INTEGER NOT NULL)",
    "INSERT INTO meta VALUES (0, 1, 0)",
    *_SPENDING,
    f"PRAGMA application_id = {APPLICATION_ID}",
    _VERSION,
)

# By version, the step from it to the next.
_STEPS = {1: _SPENDING}


def connect(path: Path, *, max_pages: int | None = None) -> sqlite3.Connection:
    """Open the database for writing, make its tables if it is new, and bring those of an older version up to date.

    Args:
        path: The database file, already known to be sound or absent.
        max_pages: The most pages it may have; without limit by default.

    Raises:
        sqlite3.Error: It cannot be opened or written.
    """
    # Two threads use it, one at a time.
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        statements = _SCHEMA if _is_new(connection) else _upgrade(version_of(connection))
        if statements:
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                connection.execute(statement)
            connection.execute("COMMIT")
        if max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {max_pages:d}")
    except BaseException:
        connection.close()
        raise
    return connection


def check_owner(connection: sqlite3.Connection, path: Path) -> None:
    """Make sure that the database is this program's, in a version it knows; an empty one is.

    Raises:
        StoreError: It is not; it is left as it is.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    version = version_of(connection)
    if application != APPLICATION_ID and not _is_new(connection):
        raise StoreError(f"{path} belongs to another program; move it away or choose another state_dir")
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path} was written by a newer version of echo-actors (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); run that version, or choose another state_dir"
        )


def version_of(connection: sqlite3.Connection) -> int:
    """The version of its tables; 0 before they are made."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _upgrade(version: int) -> tuple[str, ...]:
    """What brings the tables of a version up to date, in one transaction: all of it or nothing."""
    steps = tuple(statement for step in range(version, SCHEMA_VERSION) for statement in _STEPS[step])
    return (*steps, _VERSION) if steps else ()


def _is_new(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None
