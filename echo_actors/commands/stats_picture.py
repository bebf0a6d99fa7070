"""The option ``--plot``: the file that a picture goes to, looked at before the log is read."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final

import attrs

from echo_actors.commands.terminal import visible
from echo_actors.errors import SettingsError
from echo_actors.statistics.ledger import Ledger

_ENDINGS: Final = (".png", ".svg")


@attrs.frozen
class Plot:
    """A picture that can be drawn."""

    path: Path

    @classmethod
    def at(cls, path: Path) -> Plot:
        """The picture in this file, which is not touched yet.

        Raises:
            SettingsError: It is of no kind that can be drawn, or there is nothing to draw it with, or no such place.
        """
        if path.suffix.lower() not in _ENDINGS:
            raise SettingsError(
                f"--plot {path}: only {' and '.join(_ENDINGS)} can be drawn, by the name's end.", "plot"
            )
        if importlib.util.find_spec("matplotlib") is None:
            raise SettingsError("--plot needs matplotlib: pip install 'echo-actors[plot]'", "plot")
        if not path.parent.is_dir():
            raise SettingsError(f"--plot {path}: there is no directory {path.parent}.", "plot")
        # A named pipe would be waited for.
        if path.is_dir() or path.is_fifo() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise SettingsError(f"--plot {path}: that cannot be written.", "plot")
        return cls(path)

    def draw(self, ledger: Ledger) -> None:
        """Draw what a ledger has.

        Raises:
            SettingsError: The file cannot be written.
        """
        # matplotlib is an extra, and takes half a second to import.
        from echo_actors.statistics.picture import draw  # noqa: PLC0415 - as said

        days = ledger.by(lambda _, day: day)
        channels = ledger.by(lambda channel, _: visible(channel))
        content = draw(days, channels, self.path.suffix.lower().removeprefix("."))
        try:
            self.path.write_bytes(content)
        except OSError as problem:
            raise SettingsError(
                f"--plot {self.path}: that cannot be written: {problem.strerror}.", "plot"
            ) from problem
