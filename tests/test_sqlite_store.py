"""The SQLite store and its fake keep the Protocol; and what only a disk can do wrong."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from uuid import UUID

import attrs
import orjson
import pytest
import trio

from echo_actors.errors import StaleRevision, StoreError, StoreFull, StoreLocked
from echo_actors.state.lock import LOCK_NAME, lock_directory
from echo_actors.state.sqlite import DATABASE_NAME, SQLiteStore, open_sqlite_store
from echo_actors.state.writer import Writer
from echo_actors.testing.memory_store import MemoryDisk, MemoryStore
from echo_actors.testing.store_kit import NOON, OpenStore, StoreConformance, make_message, make_snapshot

CHILD = """
import sys, trio
from pathlib import Path
from echo_actors.state.lock import LOCK_NAME, lock_directory
from echo_actors.state.sqlite import open_sqlite_store
from echo_actors.testing.store_kit import NOON, make_message
async def accept(store, start):
    for sequence in range(start, 10**9, 8):
        await store.accept(make_message(sequence))
        print(sequence, flush=True)
async def main():
    async with open_sqlite_store(Path(sys.argv[1]), owner="child", now=lambda: NOON) as store:
        async with trio.open_nursery() as nursery:
            for start in range(1, 9):
                nursery.start_soon(accept, store, start)
trio.run(main)
"""


def open_at(path: Path, max_pages: int | None = None) -> AbstractAsyncContextManager[SQLiteStore]:
    """Open the store in a directory."""
    return open_sqlite_store(path, owner="test", now=lambda: NOON, max_pages=max_pages)


class TestSQLiteStore(StoreConformance):
    """The SQLite store conforms."""

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        """One directory for each test."""
        return lambda: open_at(tmp_path)


class TestMemoryStore(StoreConformance):
    """The fake conforms."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """One memory disk for each test."""
        disk = MemoryDisk()

        @asynccontextmanager
        async def opened() -> AsyncIterator[MemoryStore]:
            yield MemoryStore(disk=disk)

        return opened


async def test_requests_of_one_moment_share_a_commit(tmp_path: Path) -> None:
    """Two hundred writes that wait together take far fewer commits."""
    seen: list[str] = []

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
        connection.execute("CREATE TABLE t (n)")
        connection.set_trace_callback(seen.append)
        return connection

    writer = Writer(connect, last=lambda _: None)
    await writer.start()
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(writer.run, insert(number))
    await writer.aclose()
    assert sum(statement.startswith("INSERT") for statement in seen) == 200
    assert seen.count("COMMIT") < 100


def insert(number: int) -> Callable[[sqlite3.Connection], object]:
    """An operation that adds a row."""
    return lambda connection: connection.execute("INSERT INTO t VALUES (?)", (number,)).rowcount


async def test_a_failing_operation_fails_alone(tmp_path: Path) -> None:
    """In a group, one that fails after it wrote is undone; those around it are kept."""

    async def stale(store: SQLiteStore) -> None:
        with pytest.raises(StoreError, match="not in the store"):
            await store.start(await store.claim("c"), [make_message(1), make_message(99)], turn_id="t", session_id="s")
        with pytest.raises(StaleRevision):
            await store.save(await store.claim("c"), attrs.evolve(make_snapshot(), revision=5))

    async with open_at(tmp_path) as store:
        await store.accept(make_message(1))
        async with trio.open_nursery() as nursery:
            for sequence in range(2, 40):
                nursery.start_soon(store.accept, make_message(sequence))
            nursery.start_soon(stale, store)
        found = await store.unfinished("chat:1", after=0, limit=100)
    assert [(stored.message.sequence, stored.attempts) for stored in found] == [(n, 0) for n in range(1, 40)]


class FailingCommit(sqlite3.Connection):
    """A database whose next commit meets a bad disk."""

    fail = True

    def execute(self, sql: str, parameters: object = (), /) -> sqlite3.Cursor:
        """Fail the first commit."""
        if sql == "COMMIT" and self.fail:
            self.fail = False
            problem = sqlite3.OperationalError("disk I/O error")
            problem.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise problem
        return super().execute(sql, parameters)  # type: ignore[arg-type]  # passed on as it came


async def test_a_failing_commit_fails_its_group_and_no_later_one(tmp_path: Path) -> None:
    """Nothing of the group is kept, its callers hear of it, and the next write succeeds."""
    writer = Writer(
        lambda: sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False, factory=FailingCommit),
        last=lambda _: None,
    )
    await writer.start()
    with pytest.raises(StoreFull):
        await writer.run(lambda connection: connection.execute("CREATE TABLE t (n)").rowcount)
    await writer.run(lambda connection: connection.execute("CREATE TABLE t (n)").rowcount)
    await writer.aclose()


def test_a_run_that_ends_without_closing_the_store_leaves_no_thread(tmp_path: Path) -> None:
    """The interpreter waits for the thread, so a host that closes nothing must not make it wait for ever."""

    async def main() -> Writer:
        writer = Writer(partial(plain_connection, tmp_path), last=lambda _: None)
        await writer.start()
        await writer.run(lambda connection: connection.execute("CREATE TABLE t (n)").rowcount)
        return writer

    writer = trio.run(main)
    writer._thread.join(5)
    assert not writer._thread.is_alive()


def test_ctrl_c_while_the_store_opens_leaves_no_thread(tmp_path: Path) -> None:
    """It goes through the shield around the opening; what is opened after it is closed."""
    interrupted = threading.Event()

    def connect() -> sqlite3.Connection:
        os.kill(os.getpid(), signal.SIGINT)
        interrupted.wait(5)
        return plain_connection(tmp_path)

    async def main() -> None:
        writer = Writer(connect, last=lambda _: None)
        with pytest.raises(KeyboardInterrupt):
            await writer.start()
        interrupted.set()
        await trio.to_thread.run_sync(writer._thread.join, 5)
        assert not writer._thread.is_alive()

    trio.run(main)


def plain_connection(place: Path) -> sqlite3.Connection:
    """An empty database."""
    return sqlite3.connect(place / "db", isolation_level=None, check_same_thread=False)


async def test_a_killed_program_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """After kill -9 every acknowledged message is there and the directory can be owned again."""
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:  # noqa: ASYNC220 - nothing else runs here
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(200)]
        with pytest.raises(StoreLocked, match=str(child.pid)) as locked:
            async with open_at(tmp_path):
                pass
        assert locked.value.pid == child.pid
        os.kill(child.pid, signal.SIGKILL)
        # What came after the kill may end in a torn line.
        lines += [line for line in child.stdout.readlines() if line.endswith(b"\n")]
    async with open_at(tmp_path) as store:
        kept = {s.message.sequence for s in await store.unfinished("chat:1", after=0, limit=10**9)}
        assert store.set_aside is None
    assert {int(line) for line in lines} <= kept


async def test_a_directory_whose_owner_is_dead_is_waited_for(tmp_path: Path) -> None:
    """What a killed program was forking has its lock for a moment longer."""
    lock = lock_directory(tmp_path, now=NOON)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:  # noqa: ASYNC220 - nothing else runs here
        pass
    (tmp_path / LOCK_NAME).write_bytes(orjson.dumps({"pid": gone.pid, "host": "here", "started": "then"}))
    opened = trio.Event()

    async def own() -> None:
        async with open_at(tmp_path):
            opened.set()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(own)
            with trio.move_on_after(0.1):
                await opened.wait()
            assert not opened.is_set()
            lock.release()
            await opened.wait()


@pytest.mark.parametrize("content", [b"", b"no database at all", b"SQLite format 3\0" + b"x" * 5000])
async def test_a_damaged_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """It is renamed with its content, never over another one, and a fresh store opens."""
    names = set()
    for _ in range(2):
        (tmp_path / DATABASE_NAME).write_bytes(content)
        async with open_at(tmp_path) as store:
            assert store.set_aside is not None
            assert store.set_aside.read_bytes() == content
            assert await store.last_sequence() == 0
            names.add(store.set_aside)
    assert len(names) == 2


async def test_a_log_without_its_database_is_set_aside(tmp_path: Path) -> None:
    """A new database would discard the log."""
    (tmp_path / f"{DATABASE_NAME}-wal").write_bytes(b"frames")
    async with open_at(tmp_path) as store:
        assert store.set_aside is not None
        assert store.set_aside.with_name(f"{store.set_aside.name}-wal").read_bytes() == b"frames"


async def test_a_bad_page_is_found_after_an_unclean_end(tmp_path: Path) -> None:
    """Without the mark of a proper close every page is checked."""
    async with open_at(tmp_path) as store:
        for sequence in range(1, 200):
            await store.accept(make_message(sequence))
    path = tmp_path / DATABASE_NAME
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET clean = 0")
        (page,) = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf' ORDER BY path LIMIT 1"
        ).fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    async with open_at(tmp_path) as store:
        assert store.set_aside is not None


@pytest.mark.parametrize("pragma", ["application_id = 1", "user_version = 99"])
async def test_a_foreign_or_newer_database_is_left_alone(tmp_path: Path, pragma: str) -> None:
    """It is no damage: an error says what to do, and the file stays."""
    async with open_at(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / DATABASE_NAME)
    connection.execute(f"PRAGMA {pragma}")
    connection.close()
    with pytest.raises(StoreError, match="another state_dir"):
        async with open_at(tmp_path):
            pass
    assert (tmp_path / DATABASE_NAME).exists()


async def test_a_full_store_says_so_and_still_reads(tmp_path: Path) -> None:
    """A message without room is StoreFull, what was there stays, and smaller ones may still fit."""
    async with open_at(tmp_path, max_pages=30) as store:
        await store.accept(make_message(1))
        with pytest.raises(StoreFull):
            await store.accept(attrs.evolve(make_message(2), text="x" * 200_000))
        assert await store.message(str(UUID(int=2))) is None
        await store.accept(make_message(3))
        assert await store.last_sequence() == 3
