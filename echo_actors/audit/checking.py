"""The check of an audit log: follows the chain from file to file, and tells where and how it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain as chained
from pathlib import Path
from typing import Any

import attrs

from echo_actors.audit.chain import CUT, GENESIS, LOST, PRUNED, TORN, Head, parse, sha256
from echo_actors.audit.diagnosis import BadLine, Damage, Line, Seen, diagnose
from echo_actors.audit.files import lines_of


@attrs.define
class Checker:
    """Follows a chain line by line.

    Attributes:
        head: The last line that fitted; None before the first, which is then taken at its word if it is not line 1.
        torn: How many ``audit.torn`` records account for unfinished bytes.
        cuts: How many ``audit.cut`` records tell of lines that are not here.
        lost: How many records were never written, by the ``audit.lost`` records.
        removed: The last lines of what retention removed, by the ``audit.pruned`` records.
        unread: Lines that are no records and that no ``audit.torn`` record accounts for yet.
    """

    head: Head | None
    torn: int = 0
    cuts: int = 0
    lost: int = 0
    removed: set[Head] = attrs.field(factory=set)
    unread: list[bytes] = attrs.field(factory=list)

    def feed(self, line: bytes) -> bool:
        """Take the next line, given without its newline; say whether it fits."""
        head = self.head
        if head is not None and not self.unread and _plainly_follows(line, head):
            self.head = Head(head.seq + 1, sha256(line))
            return True
        record = parse(line)
        if record is None:
            self.unread.append(line)
            return True
        if self.head is None:
            begins = self.unread or record["seq"] <= 1
            self.head = GENESIS if begins else Head(record["seq"] - 1, record["prev"])
        after = self.head
        if self.unread:
            torn = b"\n".join(self.unread)
            after = Head(after.seq, sha256(torn))
            if not _accounts(record, torn, self.head):
                return False
            self.unread.clear()
        if record["prev"] != after.hash or record["seq"] != after.seq + 1:
            return False
        self.head = Head(record["seq"], sha256(line))
        self._count(record)
        return True

    def _count(self, record: dict[str, Any]) -> None:
        event = record.get("event")
        self.torn += event == TORN
        # A cut that expected the very line before it was caused by a file that had been moved away and is back.
        self.cuts += event == CUT and record.get("expected_sha256") != record["prev"]
        records = record.get("records")
        self.lost += records if event == LOST and isinstance(records, int) else 0
        if event == PRUNED:
            self.removed.add(Head(record.get("until_seq", 0), record.get("until_sha256", "")))


def _plainly_follows(line: bytes, head: Head) -> bool:
    """Whether a line is what the log writes after a place, and nothing that has to be read.

    It takes a fifth of the time that reading it takes. That what is between its ends is unchanged too, the line after
    it proves.
    """
    if line.startswith(b'{"seq":%d,"' % (head.seq + 1)) and line.endswith(b',"prev":"%b"}' % head.hash.encode()):
        return b'"event":"audit.' not in line
    return False


def _accounts(record: dict[str, Any], torn: bytes, head: Head) -> bool:
    told = (record.get("event"), record.get("bytes"), record.get("sha256"), record.get("after_sha256"))
    return told == (TORN, len(torn), sha256(torn), head.hash)


@attrs.frozen(kw_only=True)
class Verdict:
    """What a check of a log proved.

    Attributes:
        lines: How many records were proven.
        first_bad: The first line that contradicts the chain. Nothing after it was checked.
        head: The last record that was proven.
        begin: The last record before the first that is here; line 0 for a log that is here from its beginning.
        known: The kept head, if it was found where it should be: nothing up to it is missing.
        torn: How many unfinished lines the log accounts for; each is what a crash leaves.
        cuts: How many times the log itself says that lines before are missing.
        lost: How many records the log itself says were never written.
        unfinished: Whether a last line that is not finished was passed over, because the log may be growing.
    """

    lines: int
    first_bad: BadLine | None
    head: Head
    begin: Head = GENESIS
    known: Head | None = None
    torn: int = 0
    cuts: int = 0
    lost: int = 0
    unfinished: bool = False

    @property
    def ok(self) -> bool:
        """Whether every line that was written is here and unchanged, as far as the chain can tell."""
        return self.first_bad is None and not self.cuts


def verify(
    paths: Iterable[Path],
    *,
    known_head: Head | None = None,
    after: Head | None = None,
    growing: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """Prove that the lines of a log are those that were written, none changed, missing, added or moved.

    Only a known head vouches for the last line, and for there being no later ones. Whoever can write both the log
    and the place where the head is kept can forge both. Where retention removed the oldest files, the log's own
    record of that says which line the first that is left must follow.

    Args:
        paths: The log's files, oldest first, as ``log_files`` gives them.
        known_head: A head that was kept elsewhere.
        after: The last line of the file before the first of these, when older files are not at hand.
        growing: Whether the log may be being written, so that an unfinished line at its end means nothing.
        progress: Called now and then with how many bytes have been read since the last call.

    Raises:
        OSError: A file cannot be read.
    """
    reading = _Reading(list(paths), growing, progress or (lambda _: None))
    verdict = _Check(Checker(after), known_head, after is None).run(reading.lines())
    return attrs.evolve(verdict, unfinished=reading.unfinished)


_PROGRESS_BYTES = 2**20


@attrs.define
class _Reading:
    """Reads the files, and tells how far it is."""

    files: list[Path]
    growing: bool
    progress: Callable[[int], None]
    unfinished: bool = False

    def lines(self) -> Iterator[Line]:
        """The lines in order; not an unfinished last one, if the log may be growing."""
        read = 0
        for path in self.files:
            name = str(path)
            for number, raw in enumerate(lines_of(path), 1):
                if self.growing and path == self.files[-1] and not raw.endswith(b"\n"):
                    self.unfinished = True
                    break
                yield Line(name, number, raw)
                read += len(raw)
                if read >= _PROGRESS_BYTES:
                    self.progress(read)
                    read = 0
        self.progress(read)


@attrs.define
class _Check:
    checker: Checker
    known: Head | None
    may_begin_late: bool
    count: int = 0
    begin: Head | None = None
    first: Line | None = None
    last: Line | None = None
    seen: Seen = attrs.field(factory=Seen)
    bad: BadLine | None = None
    found: bool = False
    waiting: list[Line] = attrs.field(factory=list)

    def run(self, lines: Iterator[Line]) -> Verdict:
        checker, known = self.checker, self.known
        self.begin = checker.head
        if known is not None and known in (GENESIS, checker.head):
            self.found = True
        for line in lines:
            self.last = line
            raw = line.raw
            whole = raw.endswith(b"\n")
            fits = checker.feed(raw[:-1] if whole else raw)
            if not fits or not whole:
                offending = [*self.waiting, line] if whole else [line]
                self.bad = diagnose(self.seen, checker.head or GENESIS, chained(offending, lines))
                break
            if checker.unread:
                self.waiting.append(line)
                continue
            self._proven(line)
            if known is not None and checker.head is not None and checker.head.seq == known.seq:
                self.found = checker.head.hash == known.hash
                if not self.found:
                    self.bad = BadLine(line.file, line.number, Damage.CHANGED, _OTHER)
                    break
        self._end()
        head = checker.head or GENESIS
        if self.bad is not None and self.seen.last is not None and self.bad.place == self.seen.last.place:
            head, self.count = self.seen.before_head, self.count - 1
        return Verdict(
            lines=self.count,
            first_bad=self.bad,
            head=head,
            begin=self.begin or GENESIS,
            known=known if self.found else None,
            torn=checker.torn,
            cuts=checker.cuts,
            lost=checker.lost,
        )

    def _proven(self, line: Line) -> None:
        head = self.checker.head or GENESIS
        if self.first is None:
            self.first = line
            record = parse(line.raw) or {}
            if self.begin is None:
                self.begin = Head(head.seq - 1, record["prev"]) if head.seq > 1 else GENESIS
                if self.waiting:
                    self.begin = GENESIS
        self.waiting.clear()
        self.seen.add(line, head)
        self.count += 1

    def _end(self) -> None:
        """Say what is wrong with a log whose lines all fit."""
        known, head, begin = self.known, self.checker.head or GENESIS, self.begin or GENESIS
        if self.bad is not None:
            return
        last = self.seen.last
        if self.waiting:
            first = self.waiting[0]
            self.bad = BadLine(first.file, first.number, Damage.UNFINISHED, _UNACCOUNTED)
        elif last is not None and parse(last.body) is None:
            self.bad = BadLine(last.file, last.number, Damage.CHANGED, "it is no record")
        # A cut end may have had the record that tells why the log does not begin with line 1.
        elif known is not None and not self.found and known.seq > begin.seq:
            where = self.last or Line("", 0, b"")
            self.bad = BadLine(
                where.file,
                where.number,
                Damage.CUT,
                f"the log ended with line {known.seq}; here it ends with {head.seq}",
            )
        elif self.may_begin_late and self.first and begin != GENESIS and begin not in self.checker.removed:
            self.bad = BadLine(
                self.first.file, self.first.number, Damage.REMOVED, f"lines 1 to {begin.seq}, before it, are missing"
            )


_OTHER = "it is another than the one whose hash was kept"
_UNACCOUNTED = "it is no record, and no record accounts for it"
