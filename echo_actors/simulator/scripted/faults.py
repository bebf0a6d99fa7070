"""Faults of the process as a whole, set by the environment."""

from __future__ import annotations

import os
import time


class Fault:
    """The one fault of this run, `name` and `argument`, both empty for none.

    `SCRIPTED_CLI_FAULT` names it; with `SCRIPTED_CLI_FAULT_ONCE` it happens only to the run that creates that file.
    """

    def __init__(self) -> None:
        wanted = os.environ.get("SCRIPTED_CLI_FAULT", "")
        if not (wanted and _is_our_turn(os.environ.get("SCRIPTED_CLI_FAULT_ONCE"))):
            wanted = ""
        self.directives = wanted if wanted.startswith("[[") else ""
        """Directives added to the first message of the process."""
        self.name, _, self.argument = ("", "", "") if self.directives else wanted.partition(" ")

    def happen_at_start(self) -> None:
        """Be slow, or leave, before anything is read."""
        if self.name == "slow-start":
            time.sleep(float(self.argument))
        elif self.name == "exit-at-start":
            code, _, text = self.argument.partition(" ")
            os.write(2, text.encode() + b"\n")
            os._exit(int(code))


def _is_our_turn(marker: str | None) -> bool:
    if marker is None:
        return True
    try:
        os.close(os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True
