"""``echo-actors history``: a conversation as a document, from a shell."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from commands_program import Finished, Program, said_besides

from echo_actors.commands.exits import Exit
from echo_actors.state.lock import lock_directory


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command, where nothing is yet."""
    return Program(tmp_path)


def one_line(finished: Finished) -> str:
    """What the command said on standard error: one line, and nothing on standard output."""
    assert finished.out == ""
    said = said_besides(finished)
    assert said.startswith("echo-actors: ")
    assert said.count("\n") == 1
    return said


async def test_it_prints_what_was_said_as_markdown(program: Program) -> None:
    """Without the fence, and with the author."""
    await program.run("send", "c", "# hello", "--author", "Ana", "--trust", "external")
    finished = await program.run("history", "c")
    assert (finished.code, said_besides(finished)) == (Exit.DONE, "")
    document = finished.out.splitlines()
    assert document[0] == "# c"
    assert "## 1. Person Ana (external), 20" in finished.out
    assert "> \\# hello" in document
    assert "## 2. Assistant" in finished.out


async def test_it_prints_json_with_every_field(program: Program) -> None:
    """For programs."""
    await program.run("send", "c", "hello")
    read = orjson.loads((await program.run("history", "c", "--format", "json")).out)
    assert (read["channel"], [entry["text"] for entry in read["entries"]]) == ("c", ["hello", "echo: hello"])
    assert read["entries"][0]["message_id"] == read["entries"][0]["uuids"][0]


async def test_it_writes_a_file_in_place_of_the_old_one(program: Program) -> None:
    """And says nothing."""
    await program.run("send", "c", "grüße")
    path = program.root / "out.md"
    path.write_text("old" * 1000)
    finished = await program.run("history", "c", "--output", str(path))
    assert (finished.code, finished.out, said_besides(finished)) == (Exit.DONE, "", "")
    assert "> grüße\n" in path.read_text(encoding="utf-8")
    assert "old" not in path.read_text(encoding="utf-8")


async def test_a_file_that_cannot_be_written_is_said(program: Program) -> None:
    """In one line."""
    await program.run("send", "c", "hello")
    finished = await program.run("history", "c", "--output", str(program.root / "none" / "out.md"))
    assert finished.code == Exit.USAGE
    assert "out.md" in one_line(finished)


async def test_a_channel_without_a_conversation_is_an_empty_document(program: Program) -> None:
    """Also where there is no store, which is not made by looking."""
    finished = await program.run("history", "c")
    assert (finished.code, "There is no conversation." in finished.out) == (Exit.DONE, True)
    assert not program.state.exists()


async def test_a_transcript_that_is_gone_is_said(program: Program) -> None:
    """It is no empty conversation."""
    await program.run("send", "c", "hello")
    (transcript,) = (program.home / ".claude" / "projects").glob("*/*.jsonl")
    transcript.unlink()
    finished = await program.run("history", "c")
    assert finished.code == Exit.FAILED
    assert transcript.stem in one_line(finished)


async def test_a_running_engine_is_named(program: Program) -> None:
    """Its store is not read behind its back."""
    program.state.mkdir()
    (program.state / "store.sqlite3").touch()
    lock = lock_directory(program.state, now=datetime.now(UTC))
    try:
        finished = await program.run("history", "c")
    finally:
        lock.release()
    assert finished.code == Exit.STORE
    assert f"process {os.getpid()} " in one_line(finished)


async def test_a_terminal_is_not_controlled_by_what_was_said(program: Program) -> None:
    """In neither format."""
    await program.run("send", "c", "\x1b]0;owned\x07 \x9b2J", "--author", "Ana")
    for form in ("markdown", "json"):
        async with program.terminal("history", "c", "--format", form) as running:
            pass
        assert b"\x1b]0" not in running.written
        assert "\x9b".encode() not in running.written
        assert "owned" in running.written.decode()
