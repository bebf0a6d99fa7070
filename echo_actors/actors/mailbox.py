"""A channel's mailbox: what was accepted and has not begun.

A memory channel carries entries to the actor in the order in which their places were taken. Taking a place never waits
and happens before the message is on disk, so that order is decided once; the actor waits for each entry's commit
before it starts it.
"""

from __future__ import annotations

import enum
import math
from collections import deque

import attrs
import trio

from echo_actors.errors import MailboxFull
from echo_actors.models import Message, Outcome


class EntryState(enum.Enum):
    """Where an accepted message is."""

    COMMITTING = "committing"
    WAITING = "waiting"
    RUNNING = "running"
    WITHDRAWN = "withdrawn"
    ENDED = "ended"


@attrs.define(eq=False)
class Entry:
    """A message on its way through an actor.

    Attributes:
        attempts: How often it was started, over all runs of the program.
        outcome: Its end; waiters are woken by ``ended``.
    """

    message: Message
    attempts: int = 0
    state: EntryState = EntryState.COMMITTING
    outcome: Outcome | None = None
    settled: trio.Event = attrs.Factory(trio.Event)
    ended: trio.Event = attrs.Factory(trio.Event)

    def commit(self) -> None:
        """The message is on disk."""
        if self.state is EntryState.COMMITTING:
            self.state = EntryState.WAITING
        self.settled.set()

    def end(self, outcome: Outcome) -> None:
        """The message's end is on disk; tell those who wait for it."""
        self.state, self.outcome = EntryState.ENDED, outcome
        self.settled.set()
        self.ended.set()


class Mailbox:
    """The queue of one channel.

    Args:
        channel: For errors.
        size: How many entries may wait; the running ones do not count.
    """

    def __init__(self, channel: str, size: int) -> None:
        self._channel = channel
        self._size = size
        # The channel has no bound of its own: `size` limits what is accepted, and what was accepted must fit.
        self._send, self._receive = trio.open_memory_channel[Entry](math.inf)
        self._front: deque[Entry] = deque()
        self._waiting: dict[str, Entry] = {}

    @property
    def depth(self) -> int:
        """How many entries wait."""
        return len(self._waiting)

    def offer(self, entry: Entry) -> int:
        """Take a place at the end; give how many are ahead.

        Raises:
            MailboxFull: As many wait as may.
        """
        if self.depth >= self._size:
            raise MailboxFull(self._channel, self.depth, self._size)
        ahead = self.depth
        self._waiting[entry.message.message_id] = entry
        self._send.send_nowait(entry)
        return ahead

    def withdraw(self, entry: Entry) -> bool:
        """Take an entry out before it starts; False when it is too late."""
        if self._waiting.pop(entry.message.message_id, None) is None:
            return False
        entry.state = EntryState.WITHDRAWN
        entry.settled.set()
        return True

    def put_back(self, entry: Entry) -> None:
        """Put an entry that was begun, and not ended, back at the head."""
        entry.state = EntryState.WAITING
        self._waiting = {entry.message.message_id: entry, **self._waiting}
        self._front.appendleft(entry)

    async def next(self) -> Entry:
        """Wait for the first entry that is on disk and not withdrawn; it stays in the mailbox until ``begin``."""
        while True:
            entry = self._front[0] if self._front else await self._receive.receive()
            if not self._front:
                self._front.append(entry)
            await entry.settled.wait()
            if self._waiting.get(entry.message.message_id) is entry:
                return entry
            if self._front and self._front[0] is entry:
                self._front.popleft()

    def begin(self, entry: Entry) -> bool:
        """Take the entry that ``next`` gave out of the mailbox to run it; False when it was withdrawn meanwhile."""
        if self._front and self._front[0] is entry:
            self._front.popleft()
        if self._waiting.pop(entry.message.message_id, None) is None:
            return False
        entry.state = EntryState.RUNNING
        return True

    def waiting(self) -> list[Entry]:
        """The entries that wait, in order."""
        return list(self._waiting.values())
