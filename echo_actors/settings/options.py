"""What a channel may have of its own, and what a level of trust may do in it.

A channel's option of the same name as a setting holds there in its place; None leaves it as the setting is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypedDict

import attrs

from echo_actors.models import Trust
from echo_actors.settings.checks import amount, permission_mode
from echo_actors.settings.forms import setting


@attrs.resolve_types
@attrs.frozen(kw_only=True)
class Policy:
    """What the messages of a level of trust may do. None is as their channel has it.

    A policy says what its level has, whatever the level above has: nobody compares the two. Only ``disallowed_tools``
    add up: what is disallowed in the channel stays so on every level.
    """

    model: str | None = setting(None, "The model.")
    permission_mode: str | None = setting(None, "The CLI's permission mode.", permission_mode)
    allowed_tools: tuple[str, ...] | None = setting(None, "Tools that may be used without asking.")


@attrs.resolve_types
@attrs.frozen(kw_only=True)
class ChannelOptions:
    """A channel's own options. None is as the setting of that name is."""

    model: str | None = setting(None, "The model; one of the setting `models`.")
    working_dir: Path | None = setting(None, "The directory that the CLI and its tools run in; it must exist.")
    permission_mode: str | None = setting(None, "The CLI's permission mode.", permission_mode)
    allowed_tools: tuple[str, ...] | None = setting(None, "Tools that may be used without asking.")
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
    allowed_tools: tuple[str, ...] | list[str] | None
    policies: dict[Trust, Policy] | None
    mailbox_size: int | None
    start_timeout: float | None
    first_event_timeout: float | None
    idle_timeout: float | None
    total_timeout: float | None
    daily_budget_usd: float | None
    monthly_budget_usd: float | None
