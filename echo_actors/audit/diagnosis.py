"""What was done to a chain of lines where it is broken, told from the lines around the one that does not fit."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import attrs

from echo_actors.audit.chain import GENESIS, TORN, Head, parse, sha256


class Damage(enum.StrEnum):
    """What is wrong with a line, or with what should be beside it."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    CUT = "cut"
    UNFINISHED = "unfinished"


@attrs.frozen
class BadLine:
    """Where a chain is broken.

    Attributes:
        file: Its name.
        number: Of the line, counted in the file from 1. For ``removed`` that of the line before which others are
            missing, for ``cut`` that of the last line there is.
        damage: What was done.
        why: The same in words.
    """

    file: str
    number: int
    damage: Damage
    why: str

    @property
    def place(self) -> tuple[str, int]:
        """The file and the number."""
        return self.file, self.number


class Line(NamedTuple):
    """A line where it was found, newline included. A tuple, because a check makes one of each line of a long log."""

    file: str
    number: int
    raw: bytes

    @property
    def place(self) -> tuple[str, int]:
        """The file and the number."""
        return self.file, self.number

    @property
    def body(self) -> bytes:
        """The line without its newline."""
        return self.raw.removesuffix(b"\n")


@attrs.define
class Seen:
    """The last line that fitted the chain, and the places in the chain around it.

    Attributes:
        last: The line; None when none came yet.
        head: Its place.
        before_head: The place of the line before it.
    """

    last: Line | None = None
    head: Head = GENESIS
    before_head: Head = GENESIS

    def add(self, line: Line, head: Head) -> None:
        """Note the next line that fits."""
        self.last, self.head, self.before_head = line, head, self.head


def diagnose(seen: Seen, head: Head, rest: Iterable[Line]) -> BadLine:
    """Explain why a line does not fit.

    Args:
        seen: What fitted.
        head: The place that the next line must follow.
        rest: That which does not, and all lines after it.
    """
    lines = iter(rest)
    first = next(lines)
    record = parse(first.body)
    ahead = _Ahead.look(first, record, head, lines)
    if not first.raw.endswith(b"\n"):
        return BadLine(first.file, first.number, Damage.UNFINISHED, "the line is not finished")
    if record is None:
        return _inserted(first) if ahead.follows else _no_record(first, ahead.second, seen)
    if ahead.follows:
        return _moved(first, record["seq"], head) if ahead.moved else _inserted(first)
    if record["seq"] == head.seq + 1:
        return _changed(seen, first, ahead.second)
    if record["seq"] > head.seq + 1:
        return _removed(first, head.seq + 1, record["seq"] - 1)
    doubled = record["seq"] == head.seq and record["prev"] == seen.before_head.hash
    return _inserted(seen.last if doubled and seen.last is not None else first)


@attrs.frozen
class _Ahead:
    """What comes after the line that does not fit.

    Attributes:
        second: The next line.
        follows: Whether the line comes that should have stood there.
        moved: Whether the line has its own place there, and does not stand in it.
    """

    second: Line | None
    follows: bool
    moved: bool

    @classmethod
    def look(cls, first: Line, record: dict[str, Any] | None, head: Head, lines: Iterator[Line]) -> _Ahead:
        """Read on until it is clear, to the end if need be."""
        second: Line | None = None
        follows = missed = copied = False
        number = record["seq"] if record else 0
        # There may be hundreds of thousands of lines; only those with these numbers have to be read.
        begins = tuple(b'{"seq":%d,' % each for each in (head.seq + 1, number - 1, number))
        for line in lines:
            second = second or line
            found = parse(line.body) if line.raw.startswith(begins) else None
            if found is None:
                continue
            follows = follows or (found["seq"] == head.seq + 1 and found["prev"] == head.hash)
            if follows and number <= head.seq + 1:
                break
            copied = copied or line.body == first.body
            if record is not None and found["seq"] == number - 1:
                missed = missed or sha256(line.body) == record["prev"]
        return cls(second, follows, missed and not copied)


def _moved(line: Line, number: int, head: Head) -> BadLine:
    why = f"it is line {number} of the log, and stands before line {head.seq + 1}"
    return BadLine(line.file, line.number, Damage.REORDERED, why)


def _inserted(line: Line) -> BadLine:
    return BadLine(line.file, line.number, Damage.INSERTED, "the lines around it follow each other without it")


def _removed(line: Line, first: int, last: int) -> BadLine:
    missing = (
        f"line {first} of the log, before it, is" if first == last else f"lines {first} to {last}, before it, are"
    )
    return BadLine(line.file, line.number, Damage.REMOVED, f"{missing} missing")


def _changed(seen: Seen, first: Line, second: Line | None) -> BadLine:
    """A line has the right number and names another line before it: one of the two is not what was written."""
    after = parse(second.body) if second is not None else None
    intact = after is None or after["prev"] == sha256(first.body)
    bad = seen.last if intact and seen.last is not None else first
    return BadLine(bad.file, bad.number, Damage.CHANGED, "the line after it has the hash of another line")


def _no_record(first: Line, second: Line | None, seen: Seen) -> BadLine:
    told = parse(second.body) if second is not None else None
    if told and told.get("event") == TORN and told.get("sha256") == sha256(first.body) and seen.last is not None:
        # The unfinished bytes are those that were there, and the line before them is not.
        return BadLine(seen.last.file, seen.last.number, Damage.CHANGED, "the record after it has another hash of it")
    return BadLine(first.file, first.number, Damage.CHANGED, "it is no record, and no record accounts for it")
