"""How a CLI is to run under some settings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from echo_actors.claude.driver import Launch
from echo_actors.settings import Settings


def launch_for(settings: Settings, prompt_file: Path | None) -> Launch:
    """How the CLI runs under these settings, with the system prompt of this file."""
    return Launch(
        model=settings.model,
        working_dir=settings.working_dir.resolve(),
        allowed_tools=settings.tools,
        # Two words for one; older CLIs know only this one.
        permission_mode="default" if settings.permission_mode == "manual" else settings.permission_mode,
        prompt_file=prompt_file,
        partial_messages=settings.stream_deltas,
        permission_questions=settings.permission_questions,
        turn_budget_usd=settings.turn_budget_usd,
        available_tools=settings.available_tools,
        disallowed_tools=settings.disallowed_tools,
        files=tuple(_files(settings)),
        options=tuple(_options(settings)),
        extra_arguments=settings.cli_arguments,
    )


def _files(settings: Settings) -> Iterator[tuple[str, str]]:
    """The options that go through files, since others could read them in a list of processes."""
    if settings.mcp_servers:
        yield "--mcp-config", _json({"mcpServers": settings.mcp_servers})
    if settings.agents:
        yield "--agents", _json(settings.agents)
    if settings.hooks or settings.cli_settings:
        hooks = {"hooks": settings.hooks} if settings.hooks else {}
        yield "--settings", _json({**settings.cli_settings, **hooks})
    if settings.append_system_prompt:
        yield "--append-system-prompt-file", settings.append_system_prompt


def _options(settings: Settings) -> Iterator[str]:
    if settings.mcp_servers is not None:
        yield "--strict-mcp-config"
    if settings.json_schema is not None:
        yield from ("--json-schema", _json(settings.json_schema))
    for directory in settings.add_dirs:
        yield from ("--add-dir", directory)
    if settings.max_turns is not None:
        yield from ("--max-turns", str(settings.max_turns))
    if settings.effort is not None:
        yield from ("--effort", settings.effort)
    if settings.fallback_model is not None:
        yield from ("--fallback-model", settings.fallback_model)
    if settings.setting_sources is not None:
        yield from ("--setting-sources", ",".join(settings.setting_sources))


def _json(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()
