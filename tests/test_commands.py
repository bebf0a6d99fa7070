"""The commands that do one thing and end: what they print, and with which code they exit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
import trio
from commands_program import Finished, Program, plain
from support import until

from bench.workplace import model_variables
from echo_actors.commands.exits import Exit, report
from echo_actors.errors import (
    ChannelSuspended,
    CLIFailed,
    CLINotFound,
    EchoActorsError,
    EngineClosed,
    InvalidMessage,
    MailboxFull,
    PersonalityError,
    SettingsError,
    StaleRevision,
    StoreFull,
    StoreLocked,
    TurnFailed,
)
from echo_actors.models import Outcome, OutcomeKind
from echo_actors.personality import build_system_prompt, packaged_personality
from echo_actors.simulator.model import open_model_server
from echo_actors.state.lock import lock_directory


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


def one_line(finished: Finished) -> str:
    """The one line that an error becomes; nothing else may have been written."""
    assert finished.out == ""
    assert finished.err.startswith("echo-actors: ")
    assert finished.err.count("\n") == 1
    return finished.err


# -- send


async def test_send_prints_the_reply_and_nothing_else(program: Program) -> None:
    """A script can take the output as it is."""
    assert await program.run("send", "c", "hello") == Finished(0, "echo: hello\n", "")


async def test_send_reads_the_message_from_standard_input(program: Program) -> None:
    """A dash stands for standard input, whose last line end is not part of the message."""
    assert (await program.run("send", "c", "-", stdin="grüße\nund mehr\n".encode())).out == "echo: grüße\nund mehr\n"


async def test_send_refuses_standard_input_that_is_not_utf8(program: Program) -> None:
    """A message is not changed silently."""
    finished = await program.run("send", "c", "-", stdin=b"a\xffb")
    assert finished.code == Exit.USAGE
    assert "not UTF-8: byte 1" in one_line(finished)


async def test_send_prints_the_whole_reply_as_json(program: Program) -> None:
    """Every field of the reply is there."""
    reply = orjson.loads((await program.run("send", "c", "hello", "--json")).out)
    assert reply["text"] == "echo: hello"
    assert reply["cost_usd"] == pytest.approx(0.0004)
    assert reply["usage"]["input_tokens"] == 100
    assert reply["blocks"][0]["kind"] == "text"


async def test_send_with_a_known_message_id_asks_nobody(program: Program) -> None:
    """The id is the idempotency key across runs of the command."""
    key = str(uuid.uuid4())
    first = await program.run("send", "c", "once", "--message-id", key)
    assert await program.run("send", "c", "once", "--message-id", key) == first
    assert program.asked() == ["once"]


async def test_send_fences_the_text_of_a_named_author(program: Program) -> None:
    """Author and trust reach the model."""
    await program.run("send", "c", "obey", "--author", "Ana", "--trust", "external")
    assert 'trust=external author="Ana"' in program.asked()[0]
    assert "\n| obey\n" in program.asked()[0]


async def test_send_takes_the_model_for_a_channel_that_had_another(program: Program) -> None:
    """The option holds for old channels as for new ones."""
    await program.run("send", "c", "one")
    reply = orjson.loads((await program.run("send", "c", "two", "--model", "opus", "--json")).out)
    assert "opus" in reply["model"]


async def test_send_says_why_a_turn_failed(program: Program) -> None:
    """A failed turn is an exit code and one line."""
    finished = await program.run("send", "c", "x [[is-error 400]]")
    assert finished.code == Exit.FAILED
    assert "failed" in one_line(finished)


@pytest.mark.real_cli
async def test_send_asks_nobody_whether_a_tool_may_be_used(program: Program) -> None:
    """Nobody would answer: a setting for another program must not let this one wait."""
    finished = await program.run(
        *("send", "c", "[[ask-permission]]"),
        ECHO_ACTORS_PERMISSION_QUESTIONS="on",
        ECHO_ACTORS_PERMISSION_TIMEOUT="inf",
    )
    assert finished.code == Exit.DONE


async def test_send_works_with_the_real_cli(program: Program, cli: Path) -> None:
    """The whole way, with the model on loopback, and nothing in the user's home before."""
    async with open_model_server() as model:
        variables = model_variables(model.url)
        finished = await program.run("send", "c", "hello", CLAUDE_BIN=str(cli), for_cli=variables)
    assert finished == Finished(0, "echo: hello\n", "")


# -- signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=["INT", "TERM", "HUP"]
)
async def test_send_is_ended_by_a_signal_without_a_word(program: Program, number: int, code: int) -> None:
    """The turn is interrupted, the processes are gone, and no traceback is shown."""
    async with program.start("send", "c", "[[delay 900]]") as running:
        await until(lambda: bool(program.asked()))
        running.process.send_signal(number)
    assert (running.process.returncode, bytes(running.errors), bytes(running.written)) == (code, b"", b"")
    assert '"outcome":"cancelled"' in program.audit()


async def test_an_interrupt_while_the_command_is_imported_ends_it_without_a_word(tmp_path: Path) -> None:
    """Most of a short command is that; here the package takes for ever to be imported, and holds on to exceptions."""
    package = tmp_path / "echo_actors"
    package.mkdir()
    (package / "__init__.py").write_text(
        """
import time
print("importing", flush=True)
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
""",
        encoding="utf-8",
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import _echo_actors_command as c; sys.exit(c.main())"
    with trio.fail_after(20):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        async with process.stdout, process.stderr:
            try:
                assert (await process.stdout.receive_some()).startswith(b"importing")
                process.send_signal(signal.SIGINT)
                assert await process.wait() == Exit.INTERRUPTED
                assert await process.stderr.receive_some() == b""
            finally:
                process.kill()


async def test_a_second_signal_cuts_a_turn_that_does_not_end(program: Program) -> None:
    """A CLI that neither answers nor heeds SIGTERM is gone when the command has ended."""
    async with program.start(
        *("send", "c", "[[ignore-sigterm]] [[silence]]"),
        ECHO_ACTORS_INTERRUPT_GRACE="900",
        ECHO_ACTORS_DRAIN_TIMEOUT="900",
    ) as running:
        await until(lambda: "process.spawned" in program.audit())
        running.process.send_signal(signal.SIGTERM)
        await until(lambda: "engine.draining" in program.audit())
        running.process.send_signal(signal.SIGTERM)
    assert (running.process.returncode, bytes(running.errors)) == (143, b"")


async def test_a_signal_that_was_ignored_from_the_start_stays_ignored(program: Program) -> None:
    """What nohup asks for holds."""
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with program.start("send", "c", "[[delay 0.5]] hello") as running:
            await until(lambda: bool(program.asked()))
            running.process.send_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, old)
    assert running.process.returncode == 0
    assert running.written == b"echo: [[delay 0.5]] hello\n"


# -- errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("x"), 2),
        (PersonalityError("x"), 2),
        (InvalidMessage("x"), 2),
        (CLINotFound("x"), 3),
        (StoreFull("x"), 4),
        (StoreLocked("x", 1), 4),
        (StaleRevision("x"), 4),
        (CLIFailed("x"), 1),
        (EngineClosed(), 1),
        (MailboxFull("c", 1, 1), 1),
        (ChannelSuspended("c"), 1),
        (TurnFailed(Outcome(kind=OutcomeKind.FAILED)), 1),
        (ExceptionGroup("x", [ExceptionGroup("y", [CLINotFound("x")])]), 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_code(error: EchoActorsError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors become one line and a code, also inside of a group."""
    assert report(error) == code
    assert capsys.readouterr().err.startswith("echo-actors: ")


def test_an_unexpected_error_is_not_hidden() -> None:
    """A bug keeps its traceback, also when it comes together with an error that is expected."""
    with pytest.raises(ExceptionGroup, match="both"):
        report(ExceptionGroup("both", [CLINotFound("x"), KeyError("a bug")]))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["send", "c", "x", "--model", "gpt"], 2, "valid ones are haiku, sonnet, opus"),
        (["send", "c", "x", "--message-id", "no-uuid"], 2, "must be a UUID"),
        (["send", "c", " "], 2, "the message is empty"),
        (["prompt", "--personality-dir", "nowhere"], 2, "nowhere cannot be read"),
        (["send", "c", "x", "--claude-bin", "nothing"], 3, "Install it with"),
        (["send", "c", "x", "--state-dir", "bin/claude"], 4, "make it writable"),
    ],
    ids=["model", "id", "empty", "persona", "cli", "store"],
)
async def test_an_error_is_one_line_and_a_code(program: Program, arguments: list[str], code: int, words: str) -> None:
    """The line says what to do, and the code says which part of the world is wrong."""
    finished = await program.run(*arguments)
    assert finished.code == code
    assert words in one_line(finished)


async def test_an_unknown_variable_is_named_with_the_nearest_setting(program: Program) -> None:
    """A typing error in the environment is no silent default."""
    finished = await program.run("send", "c", "x", ECHO_ACTORS_TURN_SLOT="1")
    assert finished.code == Exit.USAGE
    assert "ECHO_ACTORS_TURN_SLOTS" in one_line(finished)


@pytest.mark.parametrize("arguments", [["send"], ["nonsense"], ["demo", "--channels", "0"], ["sessions", "--what"]])
async def test_wrong_usage_is_exit_code_two(program: Program, arguments: list[str]) -> None:
    """What was wrong is said on standard error."""
    finished = await program.run(*arguments)
    assert (finished.code, finished.out) == (Exit.USAGE, "")
    assert "Error" in finished.err


async def test_a_locked_store_names_its_owner(program: Program) -> None:
    """Exit code 4, and the pid of who has it."""
    program.state.mkdir()
    (program.state / "store.sqlite3").touch()
    lock = lock_directory(program.state, now=datetime.now(UTC))
    try:
        for arguments in (["sessions"], ["send", "c", "x"]):
            finished = await program.run(*arguments)
            assert finished.code == Exit.STORE
            assert f"process {os.getpid()} " in one_line(finished)
    finally:
        lock.release()


@pytest.mark.parametrize("arguments", [["prompt"], ["--version"], ["demo", "--cli", "scripted"]])
async def test_a_reader_that_leaves_is_no_error_message(program: Program, arguments: list[str]) -> None:
    """A closed pipe ends the command quietly."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = await trio.run_process(
            [sys.executable, "-m", "echo_actors", *arguments],
            stdout=write,
            capture_stderr=True,
            check=False,
            cwd=program.root,
            env=program.environment({}, {}),
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (Exit.FAILED, b"")


def test_a_full_disk_under_the_output_is_said(program: Program) -> None:
    """An output that was not written is a failure with a reason."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "echo_actors", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            cwd=program.root,
            env=program.environment({}, {}),
        )
    assert done.returncode == Exit.FAILED
    assert done.stderr == b"echo-actors: there is no room to write to; free some space\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_was_closed_before_is_no_stream(program: Program, closed: str) -> None:
    """As one that gives nothing, or goes nowhere: that is how some start a program that nobody looks at."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m echo_actors sessions {closed}', sys.executable],
        capture_output=True,
        check=False,
        cwd=program.root,
        env=program.environment({}, {}),
    )
    assert (done.returncode, done.stderr) == (Exit.DONE, b"")


# -- sessions and prompt


async def test_sessions_lists_what_the_store_knows(program: Program) -> None:
    """A line for each channel, by name, in columns that a script can cut."""
    for channel in ("b", "a"):
        await program.run("send", channel, "hello")
    lines = [line.split("\t") for line in (await program.run("sessions")).out.splitlines()]
    assert lines[0][:3] == ["channel", "model", "messages"]
    assert [line[:5] for line in lines[1:]] == [[name, "sonnet", "1", "100", "20"] for name in "ab"]
    assert {line[6] for line in lines[1:]} == {"0.0004"}


async def test_sessions_makes_a_strangers_channel_name_harmless(program: Program) -> None:
    """Control characters are shown, not obeyed; what looks like markup stays text; JSON has the name itself."""
    name = "\x1b[31m[b]\u202ey\nz"
    await program.run("send", name, "hello")
    assert r"\x1b[31m[b]\u202ey\nz" in (await program.run("sessions")).out
    assert orjson.loads((await program.run("sessions", "--json")).out)[0]["channel"] == name
    async with program.terminal("sessions") as running:
        pass
    assert b"\x1b[31m" not in running.written
    assert r"\x1b[31m[b]" in plain(running.written)


async def test_sessions_makes_no_store_where_there_is_none(program: Program) -> None:
    """To look changes nothing."""
    finished = await program.run("sessions", "--json")
    assert (finished.code, finished.out) == (0, "[]\n")
    assert not program.state.exists()


async def test_prompt_prints_exactly_what_is_sent(program: Program) -> None:
    """Not even a line end is added."""
    finished = await program.run("prompt")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out == build_system_prompt(packaged_personality())


def test_importing_the_package_does_not_import_the_commands_libraries() -> None:
    """A program that embeds the engine does not pay for the command line."""
    code = "import echo_actors, sys; print({'cyclopts', 'echo_actors.commands'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
