"""``echo-actors import`` and ``export``: between Echo-Core's file and the store of an engine that does not run."""

from __future__ import annotations

import json
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from active_files import record, records, write
from commands_program import Finished, Program

from echo_actors.commands.exits import Exit
from echo_actors.state.lock import lock_directory


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


def _with_transcripts(program: Program, found: dict[str, dict[str, object]]) -> None:
    """Let the CLI have a transcript of each session."""
    folder = program.home / ".claude" / "projects" / re.sub(r"[^a-zA-Z0-9]", "-", str(program.root / "work"))
    folder.mkdir(parents=True)
    for each in found.values():
        (folder / f"{each['session_id']}.jsonl").write_text("")


async def test_a_file_goes_in_and_comes_out_equal(program: Program) -> None:
    """A thousand sessions; the file that is written is this user's alone."""
    found = records(1000)
    _with_transcripts(program, found)
    file = write(program.root / "sessions" / "active.json", found)
    assert await program.run("import", str(file)) == Finished(Exit.DONE, "1000 imported, 0 unchanged, 0 refused\n", "")
    out = program.root / "out.json"
    assert await program.run("export", str(out)) == Finished(Exit.DONE, "", "")
    assert json.loads(out.read_text()) == found
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert json.loads((await program.run("export")).out) == found
    again = await program.run("import", str(out))
    assert again == Finished(Exit.DONE, "0 imported, 1000 unchanged, 0 refused\n", "")


async def test_what_was_refused_is_named_and_the_exit_code_tells(program: Program) -> None:
    """In words on standard error, or as JSON."""
    found = {"good": record(), "bad\n": record(message_count=-1)}
    _with_transcripts(program, found)
    file = write(program.root / "active.json", found)
    done = await program.run("import", str(file))
    assert (done.code, done.out) == (Exit.FAILED, "1 imported, 0 unchanged, 1 refused\n")
    assert done.err == "echo-actors: channel 'bad\\n' was refused: message_count is negative: -1\n"
    done = await program.run("import", str(file), "--json")
    assert (done.code, json.loads(done.out)) == (
        Exit.FAILED,
        {
            "imported": [],
            "unchanged": ["good"],
            "refused": [{"channel": "bad\n", "reason": "message_count is negative: -1"}],
            "without_transcript": [],
        },
    )


async def test_replace_takes_the_place_of_a_session(program: Program) -> None:
    """Without it the channel's record is refused."""
    old, new = {"c": record()}, {"c": record()}
    await program.run("import", str(write(program.root / "old.json", old)))
    file = str(write(program.root / "new.json", new))
    refused = await program.run("import", file)
    assert (refused.code, "has a session in the store already" in refused.err) == (Exit.FAILED, True)
    assert json.loads((await program.run("export")).out) == old
    assert (await program.run("import", file, "--replace")).code == Exit.DONE
    assert json.loads((await program.run("export")).out) == new


async def test_a_session_without_a_transcript_is_mentioned(program: Program) -> None:
    """It is imported all the same: its next message begins a new one."""
    file = str(write(program.root / "active.json", {"c": record()}))
    done = await program.run("import", file)
    assert (done.code, done.out) == (Exit.DONE, "1 imported, 0 unchanged, 0 refused\n")
    assert "of 1 sessions the CLI has no transcript" in done.err
    assert json.loads((await program.run("import", file, "--replace", "--json")).out)["unchanged"] == ["c"]


async def test_a_damaged_file_changes_nothing(program: Program) -> None:
    """There is no store afterwards where none was before; nor for a file that is not there."""
    file = program.root / "active.json"
    file.write_text('{"c": {"session_id": "')
    done = await program.run("import", str(file))
    assert (done.code, done.out) == (Exit.FAILED, "")
    assert done.err.startswith(f"echo-actors: {file}: it is no JSON")
    assert (await program.run("import", str(program.root / "nothing"))).code == Exit.FAILED
    assert not program.state.exists()


async def test_nothing_is_exported_over_a_file_when_there_is_no_store(program: Program) -> None:
    """A mistyped directory must not empty the file of sessions."""
    file = write(program.root / "active.json", {"c": record()})
    before = file.read_bytes()
    done = await program.run("export", str(file))
    assert (done.code, done.err) == (Exit.STORE, f"echo-actors: there is no store in {program.state}\n")
    assert file.read_bytes() == before


async def test_an_export_that_cannot_be_written_says_so(program: Program) -> None:
    """With the place and the reason."""
    await program.run("import", str(write(program.root / "active.json", {"c": record()})))
    done = await program.run("export", str(program.root / "missing" / "out.json"))
    assert (done.code, "it cannot be written: No such file or directory" in done.err) == (Exit.FAILED, True)


@pytest.mark.parametrize("command", ["import", "export"])
async def test_a_store_in_use_is_left_alone(program: Program, command: str) -> None:
    """The engine that has it is named."""
    file = str(write(program.root / "active.json", {"c": record()}))
    await program.run("import", file)
    lock = lock_directory(program.state, now=datetime.now(UTC))
    try:
        done = await program.run(command, file)
    finally:
        lock.release()
    assert done.code == Exit.STORE
    assert "is in use by process" in done.err
