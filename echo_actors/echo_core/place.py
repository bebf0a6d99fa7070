"""Where Echo-Core's files are, and the engine's settings that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

from echo_actors.errors import SettingsError
from echo_actors.models import FullPolicy
from echo_actors.regular_file import open_regular
from echo_actors.settings import Settings
from echo_actors.settings.sources import gather
from echo_actors.state import strict_json

LONGEST_TURN: Final = 86400.0
"""The engine's own limit of a turn in seconds: above what callers give as their ``timeout``, which then decides."""


@attrs.frozen
class Place:
    """What a program has configured.

    Attributes:
        root: The folder with ``personality/``, ``config.json`` and ``sessions/active.json``, in which the CLI works.
        config_file: In place of the root's ``config.json``.
        sessions_file: In place of the root's ``sessions/active.json``.
        settings: The engine's, by name; they go before everything else.
    """

    root: Path = Path()
    config_file: Path | None = None
    sessions_file: Path | None = None
    settings: Mapping[str, Any] = attrs.Factory(dict)

    @property
    def personality(self) -> Path:
        """The persona's folder."""
        return self.root / "personality"

    @property
    def sessions(self) -> Path:
        """The old program's file of sessions."""
        return self.sessions_file or self.root / "sessions" / "active.json"

    def load(self, environ: Mapping[str, str]) -> Settings:
        """The engine's settings: those given, the environment's, the settings file's, what Echo-Core's users expect.

        Raises:
            SettingsError: One cannot be used, or ``config.json`` or the settings file cannot be read.
        """
        usual: dict[str, Any] = {
            "state_dir": self.root / "state",
            "personality_dir": self.personality,
            "working_dir": self.root,
            # A caller waits anyway; none of them knows of an error for a full mailbox.
            "full_mailbox": FullPolicy.WAIT,
            "total_timeout": LONGEST_TURN,
            # on_text gets whole blocks.
            "stream_deltas": False,
        }
        tools = allowed_tools(self.config_file or self.root / "config.json")
        if tools:
            usual["allowed_tools"] = tools
        return gather(Settings, environ, self.settings, usual=usual).build(Settings)


def allowed_tools(config_file: Path) -> list[str]:
    """The tools that a ``config.json`` allows; empty when there is none, or no list with anything in it.

    Raises:
        SettingsError: It cannot be read. To go on with the built-in list could allow more than was meant.
    """
    try:
        with open_regular(config_file) as file:
            config = strict_json.loads(file.read().decode("utf-8-sig"))
        if flaw := strict_json.flaw_in(config, "a value"):
            raise ValueError(flaw)  # noqa: TRY301 - one place for whatever is wrong with it
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as problem:
        raise SettingsError(f"{config_file} cannot be read: {problem}.", "allowed_tools") from problem
    tools = config.get("allowed_tools") if isinstance(config, dict) else None
    if not isinstance(tools, list):
        return []
    if not all(isinstance(tool, str) for tool in tools):
        raise SettingsError(f"{config_file}: allowed_tools must be a list of texts, not {tools!r}.", "allowed_tools")
    return tools
