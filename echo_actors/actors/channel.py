"""The actor: the one task that owns a channel while it is live.

Its life is a loop: wait for the first message that is on disk, wait for a turn slot, count the attempt, run it, store
its end, announce it. Everything that changes the channel's session happens in this order of things, one at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from echo_actors.actors import turns
from echo_actors.actors.attempt import Attempt, Stop, Verdict
from echo_actors.actors.mailbox import Entry, Mailbox
from echo_actors.actors.services import Services
from echo_actors.actors.session import Session
from echo_actors.events import TurnEnded, TurnStarted
from echo_actors.models import Outcome
from echo_actors.state.records import Claim, End


@attrs.define(eq=False)
class ChannelActor:
    """Owns one channel: its mailbox, its session and its running turn.

    Attributes:
        on_end: Called with each entry whose end was stored.
    """

    channel: str
    services: Services
    on_end: Callable[[Entry], None]
    mailbox: Mailbox = attrs.field(init=False)
    session: Session = attrs.field(init=False)
    running: Entry | None = attrs.field(default=None, init=False)
    _attempt: Attempt | None = attrs.field(default=None, init=False)
    _claim: Claim | None = attrs.field(default=None, init=False)
    _loaded: trio.Event = attrs.field(factory=trio.Event, init=False)
    _between_turns: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _visitors: int = attrs.field(default=0, init=False)
    _draining: bool = attrs.field(default=False, init=False)
    _waiting: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the parts that need the channel's name."""
        self.mailbox = Mailbox(self.channel, self.services.settings.mailbox_size)
        self.session = Session(self.channel, self.services)

    async def run(self) -> None:
        """Serve messages until the channel has been idle for long, or the engine drains.

        Between the last look at the mailbox and the return there is no await, so nothing can slip in unseen.
        """
        await self._load()
        while not self._draining:
            entry = await self._next()
            if entry is not None:
                await self._serve(entry)
            elif self.mailbox.depth == 0 and self._visitors == 0:
                return

    def drain(self) -> None:
        """Begin nothing more; a running turn goes on."""
        self._draining = True
        self._waiting.cancel()

    def stop_turn(self, stop: Stop, *, now: bool = False) -> bool:
        """Ask the running turn to end; False when none is running."""
        if self._attempt is None:
            return False
        self._attempt.stop(stop, now=now)
        return True

    @asynccontextmanager
    async def between_turns(self) -> AsyncIterator[Claim]:
        """Keep turns from starting during the block, once the running one has ended."""
        self._visitors += 1
        try:
            await self._loaded.wait()
            async with self._between_turns:
                yield self._owned()
        finally:
            self._visitors -= 1

    async def end_unstarted(self, entry: Entry, outcome: Outcome) -> None:
        """Store and announce the end of a message that was taken out of the mailbox before it started."""
        await self._loaded.wait()
        await self._store_end(entry, outcome, Verdict(kind=outcome.kind))

    # -- the loop's steps

    async def _load(self) -> None:
        if self._claim is None:
            self._claim = await self.services.store.claim(self.channel)
            self.session.snapshot = await self.services.store.snapshot(self.channel)
            self._loaded.set()

    async def _next(self) -> Entry | None:
        self._waiting = trio.CancelScope(deadline=trio.current_time() + self.services.settings.passivate_after)
        if self._draining:
            return None
        with self._waiting:
            return await self.mailbox.next()
        return None

    async def _serve(self, entry: Entry) -> None:
        async with self._between_turns:
            async with self.services.turn_slots.hold():
                if self._draining or not self.mailbox.begin(entry):
                    return
                self.running = entry
                try:
                    verdict = await self._try(entry)
                except BaseException:
                    self.mailbox.put_back(entry)
                    raise
                finally:
                    self.running = None
            await self._conclude(entry, verdict)

    async def _try(self, entry: Entry) -> Verdict:
        """Run the message's turn; once more, in a new session, when the old one turns out to be lost."""
        verdict = await self._try_once(entry)
        if verdict.lost_session:
            self.session.lose(verdict.reason)
            verdict = await self._try_once(entry)
        return verdict

    async def _try_once(self, entry: Entry) -> Verdict:
        services, message_id = self.services, entry.message.message_id
        request = turns.request_for(entry, self.session, services)
        await services.store.start(self._owned(), [message_id], turn_id=request.turn_id, session_id=request.session_id)
        entry.attempts += 1
        publish = turns.publisher(message_id, services)
        publish(TurnStarted(channel=self.channel, turn_id=request.turn_id, attempt=entry.attempts))
        turns.record_start(request, entry, services)
        self._attempt = Attempt(
            services.driver, request, turns.clocks(services.settings), publish, services.settings.interrupt_grace
        )
        try:
            return await self._attempt.run()
        finally:
            self._attempt = None

    async def _conclude(self, entry: Entry, verdict: Verdict) -> None:
        if verdict.kind is None:
            entry.attempts -= 1
            await self.services.store.unstart(self._owned(), [entry.message.message_id])
            self.mailbox.put_back(entry)
            return
        await self._store_end(entry, turns.outcome_of(verdict, entry), verdict)

    async def _store_end(self, entry: Entry, outcome: Outcome, verdict: Verdict) -> None:
        """Keep a message's end, with what its turn did to the session, in one transaction; then announce it."""
        services, message_id = self.services, entry.message.message_id
        end = End(message_id=message_id, outcome=outcome, ended_at=services.now())
        with trio.CancelScope(shield=True):
            snapshot = self.session.after(verdict, answered=outcome.reply is not None)
            stored = await services.store.finish(self._owned(), [end], snapshot)
            if stored is not None:
                self.session.adopt(stored)
        turns.record_end(entry, outcome, verdict, services)
        entry.end(outcome)
        self.on_end(entry)
        turn_id = "" if outcome.reply is None else outcome.reply.turn_id
        services.hub.publish(TurnEnded(channel=self.channel, message_id=message_id, turn_id=turn_id, outcome=outcome))

    def _owned(self) -> Claim:
        if self._claim is None:
            raise RuntimeError("an actor writes nothing before it has its claim")
        return self._claim
