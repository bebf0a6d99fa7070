"""Reads the machine's table of processes.

Linux is read from ``/proc`` directly, which takes a sixth of psutil's time for a scan of every environment; elsewhere
psutil reads it. Whatever cannot be read, because it is gone or another user's, is left out. Not so what cannot be read
for want of file descriptors: taking every process for gone would leave them running, so that is an ``OSError``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Protocol, TypeVar

import attrs
import psutil

T = TypeVar("T")


@attrs.frozen
class ProcessRow:
    """One process as it was when it was read.

    Attributes:
        started: When it began, in a unit of the table's own: good for telling two processes of one pid apart.
        zombie: It has ended and waits for its parent to notice.
        cpu_seconds: What it used, including its children that it waited for.
    """

    pid: int
    parent: int
    started: float
    zombie: bool
    cpu_seconds: float


class ProcessTable(Protocol):
    """What is asked of a machine about its processes."""

    def pids(self) -> list[int]:
        """Every process."""

    def row(self, pid: int) -> ProcessRow | None:
        """One process, or None when there is none."""

    def environment(self, pid: int) -> bytes:
        """The ``NAME=value`` it was started with, each ended by a NUL; nothing when it cannot be read."""

    def arguments(self, pid: int) -> bytes:
        """The arguments it was started with, each ended by a NUL; nothing when they cannot be read."""

    def private_bytes(self, pid: int) -> int:
        """The memory that it shares with nobody."""


class ProcTable:
    """Linux, from ``/proc``."""

    _ticks: Final = os.sysconf("SC_CLK_TCK")
    _page: Final = os.sysconf("SC_PAGE_SIZE")

    def pids(self) -> list[int]:
        """Every process."""
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - pathlib doubles the time of a scan

    def row(self, pid: int) -> ProcessRow | None:
        """One process, from its ``stat``: proc(5) numbers the fields from 1, and the name may hold anything."""
        fields = self._read(pid, "stat").rpartition(b")")[2].split()
        if not fields:
            return None
        cpu_ticks = sum(map(int, fields[11:15]))
        return ProcessRow(pid, int(fields[1]), int(fields[19]), fields[0] in b"ZX", cpu_ticks / self._ticks)

    def environment(self, pid: int) -> bytes:
        """The variables that it was started with."""
        return self._read(pid, "environ")

    def arguments(self, pid: int) -> bytes:
        """The arguments that it was started with."""
        return self._read(pid, "cmdline")

    def private_bytes(self, pid: int) -> int:
        """RSS less its shared pages: 0.02 ms, where the exact USS of a CLI takes 2 ms and differs by a few percent."""
        fields = self._read(pid, "statm").split()
        return (int(fields[1]) - int(fields[2])) * self._page if fields else 0

    def _read(self, pid: int, name: str) -> bytes:
        try:
            with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - pathlib doubles the time of a scan
                return file.read()
        except OSError as problem:
            if problem.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return b""


class PsutilTable:
    """Any system that psutil knows."""

    def pids(self) -> list[int]:
        """Every process."""
        return psutil.pids()

    def row(self, pid: int) -> ProcessRow | None:
        """One process."""
        return self._ask(pid, self._row, None)

    def environment(self, pid: int) -> bytes:
        """The variables that it was started with."""
        nothing: dict[str, str] = {}
        variables = self._ask(pid, lambda process: process.environ(), nothing)
        return b"".join(os.fsencode(f"{name}={value}\0") for name, value in variables.items())

    def arguments(self, pid: int) -> bytes:
        """The arguments that it was started with."""
        nothing: list[str] = []
        arguments = self._ask(pid, lambda process: process.cmdline(), nothing)
        return b"".join(os.fsencode(f"{argument}\0") for argument in arguments)

    def private_bytes(self, pid: int) -> int:
        """USS: what would be freed if the process ended now."""
        return self._ask(pid, lambda process: int(process.memory_full_info().uss), 0)

    @staticmethod
    def _row(process: psutil.Process) -> ProcessRow:
        with process.oneshot():
            return ProcessRow(
                process.pid,
                process.ppid(),
                process.create_time(),
                process.status() == psutil.STATUS_ZOMBIE,
                sum(process.cpu_times()[:4]),
            )

    @staticmethod
    def _ask(pid: int, question: Callable[[psutil.Process], T], otherwise: T) -> T:
        try:
            return question(psutil.Process(pid))
        except (psutil.Error, OSError):
            return otherwise


def rows(table: ProcessTable) -> Iterator[ProcessRow]:
    """Read every process."""
    for pid in table.pids():
        row = table.row(pid)
        if row is not None:
            yield row


TABLE: Final[ProcessTable] = ProcTable() if Path("/proc/self/environ").exists() else PsutilTable()
"""The table of this machine. It holds no state."""
