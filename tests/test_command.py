"""The command line of a CLI, option by option."""

from __future__ import annotations

from pathlib import Path

import attrs

from echo_actors.claude.command import command
from echo_actors.claude.driver import Launch

CLI = Path("/opt/claude")
LAUNCH = Launch(
    model="opus",
    working_dir=Path("/w"),
    allowed_tools=("Read", "Bash(git status *)"),
    permission_mode="plan",
    prompt_file=Path("/s/prompt.md"),
)


def value(arguments: tuple[str, ...], option: str) -> str:
    """What follows an option."""
    return arguments[arguments.index(option) + 1]


def test_every_choice_of_the_launch_is_an_option() -> None:
    """Model, permission mode, tools and the prompt's file."""
    arguments = command(CLI, LAUNCH, "some-id", resume=False)
    assert arguments[:2] == ("/opt/claude", "-p")
    assert value(arguments, "--model") == "opus"
    assert value(arguments, "--permission-mode") == "plan"
    assert value(arguments, "--allowedTools") == "Read,Bash(git status *)"
    assert value(arguments, "--system-prompt-file") == "/s/prompt.md"
    assert "--include-partial-messages" in arguments


def test_frames_go_in_and_come_out_as_stream_json() -> None:
    """And messages are replayed, which says that they were taken."""
    arguments = command(CLI, LAUNCH, "some-id", resume=False)
    assert value(arguments, "--input-format") == value(arguments, "--output-format") == "stream-json"
    assert {"--verbose", "--replay-user-messages"} <= set(arguments)


def test_a_new_session_is_begun_under_its_id_and_an_old_one_resumed() -> None:
    """Never both."""
    begun, resumed = (command(CLI, LAUNCH, "some-id", resume=resume) for resume in (False, True))
    assert value(begun, "--session-id") == value(resumed, "--resume") == "some-id"
    assert "--resume" not in begun
    assert "--session-id" not in resumed


def test_what_is_not_wanted_is_left_out() -> None:
    """No tools, no prompt and no parts of messages need no option."""
    bare = attrs.evolve(LAUNCH, allowed_tools=(), prompt_file=None, partial_messages=False)
    arguments = command(CLI, bare, "some-id", resume=False)
    assert not {"--allowedTools", "--system-prompt-file", "--include-partial-messages"} & set(arguments)


def test_the_cli_asks_over_its_pipes_or_not_at_all() -> None:
    """Without the option it denies by itself."""
    asking = command(CLI, attrs.evolve(LAUNCH, permission_questions=True), "some-id", resume=False)
    assert value(asking, "--permission-prompt-tool") == "stdio"
    assert "--permission-prompt-tool" not in command(CLI, LAUNCH, "some-id", resume=False)


def test_what_a_turn_may_cost_is_told_if_it_is_limited() -> None:
    """In dollars."""
    assert "--max-budget-usd" not in command(CLI, LAUNCH, "some-id", resume=False)
    limited = attrs.evolve(LAUNCH, turn_budget_usd=0.25)
    assert value(command(CLI, limited, "some-id", resume=False), "--max-budget-usd") == "0.25"


def test_further_arguments_come_last() -> None:
    """So that they can overrule."""
    extended = attrs.evolve(LAUNCH, extra_arguments=("--effort", "low"))
    assert command(CLI, extended, "some-id", resume=False)[-2:] == ("--effort", "low")


def test_tools_that_there_are_and_tools_that_are_banned_are_options() -> None:
    """No tool at all is said with an empty word; the CLI's own choice with nothing."""
    banned = attrs.evolve(LAUNCH, available_tools=(), disallowed_tools=("Bash", "Write"))
    arguments = command(CLI, banned, "some-id", resume=False)
    assert value(arguments, "--tools") == ""
    assert value(arguments, "--disallowedTools") == "Bash,Write"
    assert "--tools" not in command(CLI, LAUNCH, "some-id", resume=False)


def test_what_is_in_files_is_no_argument() -> None:
    """Only the file's name is; the operator's arguments come last."""
    secret = attrs.evolve(
        LAUNCH, files=(("--agents", "hush"),), options=("--max-turns", "3"), extra_arguments=("--x",)
    )
    arguments = command(CLI, secret, "some-id", resume=False, files=[Path("/s/f")])
    assert value(arguments, "--agents") == "/s/f"
    assert "hush" not in arguments
    assert arguments[-3:] == ("--max-turns", "3", "--x")
