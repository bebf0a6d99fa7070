"""``echo-actors audit``: what it shows and what it proves, of a log that rests and of one that is being written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
import trio
from commands_program import Program, plain
from support import until

from echo_actors.audit import Keeping, log_files, open_audit
from echo_actors.commands.exits import Exit
from echo_actors.state.peek import peek_note
from echo_actors.state.records import AUDIT_HEAD

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


def write_log(program: Program, count: int = 6, *, keeping: Keeping | None = None) -> Path:
    """A log of a record a minute, until now; those of channel ``a`` and ``b`` in turn."""
    path, number = program.state / "audit.jsonl", 0
    log = open_audit(
        path,
        run_id="run-1",
        clock=lambda: NOW + timedelta(minutes=number),
        keeping=keeping or Keeping(),
    )
    for number in range(count):
        event = ("turn.started", "turn.ended", "tool.started")[number % 3]
        log.record(event, channel="ab"[number % 2], number=number)
        trio.run(log.flush)
        trio.run(log.flush)
    log.close()
    return path


async def numbers(program: Program, *arguments: str) -> list[int]:
    """The numbers in the records that the command prints."""
    finished = await program.run("audit", "--json", *arguments)
    assert (finished.code, finished.err) == (0, "")
    return [orjson.loads(line)["number"] for line in finished.out.splitlines()]


async def written(program: Program, count: int = 6, *, keeping: Keeping | None = None) -> Path:
    """The same, from a test that is running."""
    return await trio.to_thread.run_sync(lambda: write_log(program, count, keeping=keeping))


async def test_all_filters_choose_records(program: Program) -> None:
    """By time, channel, kind, run and number, alone and together, through all files."""
    await written(program, keeping=Keeping(max_bytes=300))
    assert len(log_files(program.state / "audit.jsonl")) > 2
    assert await numbers(program, "--limit", "2") == [4, 5]
    assert await numbers(program, "--limit", "0") == [0, 1, 2, 3, 4, 5]
    assert await numbers(program, "--since", "2026-01-02T12:02", "--until", "2026-01-02T13:04+01:00") == [2, 3]
    assert await numbers(program, "--event", "turn.*", "--channel", "b", "--limit", "1") == [3]
    assert await numbers(program, "--run", "another") == []


async def test_a_time_may_be_how_long_ago(program: Program) -> None:
    """Of what was written just now, all is younger than an hour and older than no time."""
    await program.run("send", "c", "hello")
    since = (await program.run("audit", "--since", "1h", "--json")).out
    assert '"engine.started"' in since
    assert (await program.run("audit", "--until", "1h")).out == ""


async def test_a_script_gets_the_lines_of_the_log_as_they_are(program: Program) -> None:
    """So that it can check their hashes too."""
    path = await written(program)
    assert (await program.run("audit", "--json", "--limit", "0")).out == path.read_text()


async def test_people_get_a_line_a_record_that_no_stranger_controls(program: Program) -> None:
    """In columns on a pipe, folded on a terminal; a channel's name is shown and not obeyed."""
    name = "\x1b[31m[b]\u202ey\nz"
    await program.run("send", name, "hello")
    lines = [line.split("\t") for line in (await program.run("audit")).out.splitlines()]
    assert {len(line) for line in lines} == {4}
    started = next(line for line in lines if line[1] == "turn.started")
    assert started[2] == r"\x1b[31m[b]\u202ey\nz"
    assert "model=sonnet attempt=1" in started[3]
    async with program.terminal("audit", "--event", "turn.*") as running:
        pass
    assert b"\x1b[31m[" not in running.written
    assert r"\x1b[31m[b]" in plain(running.written).replace("\r\n", "")
    async with program.terminal("audit", NO_COLOR="1") as running:
        pass
    assert b"\x1b[3" not in running.written


@pytest.mark.parametrize(
    "arguments",
    [("--since", "soon"), ("--until", "2026-13-01"), ("--limit", "-1"), ("--since", "9e99d")],
    ids=" ".join,
)
async def test_what_cannot_be_meant_is_wrong_usage(program: Program, arguments: tuple[str, ...]) -> None:
    """With a line that says what could be."""
    finished = await program.run("audit", *arguments)
    assert (finished.code, finished.out, finished.err.count("\n")) == (Exit.USAGE, "", 1)


async def test_to_look_where_no_log_is_changes_nothing(program: Program) -> None:
    """There is nothing to show, and nothing to be proven."""
    assert (await program.run("audit")).code == Exit.DONE
    finished = await program.run("audit", "verify")
    assert (finished.code, finished.out.splitlines()[0]) == (0, "whole: 0 records in 0 files")
    assert not program.state.exists()


async def test_new_records_are_followed_across_files_until_somebody_interrupts(program: Program) -> None:
    """Each once and in order, though an engine begins new files all the time."""
    await program.run("send", "c", "first")
    async with program.start("audit", "--follow", "--event", "message.*", "--json") as running:
        await running.see('"message.accepted"')
        for text in ("second", "third"):
            await program.run("send", "c", text, ECHO_ACTORS_AUDIT_CONTENT="1", ECHO_ACTORS_AUDIT_MAX_BYTES="500")
            await running.see(f'"text":"{text}"')
        assert len(log_files(program.state / "audit.jsonl")) > 3
        running.process.send_signal(signal.SIGINT)
    assert (running.process.returncode, bytes(running.errors)) == (Exit.INTERRUPTED, b"")
    assert running.written.count(b"message.accepted") == 0


async def test_following_ends_on_a_terminal_by_its_keys_and_by_its_closing(program: Program) -> None:
    """Without a word."""
    await program.run("send", "c", "hello")
    async with program.terminal("audit", "--follow") as running:
        await running.see("engine.closed")
        await running.type("\x03")
    assert running.process.returncode == Exit.INTERRUPTED
    assert b"Traceback" not in running.written
    async with program.terminal("audit", "--follow") as running:
        await running.see("engine.closed")
        await running.hang_up()
    assert running.process.returncode == Exit.TERMINATED


@pytest.mark.parametrize("arguments", [("--limit", "0"), ("--follow",)], ids=" ".join)
async def test_a_reader_that_leaves_ends_it_quietly(program: Program, arguments: tuple[str, ...]) -> None:
    """While it writes, and while it waits for something to write."""
    await written(program, 50)
    read, write = os.pipe()
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "echo_actors", "audit", *arguments],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=program.root,
        env=program.environment({}, {}),
    )
    os.close(write)
    assert process.stderr is not None
    try:
        with trio.fail_after(30):
            await trio.to_thread.run_sync(os.read, read, 10)
            os.close(read)
            assert await process.stderr.receive_some() == b""
            assert await process.wait() in {Exit.FAILED, Exit.DONE}
    finally:
        process.kill()
        await process.stderr.aclose()


# -- verify


async def test_an_untouched_log_is_proven_with_the_head_that_the_store_has(program: Program) -> None:
    """In words and as JSON."""
    for _ in range(2):
        await program.run("send", "c", "hello", ECHO_ACTORS_AUDIT_MAX_BYTES="2000")
    files = log_files(program.state / "audit.jsonl")
    count = sum(len(file.read_bytes().splitlines()) for file in files)
    finished = await program.run("audit", "verify")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.splitlines() == [
        f"whole: {count} records in {len(files)} files",
        f"the store vouches for line {count} and all before it",
    ]
    found = orjson.loads((await program.run("audit", "verify", "--json")).out)
    assert (found["ok"], found["records"], found["vouched_until"], found["broken"]) == (True, count, count, None)


async def test_the_first_broken_line_is_named(program: Program) -> None:
    """Its file, its number and what was done; the exit code says so to a script."""
    await program.run("send", "c", "hello", ECHO_ACTORS_AUDIT_MAX_BYTES="1500")
    file = log_files(program.state / "audit.jsonl")[0]
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], lines[1].replace(b'"', b"'", 1), *lines[2:]]))
    finished = await program.run("audit", "verify")
    assert finished.code == Exit.FAILED
    assert finished.out.startswith(f"broken: {file}, line 2: changed: ")
    found = orjson.loads((await program.run("audit", "verify", "--json")).out)
    assert (found["broken"]["file"], found["broken"]["number"], found["broken"]["damage"]) == (str(file), 2, "changed")


async def test_a_cut_tail_is_told_by_the_store(program: Program) -> None:
    """And when that cannot be read, it is said that nothing vouches for the end."""
    await program.run("send", "c", "hello")
    path = program.state / "audit.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    finished = await program.run("audit", "verify")
    assert finished.code == Exit.FAILED
    assert f"line {len(lines) - 1}: cut: the log ended with line {len(lines)}" in finished.out
    (program.state / "store.sqlite3").write_bytes(
        b"this is no database, and longer than its header would have to be" * 9
    )
    finished = await program.run("audit", "verify")
    assert finished.code == Exit.DONE
    assert "nothing vouches for the end" in finished.out
    path.unlink()
    await program.run("send", "c", "hello", "--state-dir", "other")
    (program.root / "other" / "audit.jsonl").unlink()
    finished = await program.run("audit", "verify", "--state-dir", "other")
    assert finished.code == Exit.FAILED
    assert "cut: the log ended with line" in finished.out


async def test_a_log_that_an_engine_writes_is_proven_meanwhile(program: Program) -> None:
    """Neither the lock on the state directory nor a half written line is in the way."""
    await program.run("send", "c", "hello")
    async with program.start("send", "c", "[[delay 900]]", ECHO_ACTORS_AUDIT_MAX_BYTES="1000") as running:
        await until(lambda: len(program.asked()) == 2)
        await until(lambda: (peek_note(program.state, AUDIT_HEAD) or {})["seq"] > 0)
        command = [sys.executable, "-m", "echo_actors", "audit", "verify"]
        environment = program.environment({}, {})
        done = await trio.run_process(command, capture_stdout=True, check=False, cwd=program.root, env=environment)
        running.process.send_signal(signal.SIGINT)
    assert done.returncode == 0
    assert b"the store vouches for line" in done.stdout
    path = program.state / "audit.jsonl"
    path.write_bytes(path.read_bytes() + b'{"seq":')
    assert "the last line is not finished" in (await program.run("audit", "verify")).out


async def test_a_log_that_cannot_be_read_is_a_store_error(program: Program) -> None:
    """Exit code 4, and one line."""
    (program.state / "audit.jsonl").mkdir(parents=True)
    for arguments in ((), ("verify",)):
        finished = await program.run("audit", *arguments)
        assert (finished.code, finished.out, finished.err.count("\n")) == (Exit.STORE, "", 1)


async def test_progress_is_shown_on_a_terminal_alone(program: Program) -> None:
    """And gone when the result is there."""
    await written(program, 200)
    async with program.terminal("audit", "verify") as running:
        pass
    assert "whole: 200 records in 1 file" in plain(running.written)
    assert (await program.run("audit", "verify")).err == ""
