"""What a program owes to who supervises it: a word when it is ready and when it stops, and a file with its id."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil
import trio

from echo_actors.errors import SettingsError
from echo_actors.regular_file import open_regular

HEARD_WITHIN: Final = 1.0
"""Seconds in which systemd has to take a word that comes once: without the first one it would end the service."""

_LONGEST_PID: Final = 20
"""Bytes of a file with a process's id in it."""


def notify(state: str, environ: Mapping[str, str], within: float = HEARD_WITHIN) -> None:
    """Tell systemd, where it wants to know: as ``sd_notify`` does. Nothing is raised.

    Args:
        state: What to tell.
        environ: Says whom.
        within: Seconds that it may take when there is no room for more words; 0 to drop it then.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.settimeout(within)
        # A name that begins with @ is one of Linux's abstract names, which begin with a null. Only of a socket that is
        # connected the system says when there is room.
        made.connect("\0" + address[1:] if address.startswith("@") else address)
        made.send(state.encode())


async def feed_watchdog(environ: Mapping[str, str]) -> None:
    """Tell systemd twice in each of its intervals that this program's loop runs, where it asks for that."""
    interval = environ.get("WATCHDOG_USEC", "")
    mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not mine or not interval.isdigit() or int(interval) == 0:
        return
    while True:
        notify("WATCHDOG=1", environ, within=0)
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
        _write_pid(path)
    except OSError as problem:
        raise SettingsError(f"{path} cannot be written: {problem.strerror}", name="pid_file") from problem
    try:
        yield
    finally:
        with suppress(OSError):
            with open_regular(path) as file:
                own = file.read(_LONGEST_PID + 1) == b"%d\n" % os.getpid()
            if own:
                path.unlink()


def _write_pid(path: Path) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o644)
            file.write(f"{os.getpid()}\n")
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _check_free(path: Path) -> None:
    try:
        with open_regular(path) as file:
            text, written = file.read(_LONGEST_PID + 1).strip(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return
    if text and (not text.isdigit() or len(text) > _LONGEST_PID):
        raise SettingsError(f"{path} is there and no pid file", name="pid_file")
    if text and _ran(int(text), written):
        raise SettingsError(f"{path} is that of process {int(text)}, which runs", name="pid_file")


def _ran(pid: int, moment: float) -> bool:
    """Whether a process runs that did then. A younger one has the number by chance, and a zombie runs no more."""
    try:
        process = psutil.Process(pid)
        return bool(process.create_time() <= moment and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, OverflowError):
        return False
