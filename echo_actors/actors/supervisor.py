"""The supervisor: which channels are live, who is told when a message ends, and how it all comes to rest.

It owns the nursery that the actors run in. An actor's crash is its own: it is recorded and the actor runs again, or
the channel is suspended. Nothing that an actor does can end another.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable

import attrs
import trio

from echo_actors.actors.attempt import Stop
from echo_actors.actors.channel import ChannelActor
from echo_actors.actors.mailbox import Entry
from echo_actors.actors.restart import RestartPolicy
from echo_actors.actors.services import Services
from echo_actors.errors import ChannelSuspended, EngineClosed
from echo_actors.events import Accepted, Retrying
from echo_actors.models import Message, Outcome, OutcomeKind, Receipt
from echo_actors.state.records import StoredMessage


@attrs.define(eq=False)
class Supervisor:
    """Starts, restarts and ends actors.

    Attributes:
        nursery: Where the actors run.
        last_sequence: The highest sequence given so far.
        jitter: Gives a number from 0 up to 1, to spread restarts.
    """

    services: Services
    nursery: trio.Nursery
    last_sequence: int
    jitter: Callable[[], float]
    closing: bool = attrs.field(default=False, init=False)
    actors: dict[str, ChannelActor] = attrs.field(factory=dict, init=False)
    suspended: dict[str, str] = attrs.field(factory=dict, init=False)
    _entries: dict[str, Entry] = attrs.field(factory=dict, init=False)
    _resumed: dict[str, trio.Event] = attrs.field(factory=dict, init=False)
    _at_rest: trio.Event = attrs.field(factory=trio.Event, init=False)

    def actor(self, channel: str) -> ChannelActor:
        """The channel's actor, started if it is not live. There is no await in here: two callers get one actor.

        Raises:
            EngineClosed: The engine is draining.
        """
        if self.closing:
            raise EngineClosed
        actor = self.actors.get(channel)
        if actor is None:
            actor = self.actors[channel] = ChannelActor(channel, self.services, self._forget)
            self.nursery.start_soon(self._supervise, actor, name=f"actor {channel!r}")
        return actor

    def find(self, message_id: str) -> Entry | None:
        """The entry of a message that has not ended and is in memory."""
        return self._entries.get(message_id)

    async def accept(self, message: Message) -> tuple[Entry | StoredMessage, Receipt]:
        """Give a message its place and keep it; a known id gives what is known of it.

        The place is taken before the first await. When the message cannot be kept, the place is given back.

        Raises:
            ChannelSuspended: The channel takes nothing until it is resumed.
            EngineClosed: The engine is draining.
            MailboxFull: As many messages wait as may.
            StoreError: The message could not be kept.
        """
        known = self._entries.get(message.message_id)
        if known is not None:
            return known, Receipt(known.message.message_id, known.message.sequence, 0)
        if message.channel in self.suspended:
            raise ChannelSuspended(message.channel, self.suspended[message.channel])
        actor = self.actor(message.channel)
        entry = Entry(attrs.evolve(message, sequence=self.last_sequence + 1))
        position = actor.mailbox.offer(entry) + (actor.running is not None)
        self.last_sequence += 1
        self._entries[message.message_id] = entry
        stored = await self._keep(actor, entry)
        if stored is not None:
            return stored, Receipt(stored.message.message_id, stored.message.sequence, 0)
        receipt = Receipt(entry.message.message_id, entry.message.sequence, position)
        self.services.hub.publish(
            Accepted(
                channel=message.channel, message_id=receipt.message_id, sequence=receipt.sequence, position=position
            )
        )
        entry.commit()
        return entry, receipt

    async def withdraw(self, entry: Entry, reason: str) -> None:
        """End a message for the sake of the one who sent it: out of the queue, or by an interrupt."""
        actor = self.actors.get(entry.message.channel)
        if actor is None or entry.ended.is_set():
            return
        if actor.mailbox.withdraw(entry):
            await actor.end_unstarted(entry, Outcome(kind=OutcomeKind.CANCELLED, reason=reason))
        elif actor.running is entry:
            actor.stop_turn(Stop(OutcomeKind.CANCELLED, reason))

    def resume(self, channel: str) -> bool:
        """Lift a suspension; False when there was none."""
        if self.suspended.pop(channel, None) is None:
            return False
        self._resumed.pop(channel).set()
        return True

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - how long turns may go on, not a cancellation
        """Take nothing more and come to rest: running turns may end within so many seconds, then they are cut."""
        self.closing = True
        for channel in list(self.suspended):
            self.resume(channel)
        for actor in self.actors.values():
            actor.drain()
        if self.actors:
            with trio.move_on_after(timeout):
                await self._at_rest.wait()
            for actor in list(self.actors.values()):
                actor.stop_turn(Stop(None, "the engine closed"), now=True)
            with trio.move_on_after(self.services.settings.teardown_timeout + 1):
                await self._at_rest.wait()
        for entry in self._entries.values():
            entry.ended.set()

    # -- helpers

    async def _keep(self, actor: ChannelActor, entry: Entry) -> StoredMessage | None:
        """Store an entry; give the stored message when its id was known. A caller's cancellation waits meanwhile."""
        stored = None
        kept = False
        try:
            with trio.CancelScope(shield=True):
                stored = await self.services.store.accept(entry.message)
            kept = stored is None
        finally:
            if not kept:
                actor.mailbox.withdraw(entry)
                self._forget(entry)
        return stored

    async def _supervise(self, actor: ChannelActor) -> None:
        """Run an actor until it leaves by itself, again after each crash."""
        policy = RestartPolicy(self.jitter)
        try:
            while True:
                try:
                    await actor.run()
                except Exception as error:  # noqa: BLE001 - whatever it was, it ends here: a crash is the actor's own
                    await self._pause(actor, policy, error)
                else:
                    return
        finally:
            del self.actors[actor.channel]
            if self.closing and not self.actors:
                self._at_rest.set()

    async def _pause(self, actor: ChannelActor, policy: RestartPolicy, error: Exception) -> None:
        channel, reason = actor.channel, f"{type(error).__name__}: {error}"
        delay = policy.on_crash(trio.current_time())
        self.services.record(
            "actor.crashed", channel=channel, reason=reason, trace="".join(traceback.format_exception(error)[-3:])
        )
        if delay is not None:
            self.services.hub.publish(Retrying(channel=channel, reason=reason, attempt=0, delay=delay))
            await trio.sleep(delay)
            return
        self.suspended[channel] = reason
        self._resumed[channel] = trio.Event()
        self.services.record("channel.suspended", channel=channel, reason=reason)
        await self._resumed[channel].wait()
        policy.reset()

    def _forget(self, entry: Entry) -> None:
        self._entries.pop(entry.message.message_id, None)


def depths(actors: Iterable[ChannelActor]) -> int:
    """How many messages wait in these actors' mailboxes."""
    return sum(actor.mailbox.depth for actor in actors)
