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
        self._limiter = trio.CapacityLimiter(total)

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait for a slot and keep it for the block."""
        # A token per hold, not per task: a task may pass through two kinds of slots.
        token = object()
        await self._limiter.acquire_on_behalf_of(token)
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(token)

    @property
    def held(self) -> int:
        """How many are held now."""
        return self._limiter.borrowed_tokens

    @property
    def free(self) -> int:
        """How many could be held at once, without a wait."""
        return int(self._limiter.available_tokens)

    @property
    def waiting(self) -> int:
        """How many holders-to-be wait now."""
        return self._limiter.statistics().tasks_waiting
