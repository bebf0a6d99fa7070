"""The store copied as it is at one point, while an engine writes it; and what such a copy holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import attrs

from echo_actors.errors import StoreError
from echo_actors.state import statements
from echo_actors.state.codec import decode_note, encode_note, make_codec
from echo_actors.state.records import AUDIT_HEAD, Note
from echo_actors.state.schema import BUSY_SECONDS, check_owner, version_of
from echo_actors.state.sqlite_errors import translated

_PAGES: Final = 2000
"""How many pages are copied between two tellings of the progress."""

_KEPT = "kind IS NULL OR kind = 'dead_lettered'"


@attrs.frozen(kw_only=True)
class StoreContents:
    """What a store holds.

    Attributes:
        schema: The version of its tables.
        sessions: The CLI's sessions that its conversations and its unfinished messages need, each with the directory
            that it ran in, empty if that is not known.
        conversations: How many channels have one.
        waiting: How many messages have no end yet.
        dead_letters: How many messages were started too often.
        audit_head: The line of the audit log up to which the store vouches for it.
    """

    schema: int
    sessions: dict[str, str]
    conversations: int
    waiting: int
    dead_letters: int
    audit_head: Note | None


def copy_store(source: Path, target: Path, progress: Callable[[int, int], None]) -> None:
    """Copy a database as it is at one point into a new file, without a write-ahead log.

    Nobody who writes it meanwhile is held up: the copy is made in one transaction that reads.

    Args:
        source: The database; it is only read.
        target: An empty file.
        progress: Called with how many pages are done, and how many there are.

    Raises:
        StoreError: It cannot be read, or there is no room for the copy.
    """

    def tell(_: int, remaining: int, total: int) -> None:
        progress(total - remaining, total)

    try:
        with (
            closing(_connected(source, "mode=ro")) as connection,
            closing(sqlite3.connect(target, isolation_level=None)) as copy,
        ):
            # The transaction keeps what is read the same from the first page to the last.
            connection.execute("BEGIN")
            check_owner(connection, source)
            connection.backup(copy, pages=_PAGES, progress=tell)
            copy.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as problem:
        raise translated(problem) from problem


def contents_of(copy: Path) -> StoreContents:
    """What a copy holds, once every page of it was found sound. Nobody may be writing it.

    Raises:
        StoreError: It is damaged, or of another program or a newer version of this one.
    """
    try:
        with closing(_connected(copy, "immutable=1")) as connection:
            check_owner(connection, copy)
            (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise StoreError(f"the store is damaged: {verdict}")
            return _contents(connection)
    except sqlite3.Error as problem:
        raise translated(problem) from problem


def put_note_in(copy: Path, key: str, value: Note) -> None:
    """Keep a fact in a copy that nobody uses yet.

    Raises:
        StoreError: It cannot be written.
    """
    try:
        with closing(_connected(copy, "mode=rw")) as connection:
            statements.put_note(connection, key, encode_note(value))
    except sqlite3.Error as problem:
        raise translated(problem) from problem


def _contents(connection: sqlite3.Connection) -> StoreContents:
    decode = make_codec().snapshot.decode
    found = connection.execute(f"SELECT DISTINCT session_id FROM messages WHERE session_id <> '' AND ({_KEPT})")  # noqa: S608 - a constant
    sessions = dict.fromkeys((session for (session,) in found), "")
    conversations = 0
    for (body,) in connection.execute("SELECT body FROM channels WHERE session_id IS NOT NULL"):
        snapshot = decode(bytes(body))
        if snapshot.session_id:
            sessions[snapshot.session_id] = snapshot.working_dir
            conversations += 1
    waiting, dead = connection.execute(
        f"SELECT sum(kind IS NULL), sum(kind IS NOT NULL) FROM messages WHERE {_KEPT}"  # noqa: S608 - a constant
    ).fetchone()
    head = statements.note(connection, AUDIT_HEAD)
    return StoreContents(
        schema=version_of(connection),
        sessions=sessions,
        conversations=conversations,
        waiting=waiting or 0,
        dead_letters=dead or 0,
        audit_head=None if head is None else decode_note(head),
    )


def _connected(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
