"""What settings ask of the CLI, and which of it goes through files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from echo_actors import Settings, SettingsError
from echo_actors.claude.launching import launch_for

SERVERS = {"t": {"command": "server", "env": {"TOKEN": "hush"}}}
AGENTS = {"reviewer": {"description": "d", "prompt": "p"}}
HOOKS = {"Stop": [{"hooks": [{"type": "command", "command": "true"}]}]}


def options(**settings: Any) -> tuple[str, ...]:
    """The options that these settings lead to."""
    return launch_for(Settings(**settings), None).options


def files(**settings: Any) -> dict[str, Any]:
    """What files are to have in them, by option."""
    return {
        option: orjson.loads(text) if text.startswith("{") else text
        for option, text in launch_for(Settings(**settings), None).files
    }


def test_nothing_is_asked_of_the_cli_that_was_not_set() -> None:
    """An old one does not know the newer options."""
    launch = launch_for(Settings(), None)
    assert (launch.options, launch.files, launch.available_tools, launch.disallowed_tools) == ((), (), None, ())


def test_servers_agents_settings_and_further_prompts_go_through_files() -> None:
    """They may hold secrets, and all may see a process's arguments."""
    asked: dict[str, Any] = {
        "mcp_servers": SERVERS,
        "agents": AGENTS,
        "hooks": HOOKS,
        "cli_settings": {"permissions": {"deny": ["Bash"]}},
        "append_system_prompt": "Be brief.",
    }
    assert files(**asked) == {
        "--mcp-config": {"mcpServers": SERVERS},
        "--agents": AGENTS,
        "--settings": {"permissions": {"deny": ["Bash"]}, "hooks": HOOKS},
        "--append-system-prompt-file": "Be brief.",
    }
    assert options(**asked) == ("--strict-mcp-config",)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"mcp_servers": {}}, ("--strict-mcp-config",)),
        ({"json_schema": {"type": "object"}}, ("--json-schema", '{"type":"object"}')),
        ({"add_dirs": ["/a", "/b"]}, ("--add-dir", "/a", "--add-dir", "/b")),
        ({"max_turns": 3}, ("--max-turns", "3")),
        ({"effort": "low"}, ("--effort", "low")),
        ({"fallback_model": "haiku"}, ("--fallback-model", "haiku")),
        ({"setting_sources": ["user", "local"]}, ("--setting-sources", "user,local")),
        ({"setting_sources": []}, ("--setting-sources", "")),
    ],
)
def test_the_rest_are_arguments(settings: dict[str, Any], asked: tuple[str, ...]) -> None:
    """One by one."""
    assert options(**settings) == asked


@pytest.mark.parametrize(
    ("settings", "says", "near"),
    [
        ({"mcp_servers": {"t": {"comand": "x"}}}, "mcp_servers: t needs command, a text", "comand"),
        ({"mcp_servers": {"t": {"type": "http"}}}, "mcp_servers: t needs url", ""),
        ({"mcp_servers": {"t": {"type": "sdk"}}}, "mcp_servers: t: type: there is no 'sdk'", ""),
        ({"mcp_servers": {"t": {"command": "x", "args": "y"}}}, "args must be a list", ""),
        ({"mcp_servers": {"t": {"command": "x", "env": {"A": 1}}}}, "env must have texts in it", ""),
        ({"mcp_servers": {"t": "x"}}, "mcp_servers: t must be a table", ""),
        ({"mcp_servers": {"t": {1: 2}}}, "mcp_servers: it cannot be JSON", ""),
        ({"hooks": {"PreTolUse": []}}, "there is no 'PreTolUse'", "PreToolUse"),
        ({"hooks": {"Stop": {}}}, "hooks: Stop must be a list", ""),
        ({"hooks": {"Stop": [{"matcher": "x"}]}}, "hooks: Stop: hooks must be a list", ""),
        ({"hooks": {"Stop": [{"hooks": [{"type": "comand"}]}]}}, "there is no 'comand'", "command"),
        ({"hooks": {"Stop": [{"hooks": [{"type": "command"}]}]}}, "hooks: Stop: hooks needs command", ""),
        ({"hooks": {"Stop": [{"matcher": 1, "hooks": []}]}}, "matcher must have texts", ""),
        ({"agents": {"a": {"prompt": "p"}}}, "agents: a needs description", ""),
        ({"agents": {"a": {"prompt": "p", "description": "d", "tools": [1]}}}, "agents: a: tools must have texts", ""),
        ({"json_schema": {"type": "array"}}, "json_schema must be the schema of an object", ""),
        ({"json_schema": {"type": "object", "title": "x" * 100_001}}, "json_schema has 1000", ""),
        ({"cli_settings": {"hooks": {}}}, "hooks is the setting hooks", "hooks"),
        ({"effort": "lo"}, "effort must be one of", "low"),
        ({"setting_sources": ["usr"]}, "setting_sources must be one of", "user"),
        ({"fallback_model": "haik"}, "Unknown model 'haik'", "haiku"),
        ({"max_turns": 0}, "max_turns must be at least 1", ""),
        ({"cli_arguments": ["--resume", "x"]}, "--resume is the engine's own", ""),
        ({"cli_arguments": ["--debug", "--output-format=json"]}, "--output-format is the engine's own", ""),
        ({"cli_arguments": ["--max-turns", "3"]}, "--max-turns is the setting max_turns", "max_turns"),
        ({"cli_arguments": ["--dangerously-skip-permissions"]}, "is the setting permission_mode", "permission_mode"),
        ({"cli_arguments": ["--settings={}"]}, "--settings is the setting cli_settings", "cli_settings"),
        ({"cli_arguments": ["prompt"]}, "must begin with an option", ""),
    ],
)
def test_what_the_cli_would_pass_over_in_silence_is_an_error(settings: dict[str, Any], says: str, near: str) -> None:
    """It says where, and what may have been meant."""
    with pytest.raises(SettingsError) as caught:
        Settings(**settings)
    assert says in str(caught.value)
    assert caught.value.nearest == near


def test_the_manual_mode_is_the_default_one() -> None:
    """It is what the CLI calls it when it says how it runs."""
    assert launch_for(Settings(permission_mode="manual"), None).permission_mode == "default"


def test_a_table_that_was_given_can_be_changed_without_effect() -> None:
    """Settings are values."""
    servers: dict[str, Any] = {"t": {"command": "x"}}
    settings = Settings(mcp_servers=servers)
    servers["t"]["command"] = "y"
    assert settings.mcp_servers == {"t": {"command": "x"}}


def test_a_running_process_serves_another_model_and_permission_mode_and_nothing_else() -> None:
    """All else is settled when it starts; so is whether it needs no permission at all."""
    launch = launch_for(Settings(), Path("/p"))
    unlimited = attrs.evolve(launch, permission_mode="bypassPermissions")
    assert launch.serves(attrs.evolve(launch, model="opus", permission_mode="plan"))
    assert unlimited.serves(attrs.evolve(unlimited, model="opus"))
    assert not launch.serves(unlimited)
    assert not unlimited.serves(launch)
    others: list[dict[str, Any]] = [
        {"working_dir": Path("/elsewhere")},
        {"allowed_tools": ()},
        {"available_tools": ()},
        {"disallowed_tools": ("Bash",)},
        {"prompt_file": Path("/q")},
        {"files": (("--agents", "{}"),)},
        {"options": ("--max-turns", "1")},
        {"extra_arguments": ("--x",)},
    ]
    assert not [other for other in others if launch.serves(attrs.evolve(launch, **other))]
