"""The supervisor: which channels are live, who is told when a message ends, and how it all comes to rest.

It owns the nursery that the actors run in. An actor's crash is its own: it is recorded and the actor runs again, or
the channel is suspended. Nothing that an actor does can end another.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable

import attrs
import trio

from echo_actors.actors.acceptance import Acceptance
from echo_actors.actors.channel import ChannelActor
from echo_actors.actors.expiry import Expiry
from echo_actors.actors.idleness import Idleness
from echo_actors.actors.mailbox import Entry
from echo_actors.actors.restart import RestartPolicy
from echo_actors.actors.services import Services
from echo_actors.actors.verdict import Stop
from echo_actors.errors import EngineClosed, StoreError
from echo_actors.events import Retrying
from echo_actors.models import Clock, Outcome, OutcomeKind
from echo_actors.state.records import StoredMessage


@attrs.define(eq=False)
class Supervisor:
    """Starts, restarts and ends actors.

    Attributes:
        nursery: Where the actors run.
        jitter: Gives a number from 0 up to 1, to spread restarts.
        acceptance: How messages come in.
        restarts: How often an actor crashed, and ran again or was suspended.
    """

    services: Services
    nursery: trio.Nursery
    last_sequence: int
    jitter: Callable[[], float]
    closing: bool = attrs.field(default=False, init=False)
    actors: dict[str, ChannelActor] = attrs.field(factory=dict, init=False)
    restarts: int = attrs.field(default=0, init=False)
    acceptance: Acceptance = attrs.field(init=False)
    _expiry: Expiry = attrs.field(init=False)
    _idleness: Idleness = attrs.field(init=False)
    _entries: dict[str, Entry] = attrs.field(factory=dict, init=False)
    _at_rest: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        """Start what watches over waiting messages and idle actors."""
        self._idleness = Idleness(self.services.settings.passivate_after)
        timeout = self.services.settings.queue_timeout
        self._expiry = Expiry(timeout, self.services.now, self.find, self._expire)
        self.acceptance = Acceptance(
            self.services, self.actor, self.find, self.adopt, self.forget, self.suspended, self.last_sequence
        )
        self.nursery.start_soon(self._expiry.run, name="expiry")
        self.nursery.start_soon(self._idleness.run, name="idleness")

    @property
    def suspended(self) -> dict[str, str]:
        """Channels that take nothing, and why."""
        return self.services.suspensions.reasons

    def actor(self, channel: str) -> ChannelActor:
        """The channel's actor, started if it is not live. There is no await in here: two callers get one actor.

        Raises:
            EngineClosed: The engine is draining.
        """
        if self.closing:
            raise EngineClosed
        actor = self.actors.get(channel)
        if actor is None:
            actor = self.actors[channel] = ChannelActor(
                channel, self.services, self.forget, self.entry_of, self._spawn, self._idleness
            )
            self.nursery.start_soon(self._supervise, actor, name=f"actor {channel!r}")
        return actor

    # -- messages in memory

    def find(self, message_id: str) -> Entry | None:
        """The entry of a message that has not ended and is in memory."""
        return self._entries.get(message_id)

    def adopt(self, entry: Entry) -> None:
        """Know an entry by its message's id, and let it expire."""
        self._entries[entry.message.message_id] = entry
        self._expiry.watch(entry)

    def entry_of(self, stored: StoredMessage) -> Entry:
        """The entry of a message that an earlier run of the program accepted; one for all who ask."""
        entry = self._entries.get(stored.message.message_id)
        if entry is None:
            entry = Entry.of(stored)
            self.adopt(entry)
        return entry

    async def recover(self) -> int:
        """Take up what earlier runs of the program left: every message without an end; give how many."""
        store, total = self.services.store, 0
        for channel, count in await store.unfinished_channels():
            page = await store.unfinished(channel, after=0, limit=self.services.settings.mailbox_size)
            self.actor(channel).restore([self.entry_of(each) for each in page], count - len(page))
            total += count
        return total

    def forget(self, entry: Entry) -> None:
        """The entry has ended, or was never accepted."""
        self._entries.pop(entry.message.message_id, None)

    async def withdraw(self, entry: Entry, reason: str) -> None:
        """End a message for the sake of the one who sent it: out of the queue, or by an interrupt.

        A turn that it shares with others' messages goes on, for them.
        """
        actor = self.actors.get(entry.message.channel)
        if actor is None or entry.ended.is_set():
            return
        stop = Stop(OutcomeKind.CANCELLED, reason)
        if actor.mailbox.withdraw(entry):
            await self._end(actor, entry, Outcome(kind=OutcomeKind.CANCELLED, reason=reason, attempts=entry.attempts))
        elif actor.runner.runs_alone(entry):
            actor.stop_turn(stop)

    # -- operators

    def suspend(self, channel: str, reason: str) -> bool:
        """Let a channel take nothing, and begin nothing; False when it is suspended already.

        Raises:
            EngineClosed: The engine is draining.
        """
        if self.closing:
            raise EngineClosed
        return self.services.suspensions.suspend(channel, reason)

    def resume(self, channel: str) -> bool:
        """Lift a suspension; False when there was none."""
        return self.services.suspensions.lift(channel)

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

    # -- within

    def _spawn(self, function: Callable[[], Awaitable[None]]) -> None:
        self.nursery.start_soon(self._run_beside, function)

    async def _run_beside(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run what helps an actor; its failure must not reach the other actors through the nursery."""
        try:
            await function()
        except Exception as error:  # noqa: BLE001 - as for the actor itself
            self.services.record("actor.helper_failed", reason=f"{type(error).__name__}: {error}")

    async def _expire(self, entry: Entry) -> None:
        actor = self.actors.get(entry.message.channel)
        if actor is None or not actor.mailbox.withdraw(entry):
            return
        deadline = entry.message.deadline
        late = deadline is not None and deadline <= self.services.now()
        reason = "its deadline passed" if late else "it waited for longer than the setting queue_timeout"
        outcome = Outcome(kind=OutcomeKind.EXPIRED, reason=reason, clock=Clock.QUEUE, attempts=entry.attempts)
        self.nursery.start_soon(self._end, actor, entry, outcome)

    async def _end(self, actor: ChannelActor, entry: Entry, outcome: Outcome) -> None:
        try:
            await actor.end_unstarted(entry, outcome)
        except StoreError as error:
            self.services.record("message.not_ended", channel=actor.channel, reason=str(error))

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
            self.services.hub.leave(actor.channel)
            actor.purse.close()
            if self.closing and not self.actors:
                self._at_rest.set()

    async def _pause(self, actor: ChannelActor, policy: RestartPolicy, error: Exception) -> None:
        channel, reason = actor.channel, f"{type(error).__name__}: {error}"
        delay = policy.on_crash(trio.current_time())
        self.restarts += 1
        self.services.record(
            "actor.crashed", channel=channel, reason=reason, trace="".join(traceback.format_exception(error)[-3:])
        )
        if delay is None:
            await self._suspend(channel, reason)
            policy.reset()
        else:
            self.services.hub.publish(Retrying(channel=channel, reason=reason, attempt=0, delay=delay, turn_over=True))
            await trio.sleep(delay)
        try:
            await actor.recover()
        except StoreError as problem:
            self.services.record("actor.not_recovered", channel=channel, reason=str(problem))

    async def _suspend(self, channel: str, reason: str) -> None:
        if self.closing:
            return  # it begins nothing more, and nobody can resume it
        self.services.suspensions.suspend(channel, reason)
        self.services.record("channel.suspended", channel=channel, reason=reason)
        await self.services.suspensions.over(channel)
