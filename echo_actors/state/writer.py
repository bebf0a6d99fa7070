"""The one thread that uses the database, with group commit.

Whatever was asked while one commit was on its way to the disk shares the next one. Requests keep their order. Reads
take the same way, so that they see every write that was asked before them.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
import trio

from echo_actors.errors import StoreError
from echo_actors.state.sqlite_errors import is_damage, translated

T = TypeVar("T")

Operation = Callable[[sqlite3.Connection], T]
"""Work within a transaction. It may run twice, the first time to be rolled back; so it changes nothing else."""


@attrs.define(eq=False)
class Request:
    """An operation on its way to the thread and back."""

    operation: Operation[Any]
    done: trio.Event = attrs.field(factory=trio.Event)
    result: Any = None
    error: Exception | None = None


class _GroupBroken(Exception):
    """One operation failed after it had changed something: the group cannot be committed as it is."""


@attrs.define(eq=False)
class Writer:
    """Hands operations to the thread and waits for their results.

    Attributes:
        connect: Opens the database, in the thread.
        last: What to do before the database is closed, unless it was found malformed: then the next start must
            not take it for properly closed.
        close_timeout: How long to wait for the disk to take the last writes, in seconds.
        guard: Called in the thread before each group; raises a ``StoreError`` when nothing may be written.
    """

    _connect: Callable[[], sqlite3.Connection]
    _last: Operation[None]
    _close_timeout: float = 30.0
    _guard: Callable[[], None] = lambda: None
    _met_damage: bool = attrs.field(default=False, init=False)
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token, init=False)
    _requests: queue.SimpleQueue[Request | None] = attrs.field(factory=queue.SimpleQueue, init=False)
    _opened: Request = attrs.field(factory=lambda: Request(lambda _: None), init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _thread: threading.Thread = attrs.field(init=False)

    async def start(self) -> None:
        """Start the thread and have it open the database.

        Raises:
            Exception: Whatever the opening raised; the thread has ended then.
        """
        self._thread = threading.Thread(target=self._main, name="echo-actors-store")
        self._thread.start()
        # A half-opened database has no owner that could close it, so the opening is waited for.
        with trio.CancelScope(shield=True):
            await self._opened.done.wait()
        if self._opened.error is not None:
            self._thread.join()
            raise self._opened.error

    def submit(self, operation: Operation[Any]) -> Request:
        """Hand an operation over, in order, without waiting.

        Raises:
            StoreError: The store is closed.
        """
        if self._closing:
            raise StoreError("the store is closed")
        request = Request(operation)
        self._requests.put(request)
        return request

    async def run(self, operation: Operation[T]) -> T:
        """Hand an operation over and wait until its transaction is on disk.

        Cancelling the wait abandons the result, not the operation.
        """
        request = self.submit(operation)
        await request.done.wait()
        if request.error is not None:
            raise request.error
        result: T = request.result
        return result

    async def aclose(self) -> None:
        """Finish what was asked and end the thread; not interrupted by cancellation, but bounded.

        Raises:
            StoreError: The disk did not take the writes in time; the thread goes on and still owns the database.
        """
        if not self._closing:
            self._closing = True
            self._requests.put(None)
        with trio.move_on_after(self._close_timeout, shield=True) as scope:
            await self._ended.wait()
        if scope.cancelled_caught:
            raise StoreError(f"the disk did not take the last writes within {self._close_timeout:g} s")
        self._thread.join()

    def _main(self) -> None:
        try:
            connection = self._connect()
        except Exception as problem:  # noqa: BLE001 - it is delivered to the task that opens the store
            self._opened.error = translated(problem)
            self._deliver([self._opened])
            return
        self._deliver([self._opened])
        with contextlib.closing(connection):
            while group := self._next_group():
                self._run_group(connection, group)
                self._deliver(group)
            if not self._met_damage:
                self._run_group(connection, [Request(self._last)])
        self._call_soon(self._ended.set)

    def _next_group(self) -> list[Request]:
        """All that is waiting; empty at the end. Nothing comes after the mark of the end, so it may be put back."""
        group: list[Request] = []
        while True:
            request = self._requests.get()
            if request is None:
                if group:
                    self._requests.put(None)
                return group
            group.append(request)
            if self._requests.empty():
                return group

    def _run_group(self, connection: sqlite3.Connection, group: Sequence[Request]) -> None:
        try:
            self._guard()
            self._transaction(connection, group)
        except StoreError as problem:
            for request in group:
                request.error = problem
        except _GroupBroken:
            for request in group:
                request.result = request.error = None
                try:
                    self._transaction(connection, [request])
                except _GroupBroken as broken:
                    request.error = self._failure(broken.__cause__)
        for request in group:
            if request.error is not None:
                request.result = None

    def _transaction(self, connection: sqlite3.Connection, group: Sequence[Request]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for request in group:
                self._run_one(connection, request)
            connection.execute("COMMIT")
        except sqlite3.Error as problem:
            _roll_back(connection)
            for request in group:
                request.error = request.error or self._failure(problem)
        except _GroupBroken:
            _roll_back(connection)
            raise

    def _run_one(self, connection: sqlite3.Connection, request: Request) -> None:
        """Run an operation; one that failed before it changed anything leaves the others as they are.

        A savepoint for each would say the same, and cost more than the operation itself.
        """
        before = connection.total_changes
        try:
            request.result = request.operation(connection)
        except Exception as problem:
            # A full disk may make SQLite give up the whole transaction.
            if connection.total_changes != before or not connection.in_transaction:
                raise _GroupBroken from problem
            request.error = self._failure(problem)

    def _failure(self, problem: BaseException | None) -> Exception:
        assert isinstance(problem, Exception)  # noqa: S101 - a broken group always has its cause
        self._met_damage = self._met_damage or is_damage(problem)
        return translated(problem)

    def _deliver(self, group: Sequence[Request]) -> None:
        self._call_soon(_wake, group)

    def _call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._token.run_sync_soon(function, *arguments)
        except trio.RunFinishedError:
            # Whoever asked is gone with its trio run. What it asked is written, and the thread ends with the run.
            self._requests.put(None)


def _wake(group: Sequence[Request]) -> None:
    for request in group:
        request.done.set()


def _roll_back(connection: sqlite3.Connection) -> None:
    # One that fails leaves the transaction open, and the next BEGIN fails and comes here again.
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
