"""Files copied whole: up to the last line that is finished, to the disk, and with their hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from echo_actors.backup.manifest import File
from echo_actors.errors import BackupError
from echo_actors.regular_file import open_regular

_CHUNK: Final = 2**20


class Progress(Protocol):
    """Is told how far long work is, and may end it by raising."""

    def begin(self, what: str, total: int) -> None:
        """Begin another part of so many bytes or pages."""

    def advance(self, done: int) -> None:
        """So many more are done."""


def create(path: Path) -> BinaryIO:
    """Make a file that only this user can read, and the directories above it; there may be none of that name.

    Raises:
        OSError: It cannot be made.
    """
    # With ``parents``, only the last one would get the mode.
    for directory in reversed(path.parents):
        if not directory.exists():
            directory.mkdir(mode=0o700, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def copy_file(source: BinaryIO, target: Path, progress: Progress, *, lines: bool = False) -> File:
    """Copy a file as long as it is now, or with ``lines`` up to its last line that is finished.

    Raises:
        OSError: It cannot be read, or there is no room.
        BackupError: It became shorter meanwhile.
    """
    length = whole_lines(source.fileno()) if lines else os.fstat(source.fileno()).st_size
    digest, left = hashlib.sha256(), length
    with create(target) as file:
        while left:
            chunk = source.read(min(_CHUNK, left))
            if not chunk:
                raise BackupError(str(source.name), "it became shorter while it was copied")
            file.write(chunk)
            digest.update(chunk)
            left -= len(chunk)
            progress.advance(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    return File(length, digest.hexdigest())


def measured(path: Path, progress: Progress) -> File:
    """A file as it is.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    digest, size = hashlib.sha256(), 0
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            progress.advance(len(chunk))
    return File(size, digest.hexdigest())


def whole_lines(descriptor: int) -> int:
    """The length of a file up to its last line that is finished."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _CHUNK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
