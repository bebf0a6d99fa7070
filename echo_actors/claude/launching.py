"""How a CLI is to run under some settings."""

from __future__ import annotations

from pathlib import Path

from echo_actors.claude.driver import Launch
from echo_actors.settings import Settings


def launch_for(settings: Settings, prompt_file: Path | None) -> Launch:
    """How the CLI runs under these settings, with the system prompt of this file."""
    return Launch(
        model=settings.model,
        working_dir=settings.working_dir.resolve(),
        allowed_tools=settings.tools,
        permission_mode=settings.permission_mode,
        prompt_file=prompt_file,
        partial_messages=settings.stream_deltas,
        turn_budget_usd=settings.turn_budget_usd,
        extra_arguments=settings.cli_arguments,
    )
