"""Reading an audit log from any time on, through all its files, also while it is written and its files change."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs

from echo_actors.audit.chain import parse, time_of
from echo_actors.audit.files import closed_files, tail_of
from echo_actors.regular_file import open_regular

_KIND: Final = re.compile(rb'\{"seq":(\d{1,18}),"time":"[^"]{1,40}","event":"([a-z_.]{1,60})",.*"\}')
"""A line as ``link`` and the recorder make it, by its number and its kind."""


@attrs.frozen(kw_only=True)
class Wanted:
    """Which records somebody wants to see; all of them by default.

    Attributes:
        since: Not those before this time.
        until: Not those from this time on.
        event: A pattern for the kind, such as ``turn.*``.
        kinds: Only these kinds. Lines of others are passed over by how they begin and end, which takes less than half
            the time of reading them.
    """

    since: datetime | None = None
    until: datetime | None = None
    channel: str | None = None
    event: str | None = None
    run: str | None = None
    kinds: frozenset[str] | None = None

    def matches(self, record: dict[str, Any]) -> bool:
        """Whether a record is one of them."""
        if self.channel is not None and record.get("channel") != self.channel:
            return False
        if self.run is not None and record.get("run") != self.run:
            return False
        if self.kinds is not None and str(record.get("event")) not in self.kinds:
            return False
        if self.event is not None and not fnmatch.fnmatchcase(str(record.get("event")), self.event):
            return False
        return (self.since is None and self.until is None) or self._in_time(record)

    def _in_time(self, record: dict[str, Any]) -> bool:
        time = time_of(record)
        if time is None:
            return False
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


@attrs.frozen
class Found:
    """A record, and its line without the newline."""

    record: dict[str, Any]
    line: bytes


@attrs.define(eq=False)
class LogReader:
    """Goes through a log page by page, and on when there is more. What is no record is counted and passed over.

    Attributes:
        path: The growing file.
        wanted: What is given.
        size: How many bytes were read.
        broken: How many lines were no records, as far as they were looked at.
    """

    path: Path
    wanted: Wanted = attrs.Factory(Wanted)
    size: int = attrs.field(default=0, init=False)
    broken: int = attrs.field(default=0, init=False)
    _file: BinaryIO | None = attrs.field(default=None, init=False)
    _last: int = attrs.field(default=0, init=False)
    _until: int = attrs.field(default=0, init=False)
    _begun: bool = attrs.field(default=False, init=False)

    def page(self, lines: int = 2000) -> list[Found] | None:
        """What is wanted of the next so many lines; None at the end of what there is now.

        Raises:
            OSError: A file cannot be read.
        """
        found, read = list[Found](), 0
        for line in self._lines():
            read += 1
            self.size += len(line) + 1
            if not self._is_of_another_kind(line):
                record = parse(line)
                if record is None:
                    self.broken += 1
                else:
                    self._last = record["seq"]
                    if self.wanted.matches(record):
                        found.append(Found(record, line))
            if read >= lines:
                break
        return found if read else None

    def close(self) -> None:
        """Give the file up."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _is_of_another_kind(self, line: bytes) -> bool:
        """Whether the line is of a kind that nobody wants, as far as can be told at a glance."""
        kinds = self.wanted.kinds
        if kinds is None or (told := _KIND.fullmatch(line)) is None or told[2].decode() in kinds:
            return False
        self._last = int(told[1])
        return True

    def _lines(self) -> Iterator[bytes]:
        while self._file is not None or self._open_next():
            # Asked before the file is read to its end: nothing is written into it after it was renamed.
            growing = self._is_growing()
            yield from self._whole_lines()
            if growing:
                return
            self.close()
            # By its name, whatever its last line says: it must not be opened again.
            self._last = max(self._last, self._until)

    def _whole_lines(self) -> Iterator[bytes]:
        while self._file is not None:
            line = self._file.readline()
            if not line.endswith(b"\n"):
                self._file.seek(-len(line), os.SEEK_CUR)
                return
            yield line[:-1]

    def _is_growing(self) -> bool:
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _open_next(self) -> bool:
        """Open the file that goes on where the last one ended; say whether there is one."""
        while True:
            file, self._until = self._next()
            if file is None:
                return False
            try:
                self._file = open_regular(file)
            except FileNotFoundError:
                continue  # it got another name, or was removed as too old
            if file != self.path or self._next()[0] == self.path:
                self._begun = True
                return True
            self.close()

    def _next(self) -> tuple[Path | None, int]:
        for last, file in closed_files(self.path):
            if last > self._last and not self._is_too_early(file):
                return file, last
        return (self.path if self.path.exists() else None), 0

    def _is_too_early(self, file: Path) -> bool:
        if self._begun or self.wanted.since is None:
            return False
        time = tail_of(file).time
        return time is not None and time < self.wanted.since
