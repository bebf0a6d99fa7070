"""The commands ``backup`` and ``restore``: what they print, and with which code they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands_program import Program

from echo_actors import connect
from echo_actors.commands.exits import Exit


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


async def test_a_backup_is_made_beside_a_running_engine_and_put_back_when_it_has_ended(program: Program) -> None:
    """While it runs nothing is put back, whatever is asked for; after that, what was there is set aside."""
    backup = str(program.root / "backup")
    async with program.start("run") as running:
        await running.see("running on")
        first = await program.run_beside("send", "c", "hello")
        done = await program.run_beside("backup", backup)
        assert (done.code, done.err) == (Exit.DONE, "")
        assert done.out.startswith(f"{backup}: 1 conversations, 1 transcripts, 0 waiting messages, 0 dead letters, ")
        await program.run_beside("send", "c", "went on")
        refused = await program.run_beside("restore", backup, "--replace")
        assert (refused.code, refused.out) == (Exit.STORE, "")
        assert "is in use by process" in refused.err
        async with connect(program.state) as engine:
            assert (await engine.session("c") is not None) == (first.code == Exit.DONE)
        running.process.terminate()
    refused = await program.run("restore", backup)
    assert (refused.code, "--replace" in refused.err) == (Exit.FAILED, True)
    done = await program.run("restore", backup, "--replace")
    assert (done.code, done.out.count("set aside: "), done.err) == (Exit.DONE, 2, "")
    assert "went on" not in (await program.run("history", "c")).out
    assert (await program.run("send", "c", "again")).out == "echo: again\n"
    assert (await program.run("audit", "verify")).code == Exit.DONE
    assert [line for line in program.audit().splitlines() if '"store.restored"' in line]


async def test_scripts_get_json(program: Program) -> None:
    """What a backup holds, and what was set aside."""
    await program.run("send", "c", "hello")
    made = json.loads((await program.run("backup", "b", "--json")).out)
    checked = json.loads((await program.run("restore", "b", "--check", "--json")).out)
    restored = json.loads((await program.run("restore", "b", "--replace", "--json")).out)
    assert made == checked
    assert (made["path"], made["conversations"], made["audit_broken"], made["files"]) == ("b", 1, "", 3)
    (aside,) = restored.pop("set_aside")
    assert restored == {**made, "state_dir": str(program.state)}
    assert Path(aside).parent == program.state


async def test_a_settings_file_is_kept_and_mentioned(program: Program) -> None:
    """With the mode of what may hold secrets."""
    (program.root / "echo_actors.toml").write_text("mailbox_size = 7\n")
    await program.run("send", "c", "hello")
    await program.run("backup", "b")
    kept = program.root / "b" / "echo_actors.toml"
    assert kept.stat().st_mode & 0o777 == 0o600
    done = await program.run("restore", "b", "--state-dir", "elsewhere/state")
    assert (done.code, done.err) == (
        Exit.DONE,
        "echo-actors: the settings file stays in the backup: b/echo_actors.toml\n",
    )


async def test_what_cannot_be_backed_up_or_checked_is_told(program: Program) -> None:
    """In one line, with the exit code of a failure."""
    nothing = await program.run("backup", "b")
    assert (nothing.code, "there is no store" in nothing.err) == (Exit.FAILED, True)
    await program.run("send", "c", "hello")
    await program.run("backup", "b")
    again = await program.run("backup", "b")
    assert (again.code, "it is not empty" in again.err) == (Exit.FAILED, True)
    (program.root / "b" / "audit" / "audit.jsonl").unlink()
    broken = await program.run("restore", "b", "--check")
    assert (broken.code, broken.err) == (Exit.FAILED, "echo-actors: b: audit/audit.jsonl is missing\n")


async def test_what_a_backup_does_not_have_is_mentioned(program: Program) -> None:
    """A transcript that is gone, and a log that somebody has changed."""
    await program.run("send", "c", "hello")
    for each in program.home.rglob("*.jsonl"):
        each.unlink()
    log = program.state / "audit.jsonl"
    log.write_text(log.read_text().replace("engine.started", "engine.sturted", 1))
    done = await program.run("backup", "b")
    assert (done.code, len(done.err.splitlines())) == (Exit.DONE, 2)
    assert "of 1 sessions the CLI has no transcript" in done.err
    assert "the audit log was broken already: audit.jsonl, line 1" in done.err


async def test_a_person_sees_how_far_it_is(program: Program) -> None:
    """On a terminal; and it is gone when it is done."""
    await program.run("send", "c", "hello")
    async with program.terminal("backup", "b") as running:
        await running.see("conversations")
    assert (await program.run("restore", "b", "--check")).out.startswith("whole: ")
