"""The way from the engine's thread to an asyncio loop.

To wake a loop from another thread costs a system call, and every wake-up a round of the loop. So what is to be called
there is put into a queue, and the loop is woken once for all that has come by then. It calls so many at a time, and
lets its other tasks run in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs

from echo_actors.errors import WrongLoop

AT_A_TIME: Final = 100
"""How many functions are called in one round of the loop."""


@attrs.define(eq=False)
class Lane:
    """Has functions called on a loop, in order. They shall be short, and raise nothing."""

    _loop: asyncio.AbstractEventLoop
    _queue: deque[tuple[Callable[..., object], tuple[Any, ...]]] = attrs.field(factory=deque, init=False)
    _woken: bool = attrs.field(default=False, init=False)

    def check(self) -> None:
        """Make sure that this is the loop that runs here.

        Raises:
            WrongLoop: It is not.
        """
        if asyncio._get_running_loop() is not self._loop:  # noqa: SLF001 - documented; the others raise
            raise WrongLoop("an engine of open_async_portal belongs to the asyncio loop that it was opened in")

    def post(self, function: Callable[..., object], *args: Any) -> bool:
        """Have a function called soon; may be called in any thread. False when the loop is closed."""
        self._queue.append((function, args))
        if self._woken:
            return True
        self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._run)
        except RuntimeError:
            # Closed: nobody waits there any more.
            self._woken = False
            self._queue.clear()
            return False
        return True

    def _run(self) -> None:
        # Before the queue is looked at: what comes later wakes the loop once more.
        self._woken = False
        for _ in range(min(len(self._queue), AT_A_TIME)):
            function, args = self._queue.popleft()
            function(*args)
        if self._queue and not self._woken:
            self._woken = True
            self._loop.call_soon(self._run)
