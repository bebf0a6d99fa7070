"""Fan-out of events: a ring of past ones, and a bounded buffer for each subscriber.

Publishing never waits. A subscriber that does not keep up loses its oldest events and is told how many; nobody else
notices. What a publication costs depends on the subscribers of that channel alone.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import attrs
import trio

from echo_actors.claude.content import size
from echo_actors.events import (
    BEGIN,
    BlockFinished,
    Event,
    Lagged,
    PermissionAsked,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    stamped,
)
from echo_actors.models import Block


class Subscription:
    """One subscriber's view of the events; an async context manager and an async iterator.

    One task iterates; iteration ends when the engine closes. It passes a checkpoint whenever it has to wait, and
    otherwise yields what is buffered without one.
    """

    def __init__(self, hub: Hub, channel: str | None, size: int) -> None:
        self._hub = hub
        self.channel = channel
        self._size = size
        self._buffer: deque[tuple[Event, int]] = deque()
        self._chars = 0
        self._missed = 0
        self._lost_until = ""
        self._closed = False
        self._reader: trio.lowlevel.Task | None = None
        self._handed: Event | None = None

    def push(self, item: tuple[Event, int]) -> None:
        """Take an event with the amount of its text, at the cost of the oldest ones when the buffer is full."""
        if self._reader is not None:
            # Who waits has read all there was, and gets this one into the hand.
            self._handed = item[0]
            self._wake()
            return
        self._chars += item[1]
        while self._buffer and (len(self._buffer) >= self._size or self._chars > self._hub.most_chars):
            lost, lost_chars = self._buffer.popleft()
            self._chars -= lost_chars
            self._lost_until = lost.cursor
            self._missed += self._missed >= 0
            self._hub.lost += 1
        self._buffer.append(item)

    def lag(self, missed: int, cursor: str) -> None:
        """Tell first that so many more events were lost before the next one, up to a cursor; -1 for who knows."""
        self._missed = -1 if missed < 0 else self._missed + missed
        self._lost_until = self._lost_until or cursor
        self._wake()

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be read."""
        return not self._buffer and not self._missed and self._handed is None

    def close(self) -> None:
        """Take no more events; those in the buffer can still be read."""
        self._closed = True
        self._hub.forget(self)
        self._wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while True:
            if self._handed is not None:
                event, self._handed = self._handed, None
                return event
            if self._missed:
                missed, self._missed = self._missed, 0
                cursor, self._lost_until = self._lost_until, ""
                return Lagged(channel=self.channel or "", missed=missed, time=self._hub.now(), cursor=cursor)
            if self._buffer:
                event, chars = self._buffer.popleft()
                self._chars -= chars
                return event
            if self._closed:
                raise StopAsyncIteration
            await self._wait()

    async def _wait(self) -> None:
        """Wait for news. The task itself is kept, because an event for each wait costs as much as all else here."""
        if self._reader is not None:
            raise trio.BusyResourceError("another task waits for this subscription's events; subscribe once more")
        self._reader = trio.lowlevel.current_task()

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._reader = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)

    def _wake(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            trio.lowlevel.reschedule(reader)


@attrs.define(eq=False)
class Hub:
    """All subscribers of an engine.

    Attributes:
        run_id: Of this run of the program; cursors of another run are told apart by it.
        ring_size: How many past events are kept for ``since``.
        buffer_size: How many events wait for one subscriber.
        now: The time of day.
        most_chars: How much text the past events may hold together, and those that wait for one subscriber.
        lost: How many events subscribers were too slow for, all together.
    """

    run_id: str
    ring_size: int
    buffer_size: int
    now: Callable[[], datetime]
    most_chars: int = 64 * 2**20
    lost: int = attrs.field(default=0, init=False)
    _ring: deque[Event] = attrs.field(factory=deque, init=False)
    _sizes: deque[int] = attrs.field(factory=deque, init=False)
    _count: int = attrs.field(default=0, init=False)
    _ring_chars: int = attrs.field(default=0, init=False)
    _by_channel: dict[str | None, list[Subscription]] = attrs.field(factory=dict, init=False)
    _taps: list[Callable[[Event], None]] = attrs.field(factory=list, init=False)
    _latest: dict[str, tuple[type[Event], datetime]] = attrs.field(factory=dict, init=False)

    def publish(self, event: Event, message_id: str = "") -> Event:
        """Stamp an event and give it to everyone whom it concerns.

        Args:
            event: What happened.
            message_id: The message that it belongs to, where it does not say so itself.
        """
        self._count = count = self._count + 1
        now = self.now()
        event = stamped(event, message_id=message_id or event.message_id, time=now, cursor=f"{self.run_id}:{count}")
        # Not the event itself: a reply shall not stay in memory for as long as its channel is live.
        self._latest[event.channel] = type(event), now
        chars = _chars(event)
        self._keep(event, chars)
        for take in self._taps:
            take(event)
        if self._by_channel:
            item = (event, chars)
            for subscription in self._by_channel.get(event.channel, ()):
                subscription.push(item)
            for subscription in self._by_channel.get(None, ()):
                subscription.push(item)
        return event

    def subscribe(
        self, channel: str | None = None, *, since: str | None = None, buffer_size: int | None = None
    ) -> Subscription:
        """Subscribe to a channel, or to all of them.

        Args:
            channel: None for every channel.
            since: The cursor of the last event already seen.
            buffer_size: How many events may wait for this subscriber, where it is not the engine's default.
        """
        subscription = Subscription(self, channel, buffer_size or self.buffer_size)
        if since is not None:
            self._replay(subscription, since)
        self._by_channel.setdefault(channel, []).append(subscription)
        return subscription

    def tap(self, take: Callable[[Event], None]) -> None:
        """Give every event to a function at its publication, before anybody else sees it.

        It is called in the task that publishes, and so with that task's context variables: for ``Accepted`` those of
        the task that brought the message. It must neither wait nor raise.
        """
        self._taps.append(take)

    def latest(self, channel: str) -> tuple[type[Event], datetime] | None:
        """What was last published for a live channel, and when; None when nothing was."""
        return self._latest.get(channel)

    def leave(self, channel: str) -> None:
        """The channel is not live any more."""
        self._latest.pop(channel, None)

    def forget(self, subscription: Subscription) -> None:
        """Publish nothing more to this subscription."""
        subscriptions = self._by_channel.get(subscription.channel, [])
        if subscription in subscriptions:
            subscriptions.remove(subscription)
        if not subscriptions:
            self._by_channel.pop(subscription.channel, None)

    def close(self) -> None:
        """End every subscription."""
        for subscription in [each for subscriptions in self._by_channel.values() for each in subscriptions]:
            subscription.close()

    @property
    def subscriptions(self) -> int:
        """How many subscriptions there are."""
        return sum(map(len, self._by_channel.values()))

    def _keep(self, event: Event, chars: int) -> None:
        # Two rows, not one of pairs: each object that lives on is one more for the garbage collector to look at.
        self._ring.append(event)
        self._sizes.append(chars)
        self._ring_chars += chars
        while len(self._ring) > self.ring_size or (self._ring_chars > self.most_chars and len(self._ring) > 1):
            self._ring.popleft()
            self._ring_chars -= self._sizes.popleft()

    def _replay(self, subscription: Subscription, since: str) -> None:
        run_id, _, seen_text = since.rpartition(":")
        known = since == BEGIN or (run_id == self.run_id and seen_text.isdecimal())
        seen = int(seen_text) if known else 0
        first = self._count - len(self._ring) + 1
        for number, event, chars in zip(itertools.count(first), self._ring, self._sizes, strict=False):
            if number > seen and subscription.channel in (None, event.channel):
                subscription.push((event, chars))
        before_ring = f"{self.run_id}:{first - 1}"
        if not known:
            subscription.lag(-1, before_ring)
        elif seen < first - 1:
            subscription.lag(first - 1 - seen, before_ring)


def _chars(event: Event) -> int:
    """How much text an event holds; what it is to be remembered by costs little besides."""
    count = _CHARS.get(type(event))
    return 0 if count is None else count(event)


def _of_end(event: TurnEnded) -> int:
    reply = event.outcome.reply
    if reply is None:
        return 0
    given = 0 if reply.structured_output is None else size(reply.structured_output)
    return len(reply.text) + given + sum(map(_of_block, reply.blocks))


def _of_block(block: Block) -> int:
    return len(block.text) + (0 if block.data is None else size(block.data))


_CHARS: dict[type[Event], Callable[[Any], int]] = {
    TextDelta: lambda event: len(event.text),
    ToolFinished: lambda event: len(event.text),
    BlockFinished: lambda event: _of_block(event.block),
    ToolStarted: lambda event: size(event.input),
    PermissionAsked: lambda event: size([event.input, *event.suggestions]),
    TurnEnded: _of_end,
}
