"""The options that commands share: settings by another road."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import attrs
from cyclopts import Parameter

from echo_actors.commands.signals import Ending
from echo_actors.settings import Settings


def _help(setting: str) -> str:
    return str(attrs.fields_dict(Settings)[setting].metadata["doc"])


StateDir: TypeAlias = Annotated[Path | None, Parameter(name="--state-dir", help=_help("state_dir"))]
PersonalityDir: TypeAlias = Annotated[Path | None, Parameter(name="--personality-dir", help=_help("personality_dir"))]
ClaudeBin: TypeAlias = Annotated[Path | None, Parameter(name="--claude-bin", help=_help("claude_bin"))]
Model: TypeAlias = Annotated[str | None, Parameter(name="--model", help="The model; one of the setting `models`.")]
WorkingDir: TypeAlias = Annotated[Path | None, Parameter(name="--working-dir", help=_help("working_dir"))]


def settings_at(state_dir: Path | None) -> Settings:
    """The settings, of which a command needs no more than where the state directory is.

    Raises:
        SettingsError: One cannot be used.
    """
    return Settings.load(**({"state_dir": state_dir} if state_dir else {}))


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

    def given(self) -> dict[str, Path | str]:
        """Those that were given."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}

    def settings(self) -> Settings:
        """The settings: options above the environment.

        Raises:
            SettingsError: One cannot be used.
        """
        # No command answers questions, and a turn would wait for that: the CLI denies at once what may not be used.
        return Settings.load(permission_questions=False, **self.given())
