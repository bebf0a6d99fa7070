"""Renames that happen all or not at all: a kill in their midst is made good by whoever opens the directory next.

They are written down before the first one is made. What is written down is done again from the beginning; a target
that is there tells that its rename was made, so targets must be names that are free once the renames before are made.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from echo_actors.errors import StoreError

JOURNAL: Final = "moving.json"
"""The file, in the directory that is locked meanwhile, in which the renames are written down."""

Move = tuple[Path, Path]
"""What there is, and what it is to be called."""


def move_all(directory: Path, moves: Sequence[Move]) -> None:
    """Make renames. The caller owns the directory by its lock.

    Raises:
        OSError: They could not be written down; none was made.
        StoreError: They are written down and could not be finished.
    """
    journal, coming = directory / JOURNAL, directory / f"{JOURNAL}.new"
    text = json.dumps([[str(source.absolute()), str(target.absolute())] for source, target in moves])
    descriptor = os.open(coming, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    coming.rename(journal)
    sync_directories([directory])
    finish_moves(directory)


def finish_moves(directory: Path) -> bool:
    """Finish what was written down; say whether there was anything. The caller owns the directory by its lock.

    Raises:
        StoreError: It cannot be finished; the next attempt goes on.
    """
    journal = directory / JOURNAL
    if not journal.exists():
        return False
    try:
        moves = [(Path(source), Path(target)) for source, target in json.loads(journal.read_bytes())]
        for source, target in moves:
            if not os.path.lexists(target):
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                source.rename(target)
        sync_directories(each.parent for move in moves for each in move)
        journal.unlink()
        sync_directories([directory])
    except (OSError, ValueError) as problem:
        raise StoreError(
            f"a restore into {directory} was begun and cannot be finished: {problem}; mend that and start again"
        ) from problem
    return True


def sync_directories(directories: Iterable[Path]) -> None:
    """Have the names in directories on the disk; those that are gone are passed over.

    Raises:
        OSError: They may not be there.
    """
    for directory in dict.fromkeys(directories):
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
