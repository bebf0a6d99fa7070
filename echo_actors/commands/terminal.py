"""Writing to a terminal, or to whatever standard output is, what others have written."""

from __future__ import annotations

import errno
import os
import re
import select
import stat
import sys
from typing import Final

from rich.console import Console

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Controls but the tab and the line feed, and what turns the direction of writing."""


class QuietConsole(Console):
    """A rich console that leaves a closed pipe to the command, where the default ends the program on the spot."""

    def on_broken_pipe(self) -> None:
        """Raise the error that is being handled again."""
        raise  # noqa: PLE0704 - rich calls this while it handles the BrokenPipeError


def console() -> Console:
    """A console on standard output that takes text as it is: no markup, no emoji codes, no highlighting."""
    return QuietConsole(file=sys.stdout, markup=False, emoji=False, highlight=False)


def on_terminal() -> bool:
    """Say whether a person reads standard output."""
    return sys.stdout.isatty()


def check_reader() -> None:
    """See that somebody still reads standard output, if that is a pipe; a closed terminal tells by a signal.

    Raises:
        BrokenPipeError: Nobody does.
    """
    if not stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
        return
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if any(state & select.POLLERR for _, state in poll.poll(0)):
        raise BrokenPipeError(errno.EPIPE, "nobody reads standard output")


def write(text: str) -> None:
    """Write to standard output and do not keep the reader waiting."""
    sys.stdout.write(text)
    sys.stdout.flush()


def visible(name: str) -> str:
    r"""Write a stranger's name in one line of characters that can all be seen; ``ESC`` becomes ``\x1b``."""
    return "".join(char if char.isprintable() else _escape(char) for char in name)


def harmless(prose: str) -> str:
    """Give text for people to read: on a terminal without what would control it, else exactly as it is."""
    return _CONTROL.sub(lambda found: _escape(found[0]), prose) if on_terminal() else prose


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
