"""The hash chain of the audit log, without files: bytes in, decisions out.

A log is a sequence of lines, each a JSON object. ``seq`` counts 1, 2, 3… over all runs and files, and ``prev`` is the
SHA-256 of the bytes of the line before, without its newline; the first line of all has 64 zeros there. A changed,
removed, inserted or moved line therefore breaks the link of the line that follows it. Nothing follows the last line:
what vouches for that one is a copy of its number and hash kept elsewhere, the head.

Bytes that a crash left unfinished stay where they are. The next line is an ``audit.torn`` record whose ``prev`` is the
hash of those bytes and whose ``after_sha256`` is the hash of the last whole line, so that the chain misses neither.

A log goes on from file to file. Where the oldest were removed because of their age or number, an ``audit.pruned``
record, written before, has the number and the hash of the last line that they had.

The hashes need no key: whoever can write both the log and the kept head can forge both.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

import attrs
import orjson

TORN = "audit.torn"
CUT = "audit.cut"
LOST = "audit.lost"
PRUNED = "audit.pruned"


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


def time_of(record: dict[str, Any] | None) -> datetime | None:
    """When a record was made; None when it does not say so."""
    try:
        time = None if record is None else datetime.fromisoformat(record["time"])
    except (KeyError, TypeError, ValueError):
        return None
    return None if time is None or time.tzinfo is None else time


@attrs.frozen(kw_only=True)
class Tail:
    """How a log ends, read back when it is opened again.

    Attributes:
        head: The last record.
        time: When that was made.
        torn: The unfinished bytes after the last record, or the last record itself when only its newline is missing.
        terminated: Whether the last byte is a newline, or there is none.
        holds_known: Whether the line was found that was asked for.
        after_known: Whether the first record has a higher number than that line.
    """

    head: Head = GENESIS
    time: datetime | None = None
    torn: bytes | None = None
    terminated: bool = True
    holds_known: bool = False
    after_known: bool = False

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
    head, time, last, reached = GENESIS, None, -1, whole
    place = head
    for index in range(len(lines) - 1, -1, -1):
        record = parse(lines[index])
        if record is None:
            continue
        place = Head(record["seq"], sha256(lines[index]))
        if last < 0:
            head, time, last = place, time_of(record), index
        if known is None or place.seq <= known.seq:
            reached = True
            break
    if not reached:
        return None
    torn = lines[last + 1 :] or (lines[last:] if not terminated else [])
    return Tail(
        head=head,
        time=time,
        torn=b"\n".join(torn) if torn else None,
        terminated=terminated,
        holds_known=known in (None, GENESIS, place),
        after_known=known is not None and place.seq > known.seq,
    )
