"""Slots: how many of a thing may go on at once, first come, first served.

A channel has at most one turn, so it waits for at most one slot and queues anew, behind all others, for its next one.
First come, first served is therefore fair between channels however many messages one of them has waiting.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Slots:
    """A fixed number of slots.

    Args:
        total: How many may be held at once.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._line = trio.lowlevel.ParkingLot()

    async def acquire(self) -> None:
        """Take a slot; wait only when none is free. Whoever takes one gives it back by ``release``."""
        if self._free:
            self._free -= 1
        else:
            # The slot is handed over by the one who releases it, so that nobody can come in between.
            await self._line.park()

    def release(self) -> None:
        """Give a slot back, to the one who has waited longest if anybody has."""
        if self._line:
            self._line.unpark()
        else:
            self._free += 1

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Keep a slot for the block."""
        await self.acquire()
        try:
            yield
        finally:
            self.release()

    @property
    def total(self) -> int:
        """How many there are."""
        return self._total

    @property
    def held(self) -> int:
        """How many are held now."""
        return self._total - self._free

    @property
    def free(self) -> int:
        """How many could be held at once, without a wait."""
        return self._free

    @property
    def waiting(self) -> int:
        """How many holders-to-be wait now."""
        return len(self._line)
