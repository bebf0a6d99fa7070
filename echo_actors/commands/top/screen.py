"""The terminal, while ``top`` has it: its other screen, and its keys one at a time; afterwards it is as it was."""

from __future__ import annotations

import os
import shutil
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.text import Text

from echo_actors.commands.terminal import console

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[2J"
_LEAVE: Final = "\x1b[0m\x1b[?25h\x1b[?1049l"
"""The other screen, without a cursor; and back."""

_LOCAL, _INPUT, _CHARACTERS = 3, 0, 6
"""Where the flags are in what termios gives."""


class Screen:
    """A context manager. Lines are drawn where they differ from those before."""

    def __init__(self, keyboard: int = 0, output: int = 1) -> None:
        self._keyboard, self._output = keyboard, output
        self._console: Console = console()
        self._drawn: list[Text] = []
        self._size = (0, 0)
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._before = termios.tcgetattr(self._keyboard)
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # A terminal that was closed takes nothing more, and needs nothing.
        with suppress(OSError):
            self.give_back()

    def take(self) -> None:
        """Have the terminal, for the first time or again."""
        taken = termios.tcgetattr(self._keyboard)
        # Ctrl-C is still a signal; Ctrl-S would stop the drawing, and with it this program.
        taken[_LOCAL] &= ~(termios.ICANON | termios.ECHO)
        taken[_INPUT] &= ~termios.IXON
        taken[_CHARACTERS][termios.VMIN], taken[_CHARACTERS][termios.VTIME] = 1, 0
        termios.tcsetattr(self._keyboard, termios.TCSADRAIN, taken)
        self._drawn = []
        self._write(_ENTER)

    def give_back(self) -> None:
        """Leave the terminal as it was found.

        Raises:
            OSError: It was closed.
        """
        try:
            if self._before is not None:
                termios.tcsetattr(self._keyboard, termios.TCSANOW, self._before)
        except termios.error as problem:
            raise OSError(*problem.args) from problem
        finally:
            self._write(_LEAVE)

    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        with suppress(OSError):
            found = os.get_terminal_size(self._output)
            if found.columns and found.lines:
                return found.columns, found.lines
        return shutil.get_terminal_size()

    def draw(self, lines: Sequence[Text], size: tuple[int, int]) -> None:
        """Show these lines; they are as many as the screen has.

        Raises:
            OSError: The terminal was closed.
        """
        fresh = size != self._size or len(lines) != len(self._drawn)
        self._console.size = size
        parts = ["\x1b[2J"] if fresh else []
        for place, line in enumerate(lines):
            if fresh or line != self._drawn[place]:
                # Erased first: afterwards it would take the last character of a line that fills the screen.
                parts.append(f"\x1b[{place + 1};1H\x1b[2K{self._rendered(line)}\x1b[0m")
        self._drawn, self._size = list(lines), size
        if parts:
            self._write("".join(parts))

    def redraw(self) -> None:
        """Take nothing for granted at the next drawing."""
        self._drawn = []

    def _rendered(self, line: Text) -> str:
        with self._console.capture() as captured:
            self._console.print(line, end="", no_wrap=True, overflow="ignore", crop=False, soft_wrap=True)
        return captured.get()

    def _write(self, text: str) -> None:
        # Past sys.stdout: what a closed terminal did not take must not be tried again at the program's end.
        data = text.encode(sys.stdout.encoding or "utf-8", errors="replace")
        while data:
            data = data[os.write(self._output, data) :]
