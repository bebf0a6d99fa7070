"""Requests in transactions on one connection: many in one, or each in its own when one of them breaks that.

Nothing here waits for a result or knows of threads; ``writer`` says where each part runs.
"""

from __future__ import annotations

import contextlib
import enum
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
import trio

from echo_actors.state.schema import BUSY_SECONDS
from echo_actors.state.sqlite_errors import is_busy, is_damage, is_the_stores_fault, translated

T = TypeVar("T")

Operation = Callable[[sqlite3.Connection], T]
"""Work within a transaction. It may run twice, the first time to be rolled back; so it changes nothing else."""


@attrs.define(eq=False)
class Request:
    """An operation, and what came of it.

    Attributes:
        slow: Whether it may take long enough to be worth a thread.
        task: Who waits for it.
    """

    operation: Operation[Any]
    slow: bool = False
    result: Any = None
    error: Exception | None = None
    task: trio.lowlevel.Task | None = None


class Progress(enum.Enum):
    """How far a group came on its first try."""

    DONE = enum.auto()
    TO_COMMIT = enum.auto()
    TO_REPEAT = enum.auto()


class _GroupBroken(Exception):
    """One operation failed after it had changed something: the group cannot be committed as it is."""


@attrs.define(eq=False)
class Transactions:
    """Runs groups of requests.

    Attributes:
        guard: Called before each commit; raises a ``StoreError`` when nothing may be written.
        met_damage: Whether the database was found malformed.
        problem: Why the last request failed that did by the store's fault; empty again once a change was committed.
        failures: How many requests failed by the store's fault.
    """

    connection: sqlite3.Connection
    guard: Callable[[], None]
    met_damage: bool = False
    problem: str = ""
    failures: int = 0
    _before: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Take no time for what is locked; see ``run`` for what does."""
        self.connection.execute("PRAGMA busy_timeout = 0")

    def try_now(self, group: Sequence[Request]) -> Progress:
        """Run a group as far as that needs no waiting.

        That leaves out the commit, and every case in which another program or a failed operation is in the way.
        """
        before = self.connection.total_changes
        try:
            self._run(group)
            if self.connection.total_changes != before:
                return Progress.TO_COMMIT
            self.connection.execute("COMMIT")
        except sqlite3.Error as problem:
            _roll_back(self.connection)
            if is_busy(problem):
                return Progress.TO_REPEAT
            self._fail([request for request in group if request.error is None], problem)
        except _GroupBroken:
            _roll_back(self.connection)
            return Progress.TO_REPEAT
        return Progress.DONE

    def run(self, group: Sequence[Request]) -> None:
        """Run a group to its end, however long that takes."""
        try:
            self._run_patiently(group)
        except sqlite3.Error as problem:
            _roll_back(self.connection)
            self._fail(group, problem)
        except _GroupBroken as broken:
            _roll_back(self.connection)
            if len(group) == 1:
                self._fail(group, broken.__cause__)
            else:
                for request in group:
                    self.run([request])
        else:
            self.commit(group)

    def commit(self, group: Sequence[Request]) -> None:
        """Bring a group that ran to the disk, or let all of it fail."""
        try:
            self.guard()
            self.connection.execute("COMMIT")
            if self.connection.total_changes != self._before:
                self.problem = ""
        except Exception as problem:  # noqa: BLE001 - delivered to those who asked
            _roll_back(self.connection)
            self._fail([request for request in group if request.error is None], problem)

    # -- within

    def _run_patiently(self, group: Sequence[Request]) -> None:
        """Wait for other programs that have the database locked, which nobody may on the loop."""
        self.connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        try:
            self._run(group)
        finally:
            self.connection.execute("PRAGMA busy_timeout = 0")

    def _run(self, group: Sequence[Request]) -> None:
        self._before = self.connection.total_changes
        self.connection.execute("BEGIN IMMEDIATE")
        for request in group:
            self._run_one(request)

    def _run_one(self, request: Request) -> None:
        """Run an operation; one that failed before it changed anything leaves the others as they are.

        A savepoint for each would say the same, and cost more than the operation itself.
        """
        request.result = request.error = None
        connection = self.connection
        before = connection.total_changes
        try:
            request.result = request.operation(connection)
        except Exception as problem:
            # A full disk may make SQLite give up the whole transaction.
            if connection.total_changes != before or not connection.in_transaction:
                raise _GroupBroken from problem
            self._fail([request], problem)

    def _fail(self, group: Sequence[Request], problem: BaseException | None) -> None:
        assert isinstance(problem, Exception)  # noqa: S101 - a broken group always has its cause
        self.met_damage = self.met_damage or is_damage(problem)
        for request in group:
            request.result, request.error = None, translated(problem)
        if is_the_stores_fault(problem):
            self.problem = str(translated(problem))
            self.failures += len(group)


def _roll_back(connection: sqlite3.Connection) -> None:
    # One that fails leaves the transaction open, and the next BEGIN fails and comes here again.
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
