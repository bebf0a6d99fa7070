"""The commands that steer an engine that runs, and the one that runs it."""

from __future__ import annotations

import configparser
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
import trio
from commands_program import Program, plain, said_besides
from support import until
from test_dead_letters import leave_dead_letter

from bench.workplace import model_variables
from echo_actors import Settings, connect
from echo_actors.commands.exits import Exit
from echo_actors.commands.service import feed_watchdog, holding_pid, notify
from echo_actors.errors import SettingsError
from echo_actors.simulator.model import open_model_server


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


@asynccontextmanager
async def service(program: Program, *arguments: str, **environ: str) -> AsyncIterator[trio.Process]:
    """The engine as a service for the block; then it is asked to end."""
    async with program.start("run", *arguments, beside=False, within=240, **environ) as running:
        await running.see("running on")
        yield running.process
        running.process.send_signal(signal.SIGTERM)
    assert running.process.returncode == Exit.TERMINATED


# -- run


async def test_run_serves_until_it_is_asked_to_end(program: Program) -> None:
    """It drains then: a turn that runs is answered. Nothing is left but the store and the log."""
    async with service(program) as process, connect(program.state) as engine:
        assert engine.hello.pid == process.pid
        receipt = await engine.post("c", "last [[hold 0.5]]")
        await until(lambda: len(program.asked()) == 1)
    assert "engine.closed" in program.audit()
    assert not (program.state / "control.sock").exists()
    again = await program.run("send", "c", "last [[hold 0.5]]", "--message-id", receipt.message_id)
    assert again.out.startswith("echo: last")
    assert len(program.asked()) == 1


async def test_a_second_signal_cuts_what_runs(program: Program) -> None:
    """Nobody waits for the drain then."""
    async with program.start("run", ECHO_ACTORS_DRAIN_TIMEOUT="900", ECHO_ACTORS_INTERRUPT_GRACE="0.1") as running:
        await running.see("running on")
        async with connect(program.state) as engine:
            await engine.post("c", "[[silence]]")
            await until(lambda: "process.spawned" in program.audit())
        running.process.send_signal(signal.SIGINT)
        await until(lambda: "engine.draining" in program.audit())
        running.process.send_signal(signal.SIGTERM)
    assert running.process.returncode == Exit.INTERRUPTED


async def test_run_keeps_its_process_id_in_a_file(program: Program) -> None:
    """As long as it runs; what a killed one left is replaced, also while its number is in use again."""
    file = program.root / "run.pid"
    file.write_text("999999999\n")
    async with service(program, "--pid-file", str(file)) as process:
        assert file.read_text() == f"{process.pid}\n"
        again = await program.run("run", "--pid-file", str(file))
        assert again.code == Exit.STORE
        assert file.read_text() == f"{process.pid}\n"
    assert not file.exists()
    file.write_text(f"{os.getpid()}\n")
    os.utime(file, (1, 1))
    with holding_pid(file):
        assert file.read_text() == f"{os.getpid()}\n"


def test_a_file_that_is_somebody_elses_is_no_place_for_a_process_id(tmp_path: Path) -> None:
    """A program that runs, a file that is no pid file, a directory that is not there."""
    file = tmp_path / "pid"
    file.write_text(f"{os.getpid()}\n")
    with pytest.raises(SettingsError, match=f"that of process {os.getpid()}"), holding_pid(file):
        pass
    file.write_text("precious\n")
    with pytest.raises(SettingsError, match="no pid file"), holding_pid(file):
        pass
    with pytest.raises(SettingsError, match="cannot be written"), holding_pid(tmp_path / "no" / "pid"):
        pass
    assert file.read_text() == "precious\n"
    with holding_pid(None):
        assert [each.name for each in tmp_path.iterdir()] == ["pid"]


@pytest.mark.parametrize("abstract", [False, True])
async def test_run_tells_systemd_how_it_is(program: Program, abstract: bool) -> None:
    """When it takes messages, that it is alive, and when it stops."""
    name = f"{program.root}/notify" if not abstract else f"@{program.marker}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.setblocking(False)
        async with service(program, NOTIFY_SOCKET=name, WATCHDOG_USEC="100000"):
            pass
        said: list[str] = []
        while "STOPPING=1" not in said:
            said.append(listening.recv(100).decode())
    assert [each for each in said if each != "WATCHDOG=1"] == ["READY=1", "STOPPING=1"]
    assert "WATCHDOG=1" in said


async def test_without_systemd_nobody_is_told(tmp_path: Path) -> None:
    """And a supervisor that is gone, or meant another process, is no reason to fail."""
    notify("READY=1", {})
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notify("READY=1", {"NOTIFY_SOCKET": "vsock:2:1234"})
    for environ in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}):
        with trio.fail_after(1):
            await feed_watchdog(environ)


def test_the_unit_lets_the_engine_drain() -> None:
    """Its time to stop is longer than what the engine takes by default, and only the engine gets the signal."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(Path(__file__).parents[1] / "examples" / "echo-actors.service")
    settings, made = Settings(), unit["Service"]
    assert int(made["TimeoutStopSec"]) > settings.drain_timeout + settings.teardown_timeout
    assert (made["Type"], made["KillMode"]) == ("notify", "mixed")
    assert str(int(Exit.TERMINATED)) in made["SuccessExitStatus"].split()
    assert {str(int(Exit.USAGE)), str(int(Exit.NO_CLI))} <= set(made["RestartPreventExitStatus"].split())


# -- on a running engine


async def test_send_and_sessions_and_history_ask_the_engine_that_runs(program: Program) -> None:
    """Nothing is said of a store, and one session goes on through all of them."""
    async with service(program):
        assert (await program.run_beside("send", "c", "one")).out == "echo: one\n"
        finished = await program.run_beside("send", "c", "two", "--json", "--model", "opus")
        assert orjson.loads(finished.out)["text"] == "echo: two"
        assert finished.err == ""
        listed = await program.run_beside("sessions", "--json")
        assert [(each["channel"], each["message_count"]) for each in orjson.loads(listed.out)] == [("c", 2)]
        assert listed.err == ""
        said = await program.run_beside("history", "c", "--format", "json")
        assert [each["text"] for each in orjson.loads(said.out)["entries"]] == ["one", "echo: one", "two", "echo: two"]
        refused = await program.run_beside("send", "c", "three", "--claude-bin", "/bin/true")
        assert refused.code == Exit.USAGE
        assert "--claude-bin: an engine is running already" in refused.err
    listed = await program.run("sessions", "--json")
    assert "no engine is running" in listed.err
    assert said_besides(listed) == ""
    assert [each["model"] for each in orjson.loads(listed.out)] == ["opus"]


async def test_chat_shows_the_last_exchanges_and_goes_on(program: Program) -> None:
    """In a terminal unasked, on a pipe when asked."""
    async with service(program):
        await program.run_beside("send", "c", "one", "--author", "Ana")
        piped = await program.run_beside("chat", "c", "--history", "2", stdin=b"two\n")
        assert piped.out == "> Ana: one\necho: [fence" + piped.out.partition("[fence")[2]
        assert piped.out.endswith("echo: two\n")
        assert (await program.run_beside("chat", "c", stdin=b"three\n")).out == "echo: three\n"
        async with program.terminal("chat", "c", beside=True) as running:
            await running.see("> two")
            await running.see("echo: two")
            await running.see("> three")
            await running.see("echo: three")
            await running.see("> ")
            await running.type("[[delay 900]]\n")
            await until(lambda: len(program.asked()) == 4)
            await running.type("\x03")
            await running.see("interrupted: cancelled")
            await running.see("> ")
            await running.type("\x04")
        assert running.process.returncode == 0
        assert "there is more" not in plain(running.written)


async def test_send_that_is_ended_takes_its_message_back(program: Program) -> None:
    """The engine runs on, and the channel is free."""
    async with service(program):
        async with program.start("send", "c", "[[delay 900]]", beside=True) as running:
            await until(lambda: len(program.asked()) == 1)
            running.process.send_signal(signal.SIGINT)
        assert running.process.returncode == Exit.INTERRUPTED
        assert (await program.run_beside("send", "c", "two")).out == "echo: two\n"
        assert '"outcome":"cancelled"' in program.audit()


async def test_channel_shows_and_steers(program: Program) -> None:
    """Each verb once, and what it says; what needs not be done is no failure."""
    async with service(program):
        await program.run_beside("send", "c", "one")
        said = await program.run_beside("channel", "set", "c", "model=opus", "idle_timeout=30", 'add_dirs=["/a"]')
        assert (said.out, said.err) == ('model: opus\nadd_dirs: ["/a"]\nidle_timeout: 30.0\n', "")
        shown = orjson.loads((await program.run_beside("channel", "show", "c", "--json")).out)
        assert (shown["message_count"], shown["options"]["model"], shown["suspended"]) == (1, "opus", None)
        assert shown["today_usd"] == pytest.approx(0.0004)
        assert orjson.loads((await program.run_beside("channel", "set", "c", "model=", "--json")).out) == {
            "add_dirs": ["/a"],
            "idle_timeout": 30.0,
        }
        for verb, expected in (("interrupt", "no turn is running"), ("prewarm", "ready")):
            assert (await program.run_beside("channel", verb, "c")).out == expected + "\n"
        assert (await program.run_beside("channel", "suspend", "c", "--reason", "for tests")).out == "suspended\n"
        refused = await program.run_beside("send", "c", "two")
        assert (refused.code, "for tests" in refused.err) == (Exit.FAILED, True)
        assert "suspended: for tests\n" in (await program.run_beside("channel", "show", "c")).out
        for verb, expected in (("resume", "resumed"), ("clear", "cleared")):
            assert (await program.run_beside("channel", verb, "c")).out == expected + "\n"
        wrong = await program.run_beside("channel", "set", "c", "modle=opus")
        assert (wrong.code, "Did you mean 'model'?" in wrong.err) == (Exit.USAGE, True)


async def test_what_may_be_a_secret_in_a_channels_options_is_not_shown(program: Program) -> None:
    """Not when it is set, nor when it is looked at, nor in the store; as with `echo-actors settings`."""
    servers = '{"notes": {"command": "notes", "env": {"NOTES_KEY": "hush-hush"}}}'
    async with service(program):
        said = [
            await program.run_beside("channel", "set", "c", f"mcp_servers={servers}", "idle_timeout=inf"),
            await program.run_beside("send", "c", "one"),
            await program.run_beside("channel", "show", "c"),
            await program.run_beside("channel", "show", "c", "--json"),
        ]
    said.append(await program.run("channel", "show", "c"))
    assert [each.code for each in said] == [0] * 5
    assert "hush-hush" not in "".join(each.out + each.err for each in said)
    assert "[secret NOTES_KEY]" in said[0].out
    options = orjson.loads(said[3].out)["options"]
    assert (options["mcp_servers"]["notes"]["command"], options["idle_timeout"]) == ("notes", "inf")


async def test_without_an_engine_a_channel_can_be_looked_at_and_not_steered(program: Program) -> None:
    """The exit code is one of its own."""
    assert (await program.run("channel", "show", "c")).out == "channel: c\n"
    await program.run("send", "c", "one")
    shown = await program.run("channel", "show", "c")
    assert "message_count: 1\n" in shown.out
    assert "this is from its store" in shown.err
    for verb in ("set", "interrupt"):
        refused = await program.run("channel", verb, "c")
        assert (refused.code, refused.out) == (Exit.NOT_RUNNING, "")
        assert "no engine is running" in refused.err


async def test_dead_letters_of_a_running_engine(program: Program) -> None:
    """One runs again at once, another is dropped."""
    one, two = await leave_dead_letter(program, "again"), await leave_dead_letter(program, "never", channel="d")
    async with service(program):
        found = orjson.loads((await program.run_beside("dead-letters", "list", "--json")).out)
        assert [each["message_id"] for each in found] == [one, two]
        shown = await program.run_beside("dead-letters", "show", one)
        assert (shown.out.endswith("\n\nagain\n"), shown.err) == (True, "")
        assert (await program.run_beside("dead-letters", "resend", one)).code == Exit.DONE
        async with connect(program.state) as engine:
            outcome = await engine.outcome(one)
            assert (outcome.reply and outcome.reply.text, outcome.attempts) == ("echo: again", 1)
        assert (await program.run_beside("dead-letters", "drop", two)).code == Exit.DONE
        assert orjson.loads((await program.run_beside("dead-letters", "list", "--json")).out) == []
        assert (await program.run_beside("dead-letters", "drop", two)).code == Exit.USAGE


@pytest.mark.real_cli
async def test_the_real_cli_answers_over_the_socket(program: Program, cli: Path) -> None:
    """The operator's path: run, send, show, history, and the end."""
    async with open_model_server() as model:
        variables = orjson.dumps({**model_variables(model.url), "X_TEST": program.marker}).decode()
        async with service(program, CLAUDE_BIN=str(cli), ECHO_ACTORS_ENVIRONMENT=variables):
            assert (await program.run_beside("send", "c", "hello")).out == "echo: hello\n"
            said = await program.run_beside("history", "c", "--format", "json")
            assert [each["text"] for each in orjson.loads(said.out)["entries"]] == ["hello", "echo: hello"]
            assert (await program.run_beside("channel", "clear", "c")).out == "cleared\n"
