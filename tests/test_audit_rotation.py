"""The audit log's files: how one makes way for the next, what is kept, and that the chain goes through all of it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from echo_actors.audit import AuditLog, Head, Keeping, log_files, open_audit, verify
from echo_actors.audit.files import closed_files, closed_name
from echo_actors.audit.reading import LogReader, Wanted
from echo_actors.audit.schema import problems

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
EACH = Keeping(max_bytes=1)
"""A file for each batch of records."""


@attrs.define
class Clock:
    """A clock that is set by hand."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        """The time."""
        return self.now


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[AuditLog]:
    """Open a log, and close it."""
    log = open_audit(path, **{"run_id": "run-1", "clock": lambda: NOON, "retry_delay": 0.01, **options})
    try:
        yield log
    finally:
        log.close()


async def write(log: AuditLog, *numbers: int) -> None:
    """Write records, each as a batch of its own, which is when files change."""
    for number in numbers:
        log.record("turn.ended", number=number)
        assert await log.flush()
        # What a batch leads to is done when the next is taken.
        assert await log.flush()


def beside(path: Path) -> list[Path]:
    """All that is in the log's directory."""
    return sorted(path.parent.iterdir())


def records(path: Path) -> list[dict[str, Any]]:
    """All records of a log, in the order of its files."""
    return [orjson.loads(line) for file in log_files(path) for line in file.read_bytes().splitlines()]


def numbers(path: Path) -> list[int]:
    """The numbers that were given to the turns."""
    return [record["number"] for record in records(path) if record["event"] == "turn.ended"]


async def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    """The old one is named after its last record; names sort as the records do, and the new one is private too."""
    path = tmp_path / "audit.jsonl"
    with opened(path, keeping=EACH) as log:
        await write(log, *range(3))
    assert [file.name for file in log_files(path)] == [
        *("audit.000000000001.jsonl", "audit.000000000002.jsonl", "audit.000000000003.jsonl", "audit.jsonl"),
    ]
    assert log_files(path)[:3] == sorted(log_files(path)[:3])
    assert {file.stat().st_mode & 0o777 for file in log_files(path)} == {0o600}
    assert beside(path) == sorted(log_files(path))


async def test_each_file_opens_with_the_last_hash_of_the_one_before(tmp_path: Path) -> None:
    """So the chain is whole, with numbers that go on."""
    path = tmp_path / "audit.jsonl"
    with opened(path, keeping=Keeping(max_bytes=500)) as log:
        await write(log, *range(10))
    assert len(log_files(path)) > 3
    verdict = verify(log_files(path), known_head=log.head)
    assert (verdict.ok, verdict.lines, verdict.known) == (True, 10, log.head)
    assert numbers(path) == list(range(10))


async def test_an_old_file_is_followed_by_another(tmp_path: Path) -> None:
    """Its age is that of its first record, also of an earlier run."""
    path, clock = tmp_path / "audit.jsonl", Clock()
    keeping = Keeping(max_age=60)
    with opened(path, keeping=keeping, clock=clock) as log:
        await write(log, 1)
        clock.now += timedelta(seconds=59)
        await write(log, 2)
    assert len(log_files(path)) == 1
    with opened(path, keeping=keeping, clock=clock) as log:
        clock.now += timedelta(seconds=1)
        await write(log, 3)
        assert [last for last, _ in closed_files(path)] == [3]
        await write(log, 4)
    assert len(log_files(path)) == 2
    assert verify(log_files(path)).ok


async def test_only_so_many_files_are_kept_and_the_log_says_which_are_gone(tmp_path: Path) -> None:
    """The record that tells of the cut has what the first line that is left must follow; an audit goes by that."""
    path = tmp_path / "audit.jsonl"
    with opened(path, keeping=Keeping(max_bytes=1, files=3)) as log:
        await write(log, *range(20))
    assert len(closed_files(path)) == 3
    verdict = verify(log_files(path), known_head=log.head)
    assert (verdict.ok, verdict.known) == (True, log.head)
    assert verdict.begin.seq > 0
    assert numbers(path)[-1] == 19
    assert [
        problem for record in records(path) if record["event"] == "audit.pruned" for problem in problems(record)
    ] == []


async def test_files_are_removed_some_time_after_their_last_record(tmp_path: Path) -> None:
    """At the next start too."""
    path, clock = tmp_path / "audit.jsonl", Clock()
    keeping = Keeping(max_bytes=1, seconds=100)
    with opened(path, keeping=keeping, clock=clock) as log:
        await write(log, 1, 2)
        clock.now += timedelta(seconds=60)
        await write(log, 3)
    assert numbers(path) == [1, 2, 3]
    clock.now += timedelta(seconds=50)
    with opened(path, keeping=keeping, clock=clock, known_head=log.head) as log:
        await write(log, 4)
    assert numbers(path) == [3, 4]
    pruned = next(record for record in records(path) if record["event"] == "audit.pruned")
    assert (pruned["files"], pruned["until_seq"]) == (2, 2)
    assert verify(log_files(path), known_head=log.head).ok


async def test_a_removed_file_that_retention_did_not_remove_is_found(tmp_path: Path) -> None:
    """Whether it is the first, one in the middle or the last; so is a cut that goes further than the recorded one."""
    path = tmp_path / "audit.jsonl"
    with opened(path, keeping=Keeping(max_bytes=1, files=4)) as log:
        await write(log, *range(8))
    files = log_files(path)
    for left, damage in ((files[1:], "removed"), ([*files[:2], *files[3:]], "removed"), (files[:-2], "cut")):
        bad = verify(left, known_head=log.head).first_bad
        assert bad is not None
        assert bad.damage == damage


async def test_a_head_that_retention_has_removed_is_no_cut(tmp_path: Path) -> None:
    """The store's copy of the head may be old; neither a start nor a check takes that for an edit."""
    path = tmp_path / "audit.jsonl"
    keeping = Keeping(max_bytes=1, files=2)
    with opened(path, keeping=keeping) as log:
        await write(log, 0)
        old = log.head
        await write(log, *range(1, 9))
    with opened(path, keeping=keeping, known_head=old) as log:
        await write(log, 9)
    assert "audit.cut" not in {record["event"] for record in records(path)}
    verdict = verify(log_files(path), known_head=old)
    assert (verdict.ok, verdict.known) == (True, None)


@pytest.mark.parametrize("back", [1, 3])
async def test_a_known_head_in_an_earlier_file_is_found(tmp_path: Path, back: int) -> None:
    """And one that is not there, though its number is, is recorded as a cut."""
    path = tmp_path / "audit.jsonl"
    heads = list[Head]()
    with opened(path, keeping=EACH) as log:
        for number in range(5):
            await write(log, number)
            heads.append(log.head)
    with opened(path, known_head=heads[-back]) as log:
        await write(log, 5)
    assert "audit.cut" not in {record["event"] for record in records(path)}
    with opened(path, known_head=Head(heads[-back].seq, "f" * 64)) as log:
        await write(log, 6)
    assert "audit.cut" in {record["event"] for record in records(path)}


@pytest.mark.parametrize(
    "left", ["no growing file", "an empty one", "a new one that has no name yet", "half a record"]
)
async def test_a_program_that_ends_while_files_change_loses_and_repeats_nothing(tmp_path: Path, left: str) -> None:
    """Whatever the end left of the growing file, the next run goes on where the one before it ended."""
    path = tmp_path / "audit.jsonl"
    with opened(path) as log:
        await write(log, 1, 2)
    path.rename(closed_name(path, 2))
    if left == "an empty one":
        path.touch()
    elif left == "a new one that has no name yet":
        path.with_name("audit.jsonl.new").touch()
    elif left == "half a record":
        path.write_bytes(b'{"seq":3,"ti')
    with opened(path, keeping=EACH, known_head=log.head) as log:
        await write(log, 3, 4)
    assert [record["number"] for record in _whole_records(path) if "number" in record] == [1, 2, 3, 4]
    verdict = verify(log_files(path), known_head=log.head)
    assert (verdict.ok, verdict.cuts, verdict.torn) == (True, 0, left == "half a record")


def _whole_records(path: Path) -> list[dict[str, Any]]:
    reader, found = LogReader(path), list[dict[str, Any]]()
    while (page := reader.page()) is not None:
        found += [each.record for each in page]
    reader.close()
    return found


CHILD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import trio
from echo_actors.audit import Keeping, open_audit
async def main():
    keeping = Keeping(max_bytes=2000, files=5)
    log = open_audit(Path(sys.argv[1]), run_id="r", clock=lambda: datetime.now(UTC), keeping=keeping)
    print("ready", flush=True)
    while True:
        for number in range(5):
            log.record("turn.ended", number=number)
        await log.flush()
trio.run(main)
"""


def test_a_program_that_is_killed_while_files_change_leaves_a_log_that_is_proven(tmp_path: Path) -> None:
    """Killed again and again: no record is there twice, none is missing between two others, and no cut is seen."""
    path = tmp_path / "audit.jsonl"
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            before = len(closed_files(path)) and closed_files(path)[-1][0]
            while not closed_files(path) or closed_files(path)[-1][0] < before + 100:
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
    with opened(path) as log:
        log.record("engine.started")
    assert len(closed_files(path)) >= 5
    verdict = verify(log_files(path), known_head=log.head)
    assert (verdict.first_bad, verdict.cuts, verdict.known) == (None, 0, log.head)


@pytest.mark.parametrize("refused", ["open", "rename", "second rename", "fsync"])
async def test_a_disk_that_takes_no_new_file_leaves_the_old_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """It is told, nothing is lost, and the change is made once there is room."""
    path, full = tmp_path / "audit.jsonl", True
    calls = 0

    def refusing(function: Callable[..., Any], *, after: int = 0) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if full and calls > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **options)

        return call

    with opened(path, keeping=Keeping(max_bytes=300)) as log:
        await write(log, 0)
        match refused:
            case "open":
                real = os.open
                monkeypatch.setattr(
                    os,
                    "open",
                    lambda name, *rest: refusing(real)(name, *rest) if ".new" in str(name) else real(name, *rest),
                )
            case "rename":
                monkeypatch.setattr(Path, "rename", refusing(Path.rename))
            case "second rename":
                rename = Path.rename
                monkeypatch.setattr(
                    Path,
                    "rename",
                    lambda source, target: (
                        refusing(rename)(source, target) if ".new" in source.name else rename(source, target)
                    ),
                )
            case _:
                monkeypatch.setattr(os, "fsync", refusing(os.fsync))
        await write(log, *range(1, 5))
        assert "No space left" in str(log.problem)
        assert closed_files(path) == []
        full = False
        monkeypatch.undo()
        while not closed_files(path):
            await write(log, 5)
        await write(log, 6)
        problems = [log.problem]
    assert problems == [None]
    assert numbers(path)[:5] == [0, 1, 2, 3, 4]
    assert verify(log_files(path), known_head=log.head).ok
    assert beside(path) == sorted(log_files(path))


def test_a_real_write_limit_during_a_change_of_files_is_survived(tmp_path: Path) -> None:
    """Files may not grow beyond what one takes: each is followed by another, and nothing is lost."""
    path = tmp_path / "audit.jsonl"
    script = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
import trio
from echo_actors.audit import Keeping, open_audit
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
async def main():
    log = open_audit(Path(sys.argv[1]), run_id="r", clock=lambda: datetime.now(UTC), keeping=Keeping(max_bytes=700))
    for number in range(50):
        log.record("turn.ended", number=number)
        assert await log.flush()
        assert await log.flush()
    log.close()
    print(log.problem, log.lost)
trio.run(main)
"""
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "None 0\n"
    assert numbers(path) == list(range(50))
    assert verify(log_files(path)).ok


async def test_a_file_that_is_in_the_way_is_not_overwritten(tmp_path: Path) -> None:
    """The log goes on in the old file and says what is wrong."""
    path = tmp_path / "audit.jsonl"
    closed_name(path, 1).write_bytes(b"somebody else's\n")
    with opened(path, keeping=EACH) as log:
        log.record("engine.started")
        assert await log.flush()
        assert await log.flush()
        assert "is in the way" in (log.problem or "")
    assert closed_name(path, 1).read_bytes() == b"somebody else's\n"


async def test_an_old_file_that_is_damaged_is_kept(tmp_path: Path) -> None:
    """It is evidence; that it cannot be removed is told."""
    path = tmp_path / "audit.jsonl"
    with opened(path, keeping=EACH) as log:
        await write(log, *range(4))
    first = log_files(path)[0]
    first.write_bytes(b"garbage\n")
    with opened(path, keeping=Keeping(max_bytes=1, files=1)) as log:
        await write(log, 4)
        assert "does not end with a record" in (log.problem or "")
    assert first.exists()


async def test_other_files_beside_the_log_are_left_alone(tmp_path: Path) -> None:
    """What merely looks alike is neither read nor removed."""
    path = tmp_path / "audit.jsonl"
    others = [tmp_path / name for name in ("audit.1.jsonl", "audit.old.jsonl", "other.000000000001.jsonl")]
    for other in others:
        other.write_text("x")
    with opened(path, keeping=Keeping(max_bytes=1, files=1)) as log:
        await write(log, *range(5))
    assert all(other.read_text() == "x" for other in others)
    assert verify(log_files(path)).ok


async def test_a_reader_goes_on_across_files(tmp_path: Path) -> None:
    """It sees each record once, in order, however many files were begun meanwhile."""
    path = tmp_path / "audit.jsonl"
    reader, seen = LogReader(path), list[int]()

    def read() -> None:
        while (page := reader.page(2)) is not None:
            seen.extend(each.record["number"] for each in page)

    assert reader.page() is None
    with opened(path, keeping=Keeping(max_bytes=400)) as log:
        for first in range(0, 60, 6):
            await write(log, *range(first, first + first % 5 + 1))
            read()
    read()
    reader.close()
    assert seen == numbers(path)
    assert len(log_files(path)) > 5


async def test_a_reader_passes_over_files_that_are_too_old(tmp_path: Path) -> None:
    """And gives what is wanted of the others: by time, channel, kind and run."""
    path, clock = tmp_path / "audit.jsonl", Clock()
    with opened(path, keeping=EACH, clock=clock) as log:
        for minute in range(6):
            clock.now = NOON + timedelta(minutes=minute)
            log.record("tool.started" if minute % 2 else "turn.ended", channel=f"c{minute % 3}")
            assert await log.flush()
            assert await log.flush()
    log_files(path)[0].write_bytes(b"nobody reads this\n" + log_files(path)[0].read_bytes())

    def found(**wanted: Any) -> list[int]:
        with closing(LogReader(path, Wanted(**wanted))) as reader:
            return [each.record["seq"] for each in reader.page() or ()]

    assert found(since=NOON + timedelta(minutes=3)) == [4, 5, 6]
    assert found(until=NOON + timedelta(minutes=2)) == [1, 2]
    assert found(channel="c1") == [2, 5]
    assert found(event="turn.*") == [1, 3, 5]
    assert found(run="another") == []
