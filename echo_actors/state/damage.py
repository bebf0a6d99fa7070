"""A damaged database: how it is recognised when the store opens, and how it is set aside.

Recognised are a file that is no SQLite database (an empty one too: a write-ahead log beside it would be discarded,
and a truncated file looks just like one that was never written), pages that SQLite finds malformed when it reads the
schema and the ends of the tables, and, when the previous run did not close the store, any page at all in a database
of up to ``FULL_CHECK_BYTES``. Above that size the full check would delay a restart by seconds; damage that it would
have shown is then met later, as a ``StoreError`` of the request that meets it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from echo_actors.errors import StoreError
from echo_actors.state.schema import BUSY_SECONDS, SCHEMA_VERSION, check_owner, version_of
from echo_actors.state.sqlite_errors import is_damage

FULL_CHECK_BYTES = 256 * 2**20

_MAGIC = b"SQLite format 3\0"
_COMPANIONS = ("", "-wal", "-shm")

_SANITY = (
    "SELECT epoch + clean + forgotten FROM meta",
    "SELECT * FROM messages ORDER BY sequence DESC LIMIT 1",
    "SELECT sequence FROM messages WHERE kind IS NULL ORDER BY channel, sequence LIMIT 1",
    "SELECT * FROM channels LIMIT 1",
    "SELECT * FROM notes LIMIT 1",
)
_SANITY_OF_THE_NEWEST = ("SELECT * FROM spending LIMIT 1",)


def is_damaged(path: Path) -> bool:
    """Whether the database must not be used. It is only read, through a connection that cannot write.

    Raises:
        StoreError: It is not damaged, but of another program or of a newer version of this one.
        OSError: It cannot be read.
        sqlite3.Error: It cannot be opened.
    """
    if not path.exists():
        # A log whose database is gone would be discarded by a new database of that name.
        return _size(_companion(path, "-wal")) > 0
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            return True
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    with contextlib.closing(connection):
        try:
            check_owner(connection, path)
            return not _is_sound(connection, _size(path))
        except sqlite3.Error as problem:
            if is_damage(problem):
                return True
            raise


def _is_sound(connection: sqlite3.Connection, size: int) -> bool:
    version = version_of(connection)
    if not version:
        # Killed before its tables were made.
        return True
    meta = connection.execute("SELECT clean FROM meta").fetchone()
    if meta is None:
        return False
    for query in (*_SANITY, *(_SANITY_OF_THE_NEWEST if version == SCHEMA_VERSION else ())):
        connection.execute(query).fetchall()
    if meta[0] or size > FULL_CHECK_BYTES:
        return True
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return bool(verdict == "ok")


def set_aside(path: Path, now: datetime) -> Path:
    """Rename the database and what belongs to it; give the new name.

    The log is named so that SQLite's own tools find it with the renamed database.

    Raises:
        StoreError: A file could not be renamed.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while any(_companion(target, suffix).exists() for suffix in _COMPANIONS):
        number += 1
        target = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    try:
        # The database first: a crash in between must not leave it without its log, which looks sound and is not.
        for suffix in _COMPANIONS:
            with contextlib.suppress(FileNotFoundError):
                _companion(path, suffix).rename(_companion(target, suffix))
        _sync(path.parent)
    except OSError as problem:
        raise StoreError(f"the damaged store {path} cannot be renamed: {problem}; move it away") from problem
    return target


def _companion(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
