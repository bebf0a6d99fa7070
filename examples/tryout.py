"""What lets every example run at once: the scripted CLI in place of Claude, in a directory that goes at the end."""

# ruff: noqa: INP001 - examples are scripts, not a package

from __future__ import annotations

import atexit
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from echo_actors import Settings
from echo_actors.simulator.cli import write_scripted_cli


def tryout_settings() -> Settings:
    """Settings that need no account; with ``--claude`` on the command line, those of ``open_engine()``, which do."""
    if "--claude" in sys.argv:
        return Settings.load()
    directory = TemporaryDirectory(prefix="echo-actors-example-", ignore_cleanup_errors=True)
    atexit.register(directory.cleanup)
    place = Path(directory.name)
    return Settings.load(
        state_dir=place / "state",
        working_dir=place,
        claude_bin=write_scripted_cli(place),
        environment={"HOME": directory.name},
    )
