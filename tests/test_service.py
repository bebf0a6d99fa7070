"""What ``echo-actors run`` owes to who supervises it, where that is out of order."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from commands_program import Program
from support import until

from echo_actors import connect
from echo_actors.commands.exits import Exit
from echo_actors.commands.service import feed_watchdog, holding_pid, notify
from echo_actors.errors import SettingsError

# -- the file with the process's id


async def test_the_process_id_is_there_until_the_engine_has_drained(tmp_path: Path) -> None:
    """Who waits for the file to go, to start the next one, would meet the lock."""
    program, file = Program(tmp_path), tmp_path / "run.pid"
    async with program.start("run", "--pid-file", str(file)) as running:
        await running.see("running on")
        async with connect(program.state) as engine:
            await engine.post("c", "[[silence]]")
            await until(lambda: "process.spawned" in program.audit())
        running.process.send_signal(signal.SIGHUP)
        await until(lambda: "engine.draining" in program.audit())
        assert file.read_text() == f"{running.process.pid}\n"
        running.process.send_signal(signal.SIGTERM)
    assert running.process.returncode == Exit.TERMINATED
    assert not file.exists()


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    """Neither under the name nor beside it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(SettingsError, match="cannot be written"), holding_pid(tmp_path / "pid"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"9" * 5000, b"1 2\n", b"\xff\n", "²".encode(), b"-7\n"])
def test_what_is_no_number_of_a_process_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """However long it is."""
    file = tmp_path / "pid"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="no pid file"), holding_pid(file):
        pass
    assert file.read_bytes() == content


def test_a_pipe_in_the_place_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Nobody writes into it."""
    os.mkfifo(tmp_path / "pid")
    ended: list[str] = []

    def hold() -> None:
        with pytest.raises(SettingsError, match="no regular file"), holding_pid(tmp_path / "pid"):
            pass
        ended.append("said")

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    thread.join(5)
    assert ended == ["said"]


def test_a_process_that_nobody_has_waited_for_does_not_run(tmp_path: Path) -> None:
    """In a container without an init, what was killed may stay in the table for ever."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        with holding_pid(tmp_path / "pid"):
            assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"


# -- systemd


def test_one_clis_memory_does_not_end_the_service() -> None:
    """Systemd stops a unit of which the kernel has killed any process, unless it is told not to."""
    unit = Path(__file__).parents[1] / "examples" / "echo-actors.service"
    assert "OOMPolicy=continue" in unit.read_text().splitlines()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[socket.socket]:
    """A supervisor's socket that takes no more words before some are read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(10)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others, suppress(BlockingIOError):
            others.setblocking(False)
            while True:
                others.sendto(b"others", str(tmp_path / "notify"))
        yield supervisor


def test_that_the_engine_is_ready_is_not_lost_on_a_busy_supervisor(tmp_path: Path, busy: socket.socket) -> None:
    """It would wait for that word, and end the service in the end."""
    thread = threading.Thread(target=notify, args=("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")}, 10))
    thread.start()
    while busy.recv(100) != b"READY=1":
        pass
    thread.join()


async def test_the_watchdog_is_never_waited_for(tmp_path: Path, busy: socket.socket) -> None:
    """The engine's loop would stand still; there is a next time. A supervisor that is stuck is given up."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}
    with trio.move_on_after(0.2):
        await feed_watchdog(environ)
    notify("STOPPING=1", environ, 0.01)
    busy.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            assert busy.recv(100) == b"others"
