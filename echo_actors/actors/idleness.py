"""Idle actors: who rests, since when, and whose time in memory is over. One clock for all of them.

An actor's rest costs an entry in a table, and no timer of its own: thousands of them rest at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import trio

EAGERNESS = 0.01
"""Seconds that lie at least between two looks."""


@attrs.define(eq=False)
class Idleness:
    """Wakes those who have rested for so long.

    Attributes:
        patience: Seconds of rest; all have the same, so those who began first are the first whose time is over.
    """

    patience: float
    _resting: dict[Callable[[], None], float] = attrs.Factory(dict)

    def begin(self, wake: Callable[[], None]) -> None:
        """Begin a rest, which ends by ``end``, or by this call after the patience."""
        self._resting[wake] = trio.current_time()

    def end(self, wake: Callable[[], None]) -> None:
        """End a rest; harmless when there is none."""
        self._resting.pop(wake, None)

    async def run(self) -> None:
        """Wake those whose time is over, for ever."""
        if math.isinf(self.patience):
            return
        while True:
            wake, began = next(iter(self._resting.items()), (None, trio.current_time()))
            wait = began + self.patience - trio.current_time()
            if wake is None or wait > 0:
                await trio.sleep(max(wait, EAGERNESS))
            else:
                self.end(wake)
                wake()
