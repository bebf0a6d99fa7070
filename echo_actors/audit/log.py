"""The audit log: one JSON line per step of the engine, chained so that an edit shows.

What is to be recorded is noted in the engine's thread, and made into lines and written by a thread of its own, so that
a slow or full disk stops no turn.
What cannot be written is kept up to a limit, then dropped and counted, and the log tells the count where the gap is.

A line's keys: ``seq`` (1, 2, 3… over all runs and files), ``time`` (UTC, microseconds), ``event`` (a dotted name),
``run``, the event's own flat fields, and ``prev`` (the SHA-256 of the line before). A number that JSON does not know
(infinity, not-a-number) is written as null.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

import attrs
import trio

from echo_actors.audit.chain import Head
from echo_actors.audit.record import Step
from echo_actors.audit.writer import Waiter, Writer


class Record(Protocol):
    """Writes one step into the log: what the rooms that record are given."""

    def __call__(self, event: str, /, **fields: str | float | bool | None) -> None:
        """Record an event with its own flat fields."""


@attrs.define(eq=False)
class AuditLog:
    """An open audit log. Its calls belong to the thread that opened it, which is the engine's.

    Attributes:
        content: Whether texts are written, for ``text_fields``.
        unsynced: How many ends of turns were announced before they were on the disk, though they should have been.
    """

    _clock: Callable[[], datetime]
    _writer: Writer
    content: bool
    unsynced: int = 0

    @property
    def head(self) -> Head:
        """The last record that is in the file."""
        return self._writer.head

    @property
    def problem(self) -> str | None:
        """What is wrong now, or else what is lost for good because it could not be made into a record.

        Records cannot be written, or a full file is not followed by another, or an old one not removed. After
        closing, also how many were not written. None when all is well.
        """
        return self._writer.problem or self._writer.untidy or self._writer.unmade

    @property
    def unwritable(self) -> str | None:
        """Why records cannot be written now; None when they can, whatever was lost before."""
        return self._writer.problem

    @property
    def lost(self) -> int:
        """How many records were lost so far: dropped for want of room, or impossible to make."""
        return self._writer.dropped

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
