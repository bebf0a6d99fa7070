"""What a channel may have of its own, and what a level of trust may do in it.

A channel's option of the same name as a setting holds there in its place; None leaves it as the setting is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

import attrs

from echo_actors.models import Trust
from echo_actors.settings.arguments import cli_arguments
from echo_actors.settings.checks import amount, effort, permission_mode, setting_sources
from echo_actors.settings.forms import setting
from echo_actors.settings.tables import agents, cli_settings, hooks, json_schema, mcp_servers


@attrs.resolve_types
@attrs.frozen(kw_only=True)
class Policy:
    """What the messages of a level of trust may do. None is as their channel has it.

    A policy says what its level has, whatever the level above has: nobody compares the two. Only ``disallowed_tools``
    add up: what is disallowed in the channel stays so on every level.
    """

    model: str | None = setting(None, "The model.")
    permission_mode: str | None = setting(None, "The CLI's permission mode.", permission_mode)
    available_tools: tuple[str, ...] | None = setting(None, "The CLI's own tools that there are at all; [] for none.")
    allowed_tools: tuple[str, ...] | None = setting(None, "Tools that may be used without asking.")
    disallowed_tools: tuple[str, ...] | None = setting(None, "Tools that may not be used, besides the channel's.")
    mcp_servers: dict[str, Any] | None = setting(None, "MCP servers by name, and no others; {} for none.", mcp_servers)


def models_of(policies: Mapping[Trust, Policy]) -> list[str | None]:
    """The models that policies name."""
    return [policy.model for policy in policies.values()]


@attrs.resolve_types
@attrs.frozen(kw_only=True)
class ChannelOptions:
    """A channel's own options. None is as the setting of that name is."""

    model: str | None = setting(None, "The model; one of the setting `models`.")
    working_dir: Path | None = setting(None, "The directory that the CLI and its tools run in; it must exist.")
    permission_mode: str | None = setting(None, "The CLI's permission mode.", permission_mode)
    available_tools: tuple[str, ...] | None = setting(None, "The CLI's own tools that there are at all; [] for none.")
    allowed_tools: tuple[str, ...] | None = setting(None, "Tools that may be used without asking.")
    disallowed_tools: tuple[str, ...] | None = setting(None, "Tools that may not be used.")
    mcp_servers: dict[str, Any] | None = setting(None, "MCP servers by name, and no others; {} for none.", mcp_servers)
    hooks: dict[str, Any] | None = setting(None, "Hooks by event, as in the CLI's settings.", hooks)
    agents: dict[str, Any] | None = setting(None, "Agents that the model may call, by name.", agents)
    json_schema: dict[str, Any] | None = setting(None, "The JSON Schema of a reply's structured_output.", json_schema)
    append_system_prompt: str | None = setting(None, "Text after the persona in the system prompt.")
    add_dirs: tuple[str, ...] | None = setting(None, "Directories that tools may use besides the working directory.")
    max_turns: int | None = setting(None, "How many requests to the model one message may lead to.")
    effort: str | None = setting(None, "How hard the model thinks: low, medium, high, xhigh or max.", effort)
    fallback_model: str | None = setting(None, "The model for when the other is overloaded; one of `models`.")
    cli_settings: dict[str, Any] | None = setting(None, "More of the CLI's own settings, but hooks.", cli_settings)
    setting_sources: tuple[str, ...] | None = setting(
        None, "Which of the CLI's own settings hold: user, project, local; [] for none.", setting_sources
    )
    cli_arguments: tuple[str, ...] | None = setting(None, "Further arguments for the CLI, as they are.", cli_arguments)
    policies: dict[Trust, Policy] | None = setting(None, "What each level of trust may do, over the setting's.")
    mailbox_size: int | None = setting(None, "How many messages may wait.")
    start_timeout: float | None = setting(None, "For a CLI process to start and take a message.", unit="s")
    first_event_timeout: float | None = setting(None, "For the CLI to begin a message it was given.", unit="s")
    idle_timeout: float | None = setting(None, "Without a sign of life from a turn.", unit="s")
    total_timeout: float | None = setting(None, "For a whole turn; always finite.", unit="s", finite=True)
    daily_budget_usd: float | None = setting(None, "What the channel may cost in a day, in US dollars.", amount)
    monthly_budget_usd: float | None = setting(None, "What the channel may cost in a month, in US dollars.", amount)


NO_OPTIONS: Final = ChannelOptions()
"""Those of a channel for which nothing was set."""


class OptionChanges(TypedDict, total=False):
    """Changes of a channel's options, by name: see ``ChannelOptions``. None is as the setting is."""

    model: str | None
    working_dir: Path | str | None
    permission_mode: str | None
    available_tools: Sequence[str] | None
    allowed_tools: Sequence[str] | None
    disallowed_tools: Sequence[str] | None
    mcp_servers: dict[str, Any] | None
    hooks: dict[str, Any] | None
    agents: dict[str, Any] | None
    json_schema: dict[str, Any] | None
    append_system_prompt: str | None
    add_dirs: Sequence[str] | None
    max_turns: int | None
    effort: str | None
    fallback_model: str | None
    cli_settings: dict[str, Any] | None
    setting_sources: Sequence[str] | None
    cli_arguments: Sequence[str] | None
    policies: dict[Trust, Policy] | None
    mailbox_size: int | None
    start_timeout: float | None
    first_event_timeout: float | None
    idle_timeout: float | None
    total_timeout: float | None
    daily_budget_usd: float | None
    monthly_budget_usd: float | None
