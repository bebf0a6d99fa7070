"""Where settings come from: overrides, above the environment, above the settings file, above the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import attrs

from echo_actors.errors import SettingsError
from echo_actors.settings.file import SettingsFile, beside, located, read_settings_file
from echo_actors.settings.forms import field_of, from_file, from_text, nearest

PREFIX: Final = "ECHO_ACTORS_"
FILE_VARIABLE: Final = "ECHO_ACTORS_SETTINGS_FILE"
"""Names the settings file; an empty one says that there is none."""

OVERRIDE: Final = "option"
DEFAULT: Final = "default"
"""The sources that have no name of their own."""

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

Kind = TypeVar("Kind")


@attrs.frozen
class Gathered:
    """Settings that were given, and by what.

    Attributes:
        values: Those that have a value.
        sources: By name: ``option``, a variable, the file and the line in it, or ``default``.
        file: The settings file, if there is one.
        searched: Where one was looked for; none if there was to be none.
    """

    values: Mapping[str, Any]
    sources: Mapping[str, str]
    file: SettingsFile | None
    searched: Path | None

    def build(self, kind: type[Kind]) -> Kind:
        """Make the settings.

        Raises:
            SettingsError: A value cannot be used. If it is the file's or a variable's, the error says where or which.
        """
        try:
            return kind(**self.values)
        except SettingsError as problem:
            setting = str((*problem.within, *problem.name.split(": "))[0])
            source = self.sources.get(setting, DEFAULT)
            if self.file is not None and source == self.file_place(setting):
                raise located(problem, self.file.path, self.file.lines) from None
            if source.startswith(PREFIX):
                raise attrs.evolve(problem, reason=f"{source}: {problem.reason}") from None
            raise

    def file_place(self, name: str) -> str:
        """Where the file has a setting; empty if it has not."""
        return self.file.place(name) if self.file is not None and name in self.file.values else ""


def gather(
    kind: type,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any],
    *,
    file: Path | str | None = None,
    usual: Mapping[str, Any] = NOTHING,
) -> Gathered:
    """Read everything that settings are given by.

    Args:
        kind: The class of the settings.
        environ: The variables.
        overrides: Settings by name, above all others.
        file: The settings file, named.
        usual: Settings by name, in place of the defaults.

    Raises:
        SettingsError: A name is unknown, a value cannot be read, or the file cannot be.
    """
    fields = attrs.fields_dict(kind)
    for name in overrides:
        field_of(name, fields)
    variables = _variables(fields, environ)
    layers = ({name: field.default for name, field in fields.items()}, usual, variables, overrides)
    state_dir = next(each["state_dir"] for each in reversed(layers) if "state_dir" in each)
    path, named = _file(environ, file, from_file(fields["state_dir"], state_dir))
    found = None if path is None else read_settings_file(path, fields, named=named)
    sources = dict.fromkeys(fields, DEFAULT)
    if found is not None:
        sources |= {name: found.place(name) for name in found.values}
    sources |= {name: PREFIX + name.upper() for name in variables}
    sources |= dict.fromkeys(overrides, OVERRIDE)
    in_file = NOTHING if found is None else found.values
    return Gathered({**usual, **in_file, **variables, **overrides}, sources, found, path)


def _variables(fields: Mapping[str, attrs.Attribute[Any]], environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for variable, text in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable != FILE_VARIABLE:
            name = variable.removeprefix(PREFIX).lower()
            if name not in fields:
                near = nearest(name, ["settings_file", *fields])
                spelled = PREFIX + near.upper() if near else ""
                raise SettingsError(f"There is no setting {variable}.", variable, spelled)
            values[name] = from_text(fields[name], text, variable)
    return values


def _file(environ: Mapping[str, str], file: Path | str | None, state_dir: Path) -> tuple[Path | None, bool]:
    """The file to read, and whether it was named."""
    if file is not None:
        return Path(file), True
    named = environ.get(FILE_VARIABLE)
    if named is None:
        return beside(state_dir), False
    return (Path(named) if named else None), True
