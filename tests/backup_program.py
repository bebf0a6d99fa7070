"""A program that makes a backup, or puts one back, and is killed at a step of that, or has no room.

Run as ``python backup_program.py backup|restore STATE BACKUP HOME DIE_AT LIMIT``; what it is killed at is the
``DIE_AT``-th time that it would bring something to the disk or rename it, and no file may grow beyond ``LIMIT``.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from echo_actors import EchoActorsError, Settings
from echo_actors.backup.making import Source, make_backup
from echo_actors.backup.restoring import restore_backup


class Quiet:
    """Progress that nobody sees."""

    def begin(self, what: str, total: int) -> None:
        """Nothing."""

    def advance(self, done: int) -> None:
        """Nothing."""


def source(state: Path, home: Path) -> Source:
    """A state directory, and the home of the CLI."""
    return Source(Settings(state_dir=state, working_dir=home, environment={"HOME": str(home)}), {"HOME": str(home)})


def _main() -> None:
    action, state, backup, home, die_at, limit = sys.argv[1:]
    steps = 0

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            nonlocal steps
            # To remove what is not there is no step.
            steps += not isinstance(arguments[0], Path) or arguments[0].exists()
            if steps and steps == int(die_at):
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return wrapped

    os.fsync = deadly(os.fsync)
    Path.rename = deadly(Path.rename)  # type: ignore[method-assign]
    Path.unlink = deadly(Path.unlink)  # type: ignore[method-assign]
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    try:
        if action == "backup":
            make_backup(source(Path(state), Path(home)), Path(backup), Quiet())
        else:
            restore_backup(source(Path(state), Path(home)), Path(backup), Quiet(), replace=True)
    except EchoActorsError as error:
        sys.stdout.write(f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    _main()
