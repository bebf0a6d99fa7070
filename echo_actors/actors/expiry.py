"""Messages that waited too long: a heap of deadlines, and one task that looks at its top.

The heap has ids, so that it keeps no message that has ended in memory. Those of messages that have begun or ended stay
until they come up or outnumber the others; then it is built anew. The cost per message is that of a heap, whatever the
number of channels.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Awaitable, Callable
from datetime import datetime

import attrs
import trio

from echo_actors.actors.mailbox import Entry, EntryState

_SLACK = 64
"""How many entries that no longer wait may be kept, besides as many as wait, before the heap is built anew."""

_WAITING = frozenset({EntryState.COMMITTING, EntryState.WAITING})


@attrs.define(eq=False)
class Expiry:
    """Ends messages whose time to wait is over.

    Attributes:
        queue_timeout: Seconds that a message may wait.
        now: The time of day.
        find: Gives the entry of a message that has not ended.
        expire: Called with each entry whose time is over.
    """

    queue_timeout: float
    now: Callable[[], datetime]
    find: Callable[[str], Entry | None]
    expire: Callable[[Entry], Awaitable[None]]
    _heap: list[tuple[float, str]] = attrs.Factory(list)
    _limit: int = _SLACK
    _changed: trio.Event = attrs.Factory(trio.Event)

    def watch(self, entry: Entry) -> None:
        """Let an entry expire at its deadline, or when it has waited for the queue timeout, if it has never begun.

        The time that the engine was not running counts against the deadline, not against the queue timeout.
        """
        message = entry.message
        patience = self.queue_timeout
        if message.deadline is not None:
            patience = min(patience, (message.deadline - self.now()).total_seconds())
        if math.isinf(patience):
            return
        entry.expires = trio.current_time() + patience
        heapq.heappush(self._heap, (entry.expires, message.message_id))
        if len(self._heap) > self._limit:
            self._heap = [item for item in self._heap if self._waiting(*item)]
            heapq.heapify(self._heap)
            self._limit = 2 * len(self._heap) + _SLACK
        if self._heap and self._heap[0][1] == message.message_id:
            self._changed.set()

    async def run(self) -> None:
        """Expire entries as their time comes; never returns."""
        while True:
            self._changed = trio.Event()
            wait = self._heap[0][0] - trio.current_time() if self._heap else math.inf
            if wait > 0:
                with trio.move_on_after(wait):
                    await self._changed.wait()
                continue
            if (entry := self._waiting(*heapq.heappop(self._heap))) is not None:
                await self.expire(entry)
                del entry

    def _waiting(self, expires: float, message_id: str) -> Entry | None:
        """The entry of a message that waits and has never begun; not one that came later under the same id."""
        entry = self.find(message_id)
        if entry is None or entry.expires != expires:
            return None
        return entry if entry.state in _WAITING and not entry.attempts else None
