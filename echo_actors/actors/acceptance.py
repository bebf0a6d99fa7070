"""Acceptance: how a message gets its place, its number and its record, in that order and all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from echo_actors.actors.channel import ChannelActor
from echo_actors.actors.mailbox import Entry, EntryState, Mailbox
from echo_actors.actors.services import Services
from echo_actors.audit import text_fields
from echo_actors.errors import BudgetExceeded, ChannelSuspended, GateClosed
from echo_actors.events import Accepted, TurnEnded
from echo_actors.models import FullPolicy, Message, Outcome, OutcomeKind, Receipt
from echo_actors.state.records import End, StoredMessage


@attrs.frozen
class Taken:
    """A message that was taken in, now or before.

    Attributes:
        new: Whether it was now.
    """

    message: Entry | StoredMessage
    receipt: Receipt
    new: bool = False


@attrs.define(eq=False)
class Acceptance:
    """Takes messages in.

    Attributes:
        actor: Gives a channel's actor, started if need be.
        find: Gives the entry of a known message that has not ended.
        adopt: Told of each entry that has a place.
        forget: Told of each that has lost it again.
        suspended: Channels that take nothing, and why.
        last_sequence: The highest number given so far.
    """

    services: Services
    actor: Callable[[str], ChannelActor]
    find: Callable[[str], Entry | None]
    adopt: Callable[[Entry], None]
    forget: Callable[[Entry], None]
    suspended: Mapping[str, str]
    last_sequence: int

    async def accept(self, message: Message) -> Taken:
        """Give a message its place and keep it; for a known id, give what the store has of it.

        The place and the sequence are taken before the first await, or, when the mailbox is full and the policy is to
        wait, right after that wait. When the message cannot be kept, the place is given back.

        Raises:
            BudgetExceeded: Nothing more may be spent on turns in this day or month.
            ChannelSuspended: The channel takes nothing until it is resumed.
            EngineClosed: The engine is draining.
            GateClosed: The account cannot be used.
            MailboxFull: As many messages wait as may.
            StoreError: The message could not be kept.
        """
        known = self.find(message.message_id)
        if known is not None and (known := await self._known(message.message_id)) is not None:
            return Taken(known, Receipt(known.message.message_id, known.message.sequence, 0))
        try:
            actor = await self._place(message.channel)
        except BudgetExceeded:
            # What was accepted before costs nothing more.
            if (stored := await self.services.store.message(message.message_id)) is None:
                raise
            return Taken(stored, Receipt(stored.message.message_id, stored.message.sequence, 0))
        if self.find(message.message_id) is not None:
            # It came a second time, and was quicker to a place.
            actor.mailbox.decline()
            return await self.accept(message)
        dropped = self._drop_for(actor.mailbox) if actor.mailbox.full else None
        entry = Entry(message.numbered(self.last_sequence + 1))
        position = actor.mailbox.offer(entry) + (actor.runner.batch is not None)
        self.last_sequence += 1
        self.adopt(entry)
        stored = await self._keep(actor, entry, dropped)
        if stored is not None:
            return Taken(stored, Receipt(stored.message.message_id, stored.message.sequence, 0))
        receipt = Receipt(message.message_id, entry.message.sequence, position)
        try:
            self._announce(entry.message, receipt)
        finally:
            # It is on disk, whatever became of the announcement, and its actor may be waiting to hear so.
            entry.commit()
        if entry.state is EntryState.WAITING:
            actor.runner.on_accepted(entry)
        return Taken(entry, receipt, new=True)

    async def _known(self, message_id: str) -> Entry | None:
        """The entry of a message that has not ended, once it is on disk; None when there is none or it was refused."""
        while (known := self.find(message_id)) is not None:
            if known.settled.is_set():
                return known
            await known.settled.wait()
        return None

    async def _place(self, channel: str) -> ChannelActor:
        """The actor, once it has a place for one more message or the policy is not to wait for one."""
        while True:
            if channel in self.suspended:
                raise ChannelSuspended(channel, self.suspended[channel])
            gate = self.services.gate
            if gate.state.broken and gate.now() < gate.state.closed_until:
                raise GateClosed(gate.state.reason, gate.state.closed_until - gate.now())
            self._check_budget(channel)
            actor, policy = self.actor(channel), self.services.settings.full_mailbox
            mailbox = actor.mailbox
            if not mailbox.crowded:
                return actor
            committing = mailbox.committing() if mailbox.full and not mailbox.backlog else None
            if policy is FullPolicy.WAIT:
                await mailbox.wait_for_place()
                if not mailbox.full:
                    return self.actor(channel)
            elif policy is FullPolicy.DROP_OLDEST and committing is not None:
                # Its acceptance is announced before it is dropped.
                await committing.settled.wait()
            else:
                return actor

    def _check_budget(self, channel: str) -> None:
        """Refuse what is known to get no turn; for what only the store knows, the actor asks it."""
        budget = self.services.budgets.refusal(channel, self.services.now)
        if budget is None:
            budget = self.actor(channel).purse.exhausted()
        if budget is not None:
            raise BudgetExceeded(budget)

    def _drop_for(self, mailbox: Mailbox) -> Entry | None:
        """Take the oldest entry out of a full mailbox, if the policy says so and that makes a place."""
        if self.services.settings.full_mailbox is not FullPolicy.DROP_OLDEST or mailbox.backlog:
            return None
        oldest = mailbox.oldest()
        return oldest if oldest is not None and mailbox.withdraw(oldest) else None

    async def _keep(self, actor: ChannelActor, entry: Entry, dropped: Entry | None) -> StoredMessage | None:
        """Store an entry; give the stored message when its id was known."""
        ends: list[End] = []
        if dropped is not None:
            reason = "dropped for a newer message"
            outcome = Outcome(kind=OutcomeKind.DROPPED, reason=reason, attempts=dropped.attempts)
            ends.append(End(message_id=dropped.message.message_id, outcome=outcome, ended_at=self.services.now()))
        stored, kept = None, False
        try:
            stored = await self.services.store.accept(entry.message, ends=ends)
            kept = stored is None
        finally:
            if not kept:
                actor.mailbox.withdraw(entry)
                self.forget(entry)
                entry.refuse()
            if dropped is not None and not kept:
                actor.mailbox.put_back([dropped])
        if dropped is not None and kept:
            await self._announce_drop(dropped, ends[0].outcome)
        return stored

    def _announce(self, message: Message, receipt: Receipt) -> None:
        self.services.hub.publish(
            Accepted(
                channel=message.channel,
                message_id=message.message_id,
                sequence=receipt.sequence,
                position=receipt.position,
            )
        )
        self.services.record(
            "message.accepted",
            channel=message.channel,
            message=message.message_id,
            sequence=receipt.sequence,
            position=receipt.position,
            author=message.author.name if message.author else None,
            trust=message.trust.value,
            **text_fields(message.text, content=self.services.settings.audit_content),
        )

    async def _announce_drop(self, entry: Entry, outcome: Outcome) -> None:
        channel, message_id = entry.message.channel, entry.message.message_id
        self.services.record(
            "turn.ended", channel=channel, message=message_id, outcome=outcome.kind.value, reason=outcome.reason
        )
        if self.services.audit_sync is not None:
            await self.services.audit_sync()
        entry.end(outcome)
        self.forget(entry)
        self.services.hub.publish(TurnEnded(channel=channel, message_id=message_id, outcome=outcome))
