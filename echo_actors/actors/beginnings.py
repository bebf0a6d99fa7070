"""The beginning of a turn: which messages it has, and their attempt counted before the CLI sees them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import attrs

from echo_actors.actors import turns
from echo_actors.actors.batch import Batch, collectable, cut_together
from echo_actors.actors.endings import Endings
from echo_actors.actors.mailbox import Entry, EntryState, Mailbox
from echo_actors.actors.services import Services
from echo_actors.actors.session import Session
from echo_actors.actors.verdict import Verdict
from echo_actors.errors import StoreError
from echo_actors.models import OutcomeKind
from echo_actors.state.records import Claim

OVER_BUDGET = "budget_exceeded"
"""The kind of failure of a message whose turn may not begin for the money it might cost."""


@attrs.define(eq=False)
class Beginnings:
    """Begins one channel's turns.

    Attributes:
        claim: Gives the right to write the channel's records.
    """

    services: Services
    mailbox: Mailbox
    session: Session
    endings: Endings
    claim: Callable[[], Claim]

    async def end_without_a_turn(self, entry: Entry) -> bool:
        """End a message that was answered when it was started before, or was started too often; whether it was."""
        verdict = await self.recall(entry) if entry.recovered else None
        if verdict is None and entry.attempts >= self.services.settings.max_attempts:
            reason = f"started {entry.attempts} times without coming to an end"
            verdict = entry.failure or Verdict(kind=OutcomeKind.DEAD_LETTERED, reason=reason)
        if verdict is None:
            return False
        await self.endings.end(self.claim(), [entry], verdict, entry.turn_id or "")
        return True

    async def end_without_a_budget(self, entry: Entry) -> bool:
        """End a message whose turn may not begin because the money for it is spent; whether it was.

        It does not wait for the next day or month: by then nobody waits for its answer.
        """
        budget = await self.endings.persist(self.endings.purse.look)
        if budget is None:
            return False
        # One that the store refuses was never accepted, and has no end.
        await entry.settled.wait()
        if entry.state is not EntryState.REFUSED:
            verdict = Verdict(kind=OutcomeKind.FAILED, reason=str(budget), error=OVER_BUDGET, budget=budget)
            await self.endings.end(self.claim(), [entry], verdict, "")
        return True

    async def recall(self, entry: Entry) -> Verdict | None:
        """The end that a message had in its session before it could be stored."""
        if entry.turn_id is None or entry.session_id is None:
            return None
        request = turns.recall_request(entry, self.session)
        result = await self.services.driver.recall(request)
        return None if result is None else Verdict(kind=OutcomeKind.ANSWERED, result=result)

    def gather(self, first: Entry) -> list[Entry]:
        """The messages that the first one's turn begins with; none joins one that may still be refused."""
        if not first.settled.is_set():
            return [first]
        room = self.services.settings.max_message_bytes - len(first.message.text.encode())

        def joins(entry: Entry) -> bool:
            nonlocal room
            room -= len(entry.message.text.encode())
            return room >= 0 and (collectable(first, entry) or cut_together(first, entry))

        return [first, *self.mailbox.begin_while(joins)]

    async def begin(self, batch: Batch, entries: list[Entry]) -> bool:
        """Take messages into the turn, and count their attempt before the CLI sees them.

        Returns:
            False when the one message was refused by the store, and so was never accepted.
        """
        uuid = turns.uuid_for(entries, self.services.new_id)
        batch.add(uuid, entries)
        session_id = self.session.id_for(entries[0])
        messages, first = [entry.message for entry in entries], entries[0]
        start = partial(self.services.store.start, self.claim(), messages, turn_id=uuid, session_id=session_id)
        if first.settled.is_set():
            await self.endings.persist(start)
        elif not await self._begin_with_acceptance(first, start):
            batch.take([uuid])
            return False
        for entry in entries:
            entry.attempts += 1
            entry.turn_id, entry.session_id, entry.recovered = uuid, session_id, False
            time = turns.announce_start(entry, batch.turn_id, self.session, self.services)
            batch.started = batch.started or time
        return True

    async def _begin_with_acceptance(self, entry: Entry, start: Callable[[], Awaitable[None]]) -> bool:
        """Write the start of a message whose acceptance is under way; False when that failed."""
        try:
            await start()
        except StoreError:
            await entry.settled.wait()
            if entry.state is not EntryState.REFUSED:
                await self.endings.persist(start)
        else:
            if not entry.settled.is_set():
                await entry.settled.wait()
        return entry.state is not EntryState.REFUSED
