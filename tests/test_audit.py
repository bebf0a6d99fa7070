"""The audit log: its records, its chain, and what it does when the disk fails."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from echo_actors.audit import AuditLog, Head, open_audit, text_fields, verify
from echo_actors.audit.chain import GENESIS

NOON = datetime(2026, 1, 2, 14, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[AuditLog]:
    """Open a log whose clock stands still, and close it."""
    log = open_audit(path, **{"run_id": "run-1", "clock": lambda: NOON, "retry_delay": 0.01, **options})
    try:
        yield log
    finally:
        log.close()


def records(path: Path) -> list[dict[str, Any]]:
    """Read all records of a file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def write_log(path: Path, count: int, **options: Any) -> Head:
    """Write a log of so many turns and give its head."""
    with opened(path, **options) as log:
        for number in range(count):
            log.record("turn.ended", number=number)
    return log.head


class Disk:
    """Writes like ``os.write`` until it is full; then takes a few bytes of each write, at last none."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.refusals = 0
        # At the second refusal the first one has been dealt with.
        self.refused_twice = threading.Event()

    def wait_until_full(self) -> None:
        """Block until writes were refused."""
        assert self.refused_twice.wait(30)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write what there is room for."""
        if not self.room:
            self.refusals += 1
            if self.refusals > 1:
                self.refused_twice.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(fd, data[: self.room])
        self.room -= written
        return written


def test_a_record_is_one_json_line_with_its_fields_flat(tmp_path: Path) -> None:
    """Each line parses alone, and its keys are those of the contract, in their order."""
    path = tmp_path / "audit.jsonl"
    with opened(path) as log:
        log.record("turn.ended", channel="discord:42", cost_usd=0.5, ok=True, tokens=3, error=None)
    assert list(records(path)[0].items()) == [
        ("seq", 1),
        ("time", "2026-01-02T12:00:00.000005Z"),
        ("event", "turn.ended"),
        ("run", "run-1"),
        ("channel", "discord:42"),
        ("cost_usd", 0.5),
        ("ok", True),
        ("tokens", 3),
        ("error", None),
        ("prev", "0" * 64),
    ]


def test_each_line_carries_the_hash_of_the_one_before(tmp_path: Path) -> None:
    """The hash is that of the line's bytes without the newline, computed here independently."""
    path = tmp_path / "audit.jsonl"
    head = write_log(path, 5)
    lines = path.read_bytes().splitlines()
    hashes = [hashlib.sha256(line).hexdigest() for line in lines]
    assert [record["prev"] for record in records(path)] == ["0" * 64, *hashes[:-1]]
    assert head == Head(5, hashes[-1])


def test_a_time_without_microseconds_still_has_six_digits(tmp_path: Path) -> None:
    """Times have one width, so that they sort as text."""
    path = tmp_path / "audit.jsonl"
    with opened(path, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)) as log:
        log.record("engine.started")
    assert records(path)[0]["time"] == "2026-01-01T00:00:00.000000Z"


def test_a_restart_continues_the_chain(tmp_path: Path) -> None:
    """A second run goes on with the number and the hash of the first, and adds nothing of its own."""
    path = tmp_path / "audit.jsonl"
    head = write_log(path, 3)
    write_log(path, 2, run_id="run-2", known_head=head)
    assert [(record["seq"], record["run"]) for record in records(path)] == [
        (1, "run-1"),
        (2, "run-1"),
        (3, "run-1"),
        (4, "run-2"),
        (5, "run-2"),
    ]
    assert verify([path]).ok


def test_a_known_head_far_from_the_end_is_found(tmp_path: Path) -> None:
    """The store's head may be older than any part of the file that is read at first."""
    path = tmp_path / "audit.jsonl"
    head = write_log(path, 1)
    write_log(path, 2000)
    write_log(path, 1, known_head=head)
    assert {record["event"] for record in records(path)} == {"turn.ended"}
    assert verify([path], known_head=head).lines == 2002


def test_the_file_is_private_and_its_directory_is_made(tmp_path: Path) -> None:
    """Only the owner may read what channels did."""
    path = tmp_path / "state" / "deep" / "audit.jsonl"
    write_log(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "torn",
    [b'{"seq":4,"ti', b"\x00\x00\x00", b"garbage\n", b"two\nlines", b"\n", b'{"seq":4}'],
    ids=["half a record", "zeros", "a finished line", "two lines", "an empty line", "no record"],
)
def test_a_torn_end_is_kept_and_recorded(tmp_path: Path, torn: bytes) -> None:
    """The bytes stay, a record describes them, the chain goes through them, and an audit passes and counts them."""
    path = tmp_path / "audit.jsonl"
    head = write_log(path, 3)
    before = path.read_bytes() + torn
    path.write_bytes(before)
    write_log(path, 1, known_head=head)
    kept = torn.removesuffix(b"\n")
    assert path.read_bytes().startswith(before.removesuffix(b"\n") + b"\n")
    record = orjson.loads(path.read_bytes().splitlines()[-2])
    assert record.items() >= {
        ("seq", 4),
        ("event", "audit.torn"),
        ("bytes", len(kept)),
        ("sha256", hashlib.sha256(kept).hexdigest()),
        ("after_sha256", head.hash),
        ("prev", hashlib.sha256(kept).hexdigest()),
    }
    verdict = verify([path])
    assert (verdict.ok, verdict.torn, verdict.lines) == (True, 1, 5)


def test_a_line_that_lacks_only_its_newline_is_kept_as_a_record(tmp_path: Path) -> None:
    """The record counts, the missing newline is recorded, and nothing is numbered twice."""
    path = tmp_path / "audit.jsonl"
    head = write_log(path, 3)
    path.write_bytes(path.read_bytes()[:-1])
    write_log(path, 1, known_head=head)
    assert [(record["seq"], record["event"]) for record in records(path)][2:] == [
        (3, "turn.ended"),
        (4, "audit.torn"),
        (5, "turn.ended"),
    ]
    assert verify([path]).ok


def test_a_torn_end_that_nobody_recorded_does_not_pass(tmp_path: Path) -> None:
    """Before the next start an unfinished line is a doubt, and named with its place."""
    path = tmp_path / "audit.jsonl"
    write_log(path, 3)
    path.write_bytes(path.read_bytes() + b"half")
    bad = verify([path]).first_bad
    assert bad is not None
    assert (bad.file, bad.number) == (str(path), 4)


@pytest.mark.parametrize("edit", ["torn bytes", "line before them"])
def test_an_edit_around_torn_bytes_is_found(tmp_path: Path, edit: str) -> None:
    """The torn bytes are no hole in the chain through which a line could be changed."""
    path = tmp_path / "audit.jsonl"
    write_log(path, 3)
    path.write_bytes(path.read_bytes() + b"half")
    write_log(path, 1)
    old, new = (b"half", b"hall") if edit == "torn bytes" else (b'"number":2', b'"number":7')
    path.write_bytes(path.read_bytes().replace(old, new))
    assert not verify([path]).ok


def test_a_cut_tail_is_recorded_at_the_next_start(tmp_path: Path) -> None:
    """Lines that the store knows of and the file lacks are announced, and the verdict says so for ever."""
    path = tmp_path / "audit.jsonl"
    head = write_log(path, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    write_log(path, 1, known_head=head)
    assert records(path)[3].items() >= {
        ("seq", 4),
        ("event", "audit.cut"),
        ("expected_seq", 5),
        ("expected_sha256", head.hash),
        ("found_seq", 3),
        ("found_sha256", hashlib.sha256(lines[2].rstrip()).hexdigest()),
    }
    verdict = verify([path])
    assert (verdict.ok, verdict.cuts, verdict.first_bad) == (False, 1, None)


def test_a_rewritten_line_with_the_known_number_is_recorded_as_a_cut(tmp_path: Path) -> None:
    """The number alone does not make it the known line."""
    path = tmp_path / "audit.jsonl"
    write_log(path, 3)
    write_log(path, 1, known_head=Head(3, "f" * 64))
    assert [record["event"] for record in records(path)][3] == "audit.cut"


def test_a_missing_file_goes_on_from_the_known_head(tmp_path: Path) -> None:
    """The new file says what is missing and fails alone; with the old file back, the whole is proven."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    head = write_log(old, 3)
    write_log(new, 1, known_head=head)
    assert [(record["seq"], record["event"]) for record in records(new)] == [(4, "audit.cut"), (5, "turn.ended")]
    assert not verify([new]).ok
    assert verify([old, new]).ok
    assert not verify([new, old]).ok


def test_a_new_log_without_a_known_head_starts_at_one(tmp_path: Path) -> None:
    """A first start, with a store that knows of no line, has nothing to announce."""
    path = tmp_path / "audit.jsonl"
    write_log(path, 1, known_head=GENESIS)
    assert [(record["seq"], record["event"]) for record in records(path)] == [(1, "turn.ended")]


def test_a_later_part_of_a_log_is_proven_after_a_given_head(tmp_path: Path) -> None:
    """Files that are no longer at hand are stood in for by the last hash before the rest."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    head = write_log(old, 3)
    end = write_log(new, 2, known_head=head)
    verdict = verify([new], after=head, known_head=end)
    assert (verdict.ok, verdict.lines, verdict.head) == (True, 3, end)


LINES = 8


@st.composite
def edits(draw: st.DrawFn) -> list[bytes]:
    """A log of ``LINES`` lines after one edit; the log is the same in every example."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "audit.jsonl"
        write_log(path, LINES)
        lines = path.read_bytes().splitlines(keepends=True)
    at = draw(st.integers(0, LINES - 1))
    other = draw(st.integers(0, LINES - 1).filter(lambda index: index != at))
    kind = draw(st.sampled_from(["change", "remove", "insert", "copy", "swap", "cut", "byte"]))
    if kind == "change":
        lines[at] = lines[at].replace(b"turn.ended", b"turn.faked")
    elif kind == "remove":
        del lines[at]
    elif kind == "insert":
        lines.insert(at, draw(st.sampled_from([b"\n", b"{}\n", b"text\n", b'{"seq":3,"prev":"x"}\n'])))
    elif kind == "copy":
        lines.insert(other, lines[at])
    elif kind == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "cut":
        lines = lines[:at]
    else:
        index = draw(st.integers(0, len(lines[at]) - 1))
        byte = draw(st.integers(0, 255).filter(lambda value: value != lines[at][index]))
        lines[at] = lines[at][:index] + bytes([byte]) + lines[at][index + 1 :]
    return lines


@given(edited=edits())
def test_every_edit_is_found(edited: list[bytes]) -> None:
    """Changed, removed, added, moved and cut lines and any other byte: with a known head none passes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "audit.jsonl"
        head = write_log(path, LINES)
        assert verify([path], known_head=head).ok
        path.write_bytes(b"".join(edited))
        verdict = verify([path], known_head=head)
    assert not verdict.ok
    assert verdict.first_bad is not None


def test_the_verdict_names_the_place_of_an_edit(tmp_path: Path) -> None:
    """It is the changed line, in the second file as well."""
    old, new = tmp_path / "old.jsonl", tmp_path / "new.jsonl"
    head = write_log(old, 3)
    write_log(new, 5, known_head=head)
    new.write_bytes(new.read_bytes().replace(b'"number":1', b'"number":9'))
    verdict = verify([old, new])
    assert verdict.first_bad is not None
    assert (verdict.first_bad.file, verdict.first_bad.number, verdict.lines) == (str(new), 3, 5)


async def test_ten_thousand_records_stay_in_order(tmp_path: Path) -> None:
    """A flush waits for all that was recorded, and none is out of place."""
    path = tmp_path / "audit.jsonl"
    with opened(path) as log:
        for number in range(10_000):
            log.record("turn.ended", number=number)
        assert await log.flush(sync=True)
        assert [record["number"] for record in records(path)] == list(range(10_000))
        assert log.head.seq == 10_000
    assert verify([path], known_head=log.head).ok


async def test_a_full_disk_loses_nothing_while_there_is_room_to_wait(tmp_path: Path) -> None:
    """A write that stopped midway goes on at the same byte, and the problem shows until it does."""
    path = tmp_path / "audit.jsonl"
    disk = Disk(room=300)
    with opened(path, write=disk.write) as log:
        for number in range(10):
            log.record("turn.ended", number=number)
        await trio.to_thread.run_sync(disk.wait_until_full)
        problems = [log.problem]
        disk.room = 10**6
        assert await log.flush()
        problems.append(log.problem)
    assert problems == ["[Errno 28] No space left on device", None]
    assert [record["number"] for record in records(path)] == list(range(10))
    assert verify([path]).ok


async def test_records_dropped_by_a_full_disk_are_counted_where_they_are_missing(tmp_path: Path) -> None:
    """What found no room is told by one record that stands in the gap, and the chain is whole."""
    path = tmp_path / "audit.jsonl"
    disk = Disk(room=300)
    with opened(path, write=disk.write, queue_bytes=2000) as log:
        log.record("turn.ended", number=0, text="x" * 400)
        await trio.to_thread.run_sync(disk.wait_until_full)
        for number in range(1, 100):
            # Small ones would still find room after a big one was dropped.
            log.record("turn.ended", number=number, text="x" * (number % 2 * 400))
        disk.room = 10**6
        assert await log.flush()
        log.record("turn.ended", number=100)
    found = records(path)
    lost = next(index for index, record in enumerate(found) if record["event"] == "audit.lost")
    assert [record.get("number") for record in found] == [*range(lost), None, 100]
    assert found[lost]["records"] == 100 - lost
    assert "No space left" in found[lost]["problem"]
    verdict = verify([path], known_head=log.head)
    assert (verdict.ok, verdict.lost) == (True, 100 - lost)


async def test_a_flush_on_a_full_disk_gives_up_in_time(tmp_path: Path) -> None:
    """Nobody waits for ever for a disk."""
    disk = Disk(room=0)
    with opened(tmp_path / "audit.jsonl", write=disk.write) as log:
        log.record("turn.ended")
        assert not await log.flush(timeout=0.05)


async def test_closing_on_a_full_disk_says_how_many_were_not_written(tmp_path: Path) -> None:
    """The torn line that it leaves is recorded by the next start, and the head is still known."""
    path = tmp_path / "audit.jsonl"
    disk = Disk(room=300)
    with opened(path, write=disk.write) as log:
        log.record("turn.ended", number=0)
        assert await log.flush()
        for number in range(1, 10):
            log.record("turn.ended", number=number)
        await trio.to_thread.run_sync(disk.wait_until_full)
        await log.aclose()
    assert log.problem is not None
    whole = path.read_bytes().count(b"\n")
    assert log.problem.startswith(f"{10 - whole} audit records were not written: ")
    write_log(path, 1, known_head=log.head)
    verdict = verify([path], known_head=log.head)
    assert (verdict.ok, verdict.torn, verdict.cuts) == (True, 1, 0)


def test_a_real_write_limit_is_survived(tmp_path: Path) -> None:
    """The operating system's own limit on a file's size stops no program and leaves a log that is proven."""
    path = tmp_path / "audit.jsonl"
    script = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from echo_actors.audit import open_audit
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
log = open_audit(Path(sys.argv[1]), run_id="r", clock=lambda: datetime.now(UTC))
for number in range(50):
    log.record("turn.ended", number=number)
log.close()
print(log.problem)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    whole = path.read_bytes().count(b"\n")
    assert path.stat().st_size == 1000
    assert run.stdout.startswith(f"{50 - whole} audit records were not written: [Errno {errno.EFBIG}]")
    write_log(path, 1)
    assert (verify([path]).ok, verify([path]).torn) == (True, 1)


def test_a_program_that_forgets_to_close_still_ends_and_loses_nothing(tmp_path: Path) -> None:
    """The writer's thread notices the end of the program and writes what is left."""
    path = tmp_path / "audit.jsonl"
    script = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from echo_actors.audit import open_audit
log = open_audit(Path(sys.argv[1]), run_id="r", clock=lambda: datetime.now(UTC))
for number in range(1000):
    log.record("turn.ended", number=number)
"""
    subprocess.run([sys.executable, "-c", script, str(path)], timeout=60, check=True)
    assert len(records(path)) == 1000


async def test_a_closed_log_takes_nothing_and_closes_again(tmp_path: Path) -> None:
    """A late record is an error, not a silent gap."""
    log = open_audit(tmp_path / "audit.jsonl", run_id="r", clock=lambda: NOON)
    await log.aclose()
    log.close()
    with pytest.raises(RuntimeError, match="closed"):
        log.record("turn.ended")
    assert await log.flush()


async def test_closing_runs_to_its_end_when_cancelled(tmp_path: Path) -> None:
    """A cancelled engine writes its last records too."""
    path = tmp_path / "audit.jsonl"
    log = open_audit(path, run_id="r", clock=lambda: NOON)
    with trio.CancelScope() as scope:
        scope.cancel()
        log.record("engine.stopped")
        await log.aclose()
    assert [record["event"] for record in records(path)] == ["engine.stopped"]


@pytest.mark.parametrize("value", [["a"], {"a": 1}, b"bytes", NOON, object()], ids=lambda value: type(value).__name__)
def test_a_field_that_is_no_scalar_is_an_error(tmp_path: Path, value: object) -> None:
    """Nested values are the caller's mistake, and leave no line."""
    path = tmp_path / "audit.jsonl"
    with opened(path) as log, pytest.raises(TypeError, match="'tools'"):
        log.record("turn.ended", tools=value)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("name", ["seq", "time", "event", "run", "prev"])
def test_a_field_cannot_take_a_name_of_the_log(tmp_path: Path, name: str) -> None:
    """No caller can forge a record's number, time or link."""
    path = tmp_path / "audit.jsonl"
    with opened(path) as log, pytest.raises(TypeError, match=name):
        log.record("turn.ended", **{name: "x"})
    assert path.read_bytes() == b""


def test_text_that_utf8_cannot_hold_is_made_readable(tmp_path: Path) -> None:
    """Half a surrogate pair from a chat platform stops neither the engine nor the log."""
    path = tmp_path / "audit.jsonl"
    with opened(path, content=True) as log:
        log.record("message.accepted", **text_fields("a\ud800\n", log.content))
    assert records(path)[0]["text"] == "a\\ud800\n"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_a_number_too_large_for_json_ends_no_log(tmp_path: Path, number: int) -> None:
    """It is written as text, and what comes after it is written too."""
    path = tmp_path / "audit.jsonl"
    with opened(path) as log:
        log.record("turn.ended", count=number, largest=2**64 - 1)
        log.record("turn.ended", count=1)
    assert [record["count"] for record in records(path)] == [hex(number), 1]
    assert records(path)[0]["largest"] == 2**64 - 1


def test_text_is_described_and_not_written_unless_asked(tmp_path: Path) -> None:
    """Without content logging, only the length and the hash of a text reach the file."""
    path = tmp_path / "audit.jsonl"
    with opened(path) as log:
        log.record("message.accepted", **text_fields("a grüße secret", log.content, "reply"))
    record = records(path)[0]
    assert record["reply_chars"] == 14
    assert record["reply_sha256"] == hashlib.sha256("a grüße secret".encode()).hexdigest()
    assert b"secret" not in path.read_bytes()


def test_text_is_written_when_asked() -> None:
    """Content logging adds the text and changes nothing else."""
    assert text_fields("hi", content=True) == {**text_fields("hi", content=False), "text": "hi"}


def test_the_mask_sees_every_text_field(tmp_path: Path) -> None:
    """A secret in a field never reaches the file."""
    path = tmp_path / "audit.jsonl"
    with opened(path, mask=lambda text: text.replace("hunter2", "***")) as log:
        log.record("tool.used", command="login hunter2", count=2)
    assert records(path)[0].items() >= {("command", "login ***"), ("count", 2)}


async def test_a_mask_that_raises_costs_its_record_alone_and_is_told(tmp_path: Path) -> None:
    """The log goes on, says where a record is missing and why, and its own words give nothing away."""

    def mask(text: str) -> str:
        if "hunter2" in text:
            raise ValueError(text)
        return text

    path = tmp_path / "audit.jsonl"
    with opened(path, mask=mask) as log:
        log.record("turn.started", number=1)
        problems = [log.problem]
        for _ in range(2):
            log.record("tool.used", command="login hunter2")
        log.record("turn.ended", number=2)
        assert await log.flush()
        problems.append(log.problem)
    assert problems == [
        None,
        "2 audit records are lost, the last because tool.used could not be made into a record: ValueError",
    ]
    found = records(path)
    assert [each["event"] for each in found] == ["turn.started", "audit.lost", "audit.lost", "turn.ended"]
    assert (found[1]["records"], "ValueError" in found[1]["problem"]) == (1, True)
    assert b"hunter2" not in path.read_bytes()
    verdict = verify([path])
    assert (verdict.ok, verdict.lost) == (True, 2)


def test_the_host_programs_structlog_is_neither_used_nor_changed(tmp_path: Path) -> None:
    """A host that drops every event of its own still gets the audit log, and keeps its configuration."""

    def drop(_logger: Any, _method: str, _event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        raise structlog.DropEvent

    path = tmp_path / "audit.jsonl"
    structlog.configure(processors=[drop])
    try:
        before = structlog.get_config()
        write_log(path, 1)
        assert structlog.get_config() == before
    finally:
        structlog.reset_defaults()
    assert len(records(path)) == 1


def test_an_unconfigured_structlog_stays_unconfigured(tmp_path: Path) -> None:
    """Opening a log is no configuration."""
    structlog.reset_defaults()
    write_log(tmp_path / "audit.jsonl", 1)
    assert not structlog.is_configured()


def test_numbers_of_a_class_derived_from_int_or_float_end_no_log(tmp_path: Path) -> None:
    """JSON's writer does not know such classes, which libraries for numbers have; the values are recorded."""

    class Share(float):
        """A float as others define it."""

    class Count(int):
        """A whole number as others define it."""

    path = tmp_path / "audit.jsonl"
    with opened(path) as log:
        log.record("turn.ended", share=Share(0.5), count=Count(3))
        log.record("turn.ended", share=1.0)
    first, second = [record for record in records(path) if record["event"] == "turn.ended"]
    assert (first["share"], first["count"], second["share"]) == (0.5, 3, 1.0)
