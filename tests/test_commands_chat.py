"""A conversation in the terminal: it streams, can be interrupted, and ends in every way without a trace."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from commands_program import Program
from support import until


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


async def test_piped_lines_are_answered_in_order(program: Program) -> None:
    """Each line is a message, blank ones are none, and the end of input is exit code 0."""
    finished = await program.run("chat", "c", stdin=b"one\n\n  \ntwo")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out == "echo: one\necho: two\n"


async def test_every_block_has_lines_of_its_own(program: Program) -> None:
    """Blocks that are streamed in parts do not run into each other."""
    finished = await program.run("chat", "c", stdin=b"x [[blocks 2]] [[deltas 3]]\n")
    assert [line.split(":")[0] for line in finished.out.splitlines()] == ["echo 1", "echo 2"]


async def test_an_answer_without_deltas_is_shown_all_the_same(program: Program) -> None:
    """With streaming turned off, whole blocks are written."""
    finished = await program.run("chat", "c", stdin=b"one\n", ECHO_ACTORS_STREAM_DELTAS="false")
    assert finished.out == "echo: one\n"


async def test_a_failed_turn_does_not_end_the_conversation(program: Program) -> None:
    """The reason is said on standard error, and the next message is taken."""
    finished = await program.run("chat", "c", stdin=b"bad [[exit 7]]\ngood\n")
    assert finished.code == 0
    assert finished.out.endswith("echo: good\n")
    assert finished.err.startswith("echo-actors: failed: ")


async def test_ctrl_c_interrupts_the_answer_and_a_second_one_at_the_prompt_leaves(program: Program) -> None:
    """The conversation goes on after an interrupt; leaving is exit code 130."""
    async with program.terminal("chat", "c") as running:
        await running.see("> ")
        await running.type("[[delay 900]]\n")
        await until(lambda: len(program.asked()) == 1)
        await running.type("\x03")
        await running.see("interrupted: cancelled")
        await running.see("> ")
        await running.type("still there\n")
        await running.see("echo: still there")
        await running.see("> ")
        await running.type("\x03")
    assert running.process.returncode == 130
    assert b"Traceback" not in running.written


async def test_a_second_ctrl_c_in_a_turn_that_does_not_end_leaves(program: Program) -> None:
    """Nobody has to wait for a CLI that does not obey."""
    async with program.terminal("chat", "c", ECHO_ACTORS_INTERRUPT_GRACE="900") as running:
        await running.see("> ")
        await running.type("[[silence]]\n")
        await until(lambda: "process.spawned" in program.audit())
        await running.type("\x03")
        await running.see("Ctrl-C again leaves")
        await running.type("\x03")
        await until(lambda: "engine.draining" in program.audit())
        await running.type("\x03")
    assert running.process.returncode == 130
    assert b"Traceback" not in running.written


async def test_the_end_of_input_at_the_prompt_is_no_error(program: Program) -> None:
    """Ctrl-D leaves with exit code 0."""
    async with program.terminal("chat", "c") as running:
        await running.see("> ")
        await running.type("\x04")
    assert running.process.returncode == 0


async def test_sigterm_at_the_prompt_ends_the_conversation(program: Program) -> None:
    """A command that waits for a line is ended like any other."""
    async with program.terminal("chat", "c") as running:
        await running.see("> ")
        running.process.send_signal(signal.SIGTERM)
    assert running.process.returncode == 143


async def test_a_closed_terminal_ends_the_conversation_and_its_turn(program: Program) -> None:
    """Nobody can see the answer any more, so nobody pays for it."""
    async with program.terminal("chat", "c") as running:
        await running.see("> ")
        await running.type("[[delay 900]]\n")
        await until(lambda: len(program.asked()) == 1)
        await running.hang_up()
    assert running.process.returncode == 143
    assert '"outcome":"cancelled"' in program.audit()


async def test_what_the_model_writes_cannot_control_the_terminal(program: Program) -> None:
    """Escape sequences of an answer are shown, not obeyed."""
    await program.run("send", "c", "first")
    async with program.terminal("send", "c", "wipe \x1b[2J this") as running:
        await running.see(r"echo: wipe \x1b[2J this")
    assert running.process.returncode == 0
    assert (await program.run("send", "c", "wipe \x1b[2J this")).out == "echo: wipe \x1b[2J this\n"
