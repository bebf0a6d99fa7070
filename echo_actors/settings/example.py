"""An example of a settings file: every setting with its meaning, none of them in force."""

from __future__ import annotations

import json
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from echo_actors.settings.settings import Settings
from echo_actors.settings.words import default_of, default_words, unit

_BEGINNING: Final = """\
# Settings of echo_actors: every one there is. Made by: echo-actors settings --example
#
# As echo_actors.toml beside the state directory, in the current directory if nothing else is said, it is found; from
# elsewhere it is named by --settings FILE or ECHO_ACTORS_SETTINGS_FILE. Variables ECHO_ACTORS_<NAME> go before it.
#
# A line "#name = value" has the default. Take the "#" away and change it. A line "# name = value" is an example of a
# setting that is not set by default. Durations are in seconds, and inf is never. Relative paths are relative to this
# file's directory. A [table] ends with the next one, so all single settings stand before the first.
"""

_EXAMPLES: Final = {
    "personality_dir": '"personality"',
    "audit_path": '"audit.jsonl"',
    "claude_bin": '"~/.local/bin/claude"',
    "available_tools": '["Read", "Grep", "WebSearch"]',
    "max_turns": "20",
    "effort": '"high"',
    "fallback_model": '"haiku"',
    "setting_sources": '["user"]',
    "max_resident_memory": "4294967296",
    "start_slots": "2",
    "daily_budget_usd": "5",
    "monthly_budget_usd": "50",
    "overall_daily_budget_usd": "50",
    "overall_monthly_budget_usd": "500",
    "turn_budget_usd": "1",
}
"""Values for settings that have no default, or this machine's."""

_TABLES: Final = {
    "policies": """
        [policies.external]
        available_tools = ["WebSearch"]
        allowed_tools = ["WebSearch"]
    """,
    "channels": """
        [channels."discord:42"]
        model = "haiku"
        idle_timeout = 120
    """,
    "mcp_servers": """
        [mcp_servers.files]
        command = "files-server"
        args = ["--read-only"]
    """,
    "hooks": """
        [[hooks.Stop]]
        [[hooks.Stop.hooks]]
        type = "command"
        command = "notify"
    """,
    "agents": """
        [agents.reviewer]
        description = "Looks for mistakes."
        prompt = "You review what others wrote."
    """,
    "json_schema": """
        [json_schema]
        type = "object"
        [json_schema.properties.answer]
        type = "string"
    """,
    "cli_settings": """
        [cli_settings]
        cleanupPeriodDays = 90
    """,
    "environment": """
        [environment]
        LANG = "C.UTF-8"
    """,
}
"""Examples of tables, which have no default but that they are empty."""

_WIDTH: Final = 119


def example() -> str:
    """The file."""
    return "".join(f"{line}\n" for line in _lines())


def _lines() -> Iterator[str]:
    yield _BEGINNING.rstrip("\n")
    fields = attrs.fields(Settings)
    for field in fields:
        if not _is_table(field):
            yield ""
            yield from _meaning(field)
            yield from _value(field)
    for field in (each for each in fields if _is_table(each)):
        yield ""
        yield from _meaning(field)
        yield from (f"# {line}" for line in textwrap.dedent(_TABLES[field.name]).strip().splitlines())


def _meaning(field: attrs.Attribute[Any]) -> Iterator[str]:
    counted = " (Seconds.)" if unit(field) == "s" else ""
    yield from textwrap.wrap(f"{field.metadata['doc']}{counted}", _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _value(field: attrs.Attribute[Any]) -> Iterator[str]:
    if field.name in _EXAMPLES:
        yield f"# By default: {default_words(field)}."
        yield f"# {field.name} = {_EXAMPLES[field.name]}"
    else:
        yield f"#{field.name} = {_toml(default_of(field))}"


def _is_table(field: attrs.Attribute[Any]) -> bool:
    kinds = (field.type, *typing.get_args(field.type))
    return any(typing.get_origin(kind) is dict for kind in kinds)


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False)
        case tuple():
            line = f"[{', '.join(map(_toml, value))}]"
            return (
                line if len(line) < _WIDTH // 2 else "[\n" + "".join(f"#    {_toml(each)},\n" for each in value) + "#]"
            )
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)
