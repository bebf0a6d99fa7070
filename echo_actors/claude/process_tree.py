"""Which processes belong to a CLI, and whether they still live.

A pid alone names nobody: it is used again. An identity is the pid with the process's start. What a CLI started is
found in two ways, because neither suffices: below it in the tree, until a parent in between ends, and by the mark in
its environment, unless a tool cleared that.

Every function here reads the process table and returns at once, in about 1 ms for each hundred processes.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping

import attrs

from echo_actors.claude.process_table import TABLE, ProcessTable, rows


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


def descendants(*pids: int, table: ProcessTable = TABLE) -> set[Identity]:
    """Return what runs below these processes in the tree, without themselves."""
    children = defaultdict(list)
    for row in rows(table):
        children[row.parent].append(row)
    found: set[Identity] = set()
    parents = list(pids)
    while parents:
        for row in children.pop(parents.pop(), ()):
            parents.append(row.pid)
            if not row.zombie:
                found.add(Identity(row.pid, row.started, table))
    return found


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


def cpu_seconds(identities: Iterable[Identity], *, table: ProcessTable = TABLE) -> float:
    """Return what these processes used, and those they waited for; ones that are gone count nothing."""
    used = ((identity, table.row(identity.pid)) for identity in identities)
    return sum(row.cpu_seconds for identity, row in used if row is not None and row.started == identity.started)


def resident_bytes(pid: int, *, table: ProcessTable = TABLE) -> int:
    """Return the private memory of a process and all below it.

    On Linux that is RSS less shared pages, elsewhere USS; what CLIs share, their binary, is in neither.
    """
    tree = {pid, *(identity.pid for identity in descendants(pid, table=table))}
    return sum(table.private_bytes(each) for each in tree)
