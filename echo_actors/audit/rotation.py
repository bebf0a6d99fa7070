"""The growing file of an audit log, how it makes way for the next, and which old files are to go.

A full file is renamed and a new one takes its place. The new one is made first, because that is what a full disk
refuses; a program that ends between the renames leaves a log without a growing file, which the next opening makes.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import attrs

from echo_actors.audit.chain import Head
from echo_actors.audit.files import closed_files, closed_name, first_of, tail_of

FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


@attrs.frozen(kw_only=True)
class Keeping:
    """How much of a log is kept, and in how large pieces; without limits by default.

    Attributes:
        max_bytes: The size above which a file is followed by another.
        max_age: The age of its first record, in seconds, above which it is.
        files: How many files are kept besides the growing one.
        seconds: For how long a file is kept after its last record.
    """

    max_bytes: float = math.inf
    max_age: float = math.inf
    files: float = math.inf
    seconds: float = math.inf


@attrs.frozen
class Old:
    """Files that are to go, oldest first, and the last line that they have."""

    files: list[Path]
    until: Head


@attrs.define(eq=False)
class LogFile:
    """Owns the descriptor of the growing file. Used by one thread."""

    path: Path
    keeping: Keeping
    _clock: Callable[[], datetime]
    _write: Callable[[int, bytes | memoryview], int]
    _fd: int
    _size: int = attrs.field(init=False)
    _since: datetime | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """See what is there already."""
        self._size = os.fstat(self._fd).st_size
        first = first_of(self._fd) if self._size else None
        self._since = None if first is None else first[1]

    def write(self, data: memoryview) -> int:
        """Append some of the data; say how many bytes.

        Raises:
            OSError: Nothing was.
        """
        written = self._write(self._fd, data)
        self._since = self._since or self._clock()
        self._size += written
        return written

    def sync(self) -> None:
        """Have everything on the disk.

        Raises:
            OSError: It may not be there.
        """
        os.fsync(self._fd)

    def close(self) -> None:
        """Give the file up."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    @property
    def is_full(self) -> bool:
        """Whether another file is due."""
        if self._since is None:
            return False
        return self._size >= self.keeping.max_bytes or self._age(self._since) >= self.keeping.max_age

    def rotate(self, last: int) -> None:
        """Go on in a new file; the old one, which ends with a whole line, is on the disk then.

        Args:
            last: The number of the last record in the old one.

        Raises:
            OSError: It goes on in the old one.
        """
        closed, coming = closed_name(self.path, last), self.path.with_name(self.path.name + ".new")
        if closed.exists():
            raise FileExistsError(f"{closed} is in the way")
        self.sync()
        fd = os.open(coming, FLAGS | os.O_TRUNC, 0o600)
        try:
            self.path.rename(closed)
            try:
                coming.rename(self.path)
            except OSError:
                closed.rename(self.path)
                raise
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                coming.unlink()
            raise
        os.close(self._fd)
        self._fd, self._size, self._since = fd, 0, None
        self._sync_names()

    def old(self) -> Old | None:
        """Say which files are to go by number or age; None when none is.

        Raises:
            OSError: One cannot be read. It is kept, and so are those after it.
        """
        closed = closed_files(self.path)
        too_many = len(closed) - self.keeping.files
        old: Old | None = None
        for index, (_, file) in enumerate(closed):
            if index >= too_many and math.isinf(self.keeping.seconds):
                break
            tail = tail_of(file)
            if tail.time is None:
                raise OSError(f"{file} does not end with a record; it is kept, and so are those after it")
            if index >= too_many and self._age(tail.time) < self.keeping.seconds:
                break
            old = Old([path for _, path in closed[: index + 1]], tail.head)
        return old

    def remove(self, old: Old) -> None:
        """Remove files, oldest first.

        Raises:
            OSError: One cannot be.
        """
        for file in old.files:
            file.unlink(missing_ok=True)
        self._sync_names()

    def _age(self, since: datetime) -> float:
        return (self._clock() - since).total_seconds()

    def _sync_names(self) -> None:
        # Renamed it is already; that a loss of power does not undo it is worth no more than an attempt.
        with contextlib.suppress(OSError):
            fd = os.open(self.path.parent, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
