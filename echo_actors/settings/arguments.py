"""Further arguments for the CLI: all but those that are the engine's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from echo_actors.errors import SettingsError

_SETTINGS: Final = {
    "--add-dir": "add_dirs",
    "--agents": "agents",
    "--allow-dangerously-skip-permissions": "permission_mode",
    "--allowed-tools": "allowed_tools",
    "--allowedTools": "allowed_tools",
    "--append-system-prompt": "append_system_prompt",
    "--append-system-prompt-file": "append_system_prompt",
    # Whatever the mode of a level of trust, with this there are no permissions.
    "--dangerously-skip-permissions": "permission_mode",
    "--disallowed-tools": "disallowed_tools",
    "--disallowedTools": "disallowed_tools",
    "--effort": "effort",
    "--fallback-model": "fallback_model",
    "--include-partial-messages": "stream_deltas",
    "--json-schema": "json_schema",
    "--max-budget-usd": "turn_budget_usd",
    "--max-turns": "max_turns",
    "--mcp-config": "mcp_servers",
    "--model": "model",
    "--permission-mode": "permission_mode",
    "--setting-sources": "setting_sources",
    "--settings": "cli_settings",
    "--strict-mcp-config": "mcp_servers",
    "--system-prompt": "personality_dir",
    "--system-prompt-file": "personality_dir",
    "--tools": "available_tools",
}
"""Options of the CLI that have a setting."""

_ENGINE: Final = frozenset(
    {
        *("-p", "--print", "--input-format", "--output-format", "--verbose", "--replay-user-messages"),
        *("-r", "--resume", "-c", "--continue", "--session-id", "--fork-session", "--no-session-persistence"),
        *(
            "--bg",
            "--background",
            "--cloud",
            "--desktop",
            "--environment",
            "--teleport",
            "--from-pr",
            "--remote-control",
        ),
        *("-w", "--worktree", "--tmux", "-h", "--help", "-v", "--version"),
        *("--system-prompt-snapshot", "--permission-prompt-tool", "--permission-prompts"),
    }
)
"""Options that the engine stands on, and those by which a CLI does something else than serve it."""


def cli_arguments(name: str, value: Sequence[str]) -> None:
    """Check further arguments for the CLI."""
    if value and not value[0].startswith("-"):
        raise SettingsError(f"{name} must begin with an option, not with {value[0]!r}.", name)
    for each in value:
        option = each.split("=", 1)[0]
        if option in _SETTINGS:
            reason = f"{name}: {option} is the setting {_SETTINGS[option]}."
            raise SettingsError(reason, name, _SETTINGS[option])
        if option in _ENGINE:
            raise SettingsError(f"{name}: {option} is the engine's own and cannot be changed.", name)
