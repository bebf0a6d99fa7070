"""The opening of a SQLite store: its directory is owned, a damaged database set aside, the tables made."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import attrs
import psutil
import trio

from echo_actors.errors import StoreError, StoreLocked
from echo_actors.state import statements
from echo_actors.state.damage import is_damaged, set_aside
from echo_actors.state.lock import DirectoryLock, lock_directory
from echo_actors.state.schema import connect

DEAD_OWNER_PATIENCE = 1.0
"""Seconds to wait for a state directory whose owner is dead."""


async def own_directory(state_dir: Path, now: Callable[[], datetime]) -> DirectoryLock:
    """Own a state directory; one whose owner is dead is waited for, but not for long.

    A program that is killed while it starts another one leaves a copy of itself behind, which has the lock until it
    has become the other program.
    """
    ends = trio.current_time() + DEAD_OWNER_PATIENCE
    while True:
        try:
            return lock_directory(state_dir, now=now())
        except StoreLocked as locked:
            if _lives(locked.pid) or trio.current_time() > ends:
                raise
        await trio.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@attrs.define(eq=False)
class Opening:
    """Opens the database in the writer's thread, and remembers what came of it.

    Attributes:
        epoch: Of this run.
        set_aside: Where a damaged database was moved.
    """

    path: Path
    now: Callable[[], datetime]
    max_pages: int | None
    epoch: int = 0
    set_aside: Path | None = None

    def __call__(self) -> sqlite3.Connection:
        """Connect to the database, sound or new, and begin a run."""
        try:
            if is_damaged(self.path):
                self.set_aside = set_aside(self.path, self.now())
        except OSError as problem:
            raise StoreError(
                f"{self.path} cannot be read: {problem.strerror}; make it readable and writable for this user"
            ) from problem
        connection = connect(self.path, max_pages=self.max_pages)
        try:
            self.epoch = statements.open_run(connection)
        except BaseException:
            connection.close()
            raise
        return connection
