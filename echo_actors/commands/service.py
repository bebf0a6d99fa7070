"""What a program owes to who supervises it: a word when it is ready and when it stops, and a file with its id."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import trio

from echo_actors.errors import SettingsError


def notify(state: str, environ: Mapping[str, str]) -> None:
    """Tell systemd, where it wants to know: as ``sd_notify`` does. Nobody is kept waiting, and nothing is raised."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        # A name that begins with @ is one of Linux's abstract names, which begin with a null.
        made.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


async def feed_watchdog(environ: Mapping[str, str]) -> None:
    """Tell systemd twice in each of its intervals that this program's loop runs, where it asks for that."""
    interval = environ.get("WATCHDOG_USEC", "")
    mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not mine or not interval.isdigit() or int(interval) == 0:
        return
    while True:
        notify("WATCHDOG=1", environ)
        await trio.sleep(int(interval) / 2e6)


@contextmanager
def holding_pid(path: Path | None) -> Iterator[None]:
    """Have a file with this process's id for the block; what a killed program left there is replaced.

    Raises:
        SettingsError: It cannot be written, is no such file, or is that of a program that still runs.
    """
    if path is None:
        yield
        return
    try:
        _check_free(path)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o644)
            file.write(f"{os.getpid()}\n")
        Path(temporary).replace(path)
    except OSError as problem:
        raise SettingsError(f"{path} cannot be written: {problem.strerror}", name="pid_file") from problem
    try:
        yield
    finally:
        with suppress(OSError):
            if path.read_bytes() == b"%d\n" % os.getpid():
                path.unlink()


def _check_free(path: Path) -> None:
    try:
        text, written = path.read_bytes().strip(), path.stat().st_mtime
    except FileNotFoundError:
        return
    if text and not text.isdigit():
        raise SettingsError(f"{path} is there and no pid file", name="pid_file")
    if text and _ran(int(text), written):
        raise SettingsError(f"{path} is that of process {int(text)}, which runs", name="pid_file")


def _ran(pid: int, moment: float) -> bool:
    """Whether a process runs that did then. A younger one has the number by chance."""
    try:
        return bool(psutil.Process(pid).create_time() <= moment)
    except (psutil.Error, OverflowError):
        return False
