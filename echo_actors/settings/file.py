"""The settings file: TOML, found beside the state directory or named, each setting with the line it is on."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from echo_actors.errors import SettingsError
from echo_actors.regular_file import open_regular
from echo_actors.settings.forms import field_of, from_file
from echo_actors.settings.toml_lines import Key, key_lines, line_of

FILE_NAME: Final = "echo_actors.toml"

MAX_BYTES: Final = 2**20
"""The largest file: no settings are longer, and whatever is in its place shall not fill the memory."""

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
"""How the parser's errors say where they are."""


@attrs.frozen
class SettingsFile:
    """What a file says.

    Attributes:
        path: Where it is.
        values: Its settings by name, of the types that they have.
        lines: Where its keys are.
    """

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[Key, int]

    def place(self, name: str) -> str:
        """Where a setting is, as it is told to people."""
        return f"{self.path}:{self.lines[name,]}"


def beside(state_dir: Path) -> Path:
    """Where a settings file is found that nobody has named."""
    directory = state_dir if state_dir.name not in {"", ".."} else Path(os.path.abspath(state_dir))  # noqa: PTH100 - resolve() would follow links
    return directory.parent / FILE_NAME


def read_settings_file(path: Path, fields: Mapping[str, attrs.Attribute[Any]], *, named: bool) -> SettingsFile | None:
    """Read a file and check each of its settings.

    Relative paths in it are relative to its directory, and ``~`` is the home directory.

    Args:
        path: The file.
        fields: The settings that there are.
        named: Somebody has named it. One that is only found need not be there, and must be this user's or root's:
            whoever writes it says which program is run as the CLI.

    Raises:
        SettingsError: It cannot be read, is no TOML, or has a setting that is unknown or cannot be used.
    """
    content = _content(path, named=named)
    if content is None:
        return None
    text = _text(content, path)
    table = _table(text, path)
    lines = key_lines(text)
    values = {}
    for name, value in table.items():
        try:
            values[name] = _rebased(from_file(field_of(name, fields), value), path.parent)
        except SettingsError as problem:
            raise located(problem, path, lines) from None
        except RuntimeError as problem:
            # expanduser() knows no other way to say it.
            raise located(SettingsError(f"{name}: {problem}", name), path, lines) from None
    return SettingsFile(path, values, lines)


def located(problem: SettingsError, path: Path, lines: Mapping[Key, int]) -> SettingsError:
    """Let an error of a setting in a file say where that is."""
    # Checks of the CLI's tables name what is wrong by its place: "hooks: Stop: type".
    key = (*map(str, problem.within), *problem.name.split(": "))
    line = line_of(key, lines)
    return SettingsError(problem.reason, problem.name, problem.nearest, problem.within, str(path), line)


def _content(path: Path, *, named: bool) -> bytes | None:
    try:
        with open_regular(path) as file:
            if not named:
                _check_owner(path, os.fstat(file.fileno()))
                _check_owner(path, path.lstat())
            content = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as problem:
        if not named:
            return None
        raise _unusable(path, f"It cannot be read: {problem.strerror}.") from problem
    except OSError as problem:
        raise _unusable(path, f"It cannot be read: {problem.strerror}.") from problem
    except ValueError as problem:
        raise _unusable(path, f"It cannot be read: {problem}.") from problem
    if len(content) > MAX_BYTES:
        raise _unusable(path, f"It has more than {MAX_BYTES:,} bytes.")
    return content


def _check_owner(path: Path, about: os.stat_result) -> None:
    if about.st_uid not in {os.geteuid(), 0}:
        raise _unusable(path, "It is another user's, so it is read only where it is named as the settings file.")
    if stat.S_ISREG(about.st_mode) and about.st_mode & stat.S_IWOTH:
        raise _unusable(path, "Everybody may write to it, so it is read only where it is named as the settings file.")


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise _unusable(path, f"It is not UTF-8: byte {content[problem.start]:#04x}.", line) from problem


def _table(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        found = _PLACE.search(str(problem))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        what = _PLACE.sub("", str(problem))
        twice = " (is it there twice?)" if what.startswith("Cannot overwrite") else ""
        raise _unusable(path, f"It is no TOML: {what}{twice}.", line) from problem
    except RecursionError as problem:
        raise _unusable(path, "It is no settings: tables within tables without end.") from problem


def _unusable(path: Path, reason: str, line: int = 0) -> SettingsError:
    return SettingsError(reason, file=str(path), line=line)


def _rebased(value: Any, directory: Path) -> Any:
    """The value with all relative paths in it taken from a directory."""
    if isinstance(value, Path):
        return directory / value.expanduser()
    if isinstance(value, dict):
        return {name: _rebased(each, directory) for name, each in value.items()}
    if attrs.has(type(value)):
        paths = {name: each for name, each in attrs.asdict(value, recurse=False).items() if isinstance(each, Path)}
        return attrs.evolve(value, **{name: _rebased(each, directory) for name, each in paths.items()})
    return value
