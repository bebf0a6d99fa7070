"""Programs that end with a portal open: each ends, says nothing it need not, and leaves no process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import attrs
import orjson
import pytest
from portal_support import eventually
from support import left_running, scripted_settings

from echo_actors import open_engine
from echo_actors.claude.process_tree import marked

PROGRAM = Path(__file__).with_name("portal_program.py")
WITHIN = 40.0


@attrs.frozen
class Program:
    """A program that runs.

    Attributes:
        run_id: Of its engine.
    """

    process: subprocess.Popen[str]
    run_id: str

    @property
    def output(self) -> IO[str]:
        """What it says, to be read line by line."""
        assert self.process.stdout is not None
        return self.process.stdout

    def interrupt(self) -> None:
        """Press Ctrl-C once its turn is running."""
        eventually(lambda: len(marked({"ECHOACTORS_RUN": self.run_id})) > 0)
        self.process.send_signal(signal.SIGINT)

    def ends(self) -> tuple[int, list[str], list[str]]:
        """Its exit code, and the lines that it still said on both streams; nothing it started may be left."""
        said, complained = self.process.communicate(timeout=WITHIN)
        assert left_running(self.run_id) == set()
        # In debug mode asyncio also tells of steps that took long, which a busy machine can make of any.
        lines = [
            line for line in complained.splitlines() if not re.fullmatch(r"Executing .* took [\d.]+ seconds", line)
        ]
        return self.process.returncode, said.splitlines(), lines


@contextmanager
def running(name: str, tmp_path: Path, **overrides: object) -> Iterator[Program]:
    """A program on the scripted CLI that has opened its engine."""
    settings = scripted_settings(tmp_path, drain_timeout=0.5)
    names = ("state_dir", "claude_bin", "working_dir", "environment", "drain_timeout", "teardown_timeout")
    file = tmp_path / "settings.json"
    values = {key: getattr(settings, key) for key in names} | overrides
    file.write_bytes(orjson.dumps(values, default=str))
    environment = {**os.environ, "PYTHONASYNCIODEBUG": "1", "PYTHONPATH": str(PROGRAM.parent.parent)}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", str(PROGRAM), name, str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        yield Program(process, process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["never_closed", "never_closed_async"])
def test_a_program_that_never_closes_its_portal_ends(name: str, tmp_path: Path) -> None:
    """The engine drains when nobody is left who could use it."""
    with running(name, tmp_path) as program:
        assert program.ends() == (0, ["echo: Hello"], [])


@pytest.mark.parametrize("name", ["let_go", "loop_thrown_away"])
def test_a_portal_that_nobody_has_any_more_closes(name: str, tmp_path: Path) -> None:
    """Also where there is nobody to wait for it."""
    with running(name, tmp_path) as program:
        assert program.ends() == (0, [], [])


@pytest.mark.parametrize("name", ["exits_within", "exits_within_async"])
def test_a_program_that_exits_within_the_block_exits(name: str, tmp_path: Path) -> None:
    """With its code."""
    with running(name, tmp_path) as program:
        assert program.ends() == (3, [], [])


def test_an_exception_in_the_block_is_all_that_is_shown(tmp_path: Path) -> None:
    """One traceback, and no other behind it."""
    with running("fails_within", tmp_path) as program:
        code, said, complained = program.ends()
    assert (code, said) == (1, [])
    assert complained[-1] == "ZeroDivisionError: mine"
    assert sum(line.startswith("Traceback") for line in complained) == 1


def test_ctrl_c_ends_the_wait_and_withdraws_the_message(tmp_path: Path) -> None:
    """The program may catch it and go on."""
    with running("interrupted", tmp_path) as program:
        program.interrupt()
        assert program.ends() == (0, ["cancelled", "echo: Hello"], [])


@pytest.mark.parametrize("name", ["interrupted_uncaught", "interrupted_async"])
def test_ctrl_c_ends_the_program(name: str, tmp_path: Path) -> None:
    """With what Python shows for it."""
    with running(name, tmp_path) as program:
        program.interrupt()
        code, said, complained = program.ends()
    assert (code, said) == (-signal.SIGINT, [])
    assert complained[-1] == "KeyboardInterrupt"
    assert not [line for line in complained if "Exception ignored" in line or "Exception in thread" in line]


def test_ctrl_c_while_the_block_is_left_cuts_the_turns(tmp_path: Path) -> None:
    """A drain of a minute is over at once."""
    with running("interrupted_closing", tmp_path, drain_timeout=600.0) as program:
        assert program.output.readline() == "closing\n"
        program.interrupt()
        code, _, complained = program.ends()
    assert code == -signal.SIGINT
    assert complained[-1] == "KeyboardInterrupt"


def test_the_engine_serves_the_programs_threads_until_they_end(tmp_path: Path) -> None:
    """Also when the main thread has ended."""
    with running("threads_go_on", tmp_path) as program:
        assert program.ends() == (0, ["echo: from a thread"], [])


def test_a_forked_child_has_no_engine(tmp_path: Path) -> None:
    """It is told so, and ends; its parent goes on."""
    with running("forked", tmp_path) as program:
        assert program.ends() == (0, ["child: closed", "child exited with 4", "echo: Hello"], [])


async def test_the_state_that_such_a_program_leaves_can_be_opened(tmp_path: Path) -> None:
    """Its lock is free, and what was cut is there."""
    with running("exits_within", tmp_path) as program:
        program.ends()
    settings = attrs.evolve(scripted_settings(tmp_path), drain_timeout=0.1)
    async with open_engine(settings) as engine:
        assert engine.status().queued_messages + engine.status().running_turns >= 0
