"""A channel's mailbox: what was accepted and has not begun.

A memory channel carries entries to the actor in the order in which their places were taken; behind it the actor keeps
the line itself, so that what was begun in vain can go back to the head. Taking a place never waits and happens before
the message is on disk, so that order is decided once. The actor may take an entry out while it is being committed, so
that its acceptance and its start reach the disk together; nothing is done for it before they have.

The line is a window on the journal: after a restart there may be more in the store than ``size``. The rest is counted
as ``backlog`` and loaded when there is room; until it is, nothing new can be accepted, so order holds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence

import attrs
import trio

from echo_actors.actors.verdict import Verdict
from echo_actors.errors import MailboxFull
from echo_actors.models import Message, Outcome
from echo_actors.state.records import StoredMessage


class EntryState(enum.Enum):
    """Where an accepted message is."""

    COMMITTING = "committing"
    WAITING = "waiting"
    RUNNING = "running"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"
    ENDED = "ended"


@attrs.define(eq=False)
class Entry:
    """A message on its way through an actor.

    Attributes:
        attempts: How often it was started, over all runs of the program.
        turn_id: The uuid under which it was last given to the CLI.
        session_id: The session that it was last given to.
        recovered: Whether that was in an earlier run of the program, or of a crashed actor, so that nobody knows how
            it went.
        replayed: Whether the CLI said that it had done the message before, and nothing shows an answer.
        failure: How the last attempt failed, when it is worth another.
        expires: When it has waited too long, on trio's clock.
        outcome: Its end; waiters are woken by ``ended``.
    """

    message: Message
    attempts: int = 0
    turn_id: str | None = None
    session_id: str | None = None
    recovered: bool = False
    replayed: bool = False
    failure: Verdict | None = None
    expires: float = math.inf
    state: EntryState = EntryState.COMMITTING
    outcome: Outcome | None = None
    settled: trio.Event = attrs.Factory(trio.Event)
    ended: trio.Event = attrs.Factory(trio.Event)

    @classmethod
    def of(cls, stored: StoredMessage) -> Entry:
        """The entry of a message that an earlier run of the program accepted."""
        return cls(
            stored.message,
            attempts=stored.attempts,
            turn_id=stored.turn_id,
            session_id=stored.session_id,
            recovered=stored.attempts > 0,
        )

    def commit(self) -> None:
        """The message is on disk."""
        if self.state is EntryState.COMMITTING:
            self.state = EntryState.WAITING
        self.settled.set()

    def refuse(self) -> None:
        """The message could not be kept: it was never accepted."""
        self.state = EntryState.REFUSED
        self.settled.set()
        self.ended.set()

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
        self._send, self._receive = trio.open_memory_channel[Entry | None](math.inf)
        self._unreceived = 0
        self._woken = False
        # As short as can be, because thousands of idle actors have one: the next entry, and those that were put back.
        self._line: list[Entry] = []
        self._waiting: dict[str, Entry] = {}
        self._hopeful: trio.lowlevel.ParkingLot | None = None
        self._granted = 0
        self._closed = False
        self.backlog = 0

    @property
    def depth(self) -> int:
        """How many messages wait, on disk or in memory."""
        return len(self._waiting) + self.backlog

    @property
    def full(self) -> bool:
        """Whether nothing more can be accepted now: what waits on disk was accepted before it."""
        return self.backlog > 0 or len(self._waiting) >= self._size

    @property
    def room(self) -> int:
        """How many entries of the backlog can be loaded now."""
        return max(0, self._size - len(self._waiting))

    def resize(self, size: int) -> None:
        """Let so many wait; more that do already stay."""
        self._size = size
        self._grant()

    # -- what those do who accept messages

    def offer(self, entry: Entry) -> int:
        """Take a place at the end; give how many are ahead.

        Raises:
            MailboxFull: As many wait as may.
        """
        if self.full:
            raise MailboxFull(self._channel, self.depth, self._size)
        ahead = self.depth
        self._add(entry)
        return ahead

    @property
    def crowded(self) -> bool:
        """Whether one who wants a place has to wait for it."""
        return self.full or len(self._waiting) + self._granted >= self._size or bool(self._hopeful)

    async def wait_for_place(self) -> None:
        """Wait until there is a place, behind those who wait already, or until the mailbox closes."""
        if self.crowded and not self._closed:
            if self._hopeful is None:
                self._hopeful = trio.lowlevel.ParkingLot()
            await self._hopeful.park()
            # The place was kept for this caller, who takes it before anybody else runs.
            self._granted -= not self._closed

    def decline(self) -> None:
        """Leave a place that one has waited for to the next one in the line."""
        self._grant()

    def close(self) -> None:
        """Send those away who wait for a place."""
        self._closed = True
        if self._hopeful is not None:
            self._hopeful.unpark_all()

    def restore(self, entries: Sequence[Entry], backlog: int) -> None:
        """Take entries that an earlier run of the program accepted, and say how many more are in the store."""
        for entry in entries:
            self._add(entry)
            entry.commit()
        self.backlog = backlog
        self._grant()

    def withdraw(self, entry: Entry) -> bool:
        """Take an entry out before it begins; False when it is too late."""
        if self._waiting.pop(entry.message.message_id, None) is None:
            return False
        entry.state = EntryState.WITHDRAWN
        entry.settled.set()
        self._grant()
        return True

    def committing(self) -> Entry | None:
        """The oldest entry, if it is not on disk yet."""
        first = next(iter(self._waiting.values()), None)
        return first if first is not None and first.state is EntryState.COMMITTING else None

    def oldest(self) -> Entry | None:
        """The entry that has waited longest and is on disk."""
        return next((each for each in self._waiting.values() if each.state is EntryState.WAITING), None)

    # -- what the actor does

    async def next(self) -> Entry | None:
        """Wait for the first entry; it stays in the line until ``begin``, and may not be on disk yet.

        Returns:
            None when the wait was ended by ``wake``.
        """
        while (entry := self._first()) is None and not self._woken:
            self._take_in(await self._receive.receive())
        if self._woken:
            self._woken, entry = False, None
        return entry

    def wake(self) -> None:
        """Let the actor look around instead of waiting on."""
        self._send.send_nowait(None)
        self._unreceived += 1

    def head(self) -> Entry | None:
        """The first entry, if it is on disk."""
        entry = self._first()
        return entry if entry is not None and entry.state is EntryState.WAITING else None

    def begin(self, entry: Entry) -> bool:
        """Take the entry at the head of the line out, to run it; False when it was withdrawn meanwhile."""
        if self._line and self._line[0] is entry:
            del self._line[0]
        if self._waiting.pop(entry.message.message_id, None) is None:
            return False
        entry.state = EntryState.RUNNING
        self._grant()
        return True

    def begin_while(self, joins: Callable[[Entry], bool]) -> list[Entry]:
        """Take further entries from the head of the line out, as long as they may join."""
        begun = []
        while (entry := self.head()) is not None and joins(entry):
            self.begin(entry)
            begun.append(entry)
        return begun

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Put entries that were begun, and have not ended, back at the head, in their order."""
        for entry in entries:
            entry.state = EntryState.WAITING
        self._waiting = {**{entry.message.message_id: entry for entry in entries}, **self._waiting}
        self._line[:0] = entries

    # -- within

    def _add(self, entry: Entry) -> None:
        self._waiting[entry.message.message_id] = entry
        self._send.send_nowait(entry)
        self._unreceived += 1

    def _grant(self) -> None:
        """Keep the free places for those who have waited longest for one."""
        free = 0 if self.full else self._size - len(self._waiting) - self._granted
        if free > 0 and self._hopeful:
            self._granted += len(self._hopeful.unpark(count=free))

    def _first(self) -> Entry | None:
        """The first entry that still waits."""
        while self._line or self._unreceived:
            if not self._line:
                self._take_in(self._receive.receive_nowait())
            elif self._waits(self._line[0]):
                return self._line[0]
            else:
                del self._line[0]
        return None

    def _take_in(self, received: Entry | None) -> None:
        self._unreceived -= 1
        if received is None:
            self._woken = True
        else:
            self._line.append(received)

    def _waits(self, entry: Entry) -> bool:
        return self._waiting.get(entry.message.message_id) is entry
