"""The options that commands share: settings by another road."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import attrs
from cyclopts import Parameter

from echo_actors.commands.signals import Ending
from echo_actors.settings import Settings
from echo_actors.settings.sources import Gathered, gather


def _help(setting: str) -> str:
    return str(attrs.fields_dict(Settings)[setting].metadata["doc"])


StateDir: TypeAlias = Annotated[Path | None, Parameter(name="--state-dir", help=_help("state_dir"))]
PersonalityDir: TypeAlias = Annotated[Path | None, Parameter(name="--personality-dir", help=_help("personality_dir"))]
ClaudeBin: TypeAlias = Annotated[Path | None, Parameter(name="--claude-bin", help=_help("claude_bin"))]
Model: TypeAlias = Annotated[str | None, Parameter(name="--model", help="The model; one of the setting `models`.")]
WorkingDir: TypeAlias = Annotated[Path | None, Parameter(name="--working-dir", help=_help("working_dir"))]
SettingsFile: TypeAlias = Annotated[
    Path | None,
    Parameter(
        name="--settings",
        help="The settings file; else ECHO_ACTORS_SETTINGS_FILE, else echo_actors.toml beside the state directory.",
    ),
]


Json: TypeAlias = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")]

Running: TypeAlias = Annotated[Ending, Parameter(parse=False)]
"""What a command is given besides its arguments: how it may be ended."""


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class EngineOptions:
    """The options of every command that opens an engine."""

    state_dir: StateDir = None
    personality_dir: PersonalityDir = None
    claude_bin: ClaudeBin = None
    model: Model = None
    working_dir: WorkingDir = None
    settings_file: SettingsFile = None

    def gathered(self) -> Gathered:
        """The settings and where they come from: options above the environment, above the settings file.

        Raises:
            SettingsError: A name is unknown, or the file cannot be read.
        """
        return gathered(self.settings_file, **self._options())

    def settings(self) -> Settings:
        """The settings.

        Raises:
            SettingsError: One cannot be used.
        """
        # No command answers questions, and a turn would wait for that: the CLI denies at once what may not be used.
        return gathered(self.settings_file, **self._options(), permission_questions=False).build(Settings)

    def _options(self) -> dict[str, Any]:
        return {name: value for name, value in attrs.asdict(self).items() if name != "settings_file"}


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class StoreOptions:
    """The options of every command that looks into a store."""

    state_dir: StateDir = None
    settings_file: SettingsFile = None

    def settings(self) -> Settings:
        """The settings.

        Raises:
            SettingsError: One cannot be used.
        """
        return loaded(self.settings_file, state_dir=self.state_dir)


def gathered(settings_file: Path | None, **options: Any) -> Gathered:
    """What a command's settings are given by; of its options only those that are not None.

    Raises:
        SettingsError: A name is unknown, or the file cannot be read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return gather(Settings, os.environ, given, file=settings_file)


def loaded(settings_file: Path | None, **options: Any) -> Settings:
    """The settings of a command with few options.

    Raises:
        SettingsError: One cannot be used.
    """
    return gathered(settings_file, **options).build(Settings)
