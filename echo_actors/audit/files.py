"""The files of an audit log: one that grows, and those before it, each named after the number of its last record.

Beside ``audit.jsonl`` stand ``audit.000000004711.jsonl`` and the like. The names sort by age, and no two logs or runs
can mean different files by one name, because a number is given once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from echo_actors.audit.chain import Head, Tail, parse, read_tail, time_of

_DIGITS = 12
_CHUNK = 64 * 2**10


def closed_name(path: Path, last: int) -> Path:
    """What the growing file at this path is called once it is full; ``last`` is the number of its last record."""
    return path.with_name(f"{path.stem}.{last:0{_DIGITS}}{path.suffix}")


def closed_files(path: Path) -> list[tuple[int, Path]]:
    """The files before the growing one at this path, oldest first, each after the number of its last record."""
    name = re.compile(rf"{re.escape(path.stem)}\.(\d{{{_DIGITS},}}){re.escape(path.suffix)}")
    beside = path.parent.iterdir() if path.parent.exists() else ()
    return sorted((int(match[1]), file) for file in beside if (match := name.fullmatch(file.name)))


def log_files(path: Path) -> list[Path]:
    """All files that there are of the log whose newest file is, or would be, at this path; oldest first."""
    return [*(file for _, file in closed_files(path)), *([path] if path.exists() else [])]


def tail_of(file: Path | int, known: Head | None = None) -> Tail:
    """How a file ends.

    Args:
        file: Its path or descriptor.
        known: A line to look for.

    Raises:
        OSError: It cannot be read.
    """
    if isinstance(file, Path):
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return tail_of(fd, known)
        finally:
            os.close(fd)
    size = os.fstat(file).st_size
    length = min(size, _CHUNK)
    while (tail := read_tail(_read(file, size - length, length), known, whole=length == size)) is None:
        length = min(size, length * 4)
    return tail


def first_of(fd: int) -> tuple[int, datetime | None] | None:
    """The number and the time of a file's first record; None when it does not begin with one.

    Raises:
        OSError: It cannot be read.
    """
    size = os.fstat(fd).st_size
    length = min(size, _CHUNK)
    while b"\n" not in (data := _read(fd, 0, length)) and length < size:
        length = min(size, length * 4)
    record = parse(data.partition(b"\n")[0])
    return None if record is None else (record["seq"], time_of(record))


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a file, newlines included.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        yield from file


def _read(fd: int, start: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length and (part := os.pread(fd, length, start)):
        parts.append(part)
        start, length = start + len(part), length - len(part)
    return b"".join(parts)
