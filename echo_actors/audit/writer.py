"""The one thread that appends audit records to their file, begins the next file, and removes old ones.

Records are chained here, when they are written, and not when they are made: one that had to be dropped leaves the
chain whole, and an ``audit.lost`` record in its place. A write that stops midway (a full disk) is taken up again at
the byte where it stopped. A file is followed by the next only between two batches, when it ends with a whole line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import attrs

from echo_actors.audit.chain import Head, link
from echo_actors.audit.record import Step
from echo_actors.audit.rotation import LogFile, Old

REST, LONGEST_REST = 10.0, 0.1
"""How many times as long as it worked the thread rests, and at most for how many seconds: both threads cannot run at
once, and each change from one to the other costs the engine what its core had in its caches (measured: a thread that
woke for each record cost a third of the throughput)."""

RETENTION_EVERY = 3600.0
"""Seconds between looks for old files, besides the looks when a file is full."""

_EXIT_POLL = 1.0
"""Seconds between looks whether the program has ended without closing the log."""


@attrs.frozen
class Waiter:
    """Someone who waits until everything before is written.

    Attributes:
        sync: Whether it must be on the disk, not only in the file.
        tell: Called in the writer's thread, with whether it is.
    """

    sync: bool
    tell: Callable[[bool], None]


@attrs.define
class _Batch:
    steps: list[Step] = attrs.field(factory=list)
    waiters: list[Waiter] = attrs.field(factory=list)
    size: int = 0
    lost: int = 0
    cause: str = ""

    def __bool__(self) -> bool:
        return bool(self.steps or self.waiters or self.lost)


@attrs.define(eq=False)
class Writer:
    """Owns the file, the chain's state, and the thread.

    Attributes:
        head: The last record that is in the file.
        problem: Why nothing can be written now; None when it can.
        dropped: How many records found no room so far, or could not be made.
        unmade: How many records could not be made, and why the last could not; None when all could.
    """

    _file: LogFile
    head: Head
    _chain: Head
    _unfinished: bytes
    _limit: int
    _retry: float
    _render: Callable[[Step], bytes]
    _lost: Callable[[int, str], bytes]
    _pruned: Callable[[Old], bytes]
    problem: str | None = None
    dropped: int = attrs.field(default=0, init=False)
    unmade: str | None = attrs.field(default=None, init=False)
    _unmade: int = attrs.field(default=0, init=False)
    _wake: threading.Condition = attrs.field(factory=threading.Condition, init=False)
    _queue: _Batch = attrs.field(factory=_Batch, init=False)
    _closing: bool = attrs.field(default=False, init=False)
    _rest: float = attrs.field(default=0.0, init=False)
    _not_followed: str | None = attrs.field(default=None, init=False)
    _not_removed: str | None = attrs.field(default=None, init=False)
    _next_rotation: float = attrs.field(default=0.0, init=False)
    _next_look: float = attrs.field(default=0.0, init=False)
    _owner: threading.Thread = attrs.field(factory=threading.current_thread, init=False)
    _thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="echo-actors-audit", daemon=False)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether no more is taken."""
        return self._closing

    def put(self, step: Step) -> None:
        """Queue what is to be recorded; count it as lost when there is no room.

        Raises:
            RuntimeError: The log is closed.
        """
        size = step.size
        with self._wake:
            if self._closing:
                raise RuntimeError("the audit log is closed")
            queue = self._queue
            if not queue:
                self._wake.notify()
            # Once one is lost all are, until the queue is taken: the audit.lost record then stands where the gap is.
            if queue.lost or queue.size + size > self._limit:
                queue.cause = queue.cause or self.problem or "more records came than could be written"
                queue.lost += 1
                self.dropped += 1
            else:
                queue.steps.append(step)
                queue.size += size

    def wait_with(self, waiter: Waiter) -> bool:
        """Queue a waiter behind all that is queued; False when the log is closed and nobody would tell it."""
        with self._wake:
            if not self._closing:
                self._queue.waiters.append(waiter)
                self._wake.notify()
            return not self._closing

    def close(self, timeout: float) -> None:
        """Write what is queued, close the file and end the thread; wait for that at most so many seconds."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            while batch := self._take():
                began = time.perf_counter()
                written = self._append(batch)
                self._rest = min(LONGEST_REST, REST * (time.perf_counter() - began))
                synced = written and any(waiter.sync for waiter in batch.waiters) and self._sync()
                for waiter in batch.waiters:
                    waiter.tell(synced if waiter.sync else written)
                if not written or not self._tidy():
                    break
        finally:
            self._finish()

    def _take(self) -> _Batch:
        """Wait for something to do; an empty batch is the end."""
        with self._wake:
            while not self._queue and not self._stopping():
                self._wake.wait(_EXIT_POLL)
            self._wake.wait_for(lambda: self._queue.waiters or self._closing, self._rest)
            batch, self._queue = self._queue, _Batch()
            return batch

    def _stopping(self) -> bool:
        # The interpreter waits for this thread before it ends, so a log that nobody closed must end by itself. The
        # engine may run beside the main thread and outlive it, hence both.
        abandoned = not (self._owner.is_alive() or threading.main_thread().is_alive())
        self._closing = self._closing or abandoned
        return self._closing

    def _append(self, batch: _Batch) -> bool:
        """Write a batch, however long that takes; False when the log was closed and it still cannot be written."""
        records = [self._made(step) for step in batch.steps]
        if batch.lost:
            records.append(self._lost(batch.lost, batch.cause))
        unwritten = self._write_lines(records)
        if unwritten:
            self._give_up(unwritten + max(batch.lost - 1, 0))
        return not unwritten

    def _write_lines(self, records: list[bytes]) -> int:
        """Write records, however long that takes; give how many are not written, because the log was closed."""
        chain, lines = self._chain, []
        for record in records:
            line, chain = link(chain, record)
            lines.append(line + b"\n")
        data = memoryview(self._unfinished + b"".join(lines)) if lines else memoryview(b"")
        while data:
            # Asked before the attempt: one is made after the log was closed.
            last_attempt = self._closing
            try:
                data = data[self._file.write(data) :]
            except OSError as problem:
                self.problem = str(problem)
                if last_attempt:
                    return bytes(data).count(b"}\n")
                with self._wake:
                    self._wake.wait_for(self._stopping, self._retry)
        if lines:
            self._unfinished, self.problem = b"", None
            self._chain = self.head = chain
        return 0

    @property
    def untidy(self) -> str | None:
        """Why a full file is not followed by another, or an old one not removed; None when all is as it should."""
        return self._not_followed or self._not_removed

    def _tidy(self) -> bool:
        """Begin another file when this one is full, and remove what is old; False as for a batch."""
        now = time.monotonic()
        if self._unfinished or now < self._next_rotation:
            return True
        try:
            if self._file.is_full:
                self._file.rotate(self.head.seq)
                self._next_look = 0.0
            self._not_followed = None
        except OSError as problem:
            self._next_rotation, self._not_followed = now + self._retry, str(problem)
            return True
        if now < self._next_look:
            return True
        self._next_look = now + RETENTION_EVERY
        try:
            went_on = self._remove_old()
        except OSError as problem:
            self._not_removed = str(problem)
            return True
        self._not_removed = None
        return went_on

    def _remove_old(self) -> bool:
        old = self._file.old()
        if old is None:
            return True
        # What tells of the cut is on the disk before the cut is made.
        if unwritten := self._write_lines([self._pruned(old)]):
            self._give_up(unwritten)
            return False
        self._file.sync()
        self._file.remove(old)
        return True

    def _made(self, step: Step) -> bytes:
        """Make a record; one that cannot be made is lost, and the thread goes on."""
        try:
            return self._render(step)
        except Exception as error:  # noqa: BLE001 - a mask is somebody else's
            self._unmade += 1
            self.dropped += 1
            # The error's own text may hold what the mask was to hide.
            cause = f"{step.event} could not be made into a record: {type(error).__name__}"
            self.unmade = f"{self._unmade} audit records are lost, the last because {cause}"
            return self._lost(1, cause)

    def _give_up(self, unwritten: int) -> None:
        # A line that was begun stays: the next opening records it, as it does after a crash.
        with self._wake:
            unwritten += len(self._queue.steps) + self._queue.lost
        self.problem = f"{unwritten} audit records were not written: {self.problem}"

    def _sync(self) -> bool:
        try:
            self._file.sync()
        except OSError as problem:
            self.problem = str(problem)
            return False
        return True

    def _finish(self) -> None:
        with self._wake:
            self._closing = True
            left = self._queue.waiters
        for waiter in left:
            waiter.tell(False)
        self._sync()
        self._file.close()
