"""The check of a long audit log: what was done to it is found, named, and told from what was not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from echo_actors.audit import Head, Keeping, log_files, verify
from echo_actors.audit.chain import GENESIS, link, sha256
from echo_actors.audit.diagnosis import BadLine, Damage
from echo_actors.audit.rotation import FLAGS, LogFile

PER_SECOND = 50
SECONDS = 2 * 3600
LINES = PER_SECOND * SECONDS
Edit = Callable[[list[bytes]], None]


@attrs.frozen
class Log:
    """A log of two hours, in several files.

    Attributes:
        before_last_file: The last line of the last file but one.
    """

    path: Path
    head: Head
    before_last_file: Head

    @property
    def files(self) -> list[Path]:
        """Its files."""
        return log_files(self.path)

    @contextmanager
    def edited(self, file: Path, edit: Edit) -> Iterator[None]:
        """Change the lines of a file for the block."""
        content = file.read_bytes()
        lines = content.splitlines(keepends=True)
        edit(lines)
        file.write_bytes(b"".join(lines))
        try:
            yield
        finally:
            file.write_bytes(content)

    def first_bad(self) -> BadLine | None:
        """What a check says, given the head."""
        return verify(self.files, known_head=self.head).first_bad


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Fifty records a second for two hours, made as fast as the chain can be, through the files that the log uses."""
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    second = 0
    file = LogFile(
        path,
        Keeping(max_bytes=8 * 2**20),
        lambda: begin + timedelta(seconds=second),
        os.write,
        os.open(path, FLAGS, 0o600),
    )
    head, before, channels = GENESIS, GENESIS, [f"discord:{number}".encode() for number in range(PER_SECOND)]
    for second in range(SECONDS):
        time, lines = (begin + timedelta(seconds=second)).isoformat().encode(), []
        for channel in channels:
            body = b'{"time":"%b","event":"turn.ended","run":"r","channel":"%b","cost_usd":0.5}' % (time, channel)
            line, head = link(head, body)
            lines.append(line + b"\n")
        file.write(memoryview(b"".join(lines)))
        if file.is_full:
            file.rotate(head.seq)
            before = head
    file.close()
    return Log(path, head, before)


def test_two_hours_that_nobody_touched_pass(log: Log) -> None:
    """All lines of all files are proven, the kept head vouches for the last, and progress is told on the way."""
    assert len(log.files) > 5
    steps = list[int]()
    verdict = verify(log.files, known_head=log.head, progress=steps.append)
    assert (verdict.ok, verdict.lines, verdict.head, verdict.known) == (True, LINES, log.head, log.head)
    assert sum(steps) == sum(file.stat().st_size for file in log.files)
    assert len(steps) > 20


def change(lines: list[bytes]) -> None:
    """Somebody paid less."""
    lines[999] = lines[999].replace(b"0.5", b"0.1")


def remove(lines: list[bytes]) -> None:
    """A line is gone."""
    del lines[999]


def insert(lines: list[bytes]) -> None:
    """A line that a forger wrote, with the right number and the right hash of the line before it."""
    record, _ = link(head_after(lines[998]), b'{"time":"2026-01-01T00:00:00Z","event":"operator.clear","run":"r"}')
    lines.insert(999, record + b"\n")


def copy(lines: list[bytes]) -> None:
    """A line is there a second time, later than its place."""
    lines.insert(999, lines[500])


def swap(lines: list[bytes]) -> None:
    """Two neighbours changed places."""
    lines[999], lines[1000] = lines[1000], lines[999]


def move(lines: list[bytes]) -> None:
    """A line stands far before its place."""
    lines.insert(999, lines.pop(5000))


def blank(lines: list[bytes]) -> None:
    """A line lost its text."""
    lines[999] = b"\n"


def head_after(line: bytes) -> Head:
    """The place of a line."""
    number = int(line.removeprefix(b'{"seq":').partition(b",")[0])
    return Head(number, sha256(line.rstrip()))


@pytest.mark.parametrize(
    ("edit", "damage"),
    [
        (change, Damage.CHANGED),
        (blank, Damage.CHANGED),
        (remove, Damage.REMOVED),
        (insert, Damage.INSERTED),
        (copy, Damage.INSERTED),
        (swap, Damage.REORDERED),
        (move, Damage.REORDERED),
    ],
)
def test_an_edit_of_one_line_in_two_hours_is_found_and_named(log: Log, edit: Edit, damage: Damage) -> None:
    """The file, the line, and what was done."""
    file = log.files[1]
    with log.edited(file, edit):
        bad = log.first_bad()
    assert bad is not None
    assert (bad.file, bad.number, bad.damage) == (str(file), 1000, damage)


@pytest.mark.parametrize(
    ("edit", "damage", "number"),
    [
        (lambda lines: lines.__setitem__(-1, lines[-1].replace(b"0.5", b"0.1")), Damage.CHANGED, 0),
        (lambda lines: lines.pop(), Damage.REMOVED, 1),
    ],
    ids=["changed", "removed"],
)
def test_an_edit_of_a_files_last_line_is_found_by_the_next_file(
    log: Log, edit: Edit, damage: Damage, number: int
) -> None:
    """Nothing in the file itself follows it. A changed line is named where it is, a missing one where it is missed."""
    file, following = log.files[1:3]
    last = len(file.read_bytes().splitlines())
    with log.edited(file, edit):
        bad = log.first_bad()
    assert bad is not None
    assert (bad.file, bad.number, bad.damage) == ((str(following), 1, damage) if number else (str(file), last, damage))


@pytest.mark.parametrize("cut", ["lines", "a file", "within a line"])
def test_a_cut_tail_is_found_by_the_kept_head_and_by_nothing_else(log: Log, cut: str) -> None:
    """Without the head, a log that ends early is a shorter log."""
    file = log.files[-1]

    def edit(lines: list[bytes]) -> None:
        match cut:
            case "lines":
                del lines[-100:]
            case "a file":
                lines.clear()
            case _:
                lines[-1] = lines[-1][:50]

    with log.edited(file, edit):
        known = verify(log.files, known_head=log.head, growing=True)
        unknown = verify(log.files[-1:], after=log.before_last_file, growing=True)
    assert known.first_bad is not None
    assert known.first_bad.damage == Damage.CUT
    assert str(log.head.seq) in known.first_bad.why
    assert (unknown.ok, unknown.known, unknown.unfinished) == (True, None, cut == "within a line")


def test_a_log_that_was_forged_from_some_line_on_is_found_by_the_kept_head(log: Log) -> None:
    """Whoever can write the log alone can make a chain that holds, and cannot make it end like the real one."""
    file = log.files[-1]

    def edit(lines: list[bytes]) -> None:
        head = head_after(lines[-11])
        for index in range(len(lines) - 10, len(lines)):
            line, head = link(head, b'{"time":"2026-01-01T00:00:00Z","event":"forged.record","run":"r"}')
            lines[index] = line + b"\n"

    with log.edited(file, edit):
        last = len(file.read_bytes().splitlines())
        bad = log.first_bad()
        assert verify(log.files[-1:], after=log.before_last_file).ok
    assert bad is not None
    assert (bad.file, bad.number, bad.damage) == (str(file), last, Damage.CHANGED)
