"""The one user of the database, with group commit.

Whatever was asked while one commit was on its way to the disk shares the next one. Requests keep their order. Reads
take the same way, so that they see every write that was asked before them.

Statements run on the event loop, commits in a thread. A statement takes a few microseconds of CPU on pages that are in
memory, and SQLite's bindings give up the interpreter's lock around each: in a thread, beside a busy loop, each would
have to wait for its turn again, up to 5 ms (``sys.getswitchinterval``). A commit waits for the disk. What may take
long itself, such as a scan, takes its whole group into the thread.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import trio

from echo_actors.errors import StoreError
from echo_actors.state.records import StoreHealth
from echo_actors.state.sqlite_errors import translated
from echo_actors.state.transactions import Operation, Progress, Request, Transactions

T = TypeVar("T")


Job = tuple[Callable[[], None], Callable[[], object]]
"""Work for the thread, and what to do on the loop afterwards."""


@attrs.define(eq=False)
class Writer:
    """Takes operations and waits for their results.

    Attributes:
        connect: Opens the database, in the thread.
        last: What to do before the database is closed, unless it was found malformed: then the next start must
            not take it for properly closed.
        close_timeout: How long to wait for the disk to take the last writes, in seconds.
        guard: Called before each commit, in the thread; raises a ``StoreError`` when nothing may be written.
    """

    _connect: Callable[[], sqlite3.Connection]
    _last: Operation[None]
    _close_timeout: float = 30.0
    _guard: Callable[[], None] = lambda: None
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token, init=False)
    _jobs: queue.SimpleQueue[Job | None] = attrs.field(factory=queue.SimpleQueue, init=False)
    _requests: list[Request] = attrs.field(factory=list, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _since: float | None = attrs.field(default=None, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _transactions: Transactions = attrs.field(init=False)
    _thread: threading.Thread = attrs.field(init=False)

    async def start(self) -> None:
        """Start the thread, have it open the database, and begin to serve.

        Raises:
            Exception: Whatever the opening raised; the thread has ended then.
        """
        self._thread = threading.Thread(target=self._run_jobs, name="echo-actors-store")
        self._thread.start()
        opened: list[Transactions | Exception] = []
        done = trio.Event()

        def connect() -> None:
            try:
                opened.append(Transactions(self._connect(), self._guard))
            except Exception as problem:  # noqa: BLE001 - raised below, in the task that opens the store
                opened.append(translated(problem))

        # A half-opened database has no owner that could close it, so the opening is waited for.
        try:
            self._jobs.put((connect, done.set))
            with trio.CancelScope(shield=True):
                await done.wait()
        except BaseException:
            # Ctrl-C goes through a shield. The interpreter waits for the thread, so it must not wait for more jobs.
            self._jobs.put((lambda: _discard(opened), lambda: None))
            self._jobs.put(None)
            raise
        if isinstance(opened[0], Exception):
            self._jobs.put(None)
            self._thread.join()
            raise opened[0]
        self._transactions = opened[0]
        # A system task: no cancellation of those who ask may end it while they wait.
        trio.lowlevel.spawn_system_task(self._serve, name="echo-actors-store")

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation; return when its transaction is on disk. Not interrupted by cancellation.

        Raises:
            StoreError: It could not be done, or the store is closed.
        """
        request = self._submit(Request(operation))
        await trio.lowlevel.wait_task_rescheduled(_go_on)
        if request.error is not None:
            raise request.error
        result: T = request.result
        return result

    async def run(self, operation: Operation[T], *, slow: bool = False) -> T:
        """Run an operation as ``write`` does; cancelling the wait abandons the result, not the operation.

        Args:
            operation: What to do.
            slow: Whether it may take longer than other tasks should wait.
        """
        request = self._submit(Request(operation, slow))

        def give_up(_: Any) -> trio.lowlevel.Abort:
            request.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)
        if request.error is not None:
            raise request.error
        result: T = request.result
        return result

    def _submit(self, request: Request) -> Request:
        """Hand a request over, in order; the calling task is woken when it is done."""
        if self._closing:
            raise StoreError("the store is closed")
        request.task = trio.lowlevel.current_task()
        self._requests.append(request)
        if len(self._requests) == 1:
            self._news.set()
        return request

    @property
    def health(self) -> StoreHealth:
        """How the database is doing."""
        # It may become None between two looks at it, when another thread asks.
        since = self._since
        waiting = 0.0 if since is None else time.monotonic() - since
        return StoreHealth(self._transactions.problem, self._transactions.failures, waiting)

    async def aclose(self) -> None:
        """Finish what was asked and end the thread; not interrupted by cancellation, but bounded.

        Raises:
            StoreError: The disk did not take the writes in time; the thread goes on and still owns the database.
        """
        self._closing = True
        self._news.set()
        with trio.move_on_after(self._close_timeout, shield=True) as scope:
            await self._ended.wait()
        if scope.cancelled_caught:
            raise StoreError(f"the disk did not take the last writes within {self._close_timeout:g} s")
        self._thread.join()

    # -- on the loop

    async def _serve(self) -> None:
        """Run what was asked, group after group, until the store is closed, or the trio run ends without that."""
        try:
            while self._requests or not self._closing:
                if not self._requests:
                    self._news = trio.Event()
                    await self._news.wait()
                # Whoever was woken together with this task can still share the transaction.
                await trio.lowlevel.cancel_shielded_checkpoint()
                group, self._requests = self._requests, []
                await self._run_group(group)
        finally:
            self._closing = True
            self._jobs.put((self._close, self._ended.set))
            self._jobs.put(None)

    async def _run_group(self, group: list[Request]) -> None:
        self._since = time.monotonic()
        await self._bring_to_an_end(group)
        self._since = None

    async def _bring_to_an_end(self, group: list[Request]) -> None:
        transactions, done = self._transactions, trio.Event()
        slow = any(request.slow for request in group)
        progress = Progress.TO_REPEAT if slow else transactions.try_now(group)
        if progress is Progress.DONE:
            _deliver(group)
            return

        def deliver() -> None:
            _deliver(group)
            done.set()

        finish = transactions.commit if progress is Progress.TO_COMMIT else transactions.run
        self._jobs.put((lambda: finish(group), deliver))
        await done.wait()

    # -- in the thread

    def _run_jobs(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, done = job
            work()
            try:
                self._token.run_sync_soon(done)
            except trio.RunFinishedError:
                # Whoever asked is gone with its trio run. What it asked is written, and the thread ends with the run.
                return

    def _close(self) -> None:
        if not self._transactions.met_damage:
            self._transactions.run([Request(self._last)])
        self._transactions.connection.close()


def _discard(opened: list[Transactions | Exception]) -> None:
    """Close a database that was opened for nobody."""
    for each in opened:
        if isinstance(each, Transactions):
            each.connection.close()


def _deliver(group: list[Request]) -> None:
    for request in group:
        if request.task is not None:
            trio.lowlevel.reschedule(request.task)


def _go_on(_: Any) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
