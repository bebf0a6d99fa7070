"""Starts a CLI's process, and says in words how one ended."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import trio

from echo_actors.errors import CLIFailed, CLINotFound

S = TypeVar("S")


async def open_cli(argv: Sequence[str], environment: Mapping[str, str], cwd: Path) -> trio.Process:
    """Start a program in a session of its own, with pipes for its three streams.

    Raises:
        CLINotFound: The program is not there or cannot be executed.
        CLIFailed: It could not be started for another reason, such as a missing working directory.
    """
    try:
        return await trio.lowlevel.open_process(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        if not await trio.Path(cwd).is_dir():
            raise CLIFailed(reason=f"the working directory {cwd} is not a directory") from error
        if isinstance(error, FileNotFoundError | PermissionError):
            raise CLINotFound(reason=f"{argv[0]} cannot be run: {error.strerror}.", searched=(argv[0],)) from error
        raise CLIFailed(reason=f"the CLI could not be started: {error}") from error


def pipe(stream: S | None) -> S:
    """Return a stream of a process from ``open_cli``, which has all three."""
    if stream is None:
        raise AssertionError("every CLI is started with three pipes")
    return stream


def exit_text(exit_code: int | None) -> str:
    """Say in words how a process ended."""
    if exit_code is None:
        return "the CLI could not be made to end"
    if exit_code < 0:
        return f"the CLI was ended by signal {-exit_code}"
    return f"the CLI exited with status {exit_code}"
