"""The actor: the one task that owns a channel while it is live.

Its life is a loop: wait for the first message, wait for the gate and for a turn slot, let the turn run to the end of
all its messages. Everything that changes the channel's session happens in this order of things, one
at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from echo_actors.actors.beginnings import Beginnings
from echo_actors.actors.endings import Endings
from echo_actors.actors.idleness import Idleness
from echo_actors.actors.mailbox import Entry, Mailbox
from echo_actors.actors.purse import Purse
from echo_actors.actors.runner import TurnRunner
from echo_actors.actors.services import Services, Spawn
from echo_actors.actors.session import Session
from echo_actors.actors.verdict import Stop
from echo_actors.errors import CLIFailed, CLINotFound, EngineClosed, StoreError
from echo_actors.models import Outcome, Trust
from echo_actors.settings import ChannelOptions, OptionChanges
from echo_actors.settings.layers import changed
from echo_actors.state.records import Claim, StoredMessage


@attrs.define(eq=False)
class ChannelActor:
    """Owns one channel: its mailbox, its session and its running turn.

    Attributes:
        on_end: Called with each entry whose end was stored.
        entry_of: Gives the entry of a message that an earlier run accepted.
        spawn: Runs a function beside the actor, for messages that join a running turn.
        idleness: Wakes the actor when it has been idle for long.
    """

    channel: str
    services: Services
    on_end: Callable[[Entry], None]
    entry_of: Callable[[StoredMessage], Entry]
    spawn: Spawn
    idleness: Idleness
    mailbox: Mailbox = attrs.field(init=False)
    session: Session = attrs.field(init=False)
    purse: Purse = attrs.field(init=False)
    runner: TurnRunner = attrs.field(init=False)
    _endings: Endings = attrs.field(init=False)
    _claim: Claim | None = attrs.field(default=None, init=False)
    _loading: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _between_turns: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _visitors: int = attrs.field(default=0, init=False)
    _ticket: int = attrs.field(default=0, init=False)
    _last_loaded: int = attrs.field(default=0, init=False)
    _draining: bool = attrs.field(default=False, init=False)
    _waiting: trio.CancelScope | None = attrs.field(default=None, init=False)
    _prewarming: trio.CancelScope | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the parts that need the channel's name."""
        self.session = Session(self.channel, self.services)
        self.mailbox = Mailbox(self.channel, self.session.settings.mailbox_size)
        self.purse = Purse(self.services, self.session)
        self._endings = Endings(self.channel, self.services, self.session, self.purse, self.on_end)
        beginnings = Beginnings(self.services, self.mailbox, self.session, self._endings, self._owned)
        self.runner = TurnRunner(
            self.channel, self.services, self.mailbox, self.session, self._endings, beginnings, self._owned, self.spawn
        )

    async def run(self) -> None:
        """Serve messages until the channel has been idle for long, or the engine drains.

        Between the last look at the mailbox and the return there is no await, so nothing can slip in unseen.
        """
        await self._load()
        while not self._draining:
            entry = await self._next()
            if entry is not None:
                await self._serve(entry)
                # While the actor waits for the next one, this one and its reply shall not stay in memory.
                del entry
            elif self.mailbox.depth == 0 and self._visitors == 0:
                return

    def drain(self) -> None:
        """Begin nothing more; a running turn goes on, prewarming does not."""
        self._draining = True
        self.mailbox.close()
        self.mailbox.wake()
        for wait in (self._waiting, self._prewarming):
            if wait is not None:
                wait.cancel()

    def stop_turn(self, stop: Stop, *, now: bool = False) -> bool:
        """Ask the running turn to end; False when none is running."""
        return self.runner.stop(stop, now=now)

    @asynccontextmanager
    async def between_turns(self) -> AsyncIterator[Claim]:
        """Keep turns from starting during the block, once the running one has ended.

        Raises:
            StoreError: The channel could not be loaded; that is tried anew for each who asks.
            EngineClosed: The engine drains.
        """
        self._visitors += 1
        try:
            async with self._between_turns:
                claim = await self._load()
                if self._leaving():
                    raise EngineClosed
                yield claim
        finally:
            self._visitors -= 1

    async def prewarm(self, trust: Trust | None) -> bool:
        """Have the channel's process ready for its next turn, which waits for that; see ``Engine.prewarm``.

        With a message in the mailbox or in a turn, that turn makes the process ready: this only says whether it is.
        """
        driver, timeout = self.services.driver, self.session.settings.start_timeout
        if self._leaving() or self.runner.batch is not None or self.mailbox.depth:
            await trio.lowlevel.checkpoint()
            return driver.is_warm(self.channel)
        reason = f"the start clock ran out after {timeout:g} s"
        with trio.move_on_after(timeout) as scope:
            try:
                async with self.between_turns():
                    self._prewarming = scope
                    self.session.trust = trust or self.session.trust
                    return await driver.prewarm(self.session.request())
            except EngineClosed:
                return False
            except (CLINotFound, CLIFailed, StoreError) as error:
                reason = str(error)
        if self._leaving():
            return False
        self.services.record("prewarm.failed", channel=self.channel, reason=reason)
        return False

    async def end_unstarted(self, entry: Entry, outcome: Outcome) -> None:
        """Store and announce the end of a message that was taken out of the mailbox before it began."""
        self._visitors += 1
        try:
            claim = await self._endings.persist(self._load)
            await self._endings.end_unstarted(claim, entry, outcome)
        finally:
            self._visitors -= 1

    async def recover(self) -> None:
        """Start anew after a crash: nothing is believed that is not in the store."""
        await self.services.driver.retire(self.channel, "its actor crashed")
        self.session.snapshot = await self.services.store.snapshot(self.channel)

    async def configure(self, changes: OptionChanges, reason: str) -> ChannelOptions:
        """Change the channel's options from the next turn on; the size of its mailbox at once."""
        if (size := changes.get("mailbox_size")) is not None:
            self.mailbox.resize(size)
        try:
            async with self.between_turns() as claim:
                options = changed(self.session.options, changes)
                with trio.CancelScope(shield=True):
                    await self.session.configure(claim, options, reason)
        finally:
            self.mailbox.resize(self.session.settings.mailbox_size)
        return options

    def restore(self, entries: Sequence[Entry], backlog: int) -> None:
        """Take messages of an earlier run of the program into the mailbox, and say how many more there are."""
        if entries:
            self._last_loaded = entries[-1].message.sequence
        self.mailbox.restore(entries, backlog)

    def readmit(self, stored: StoredMessage) -> None:
        """Take a message of long ago into the mailbox again, behind those that wait there."""
        backlog = self.mailbox.backlog
        if backlog and stored.message.sequence > self._last_loaded:
            # It is among those that are loaded as there is room.
            self.mailbox.backlog += 1
        else:
            self.mailbox.restore([self.entry_of(stored)], backlog)

    async def _load(self) -> Claim:
        """Claim the channel and read its session, once: the first who needs them does."""
        async with self._loading:
            if self._claim is None:
                claim = await self.services.store.claim(self.channel)
                self.session.snapshot = await self.services.store.snapshot(self.channel)
                self.mailbox.resize(self.session.settings.mailbox_size)
                self._claim = claim
            return self._claim

    async def _next(self) -> Entry | None:
        """Wait for a message and for the gate; None when the channel was idle for long or the engine drains."""
        if self.mailbox.backlog:
            await self._refill()
        self.idleness.begin(self.mailbox.wake)
        try:
            entry = await self.mailbox.next()
        finally:
            self.idleness.end(self.mailbox.wake)
        if entry is None:
            return None
        if self.channel in self.services.suspensions.reasons:
            await self.services.suspensions.over(self.channel)
        ticket = self.services.gate.try_to_enter()
        if ticket is None:
            with trio.CancelScope() as self._waiting:
                ticket = await self.services.gate.enter()
            self._waiting = None
        if ticket is None or self._draining:
            return None
        self._ticket = ticket
        return entry

    async def _refill(self) -> None:
        """Load more of the backlog when the window on it has become small."""
        mailbox = self.mailbox
        if mailbox.backlog and (
            mailbox.room * 2 > self.session.settings.mailbox_size or mailbox.room >= mailbox.backlog
        ):
            stored = await self.services.store.unfinished(self.channel, after=self._last_loaded, limit=mailbox.room)
            entries = [self.entry_of(each) for each in stored]
            self.restore(entries, max(0, mailbox.backlog - len(entries)) if entries else 0)

    async def _serve(self, entry: Entry) -> None:
        """Run the message's turn as soon as nobody changes the session and there is a slot."""
        try:
            self._between_turns.acquire_nowait()
        except trio.WouldBlock:
            await self._between_turns.acquire()
        try:
            await self.services.turn_slots.acquire()
            try:
                if self._may_begin() and self.mailbox.begin(entry):
                    await self.runner.serve(entry, self._ticket)
            finally:
                self.services.turn_slots.release()
        finally:
            self._between_turns.release()

    def _may_begin(self) -> bool:
        # What ran while this turn waited for its slot may have closed the gate.
        suspended = self.channel in self.services.suspensions.reasons
        return not self._draining and not suspended and self.services.gate.admits(self._ticket)

    def _leaving(self) -> bool:
        """Whether the engine drains; it may begin to during any await, which the attribute does not tell mypy."""
        return self._draining

    def _owned(self) -> Claim:
        if self._claim is None:
            raise RuntimeError("an actor writes nothing before it has its claim")
        return self._claim
