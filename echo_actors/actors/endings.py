"""The end of messages: stored first, then announced; retried for as long as the store takes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import attrs
import trio

from echo_actors.actors import turns
from echo_actors.actors.mailbox import Entry
from echo_actors.actors.purse import Purse
from echo_actors.actors.services import Services
from echo_actors.actors.session import Session
from echo_actors.actors.verdict import Verdict
from echo_actors.errors import NotStorable, StaleRevision, StoreError
from echo_actors.events import TurnEnded
from echo_actors.models import Outcome, OutcomeKind, Spent
from echo_actors.state.records import Charge, Claim, End

T = TypeVar("T")

FIRST_RETRY = 0.1
LONGEST_RETRY = 5.0


@attrs.define(eq=False)
class Endings:
    """Stores and announces the ends of one channel's messages.

    What is held while the store takes nothing is what the actor holds anyway: one turn's messages.

    Attributes:
        on_end: Called with each entry whose end was stored.
    """

    channel: str
    services: Services
    session: Session
    purse: Purse
    on_end: Callable[[Entry], None]

    async def end(self, claim: Claim, entries: Sequence[Entry], verdict: Verdict, turn_id: str) -> None:
        """Keep the ends that a verdict gives messages, with what the turn did to the session; then announce them.

        A reply that no store can keep makes its messages fail, because a second try would find the same.
        """
        charge, spent = self.purse.charge(verdict), None if verdict.result is None else verdict.result.spent
        try:
            await self._end(claim, entries, verdict, turn_id, charge=charge, spent=spent)
        except NotStorable as error:
            refused = Verdict(kind=OutcomeKind.FAILED, reason=str(error), error="not_storable")
            await self._end(claim, entries, refused, turn_id, charge=charge, spent=spent)

    async def _end(
        self,
        claim: Claim,
        entries: Sequence[Entry],
        verdict: Verdict,
        turn_id: str,
        *,
        charge: Charge | None,
        spent: Spent | None,
    ) -> None:
        outcomes = [turns.outcome_of(verdict, entry, turn_id) for entry in entries]
        answered = sum(outcome.reply is not None for outcome in outcomes)

        async def write() -> None:
            now = self.services.now()
            ends = [
                End(message_id=entry.message.message_id, outcome=outcome, ended_at=now)
                for entry, outcome in zip(entries, outcomes, strict=True)
            ]
            snapshot = self.session.after(verdict, answered=answered, now=now)
            stored = await self.services.store.finish(claim, ends, snapshot, charge)
            if stored is not None:
                self.session.adopt(stored)

        await self.persist(write)
        self.purse.take(charge)
        for entry, outcome in zip(entries, outcomes, strict=True):
            turns.record_end(entry, outcome, verdict, self.services, turn_id=turn_id, spent=spent)
        if self.services.audit_sync is not None:
            await self.services.audit_sync()
        for entry, outcome in zip(entries, outcomes, strict=True):
            entry.end(outcome)
            self.on_end(entry)
            message_id = entry.message.message_id
            self.services.hub.publish(
                TurnEnded(channel=self.channel, message_id=message_id, turn_id=turn_id, outcome=outcome, spent=spent)
            )
            spent = None

    async def save(self, claim: Claim, verdict: Verdict) -> None:
        """Keep what an attempt did to the session that ends no message, and what it cost."""
        now, charge = self.services.now(), self.purse.charge(verdict)
        snapshot = self.session.after(verdict, answered=0, now=now)
        if snapshot is not None:
            await self.persist(lambda: self.session.save(claim, snapshot, charge))
            self.purse.take(charge)

    async def end_unstarted(self, claim: Claim, entry: Entry, outcome: Outcome) -> None:
        """Keep and announce the end of a message that no turn was started for, or whose end is decided already."""
        verdict = Verdict(
            kind=outcome.kind,
            reason=outcome.reason,
            clock=outcome.clock,
            error=outcome.error,
            budget=outcome.budget,
        )
        await self.end(claim, [entry], verdict, "")

    async def persist(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write until it is done. Cancellation ends the wait between two tries.

        Raises:
            StaleRevision: Somebody else has written; trying again would overwrite that.
            NotStorable: Trying again would not help.
        """
        delay = FIRST_RETRY
        while True:
            try:
                return await write()
            except (StaleRevision, NotStorable):
                raise
            except StoreError as error:
                self.services.record("store.refused", channel=self.channel, reason=str(error), retry_in=delay)
            await trio.sleep(delay)
            delay = min(LONGEST_RETRY, delay * 2)
