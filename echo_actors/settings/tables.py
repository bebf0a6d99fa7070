"""What the CLI's tables have to look like. It passes over most faults in them without a word, and does less."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from echo_actors.errors import SettingsError
from echo_actors.settings.forms import nearest

HOOK_EVENTS: Final = (
    *("PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "PermissionRequest", "PermissionDenied"),
    *("UserPromptSubmit", "UserPromptExpansion", "Notification", "MessageDisplay", "Stop", "StopFailure"),
    *("SessionStart", "SessionEnd", "Setup", "SubagentStart", "SubagentStop", "PreCompact", "PostCompact"),
    *("PreModelSwitch", "PostModelSwitch", "TeammateIdle", "TaskCreated", "TaskCompleted", "Elicitation"),
    *("ElicitationResult", "ConfigChange", "WorktreeCreate", "WorktreeRemove", "InstructionsLoaded", "CwdChanged"),
    *("FileChanged", "DirectoryAdded"),
)
"""The events that CLI 2.1.331 has hooks for."""

HOOK_NEEDS: Final = {
    "command": ("command",),
    "prompt": ("prompt",),
    "agent": ("prompt",),
    "http": ("url",),
    "mcp_tool": ("server", "tool"),
}
"""The kinds of hooks, and what each needs."""

SERVER_NEEDS: Final = {"stdio": ("command",), "sse": ("url",), "http": ("url",), "ws": ("url",)}
"""The kinds of MCP servers, and what each needs."""

MAX_SCHEMA_BYTES: Final = 100_000
"""The longest JSON Schema: the CLI takes it as one argument, of at most 128 KiB."""


def mcp_servers(name: str, value: Mapping[str, Any]) -> None:
    """Check a table of MCP servers. A server that the CLI does not understand is one that it does not start."""
    for server, each in value.items():
        place = f"{name}: {server}"
        table = _table(place, each)
        kind = table.get("type", "stdio" if "url" not in table else "http")
        _word(f"{place}: type", kind, SERVER_NEEDS)
        _needs(place, table, SERVER_NEEDS[kind])
        for part in ("env", "headers"):
            _texts(f"{place}: {part}", list(_table(f"{place}: {part}", table.get(part, {})).values()))
        _texts(f"{place}: args", table.get("args", []))


def hooks(name: str, value: Mapping[str, Any]) -> None:
    """Check a table of hooks, as in the CLI's settings. With one that is wrong, the CLI takes none."""
    for event, matchers in value.items():
        _word(name, event, HOOK_EVENTS)
        for matcher in _list(f"{name}: {event}", matchers):
            table = _table(f"{name}: {event}", matcher)
            _texts(f"{name}: {event}: matcher", [table.get("matcher", "")])
            for each in _list(f"{name}: {event}: hooks", table.get("hooks")):
                hook = _table(f"{name}: {event}: hooks", each)
                _word(f"{name}: {event}: hooks: type", hook.get("type"), HOOK_NEEDS)
                _needs(f"{name}: {event}: hooks", hook, HOOK_NEEDS[hook["type"]])


def cli_settings(name: str, value: Mapping[str, Any]) -> None:
    """Check a table of the CLI's settings: hooks have a setting of their own, which is looked at more closely."""
    if "hooks" in value:
        raise SettingsError(f"{name}: hooks is the setting hooks.", name, "hooks")


def agents(name: str, value: Mapping[str, Any]) -> None:
    """Check a table of agents. With one that is wrong, the CLI does not start."""
    for agent, each in value.items():
        place = f"{name}: {agent}"
        table = _table(place, each)
        _needs(place, table, ("description", "prompt"))
        _texts(f"{place}: tools", table.get("tools", []))


def json_schema(name: str, value: Mapping[str, Any]) -> None:
    """Check the schema of structured output: the model gives it as a tool's input, which is an object."""
    if value.get("type") != "object":
        raise SettingsError(f'{name} must be the schema of an object, with "type": "object" at the top.', name)
    if (size := len(orjson.dumps(value))) > MAX_SCHEMA_BYTES:
        raise SettingsError(f"{name} has {size} bytes; at most {MAX_SCHEMA_BYTES} can be given to the CLI.", name)


def _table(place: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{place} must be a table, not {value!r}.", place)
    return value


def _list(place: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise SettingsError(f"{place} must be a list, not {value!r}.", place)
    return value


def _texts(place: str, value: object) -> None:
    if not all(isinstance(each, str) for each in _list(place, value)):
        raise SettingsError(f"{place} must have texts in it, and nothing else.", place)


def _word(place: str, value: object, valid: Iterable[str]) -> None:
    if value not in (words := tuple(valid)):
        raise SettingsError(
            f"{place}: there is no {value!r}; valid ones are {', '.join(words)}.", place, nearest(str(value), words)
        )


def _needs(place: str, table: Mapping[str, Any], names: Iterable[str]) -> None:
    for name in names:
        if not isinstance(table.get(name), str) or not table[name]:
            raise SettingsError(f"{place} needs {name}, a text.", place, nearest(name, table))
