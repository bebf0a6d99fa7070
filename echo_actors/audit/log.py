"""The audit log: one JSON line per step of the engine, chained so that an edit shows.

What is to be recorded is noted in the engine's thread, and made into lines and written by a thread of its own, so that
a slow or full disk stops no turn.
What cannot be written is kept up to a limit, then dropped and counted, and the log tells the count where the gap is.

A line's keys: ``seq`` (1, 2, 3… over all runs and files), ``time`` (UTC, microseconds), ``event`` (a dotted name),
``run``, the event's own flat fields, and ``prev`` (the SHA-256 of the line before). A number that JSON does not know
(infinity, not-a-number) is written as null.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import attrs
import trio

from echo_actors.audit.chain import CUT, GENESIS, LOST, TORN, Head, Tail, Verdict, check, read_tail, sha256
from echo_actors.audit.record import Step, recorder, text_fields
from echo_actors.audit.writer import Waiter, Writer

__all__ = ["AuditLog", "Head", "Record", "Verdict", "open_audit", "text_fields", "verify"]

QUEUE_BYTES = 8 * 2**20
"""How much may wait for a disk that takes nothing: some 20,000 records."""

RETRY_DELAY = 1.0
"""Seconds between attempts to write to a disk that took nothing."""

_CHUNK = 64 * 2**10


class Record(Protocol):
    """Writes one step into the log: what the rooms that record are given."""

    def __call__(self, event: str, /, **fields: str | float | bool | None) -> None:
        """Record an event with its own flat fields."""


@attrs.define(eq=False)
class AuditLog:
    """An open audit log. Its calls belong to the thread that opened it, which is the engine's.

    Attributes:
        content: Whether texts are written, for ``text_fields``.
    """

    _clock: Callable[[], datetime]
    _writer: Writer
    content: bool

    @property
    def head(self) -> Head:
        """The last record that is in the file."""
        return self._writer.head

    @property
    def problem(self) -> str | None:
        """Why records cannot be written now, or else what is lost for good because it could not be made into one.

        After closing, also how many were not written. None when all is well.
        """
        return self._writer.problem or self._writer.unmade

    def record(self, event: str, /, **fields: Any) -> None:
        """Add a record; it is written soon, and in order.

        Args:
            event: A dotted name, such as ``turn.ended``.
            **fields: Strings, numbers, booleans or None.

        Raises:
            TypeError: A field is no scalar, or has a name that the log uses itself.
            RuntimeError: The log is closed.
        """
        step = Step(self._clock(), event, fields)
        step.check()
        self._writer.put(step)

    async def flush(self, *, sync: bool = False, timeout: float = 10.0) -> bool:  # noqa: ASYNC109 - gives a result, not an error
        """Wait until everything recorded so far is in the file, and with ``sync`` on the disk.

        Args:
            sync: Wait for the disk as well.
            timeout: How many seconds to wait at most.

        Returns:
            Whether it is there.
        """
        token, done = trio.lowlevel.current_trio_token(), trio.Event()
        results: list[bool] = []

        def tell(written: bool) -> None:
            results.append(written)
            # The run may have ended while the disk was slow; then nobody waits.
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        if not self._writer.wait_with(Waiter(sync, tell)):
            await trio.lowlevel.checkpoint()
            return self._writer.problem is None
        with trio.move_on_after(timeout):
            await done.wait()
        return results == [True]

    def close(self, *, timeout: float = 10.0) -> None:
        """Write what is left and close the file. More than once is the same as once.

        A disk that takes nothing gets one more attempt; ``problem`` then tells how many records were not written.

        Args:
            timeout: How many seconds to block at most; a disk that hangs keeps the writer's thread longer.
        """
        self._writer.close(timeout)

    async def aclose(self, *, timeout: float = 10.0) -> None:  # noqa: ASYNC109 - as for close
        """Close without blocking the other tasks. It runs to its end, which is bounded, also when cancelled."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(lambda: self._writer.close(timeout))


def open_audit(
    path: Path,
    *,
    run_id: str,
    clock: Callable[[], datetime],
    content: bool = False,
    known_head: Head | None = None,
    mask: Callable[[str], str] | None = None,
    write: Callable[[int, bytes | memoryview], int] = os.write,
    queue_bytes: int = QUEUE_BYTES,
    retry_delay: float = RETRY_DELAY,
) -> AuditLog:
    """Open a log to append to it, and make it when there is none. Only one may be open on a path at a time.

    What a crash left unfinished at the end is kept and recorded as ``audit.torn``. A log that lacks the known head is
    recorded as ``audit.cut``; it goes on from what was found, and a new file from the known head.

    Args:
        path: The file; its directory is made too.
        run_id: Names this run of the program in every record.
        clock: Gives aware times; called in two threads.
        content: Whether texts are written, for ``text_fields``.
        known_head: A head that was kept elsewhere.
        mask: Replaces secret values in a field's text; called in the log's thread. A record for which it raises is
            lost, and counted in the log and in ``AuditLog.problem``.
        write: As ``os.write``.
        queue_bytes: How much may wait to be written before records are dropped and counted.
        retry_delay: Seconds between attempts to write to a disk that took nothing.

    Raises:
        OSError: The file cannot be opened or read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        tail = _read_tail(fd, known_head)
    except BaseException:
        os.close(fd)
        raise
    begun = known_head if known_head is not None and tail.empty else None
    unmasked = recorder(run_id, None)
    writer = Writer(
        fd=fd,
        head=begun or tail.head,
        chain=begun or tail.chain,
        unfinished=b"" if tail.terminated else b"\n",
        limit=queue_bytes,
        retry=retry_delay,
        write=write,
        render=recorder(run_id, mask).render,
        lost=lambda records, problem: unmasked.render(Step(clock(), LOST, {"records": records, "problem": problem})),
    )
    log = AuditLog(clock, writer, content)
    _record_opening(log, tail, known_head)
    return log


def _read_tail(fd: int, known: Head | None) -> Tail:
    size = os.fstat(fd).st_size
    length = min(size, _CHUNK)
    while (tail := read_tail(_read(fd, size - length, length), known, whole=length == size)) is None:
        length = min(size, length * 4)
    return tail


def _read(fd: int, start: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length and (part := os.pread(fd, length, start)):
        parts.append(part)
        start, length = start + len(part), length - len(part)
    return b"".join(parts)


def _record_opening(log: AuditLog, tail: Tail, known: Head | None) -> None:
    if tail.torn is not None:
        log.record(TORN, bytes=len(tail.torn), sha256=sha256(tail.torn), after_sha256=tail.head.hash)
    if known is not None and not tail.holds_known:
        log.record(
            CUT,
            expected_seq=known.seq,
            expected_sha256=known.hash,
            found_seq=tail.head.seq,
            found_sha256=tail.head.hash,
        )


def verify(paths: Iterable[Path], *, known_head: Head | None = None, after: Head = GENESIS) -> Verdict:
    """Prove that the lines of a log are those that were written, none changed, missing, added or moved.

    Only a known head vouches for the last line, and for there being no later ones. Whoever can write both the log
    and the place where the head is kept can forge both.

    Args:
        paths: The log's files, oldest first.
        known_head: A head that was kept elsewhere.
        after: The last line of the file before the first of these, when older files are not at hand.

    Raises:
        OSError: A file cannot be read.
    """
    return check(((str(path), _lines(path)) for path in paths), known_head, after)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file
