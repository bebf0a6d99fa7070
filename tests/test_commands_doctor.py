"""The doctor: what it finds, what it advises, and with which code it exits."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from commands_program import Finished, Program

from echo_actors.settings import Settings
from echo_actors.state.lock import lock_directory


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


def finding(finished: Finished, subject: str) -> dict[str, Any]:
    """What was found about one thing."""
    found = [each for each in orjson.loads(finished.out)["findings"] if each["subject"] == subject]
    assert len(found) == 1
    return dict(found[0])


async def test_all_well_is_exit_code_zero(program: Program) -> None:
    """Where the CLI was found and by which rule, its version, the state directory, and the persona."""
    finished = await program.run("doctor", "--json")
    assert finished.code == 0
    levels = {each["subject"]: each["level"] for each in orjson.loads(finished.out)["findings"]}
    assert levels == dict.fromkeys(("settings", "cli", "cli version", "state", "disk", "personality"), "ok")
    assert finding(finished, "cli")["text"] == f"{program.root / 'bin' / 'claude'}, found by CLAUDE_BIN"
    assert finding(finished, "cli version")["text"] == "2.1.330 (Claude Code)"
    assert not program.state.exists()


async def test_every_setting_is_shown_with_its_source(program: Program) -> None:
    """Options stand above variables, and variables above defaults."""
    finished = await program.run("doctor", "--json", "--state-dir", "other", ECHO_ACTORS_TURN_SLOTS="3")
    settings = {each["name"]: each for each in orjson.loads(finished.out)["settings"]}
    assert len(settings) == len(Settings.__attrs_attrs__)
    assert (settings["state_dir"]["value"], settings["state_dir"]["source"]) == ("other", "option")
    assert (settings["turn_slots"]["value"], settings["turn_slots"]["source"]) == (3, "ECHO_ACTORS_TURN_SLOTS")
    assert settings["warm"]["source"] == "default"


async def test_no_value_of_the_clis_environment_is_shown(program: Program) -> None:
    """The key may be there."""
    for form in ((), ("--json",)):
        finished = await program.run("doctor", *form, for_cli={"ANTHROPIC_API_KEY": "sekrit"})
        assert "ANTHROPIC_API_KEY" in finished.out
        assert "sekrit" not in finished.out


async def test_an_old_cli_is_a_warning(program: Program) -> None:
    """It works, with text defused; the remedy is a newer one."""
    old = program.root / "old"
    old.write_text("#!/bin/sh\necho '2.1.100 (Claude Code)'\n")
    old.chmod(0o755)
    finished = await program.run("doctor", "--json", CLAUDE_BIN=str(old))
    assert finished.code == 0
    assert finding(finished, "cli version")["level"] == "warning"
    assert "2.1.248" in finding(finished, "cli version")["remedy"]


async def test_a_cli_that_cannot_tell_its_version_is_not_usable(program: Program) -> None:
    """Exit code 3, and what to try."""
    broken = program.root / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    finished = await program.run("doctor", "--json", CLAUDE_BIN=str(broken))
    assert finished.code == 3
    assert finding(finished, "cli version")["level"] == "problem"


async def test_a_missing_cli_is_exit_code_three(program: Program) -> None:
    """With the ways to get one; people are told the same as programs."""
    finished = await program.run("doctor", "--claude-bin", "nothing")
    assert finished.code == 3
    assert "problem  cli" in finished.out
    assert "pip install" in finished.out


async def test_scrubbing_without_bubblewrap_is_a_problem(program: Program) -> None:
    """The CLI would not start."""
    bare = program.root / "path"
    bare.mkdir()
    (bare / "sh").symlink_to(str(shutil.which("sh")))
    finished = await program.run("doctor", "--json", PATH=str(bare), ECHO_ACTORS_SCRUB_TOOL_ENVIRONMENT="true")
    assert finished.code == 3
    assert "install bubblewrap" in finding(finished, "bubblewrap")["remedy"]


async def test_an_unusable_state_directory_is_exit_code_four(program: Program) -> None:
    """A file is no directory."""
    finished = await program.run("doctor", "--json", "--state-dir", str(program.root / "bin" / "claude"))
    assert finished.code == 4
    assert finding(finished, "state")["remedy"]


async def test_a_running_engine_is_named_and_is_no_problem(program: Program) -> None:
    """A doctor may be asked beside an engine."""
    program.state.mkdir()
    lock = lock_directory(program.state, now=datetime.now(UTC))
    try:
        finished = await program.run("doctor", "--json")
    finally:
        lock.release()
    assert finished.code == 0
    assert f"process {os.getpid()} " in finding(finished, "state")["text"]


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["text", "json"])
async def test_wrong_settings_are_exit_code_two(program: Program, form: tuple[str, ...]) -> None:
    """Whatever else may be wrong; the nearest name is given."""
    finished = await program.run("doctor", *form, "--claude-bin", "nothing", ECHO_ACTORS_TURN_SLOT="3")
    assert finished.code == 2
    assert "ECHO_ACTORS_TURN_SLOTS" in finished.out


async def test_a_missing_persona_is_exit_code_two(program: Program) -> None:
    """The folder is a setting."""
    finished = await program.run("doctor", "--json", "--personality-dir", "nowhere")
    assert finished.code == 2
    assert "nowhere" in finding(finished, "personality")["text"]
