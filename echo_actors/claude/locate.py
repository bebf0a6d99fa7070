"""Finds the CLI's binary and reads its version."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
import trio

from echo_actors.errors import CLINotFound

_NUMBERS: Final = re.compile(r"(?<![\w.])\d+(?:\.\d+){1,3}")


@attrs.frozen
class CLIVersion:
    """What a CLI says of its version.

    Attributes:
        text: The line as printed, "" when it could not be asked.
        numbers: None when the text holds no version; such a CLI counts as old.
    """

    text: str
    numbers: tuple[int, ...] | None

    @classmethod
    def parse(cls, text: str) -> CLIVersion:
        """Read the first version number of the text."""
        match = _NUMBERS.search(text)
        return cls(text.strip(), tuple(int(part) for part in match[0].split(".")) if match else None)

    def at_least(self, *numbers: int) -> bool:
        """Tell whether this version is known, and is the given one or newer."""
        return self.numbers is not None and self.numbers >= numbers


def find_cli(setting: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the CLI to run: the setting, ``CLAUDE_BIN``, ``claude`` on PATH, the one in the SDK's wheel.

    Raises:
        CLINotFound: There is none, or the one that is named cannot be run; a named one is never passed over.
    """
    if setting is not None:
        return _runnable(setting.expanduser(), "the setting claude_bin")
    search_path = environ.get("PATH", os.defpath)
    if named := environ.get("CLAUDE_BIN"):
        if os.sep in named:
            return _runnable(Path(named).expanduser(), "CLAUDE_BIN")
        found = shutil.which(named, path=search_path)
        if found is None:
            raise CLINotFound(reason=f"CLAUDE_BIN names {named!r}, which is not on PATH.", searched=(search_path,))
        return Path(found).absolute()
    found = shutil.which("claude", path=search_path)
    if found is not None:
        return Path(found).absolute()
    bundled = _bundled()
    if bundled is not None and _is_runnable(bundled):
        return bundled
    searched = (search_path, str(bundled) if bundled else "the package claude_agent_sdk")
    raise CLINotFound(reason="There is no Claude CLI on this machine.", searched=searched)


async def read_version(path: Path, *, seconds: float = 10.0) -> CLIVersion:
    """Ask the CLI for its version; one that fails or does not answer within ``seconds`` has an unknown one.

    Raises:
        CLINotFound: The file is gone or cannot be run.
    """
    try:
        text = await _ask(path, seconds)
    except OSError as error:
        raise CLINotFound(reason=f"{path} cannot be run: {error.strerror}.", searched=(str(path),)) from error
    return CLIVersion("", None) if text is None else CLIVersion.parse(text)


async def _ask(path: Path, seconds: float) -> str | None:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with trio.move_on_after(seconds):
        answer = await trio.run_process(
            [path, "--version"],
            env=environment,
            capture_stdout=True,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if answer.returncode == 0:
            return str(answer.stdout, "utf-8", "replace")
    return None


def _runnable(path: Path, named_by: str) -> Path:
    if not _is_runnable(path):
        problem = "cannot be executed" if path.is_file() else "is not a file"
        raise CLINotFound(reason=f"{path}, named by {named_by}, {problem}.", searched=(str(path),))
    return path.absolute()


def _is_runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _bundled() -> Path | None:
    package = importlib.util.find_spec("claude_agent_sdk")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "_bundled" / "claude"
