"""The database's tables: those of older versions are brought up to date, with all that is in them."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import date
from pathlib import Path
from uuid import UUID

import attrs
import pytest

from echo_actors.errors import StoreError
from echo_actors.models import OutcomeKind
from echo_actors.state.codec import make_codec
from echo_actors.state.opening import Opening
from echo_actors.state.records import Charge
from echo_actors.state.schema import SCHEMA_VERSION, version_of
from echo_actors.state.sqlite import DATABASE_NAME, open_sqlite_store
from echo_actors.testing.store_kit import NOON, make_end, make_message, make_snapshot

SCHEMA_1 = """
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
    );
    CREATE INDEX unfinished ON messages (channel, sequence) WHERE kind IS NULL;
    CREATE INDEX ended ON messages (ended_at) WHERE kind IS NOT NULL;
    CREATE INDEX dead ON messages (sequence) WHERE kind = 'dead_lettered';
    CREATE TABLE channels (
        channel TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        session_id TEXT,
        body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE notes (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE meta (epoch INTEGER NOT NULL, clean INTEGER NOT NULL, forgotten INTEGER NOT NULL);
    INSERT INTO meta VALUES (41, 1, 7);
    PRAGMA application_id = 1701013601;
    PRAGMA user_version = 1;
"""
"""The tables as version 1 made them, in a database that had 41 runs and was closed."""

DAY = date(2026, 1, 5)


@pytest.fixture
def first_schema(tmp_path: Path) -> Path:
    """A state directory whose store is of version 1, with an ended message, one that waits, a snapshot and a note."""
    codec = make_codec()
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)) as connection:
        connection.executescript(SCHEMA_1)
        connection.execute("PRAGMA journal_mode = WAL")
        ended, waiting, end = make_message(1), make_message(2), make_end(1, "why")
        row = (1, ended.message_id, ended.channel, codec.message.encode(ended), 1, "t", "s", "failed")
        connection.execute(
            "INSERT INTO messages VALUES (?,?,?,?,?,?,?,?,?,0)", (*row, codec.outcome.encode(end.outcome))
        )
        connection.execute(
            "INSERT INTO messages (sequence, message_id, channel, body) VALUES (2, ?, ?, ?)",
            (waiting.message_id, waiting.channel, codec.message.encode(waiting)),
        )
        snapshot = codec.snapshot.encode(attrs.evolve(make_snapshot(), revision=1))
        connection.execute("INSERT INTO channels VALUES ('chat:1', 1, 's', ?)", (snapshot,))
        connection.execute("INSERT INTO notes VALUES ('audit.head', ?)", (b'{"hash": "x"}',))
    return tmp_path


async def test_a_store_of_the_first_schema_keeps_all_it_has(first_schema: Path) -> None:
    """It opens, counts on, and from then on counts what turns cost; a second opening finds it up to date."""
    for _ in range(2):
        async with open_sqlite_store(first_schema, owner="new", now=lambda: NOON) as store:
            assert store.set_aside is None
            ended = await store.message(str(UUID(int=1)))
            assert ended is not None
            assert ended.outcome == make_end(1, "why").outcome
            assert ended.outcome.kind is OutcomeKind.FAILED
            assert [each.message for each in await store.unfinished("chat:1", after=0, limit=9)] == [make_message(2)]
            snapshot = await store.snapshot("chat:1")
            assert snapshot is not None
            assert snapshot.session_id == "s"
            assert await store.note("audit.head") == {"hash": "x"}
            assert await store.last_sequence() == 7
            claim = await store.claim("chat:1")
            await store.save(claim, snapshot, Charge("chat:1", DAY, 0.5))
    with contextlib.closing(sqlite3.connect(first_schema / DATABASE_NAME)) as connection:
        assert version_of(connection) == SCHEMA_VERSION
        assert connection.execute("SELECT epoch FROM meta").fetchone() == (43,)
        assert connection.execute("SELECT channel, cost_usd FROM spending ORDER BY channel").fetchall() == [
            ("", 1.0),
            ("chat:1", 1.0),
        ]


async def test_both_ways_to_the_newest_schema_make_the_same_tables(first_schema: Path, tmp_path: Path) -> None:
    """A new database and one that was brought up to date differ in nothing."""
    (tmp_path / "new").mkdir()
    shapes = []
    for directory in (first_schema, tmp_path / "new"):
        Opening(directory / DATABASE_NAME, lambda: NOON, None)().close()
        with contextlib.closing(sqlite3.connect(directory / DATABASE_NAME)) as connection:
            rows = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
            shapes.append([(name, sql and " ".join(sql.split())) for name, sql in rows])
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("moment", ["CREATE INDEX spending_by_day", "PRAGMA user_version = 2"])
def test_an_upgrade_that_is_cut_leaves_the_old_schema(first_schema: Path, moment: str) -> None:
    """All steps are one transaction: the next opening begins again with what there was."""

    class Cut(Exception):
        """The power is off."""

    class Cutting(sqlite3.Connection):
        def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
            if sql.startswith(moment):
                raise Cut
            return super().execute(sql, parameters)  # type: ignore[arg-type]  # passed on as it came

    real = sqlite3.connect
    path = first_schema / DATABASE_NAME
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *arguments, **options: real(*arguments, **options, factory=Cutting))
        with pytest.raises(Cut):
            Opening(path, lambda: NOON, None)()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert version_of(connection) == 1
        assert connection.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'spending%'").fetchone() == (0,)
    Opening(path, lambda: NOON, None)().close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert version_of(connection) == SCHEMA_VERSION


async def test_a_newer_schema_is_refused_and_left_alone(first_schema: Path) -> None:
    """The error names both versions."""
    with contextlib.closing(sqlite3.connect(first_schema / DATABASE_NAME)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match=rf"schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION}"):
        async with open_sqlite_store(first_schema, owner="old", now=lambda: NOON):
            pass
    with contextlib.closing(sqlite3.connect(first_schema / DATABASE_NAME)) as connection:
        assert version_of(connection) == SCHEMA_VERSION + 1


async def test_damage_in_an_old_schema_is_set_aside(first_schema: Path) -> None:
    """A file without its meta row is no store of ours, whatever its version."""
    with contextlib.closing(sqlite3.connect(first_schema / DATABASE_NAME)) as connection:
        connection.execute("DELETE FROM meta")
        connection.commit()
    async with open_sqlite_store(first_schema, owner="new", now=lambda: NOON) as store:
        assert store.set_aside is not None
