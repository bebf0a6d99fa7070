"""The engine and its audit log: the head in the store, announced trouble, and the disk before an end is announced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import pytest
from support import Gate, audit_records, new_id, opened, plain_settings, until

import echo_actors.engine.auditing
from echo_actors import AuditChanged, TurnFailed
from echo_actors.actors.topic import Subscription
from echo_actors.audit import Head, log_files, open_audit, verify
from echo_actors.audit.diagnosis import Damage
from echo_actors.claude.driver import TurnRequest
from echo_actors.events import TurnEnded
from echo_actors.models import FullPolicy
from echo_actors.state.peek import peek_note
from echo_actors.state.records import AUDIT_HEAD
from echo_actors.testing.instant_driver import SPENT, Answer, InstantDriver, echo


@attrs.define(eq=False)
class Disk:
    """The audit log's disk, and what was asked of it."""

    full: bool = False
    fails_to_sync: bool = False
    synced: list[bytes] = attrs.Factory(list)
    path: Path = Path()

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """Write, when there is room."""
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Note what is in the file by now."""
        if self.fails_to_sync:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if os.path.samestat(os.fstat(descriptor), self.path.stat()):
            self.synced.append(self.path.read_bytes())


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk of all logs that engines open in the test."""
    disk = Disk(path=tmp_path / "state" / "audit.jsonl")
    limited = partial(open_audit, write=disk.write, queue_bytes=10_000, retry_delay=0.01)
    monkeypatch.setattr(echo_actors.engine.auditing, "open_audit", limited)
    monkeypatch.setattr(os, "fsync", disk.sync)
    monkeypatch.setattr(echo_actors.engine.auditing, "LOOK_EVERY", 0.01)
    return disk


async def test_an_end_is_announced_when_the_log_that_tells_of_it_is_on_the_disk(tmp_path: Path, disk: Disk) -> None:
    """With the setting, and whatever the end is: an answer, or that a newer message took the place."""
    settings = plain_settings(tmp_path, audit_sync=True, mailbox_size=1, full_mailbox=FullPolicy.DROP_OLDEST)
    gate, ids = Gate(), [new_id() for _ in range(3)]
    async with opened(settings, driver=InstantDriver(gate)) as engine, engine.subscribe() as events:
        await engine.post("c", "hold on", message_id=ids[0])
        await gate.entered()
        await engine.post("c", "second", message_id=ids[1])
        await engine.post("c", "third", message_id=ids[2])
        gate.open()
        for _ in ids:
            end = await ended(events)
            assert tells_of_end(disk.synced[-1], end.message_id)
        assert engine.status().audit_unsynced == 0


async def test_without_the_setting_no_end_waits_for_the_disk(tmp_path: Path, disk: Disk) -> None:
    """It is off by default: what a kill costs then is the last tenth of a second."""
    message_id = new_id()
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("c", "hello", message_id=message_id)
        assert not any(tells_of_end(content, message_id) for content in disk.synced)
    assert tells_of_end(disk.synced[-1], message_id)


@pytest.mark.parametrize("refuses", ["full", "fails_to_sync"])
async def test_a_disk_that_refuses_holds_no_end_back_for_ever(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    """The end is announced after a bound, and that it was is counted and recorded."""
    monkeypatch.setattr(echo_actors.engine.auditing, "SYNC_WITHIN", 0.05)
    settings = plain_settings(tmp_path, audit_sync=True)
    async with opened(settings, driver=InstantDriver()) as engine:
        setattr(disk, refuses, True)
        for count in (1, 2):
            assert (await engine.ask("c", "hello")).text == "echo: hello"
            assert engine.status().audit_unsynced == count
        setattr(disk, refuses, False)
        await engine.ask("c", "hello")
        assert engine.status().audit_unsynced == 2
    assert [record["times"] for record in audit_records(settings, "audit.unsynced")] == [1, 2]
    assert verify(log_files(settings.audit_file)).ok


async def test_a_log_that_cannot_be_written_is_an_event(tmp_path: Path, disk: Disk) -> None:
    """So is its recovery; with how many records are lost, which the log and the status say too."""
    settings = plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver()) as engine, engine.subscribe() as events:
        disk.full = True
        for _ in range(60):
            await engine.ask("c", "hello")
        seen = [await changed(events, lambda event: event.lost > 0)]
        disk.full = False
        seen.append(await changed(events, lambda event: event.problem is None))
        assert await engine._audit.flush()
        lost = engine.status().audit_lost
    assert "No space left" in (seen[0].problem or "")
    assert 0 < seen[0].lost <= seen[1].lost <= lost == verify(log_files(settings.audit_file)).lost
    assert seen[0].channel == ""


async def test_the_store_has_the_head_while_the_engine_runs(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line is on the disk before the store knows of it; a cut after that shows though the engine was killed."""
    monkeypatch.setattr(echo_actors.engine.auditing, "HEAD_EVERY", 0.02)
    settings = plain_settings(tmp_path)

    def kept() -> Head | None:
        note = peek_note(settings.state_dir, AUDIT_HEAD)
        return None if note is None else Head(**note)

    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        await until(lambda: (head := kept()) is not None and head.seq >= 4)
        head = kept()
        assert head is not None
        assert any(len(content.splitlines()) >= head.seq for content in disk.synced)
        lines = settings.audit_file.read_bytes().splitlines(keepends=True)
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(b"".join(lines[: head.seq - 1]))
    bad = verify([cut], known_head=head).first_bad
    assert bad is not None
    assert bad.damage == Damage.CUT


async def test_an_engine_changes_files_and_the_next_one_goes_on(tmp_path: Path) -> None:
    """By the settings, across runs, with what retention removed recorded."""
    settings = plain_settings(tmp_path, audit_max_bytes=1, audit_keep_files=2)
    for _ in range(3):
        async with opened(settings, driver=InstantDriver()) as engine:
            await engine.ask("c", "hello")
    head = Head(**(peek_note(settings.state_dir, AUDIT_HEAD) or {}))
    assert len(log_files(settings.audit_file)) == 3
    verdict = verify(log_files(settings.audit_file), known_head=head)
    assert (verdict.ok, verdict.known) == (True, head)


async def test_what_turns_took_is_in_their_records(tmp_path: Path) -> None:
    """Of one that is tried again, one whose reply no store takes, and one that a drain cuts, as well."""

    def answer(request: TurnRequest) -> Answer:
        result = echo(request)
        if "again" in request.content and len(driver.requests) == 1:
            return attrs.evolve(result, error="overloaded", reason="busy", blocks=())
        odd = attrs.evolve(result.spent, duration_ms=2**70)
        return attrs.evolve(result, spent=odd) if "odd" in request.content else result

    gate = Gate(answer=answer)
    driver = InstantDriver(gate)
    settings = plain_settings(tmp_path, drain_timeout=0.01)
    async with opened(settings, driver=driver) as engine:
        await engine.ask("c", "again")
        with pytest.raises(TurnFailed):
            await engine.ask("c", "odd")
        receipt = await engine.post("c", "hold")
        await gate.entered()
    (retried,), (cut,) = audit_records(settings, "turn.retried"), audit_records(settings, "turn.cut")
    answered, failed = audit_records(settings, "turn.ended")
    for record in (retried, answered, failed):
        assert (record["cost_usd"], record["input_tokens"], record["output_tokens"]) == (SPENT.cost_usd, 100, 20)
    started = audit_records(settings, "turn.started")
    assert [record["turn"] for record in started] == [record["turn"] for record in (retried, answered, failed, cut)]
    assert started[-1]["message"] == receipt.message_id
    assert 0 <= answered["first_output_ms"] < 15_000
    assert "first_output_ms" not in retried


async def ended(events: Subscription) -> TurnEnded:
    """The next end of a message."""
    while True:
        event = await anext(events)
        if isinstance(event, TurnEnded):
            return event


async def changed(events: Subscription, as_wanted: Callable[[AuditChanged], bool]) -> AuditChanged:
    """The next event of the log that is as somebody wants it."""
    while True:
        event = await anext(events)
        if isinstance(event, AuditChanged) and as_wanted(event):
            return event


def tells_of_end(content: bytes, message_id: str) -> bool:
    """Whether a log tells of the end of a message."""
    return any(b'"turn.ended"' in line and message_id.encode() in line for line in content.splitlines())
