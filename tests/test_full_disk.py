"""A disk that takes nothing: acceptance says so, what runs keeps its end until there is room, and nothing is lost."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from engine_program import Orders, portable, running, told
from support import (
    Gate,
    asked,
    audit_records,
    left_running,
    new_id,
    plain_settings,
    scripted_engine,
    scripted_settings,
    until,
)

import echo_actors.engine.auditing
from echo_actors import Engine, StoreError, StoreFull, open_engine
from echo_actors.audit import open_audit, verify
from echo_actors.errors import EngineClosed, InvalidMessage
from echo_actors.events import TurnEnded
from echo_actors.models import OutcomeKind, Reply
from echo_actors.testing.instant_driver import InstantDriver

CHANNEL = "chat:1"
LONG = "x" * 20_000
"""What does not fit into the pages that a database has."""

MANY_PAGES = 1_000_000


@attrs.define(eq=False)
class Disk:
    """The store's disk, in the mood that a test wants.

    Attributes:
        full: The database may have no more pages.
        read_only: It takes no writes at all.
    """

    full: bool = False
    read_only: bool = False

    def pragmas(self) -> tuple[str, str]:
        """What makes SQLite behave as on such a disk; it never has fewer pages than it has already."""
        pages = 1 if self.full else MANY_PAGES
        return f"PRAGMA max_page_count = {pages}", f"PRAGMA query_only = {self.read_only:d}"

    def connection(self) -> type[sqlite3.Connection]:
        """A connection that obeys this disk."""
        disk = self

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
                if sql.startswith("BEGIN"):
                    for pragma in disk.pragmas():
                        super().execute(pragma)
                return super().execute(sql, *arguments)

        return Connection


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk of all stores that the test opens."""
    disk = Disk()
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=disk.connection()))
    return disk


@pytest.fixture(params=["full", "read_only"])
def failing(request: pytest.FixtureRequest, disk: Disk) -> Callable[[bool], None]:
    """Lets the disk fail and recover, in each of the ways it can."""
    return lambda fails: setattr(disk, request.param, fails)


async def refused_writes(engine: Engine) -> None:
    """Wait until the engine has met a store that takes nothing."""
    await until(lambda: "store.refused" in engine.settings.audit_file.read_text(encoding="utf-8"))


async def test_a_message_that_does_not_fit_is_refused_and_nothing_of_it_is_kept(tmp_path: Path, disk: Disk) -> None:
    """The caller is told, and may send it again when there is room."""
    settings, message_id = plain_settings(tmp_path), new_id()
    with trio.fail_after(20):
        async with open_engine(settings, driver=InstantDriver()) as engine:
            disk.full = True
            with pytest.raises(StoreFull):
                await engine.post(CHANNEL, LONG, message_id=message_id)
            assert engine.status().queued_messages == 0
            with pytest.raises(InvalidMessage):
                await engine.outcome(message_id)
            disk.full = False
            assert (await engine.ask(CHANNEL, LONG, message_id=message_id)).text == f"echo: {LONG}"


async def test_a_store_that_cannot_be_written_refuses_messages_until_it_can(tmp_path: Path, disk: Disk) -> None:
    """It says what to do, and service resumes by itself."""
    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path), driver=InstantDriver()) as engine:
            disk.read_only = True
            with pytest.raises(StoreError, match="writable"):
                await engine.post(CHANNEL, "hello")
            assert engine.status().queued_messages == 0
            disk.read_only = False
            assert (await engine.ask(CHANNEL, "hello")).text == "echo: hello"


async def test_an_engine_does_not_open_on_a_store_that_cannot_be_written(tmp_path: Path, disk: Disk) -> None:
    """It says so, and gives the directory up, so that it can be opened as soon as it is mended."""
    disk.read_only = True
    with pytest.raises(StoreError, match="writable"):
        async with open_engine(plain_settings(tmp_path), driver=InstantDriver()):
            pytest.fail("it opened")
    disk.read_only = False
    async with open_engine(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        assert (await engine.ask(CHANNEL, "hello")).text == "echo: hello"


async def test_a_running_turns_end_is_announced_when_it_is_stored_and_not_before(
    tmp_path: Path, failing: Callable[[bool], None]
) -> None:
    """The CLI is asked once; its answer waits for room."""
    settings = scripted_settings(tmp_path)
    text, replies = f"{LONG} [[hold 0.3]]", list[Reply]()

    async def ask(engine: Engine) -> None:
        replies.append(await engine.ask(CHANNEL, text))

    async with scripted_engine(settings) as engine, engine.subscribe(CHANNEL) as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, engine)
            await until(lambda: asked(tmp_path) == [text])
            failing(True)
            await refused_writes(engine)
            assert not replies
            failing(False)
        engine._services.hub.close()
        ends = [event async for event in events if isinstance(event, TurnEnded)]
        assert (await engine.ask(CHANNEL, "and now")).text == "echo: and now"
    assert [each.text for each in replies] == [f"echo: {text}"]
    assert len(ends) == 1
    assert asked(tmp_path) == [text, "and now"]


async def test_a_turn_whose_start_cannot_be_stored_does_not_start(tmp_path: Path, disk: Disk) -> None:
    """An attempt is counted before the CLI sees the message; until it can be, the message waits."""
    gate, replies = Gate(), list[Reply]()
    driver = InstantDriver(gate)

    async def ask(engine: Engine) -> None:
        replies.append(await engine.ask(CHANNEL, "second"))

    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path), driver=driver) as engine, trio.open_nursery() as nursery:
            await engine.post(CHANNEL, "hold the first")
            await gate.entered()
            nursery.start_soon(ask, engine)
            await until(lambda: engine.status().queued_messages == 1)
            await engine._services.store.last_sequence()
            disk.read_only = True
            gate.open()
            await refused_writes(engine)
            assert len(driver.requests) == 1
            disk.read_only = False
    assert [each.content for each in driver.requests] == ["hold the first", "second"]
    assert [each.text for each in replies] == ["echo: second"]


async def test_an_engine_that_closes_on_a_full_disk_gives_the_answer_at_the_next_start(
    tmp_path: Path, disk: Disk
) -> None:
    """Whoever waited is told that the engine closed; the answer is read from the transcript, not asked for again."""
    settings = scripted_settings(tmp_path, teardown_timeout=0.5, drain_timeout=0.5)
    message_id, text, told_closed = new_id(), f"{LONG} [[hold 0.3]]", list[Exception]()

    async def wait(engine: Engine) -> None:
        try:
            await engine.outcome(message_id)
        except EngineClosed as error:
            told_closed.append(error)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, open_engine(settings) as engine:
            await engine.post(CHANNEL, text, message_id=message_id)
            nursery.start_soon(wait, engine)
            await until(lambda: asked(tmp_path) == [text])
            disk.full = True
            await refused_writes(engine)
    assert len(told_closed) == 1
    disk.full = False
    async with scripted_engine(settings) as engine:
        outcome = await engine.outcome(message_id)
    assert (outcome.kind, outcome.reply and outcome.reply.text) == (OutcomeKind.ANSWERED, f"echo: {text}")
    assert asked(tmp_path) == [text]


async def test_an_engine_that_closes_on_a_store_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, disk: Disk
) -> None:
    """Whether or not it complains: no process stays, and the next start goes on where this one was."""
    settings = scripted_settings(tmp_path)
    with trio.fail_after(20), contextlib.suppress(StoreError):
        async with open_engine(settings) as engine:
            run_id = engine.status().run_id
            before = await engine.ask(CHANNEL, "before")
            disk.read_only = True
    disk.read_only = False
    assert left_running(run_id) == set()
    async with scripted_engine(settings) as engine:
        after = await engine.ask(CHANNEL, "after")
    assert after.session_id == before.session_id
    assert verify([settings.audit_file]).ok


async def test_a_program_that_is_killed_on_a_full_disk_gives_the_answer_at_the_next_start(tmp_path: Path) -> None:
    """An answer that waited for room is read from the transcript."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    orders = Orders(settings=portable(settings), posts=[(message_id, CHANNEL, "hello")], refuses="finish")
    with trio.fail_after(20):
        async with running(settings, orders) as process:
            await told(process, "refused")
            assert process.poll() is None
    async with scripted_engine(settings) as engine:
        outcome = await engine.outcome(message_id)
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.ANSWERED, 1)
    assert asked(tmp_path) == ["hello"]


async def test_files_that_may_not_grow_are_a_full_disk(tmp_path: Path) -> None:
    """The operating system refuses every write of the store and the audit log; both resume when it does not."""
    settings = plain_settings(tmp_path)
    orders = Orders(settings=portable(settings), posts=[], limit=True)
    with trio.fail_after(30):
        async with running(settings, orders) as process:
            refused = await told(process, "refused")
            assert refused["error"] in {"StoreError", "StoreFull"}
            assert (await told(process, "audit"))["problem"]
            assert (await told(process, "resumed"))["text"] == "echo: after"
            assert (await told(process, "audit"))["problem"] is None
            assert await process.wait() == 0
    assert verify([settings.audit_file]).ok


async def test_a_full_disk_under_the_audit_log_is_told_at_once_and_counted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No turn waits for the log; how many records are missing stands where they are missing."""
    full = False

    def write(descriptor: int, data: bytes | memoryview) -> int:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data)

    limited = partial(open_audit, write=write, queue_bytes=2000, retry_delay=0.01)
    monkeypatch.setattr(echo_actors.engine.auditing, "open_audit", limited)
    settings = plain_settings(tmp_path)
    with trio.fail_after(20):
        async with open_engine(settings, driver=InstantDriver()) as engine:
            await engine.ask(CHANNEL, "before")
            full = True
            for number in range(20):
                await engine.ask(CHANNEL, f"meanwhile {number}")
            await until(lambda: "No space" in (engine.status().audit_problem or ""))
            full = False
            await until(lambda: engine.status().audit_problem is None)
            await engine.ask(CHANNEL, "after")
    gaps = audit_records(settings, "audit.lost")
    verdict = verify([settings.audit_file])
    assert verdict.ok
    # More may be lost while what had waited is written, which makes a second gap.
    assert verdict.lost == sum(gap["records"] for gap in gaps) > 0
    assert len(audit_records(settings, "turn.ended")) < 22
