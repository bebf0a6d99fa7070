"""The CLI's command line, as a pure function.

Neither a message nor the persona is ever an argument: arguments are public (``ps``) and limited to 128 KiB each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from echo_actors.claude.driver import Launch

FRESH_PROMPT_SINCE = (2, 1, 257)
"""The first CLI that can be told not to keep a session's first system prompt (its official SDK names it). Older ones
keep none: they take what each start gives them."""

BUDGET_SINCE = (2, 0, 31)
"""The first CLI that is known to take a limit on its cost (the change log of its official SDK)."""

_STREAMING = (
    "-p",
    *("--input-format", "stream-json"),
    *("--output-format", "stream-json"),
    "--verbose",
    # The replay of a message says that it was taken, and is how a repeated uuid is answered.
    "--replay-user-messages",
)


def command(
    cli: Path,
    launch: Launch,
    session_id: str,
    *,
    resume: bool,
    fork_of: str | None = None,
    fresh_prompt: bool = False,
    files: Sequence[Path] = (),
) -> tuple[str, ...]:
    """The arguments that start a CLI for a session.

    Args:
        cli: The program.
        launch: How it is to run.
        session_id: The conversation's uuid.
        resume: Continue it; otherwise begin it under this id.
        fork_of: Begin it as a copy of this session, which stays as it is.
        fresh_prompt: Let a changed persona hold in old sessions too; for CLIs since ``FRESH_PROMPT_SINCE``, others
            end at an option that they do not know.
        files: Those of the launch, in its order.
    """
    arguments = [str(cli), *_STREAMING, "--model", launch.model, "--permission-mode", launch.permission_mode]
    if fork_of is not None:
        arguments += ["--resume", fork_of, "--fork-session"]
    arguments += ["--resume" if resume else "--session-id", session_id]
    if launch.prompt_file is not None:
        arguments += ["--system-prompt-file", str(launch.prompt_file)]
        if fresh_prompt:
            arguments += ["--system-prompt-snapshot", "off"]
    for (option, _), file in zip(launch.files, files, strict=True):
        arguments += [option, str(file)]
    return (*arguments, *_permissions(launch), *launch.options, *launch.extra_arguments)


def _permissions(launch: Launch) -> list[str]:
    """What a turn may do, and spend, and what it tells meanwhile."""
    arguments: list[str] = []
    if launch.allowed_tools:
        arguments += ["--allowedTools", ",".join(launch.allowed_tools)]
    if launch.available_tools is not None:
        arguments += ["--tools", ",".join(launch.available_tools)]
    if launch.disallowed_tools:
        arguments += ["--disallowedTools", ",".join(launch.disallowed_tools)]
    if launch.permission_questions:
        arguments += ["--permission-prompt-tool", "stdio"]
    if launch.partial_messages:
        arguments.append("--include-partial-messages")
    if launch.turn_budget_usd is not None:
        arguments += ["--max-budget-usd", str(launch.turn_budget_usd)]
    return arguments
