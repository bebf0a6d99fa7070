"""The files of the audit log as a backup has them, under names that do not depend on the setting ``audit_path``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

import attrs

from echo_actors.audit import Head, Verdict, log_files, verify
from echo_actors.audit.files import closed_files, closed_name
from echo_actors.backup.copying import Progress
from echo_actors.backup.manifest import AUDIT, audit_name
from echo_actors.errors import BackupError
from echo_actors.regular_file import open_regular
from echo_actors.state.records import Note

_ATTEMPTS: Final = 20
"""How often the files are opened anew, because some got other names meanwhile."""


def open_log(path: Path, files: ExitStack) -> list[tuple[str, BinaryIO]]:
    """Open all files of a log, as they are at one moment, each with the name that it has in a backup; oldest first.

    Raises:
        OSError: One cannot be opened.
        BackupError: They do not come to rest.
    """
    for _ in range(_ATTEMPTS):
        numbers: dict[Path, int | None] = {file: number for number, file in closed_files(path)}
        if path.exists():
            numbers[path] = None
        with ExitStack() as attempt:
            try:
                opened = [
                    (audit_name(number), attempt.enter_context(open_regular(file))) for file, number in numbers.items()
                ]
            except FileNotFoundError:
                continue
            if log_files(path) == list(numbers):
                files.enter_context(attempt.pop_all())
                return opened
    raise BackupError(str(path), "the audit log's files do not come to rest; set audit_max_bytes higher")


def place_of(name: str, path: Path) -> Path:
    """Where a file of a backup's log belongs if the log's growing file is at this path."""
    number = name.split(".")[1]
    return path if number == "jsonl" else closed_name(path, int(number))


@attrs.frozen
class LogState:
    """What is proven of a log: so many records, the hash of the last of them, and what is wrong after it."""

    records: int
    head: str
    broken: str


def state_of_log(backup: Path, known: Note | None, progress: Progress) -> LogState:
    """What is proven of the log in a backup.

    Raises:
        OSError: A file cannot be read.
    """
    files = log_files(backup / AUDIT / "audit.jsonl")
    progress.begin("checking the audit log", sum(file.stat().st_size for file in files))
    verdict = verify(files, known_head=None if known is None else Head(**known), progress=progress.advance)
    return LogState(verdict.lines, verdict.head.hash, _broken(verdict))


def _broken(verdict: Verdict) -> str:
    bad = verdict.first_bad
    if bad is not None:
        return f"{Path(bad.file).name}, line {bad.number}: {bad.why}"
    return "lines that the store knew of were gone at a start" if verdict.cuts else ""
