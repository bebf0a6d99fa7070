"""The calls that concern dead letters: messages that were started too often."""

from __future__ import annotations

import uuid
from contextlib import suppress

import trio

from echo_actors.engine.calls import Calls
from echo_actors.engine.intake import canonical_id, check_limit
from echo_actors.errors import EngineClosed, InvalidMessage
from echo_actors.models import OutcomeKind
from echo_actors.state.records import StoredMessage


class DeadLetterCalls(Calls):
    """Dead letters, to be looked at, run again or dropped."""

    async def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        """A page of the dead letters, oldest first, those after the given sequence.

        Raises:
            InvalidMessage: The limit is below 1.
        """
        check_limit(limit)
        return await self._services.store.dead_letters(after=after, limit=limit)

    async def revive(self, message_id: str | uuid.UUID) -> None:
        """Let a dead letter run again, as if it had not been started yet; behind what waits in its channel.

        Raises:
            InvalidMessage: It is none.
            StoreError: The store did not take it.
            EngineClosed: The engine is draining.
        """
        found = await self._dead_letter(message_id)
        key, channel = found.message.message_id, found.message.channel
        # Before anything is changed: a draining engine has no actors.
        self._supervisor.actor(channel)
        # What is a dead letter no more has to come into its mailbox, whether or not its sender still waits for that.
        with trio.CancelScope(shield=True):
            if not await self._services.store.revive(key):
                raise _is_none(key)
            self._services.record("operator.revive", channel=channel, message=key)
            revived = await self._services.store.message(key)
        with suppress(EngineClosed):  # then it runs at the next start
            if revived is not None and revived.outcome is None:
                self._supervisor.actor(channel).readmit(revived)

    async def discard(self, message_id: str | uuid.UUID) -> None:
        """Drop a dead letter for good.

        Raises:
            InvalidMessage: It is none.
            StoreError: The store did not take it.
        """
        found = await self._dead_letter(message_id)
        if not await self._services.store.discard(found.message.message_id):
            raise _is_none(found.message.message_id)
        self._services.record("operator.discard", channel=found.message.channel, message=found.message.message_id)

    async def _dead_letter(self, message_id: str | uuid.UUID) -> StoredMessage:
        key = canonical_id(message_id)
        found = await self._services.store.message(key)
        if found is None or found.outcome is None or found.outcome.kind is not OutcomeKind.DEAD_LETTERED:
            raise _is_none(key)
        return found


def _is_none(message_id: str) -> InvalidMessage:
    return InvalidMessage(f"no message {message_id} is a dead letter")
