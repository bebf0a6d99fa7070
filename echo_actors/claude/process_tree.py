"""Which processes belong to a CLI, and whether they still live.

A pid alone names nobody: it is used again. An identity is the pid with the process's start. What a CLI started is
found in two ways, because neither suffices: below it in the tree, until a parent in between ends, and by the mark in
its environment, unless a tool cleared that.

Everything here reads the process table and returns at once, in about 1 ms for each hundred processes. Whoever asks
about many processes takes one ``Scan`` for all of them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

import attrs

from echo_actors.claude.process_table import TABLE, ProcessRow, ProcessTable, rows


@attrs.frozen
class Identity:
    """One process, and never another that got its pid later."""

    pid: int
    started: float
    _table: ProcessTable = attrs.field(default=TABLE, eq=False, repr=False)

    @classmethod
    def of(cls, pid: int, table: ProcessTable = TABLE) -> Identity | None:
        """Identify the process that has this pid now."""
        row = table.row(pid)
        return None if row is None else cls(pid, row.started, table)

    def alive(self) -> bool:
        """Tell whether it runs. A zombie does not."""
        row = self._table.row(self.pid)
        return row is not None and row.started == self.started and not row.zombie

    def send(self, signal: int) -> bool:
        """Signal it if it is alive; tell whether that was done."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal)
                return True
        return False


@attrs.frozen
class Scan:
    """One reading of the whole table, which answers for any number of trees."""

    _table: ProcessTable = attrs.field(repr=False)
    _rows: Mapping[int, ProcessRow] = attrs.field(repr=False)
    _children: Mapping[int, list[ProcessRow]] = attrs.field(repr=False)

    @classmethod
    def take(cls, table: ProcessTable = TABLE) -> Scan:
        """Read every process."""
        by_pid: dict[int, ProcessRow] = {}
        children: dict[int, list[ProcessRow]] = {}
        for row in rows(table):
            by_pid[row.pid] = row
            children.setdefault(row.parent, []).append(row)
        return cls(table, by_pid, children)

    def below(self, *pids: int) -> list[ProcessRow]:
        """What runs below these processes in the tree, without themselves."""
        found: dict[int, ProcessRow] = {}
        parents = list(pids)
        while parents:
            new = [row for row in self._children.get(parents.pop(), ()) if row.pid not in found]
            found |= {row.pid: row for row in new}
            parents += [row.pid for row in new]
        return [row for row in found.values() if not row.zombie]

    def cpu_seconds(self, identity: Identity) -> float:
        """What a process used, and those that it waited for; one that is gone used nothing."""
        row = self._rows.get(identity.pid)
        return row.cpu_seconds if row is not None and row.started == identity.started else 0.0

    def resident_bytes(self, pid: int) -> int:
        """The private memory of a process and of all below it.

        On Linux that is RSS less shared pages, elsewhere USS; what CLIs share, their binary, is in neither.
        """
        return sum(map(self._table.private_bytes, {pid, *(row.pid for row in self.below(pid))}))


def descendants(*pids: int, table: ProcessTable = TABLE) -> set[Identity]:
    """Return what runs below these processes in the tree, without themselves."""
    return {Identity(row.pid, row.started, table) for row in Scan.take(table).below(*pids)}


def marked(variables: Mapping[str, str], *, table: ProcessTable = TABLE) -> set[Identity]:
    """Return the running processes that were started with all these variables, wherever in the tree they are."""
    entries = [os.fsencode(f"\0{name}={value}\0") for name, value in variables.items()]
    found: set[Identity] = set()
    for pid in table.pids():
        environment = b"\0" + table.environment(pid)
        if all(entry in environment for entry in entries):
            identity = Identity.of(pid, table)
            if identity is not None and identity.alive():
                found.add(identity)
    return found
