"""The calls that concern one message: it is accepted, answered, followed."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, Unpack

import trio

from echo_actors.actors.acceptance import Taken
from echo_actors.actors.mailbox import Entry, EntryState
from echo_actors.engine.calls import Calls
from echo_actors.engine.intake import MessageOptions, canonical_id, check_channel, new_message
from echo_actors.engine.streaming import Stream, answer
from echo_actors.errors import EngineClosed, InvalidMessage, StoreError
from echo_actors.models import Outcome, Receipt, Reply
from echo_actors.state.records import StoredMessage

OnCancel = Literal["interrupt", "detach"]


class MessageCalls(Calls):
    """Messages in, and what becomes of them."""

    async def post(
        self,
        channel: str,
        text: str,
        **options: Unpack[MessageOptions],
    ) -> Receipt:
        """Accept a message; it is on disk when this returns, and will have exactly one outcome.

        Args:
            channel: The conversation's key, any text.
            text: What the person said.
            **options: See ``MessageOptions``.

        Raises:
            InvalidMessage: The message or the channel's name cannot be accepted.
            MailboxFull: The channel has as many messages waiting as it may.
            BudgetExceeded: Nothing more may be spent on turns in this day or month.
            ChannelSuspended: The channel takes nothing until it is resumed.
            GateClosed: The account cannot be used.
            StoreError: The message could not be kept.
            EngineClosed: The engine is draining.
        """
        taken = await self._accept(channel, text, options)
        return taken.receipt

    async def ask(
        self,
        channel: str,
        text: str,
        *,
        on_cancel: OnCancel = "interrupt",
        **options: Unpack[MessageOptions],
    ) -> Reply:
        """Accept a message and wait for its answer.

        Args:
            channel: The conversation's key, any text.
            text: What the person said.
            on_cancel: What cancelling this call does: ``interrupt`` withdraws the message or interrupts its turn,
                ``detach`` leaves it alone.
            **options: See ``MessageOptions``; for a known ``message_id`` the first outcome is given.

        Raises:
            TurnFailed: The message ended without an answer; carries the outcome.
            TurnOverBudget: A budget was used up when its turn came; also a ``BudgetExceeded``.
            TurnTimedOut: One of its clocks ran out.
            InvalidMessage: As for ``post``, like the errors that ``post`` raises and that are not named here.
        """
        taken = await self._accept(channel, text, options)
        try:
            return answer(await self._outcome_of(taken.message))
        except trio.Cancelled:
            if on_cancel == "interrupt":
                self._withdraw_soon(taken, "the caller was cancelled")
            raise

    async def outcome(self, message_id: str | uuid.UUID) -> Outcome:
        """Wait for a message's end; also for a message of an earlier run.

        Raises:
            InvalidMessage: No such message was accepted, or it is older than the store remembers.
            EngineClosed: The engine closed before the end; the message runs again at the next start.
        """
        known: Entry | StoredMessage | None = self._supervisor.find(str(message_id))
        if known is None:
            key = canonical_id(message_id)
            known = self._supervisor.find(key) or await self._services.store.message(key)
        if known is None:
            raise InvalidMessage(f"no message {key} is known")
        return await self._outcome_of(known)

    @asynccontextmanager
    async def stream(
        self,
        channel: str,
        text: str,
        *,
        on_cancel: OnCancel = "interrupt",
        **options: Unpack[MessageOptions],
    ) -> AsyncIterator[Stream]:
        """Accept a message and give its events as they come; iterate over what the block gets, then see its ``reply``.

        Leaving the block before the end does what ``on_cancel`` says. Arguments and errors are those of ``ask``; the
        errors of a turn come from ``reply``.
        """
        async with self._services.hub.subscribe(check_channel(channel)) as subscription:
            taken = await self._accept(channel, text, options)
            stream = Stream(taken.receipt.message_id, subscription, taken.message, taken.message.outcome)
            try:
                yield stream
            finally:
                if stream.outcome is None and on_cancel == "interrupt":
                    self._withdraw_soon(taken, "the stream was left")

    # -- within

    async def _accept(self, channel: str, text: str, options: MessageOptions) -> Taken:
        services = self._services
        message = new_message(
            channel,
            text,
            options,
            now=services.now(),
            max_bytes=services.settings.max_message_bytes,
            new_id=services.new_id,
        )
        taken = await self._supervisor.acceptance.accept(message)
        if taken.message.message.channel != channel:
            # The first outcome would tell one channel what was said in another.
            raise InvalidMessage(f"message {message.message_id} was accepted in another channel; its id is used up")
        return taken

    async def _outcome_of(self, known: Entry | StoredMessage) -> Outcome:
        if isinstance(known, StoredMessage) and known.outcome is None:
            # It waits on disk for room in memory, or ended while it was looked up.
            known = self._supervisor.find(known.message.message_id) or await self._again(known)
        if isinstance(known, Entry):
            await known.ended.wait()
        if known.outcome is None and isinstance(known, Entry) and known.state is EntryState.REFUSED:
            raise StoreError("the message could not be stored, and was not accepted")
        if known.outcome is None:
            raise EngineClosed("the engine closed before the message ended; it runs at the next start")
        return known.outcome

    async def _again(self, known: StoredMessage) -> Entry | StoredMessage:
        """Look a message up once more; one that has still not ended gets an entry to wait at."""
        latest = await self._services.store.message(known.message.message_id)
        if latest is None or latest.outcome is not None:
            return latest or known
        return self._supervisor.entry_of(latest)

    def _withdraw_soon(self, taken: Taken, reason: str) -> None:
        # Who only repeated a message does not take it back. At the end of a drain all are marked as ended: a stream
        # may be left when nothing runs any more.
        if taken.new and isinstance(taken.message, Entry) and not taken.message.ended.is_set():
            self._supervisor.nursery.start_soon(self._supervisor.withdraw, taken.message, reason)
