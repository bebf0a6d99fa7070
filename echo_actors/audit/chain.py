"""The hash chain of the audit log, without files: bytes in, decisions out.

A log is a sequence of lines, each a JSON object. ``seq`` counts 1, 2, 3… over all runs and files, and ``prev`` is the
SHA-256 of the bytes of the line before, without its newline; the first line of all has 64 zeros there. A changed,
removed, inserted or moved line therefore breaks the link of the line that follows it. Nothing follows the last line:
what vouches for that one is a copy of its number and hash kept elsewhere, the head.

Bytes that a crash left unfinished stay where they are. The next line is an ``audit.torn`` record whose ``prev`` is the
hash of those bytes and whose ``after_sha256`` is the hash of the last whole line, so that the chain misses neither.

The hashes need no key: whoever can write both the log and the kept head can forge both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import attrs
import orjson

TORN = "audit.torn"
CUT = "audit.cut"
LOST = "audit.lost"


@attrs.frozen
class Head:
    """A place in the chain: a line's number and the SHA-256 of its bytes, in hex."""

    seq: int = 0
    hash: str = "0" * 64


GENESIS = Head()


def sha256(data: bytes) -> str:
    """The SHA-256 of the data, in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def link(after: Head, body: bytes) -> tuple[bytes, Head]:
    """Make a record the next line of the chain.

    Args:
        after: The place that the line follows.
        body: The record as a JSON object that is not empty and has neither ``seq`` nor ``prev``.

    Returns:
        The line, without newline, and its place.
    """
    seq = after.seq + 1
    line = b'{"seq":%d,%b,"prev":"%b"}' % (seq, body[1:-1], after.hash.encode())
    return line, Head(seq, sha256(line))


def parse(line: bytes) -> dict[str, Any] | None:
    """Read a line; None when it is no record."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    whole = isinstance(record, dict) and type(record.get("seq")) is int and isinstance(record.get("prev"), str)
    return record if whole else None


@attrs.frozen(kw_only=True)
class Tail:
    """How a log ends, read back when it is opened again.

    Attributes:
        head: The last record.
        torn: The unfinished bytes after the last record, or the last record itself when only its newline is missing.
        terminated: Whether the last byte is a newline, or there is none.
        holds_known: Whether the line was found that was asked for.
    """

    head: Head = GENESIS
    torn: bytes | None = None
    terminated: bool = True
    holds_known: bool = False

    @property
    def empty(self) -> bool:
        """Whether there is nothing in the log."""
        return self.head == GENESIS and self.torn is None

    @property
    def chain(self) -> Head:
        """The place that the next line follows."""
        return self.head if self.torn is None else Head(self.head.seq, sha256(self.torn))


def read_tail(data: bytes, known: Head | None, *, whole: bool) -> Tail | None:
    """Find the end of the chain in the last bytes of a log.

    Args:
        data: The last bytes of the log.
        known: A line to look for.
        whole: Whether this is the whole log; else the first line is taken for a part of one.

    Returns:
        None when these bytes do not reach back to the last record and the known line: read more of them.
    """
    terminated = not data or data.endswith(b"\n")
    lines = data.removesuffix(b"\n").split(b"\n")[0 if whole else 1 :] if data else []
    head, last, reached = GENESIS, -1, whole
    place = head
    for index in range(len(lines) - 1, -1, -1):
        record = parse(lines[index])
        if record is None:
            continue
        place = Head(record["seq"], sha256(lines[index]))
        if last < 0:
            head, last = place, index
        if known is None or place.seq <= known.seq:
            reached = True
            break
    if not reached:
        return None
    torn = lines[last + 1 :] or (lines[last:] if not terminated else [])
    return Tail(
        head=head,
        torn=b"\n".join(torn) if torn else None,
        terminated=terminated,
        holds_known=known in (None, GENESIS, place),
    )


@attrs.define
class Checker:
    """Follows a chain line by line.

    Attributes:
        head: The last line that was proven.
        torn: How many ``audit.torn`` records account for unfinished bytes.
        cuts: How many ``audit.cut`` records tell of lines that are not here.
        lost: How many records were never written, by the ``audit.lost`` records.
        unread: Lines that are no records and that no ``audit.torn`` record accounts for yet.
    """

    head: Head = GENESIS
    torn: int = 0
    cuts: int = 0
    lost: int = 0
    unread: list[bytes] = attrs.field(factory=list)

    def feed(self, line: bytes) -> str | None:
        """Check the next line, given without its newline.

        Returns:
            Why the chain is broken here; None when it is not. Nothing is proven by lines after a broken one.
        """
        record = parse(line)
        if record is None:
            self.unread.append(line)
            return None
        after = self.head
        if self.unread:
            torn = b"\n".join(self.unread)
            after = Head(after.seq, sha256(torn))
            told = (record.get("event"), record.get("bytes"), record.get("sha256"), record.get("after_sha256"))
            if told != (TORN, len(torn), after.hash, self.head.hash):
                return "not a record, and the next record does not account for it"
            self.unread.clear()
        if record["prev"] != after.hash:
            return f"the line before this one is not the one that was written: its hash is {after.hash}"
        if record["seq"] != after.seq + 1:
            return f"the number is {record['seq']} where {after.seq + 1} was expected"
        self.head = Head(record["seq"], sha256(line))
        self._count(record)
        return None

    def end(self) -> str | None:
        """Say why the chain is broken at the end of a file; None when it is not."""
        return "not a record, and no record accounts for it" if self.unread else None

    def _count(self, record: dict[str, Any]) -> None:
        event = record.get("event")
        self.torn += event == TORN
        # A cut that expected the very line before it was caused by a file that had been moved away and is back.
        self.cuts += event == CUT and record.get("expected_sha256") != record["prev"]
        records = record.get("records")
        self.lost += records if event == LOST and isinstance(records, int) else 0


@attrs.frozen
class BadLine:
    """Where a chain is broken; ``number`` counts the lines of the file from 1."""

    file: str
    number: int
    why: str


@attrs.frozen(kw_only=True)
class Verdict:
    """What a check of a log proved.

    Attributes:
        lines: How many records were proven.
        first_bad: The first line that contradicts the chain. Nothing after it was checked.
        head: The last record that was proven.
        torn: How many unfinished lines the log accounts for; each is what a crash leaves.
        cuts: How many times the log itself says that lines before are missing.
        lost: How many records the log itself says were never written.
    """

    lines: int
    first_bad: BadLine | None
    head: Head
    torn: int = 0
    cuts: int = 0
    lost: int = 0

    @property
    def ok(self) -> bool:
        """Whether every line that was written is here and unchanged, as far as the chain can tell."""
        return self.first_bad is None and not self.cuts


def check(files: Iterable[tuple[str, Iterable[bytes]]], known: Head | None, after: Head) -> Verdict:
    """Follow the chain through files, given in order with their names and their lines, newlines included.

    Args:
        files: What to check.
        known: A line that must be there.
        after: The place that the first line must follow.
    """
    checker = Checker(head=after)
    holds_known = known in (None, GENESIS, after)
    lines, name, number, bad = 0, "", 0, None
    for name, content in files:
        number = start = 0
        for number, raw in enumerate(content, 1):
            start = start if checker.unread else number
            why = checker.feed(raw.removesuffix(b"\n")) if raw.endswith(b"\n") else "the line is not finished"
            if why:
                bad = BadLine(name, start, why)
                break
            lines += not checker.unread
            holds_known = holds_known or checker.head == known
        if bad is None and (why := checker.end()):
            bad = BadLine(name, start, why)
        if bad is not None:
            break
    if bad is None and known is not None and not holds_known:
        bad = BadLine(name, number, f"line {known.seq} with the hash {known.hash} is not here")
    return Verdict(
        lines=lines, first_bad=bad, head=checker.head, torn=checker.torn, cuts=checker.cuts, lost=checker.lost
    )
