"""Edits of a message whose text still grows: not too many, one at a time, and the last one for certain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio


class Edits:
    """Takes the states of a text and shows the latest; ``coalesce`` makes it.

    Attributes:
        shown: The text of the last edit that succeeded, None before the first.
        error: What the last edit raised, None if it succeeded.
    """

    def __init__(self, edit: Callable[[str], Awaitable[object]], interval: float, attempts: int) -> None:
        self._edit = edit
        self._interval = interval
        self._attempts_left = attempts
        self._latest: str | None = None
        self._changed = anyio.Event()
        self._end = anyio.Event()
        self._done = anyio.Event()
        # Only the end stops the edits, so that a cancelled block can still show its last text.
        self._scope = anyio.CancelScope(shield=True)
        self.shown: str | None = None
        self.error: Exception | None = None

    def update(self, text: str) -> None:
        """Take the text as it is now; it is shown when its turn comes, unless another follows before that."""
        self._latest = text
        self._changed.set()

    @property
    def pending(self) -> bool:
        """Whether there is a text that is not shown yet."""
        return self._latest is not None and self._latest != self.shown

    async def run(self) -> None:
        """Edit until the end has come and the last text is shown, or was refused too often."""
        with self._scope:
            try:
                await self._run()
            finally:
                self._done.set()

    async def finish(self, within: float, grace: float) -> None:
        """Let the last text be shown within a time, in seconds, and within the grace if that is cut short."""
        self._end.set()
        self._changed.set()
        try:
            with anyio.move_on_after(within):
                await self._done.wait()
        finally:
            with anyio.move_on_after(grace, shield=True):
                await self._done.wait()
            self._scope.cancel()

    async def _run(self) -> None:
        while self._attempts_left and await self._something_to_show():
            begun = anyio.current_time()
            pause = await self._show()
            with anyio.CancelScope(deadline=begun + pause):
                await self._end.wait()
                if self.pending and self._attempts_left:
                    await anyio.sleep_forever()

    async def _something_to_show(self) -> bool:
        """Wait for a text that is not shown; say False when none can come any more."""
        while not self.pending:
            if self._end.is_set():
                return False
            self._changed = anyio.Event()
            await self._changed.wait()
        return True

    async def _show(self) -> float:
        """Edit once; give the seconds from its beginning before which there must not be another edit."""
        text, ending = self._latest, self._end.is_set()
        assert text is not None  # noqa: S101 - it is pending
        try:
            await self._edit(text)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next edit may succeed; else it is raised at the end
            self.error = error
            self._attempts_left -= ending
            return max(self._interval, _retry_after(error))
        self.shown, self.error = text, None
        return self._interval


@asynccontextmanager
async def coalesce(
    edit: Callable[[str], Awaitable[object]],
    *,
    interval: float = 1.0,
    attempts: int = 3,
    finish_timeout: float = 30.0,
    grace: float = 2.0,
) -> AsyncIterator[Edits]:
    """Show a text while it grows: ``update(text)`` as often as you like, within the block.

    Edits begin at least an interval apart, never two at a time, each with the latest text; the same text is not sent
    twice in a row. One that raises is tried again, with the text that is then the latest, after the interval or after
    what its ``retry_after`` says (seconds or a timedelta; the errors of libraries for Discord and Telegram have it).
    Until then its error is in ``Edits.error``. Leaving the block sends the last text. Works on trio and on asyncio.

    Args:
        edit: Shows a text, as by editing a message.
        interval: Seconds.
        attempts: How many edits may fail after the block's end before that is given up.
        finish_timeout: Seconds that the end of the block may wait for the last text to be shown.
        grace: Seconds for the same when the block is left by an error or is cancelled; then nothing that edits raise
            matters any more. An edit that is under way after these times is cancelled.

    Raises:
        Exception: What the last edit raised, if the block ended without an error and its last text was not shown.
        TimeoutError: The same, if no edit failed and ``finish_timeout`` passed.
    """
    edits = Edits(edit, interval, attempts)
    failure: Exception | None = None
    within = 0.0
    async with anyio.create_task_group() as group:
        group.start_soon(edits.run)
        try:
            yield edits
            within = finish_timeout
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the task group's own
            failure = error
        finally:
            await edits.finish(within, grace)
    if failure is not None:
        raise failure
    if edits.pending:
        raise edits.error or TimeoutError("The last text was not shown in time.")


def _retry_after(error: Exception) -> float:
    hint = getattr(error, "retry_after", None)
    if isinstance(hint, timedelta):
        return hint.total_seconds()
    return float(hint) if isinstance(hint, int | float) else 0.0
