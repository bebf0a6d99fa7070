"""How a command ends: exit codes, and the one line that an error becomes."""

from __future__ import annotations

import enum
import errno
import os
import sys
from collections.abc import Iterator
from typing import Final

from echo_actors.commands.terminal import visible
from echo_actors.errors import (
    CLINotFound,
    EchoActorsError,
    EngineNotRunning,
    InvalidMessage,
    SettingsError,
    StoreError,
)


class Exit(enum.IntEnum):
    """The exit codes. The last two are what shells report for SIGINT and SIGTERM."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_CLI = 3
    STORE = 4
    NOT_RUNNING = 5
    INTERRUPTED = 130
    TERMINATED = 143


_CODES: Final[tuple[tuple[type[BaseException], Exit], ...]] = (
    (SettingsError, Exit.USAGE),
    (InvalidMessage, Exit.USAGE),
    (CLINotFound, Exit.NO_CLI),
    (StoreError, Exit.STORE),
    (EngineNotRunning, Exit.NOT_RUNNING),
    (EchoActorsError, Exit.FAILED),
)
"""What each error means to a shell; the first that fits counts."""

_READER_GONE: Final = (errno.EPIPE, errno.EIO)
"""What writing to a closed pipe and to a closed terminal give."""

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


def is_reader_gone(error: BaseException) -> bool:
    """Say whether nobody reads the output any more, and nothing else is wrong."""
    return all(isinstance(leaf, OSError) and leaf.errno in _READER_GONE for leaf in leaves(error))


def report(error: BaseException) -> Exit:
    """Say on standard error what went wrong, a line for each error, and give the exit code of the first.

    Raises:
        BaseException: The given one, if there is anything unexpected in it.
    """
    if is_reader_gone(error):
        return Exit.FAILED
    found = list(leaves(error))
    if all(isinstance(leaf, OSError) and leaf.errno in _NO_ROOM for leaf in found):
        complain("there is no room to write to; free some space")
        return Exit.FAILED
    if not all(isinstance(leaf, EchoActorsError) for leaf in found):
        raise error
    for leaf in found:
        complain(str(leaf))
    return next(code for kind, code in _CODES if isinstance(found[0], kind))


def complain(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"echo-actors: {visible(' '.join(text.split()))}\n")


def abandon_output() -> None:
    """Let the interpreter end without trying again to write what could not be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
