"""The engine: what a program calls. ``opening`` makes it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, Unpack

import trio

from echo_actors.actors.acceptance import Taken
from echo_actors.actors.mailbox import Entry, EntryState
from echo_actors.actors.services import Services
from echo_actors.actors.supervisor import Supervisor
from echo_actors.actors.topic import Subscription
from echo_actors.actors.verdict import Stop
from echo_actors.audit import AuditLog
from echo_actors.errors import EngineClosed, InvalidMessage, StoreError
from echo_actors.intake import MessageOptions, canonical_id, check_channel, new_message
from echo_actors.models import Outcome, OutcomeKind, Receipt, Reply
from echo_actors.settings import Settings
from echo_actors.state.records import SessionSnapshot, StoredMessage
from echo_actors.status import EngineStatus
from echo_actors.streaming import Stream, answer

OnCancel = Literal["interrupt", "detach"]


class Engine:
    """Many channels, one conversation each. Made by ``open_engine``; its calls belong to that trio run."""

    def __init__(self, services: Services, supervisor: Supervisor, audit: AuditLog) -> None:
        self._services = services
        self._supervisor = supervisor
        self._audit = audit

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._services.settings

    # -- messages

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
        key = canonical_id(message_id)
        known: Entry | StoredMessage | None = self._supervisor.find(key) or await self._services.store.message(key)
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

    def subscribe(
        self, channel: str | None = None, *, since: str | None = None, buffer_size: int | None = None
    ) -> Subscription:
        """Subscribe to a channel's events, or with None to all; an async context manager and iterator.

        Args:
            channel: None for every channel.
            since: The cursor of the last event seen; events after it that the ring still holds come first, and a
                ``Lagged`` before them when some are lost.
            buffer_size: How many events may wait for this subscriber; the setting ``subscriber_buffer`` by default.
        """
        return self._services.hub.subscribe(channel, since=since, buffer_size=buffer_size)

    # -- channels

    async def interrupt(self, channel: str, *, reason: str = "interrupted by the operator") -> bool:
        """End the channel's running turn, whose message is then ``cancelled``; False when none is running."""
        await trio.lowlevel.checkpoint()
        actor = self._supervisor.actors.get(channel)
        stopped = actor is not None and actor.stop_turn(Stop(OutcomeKind.CANCELLED, reason))
        if stopped:
            self._services.record("operator.interrupt", channel=channel, reason=reason)
        return stopped

    async def clear(self, channel: str) -> bool:
        """Forget the channel's conversation once its running turn has ended; False when there is none.

        Messages that wait run in the new session.
        """
        actor = self._supervisor.actor(check_channel(channel))
        async with actor.between_turns() as claim:
            with trio.CancelScope(shield=True):
                cleared = await actor.session.clear(claim)
                if cleared:
                    await self._services.driver.retire(channel, "cleared")
        self._services.record("operator.clear", channel=channel, cleared=cleared)
        return cleared

    async def prewarm(self, channel: str) -> bool:
        """Have the channel's CLI process ready before a message comes, as when somebody begins to type.

        It starts the process, or resumes the session of one that hibernated, within the setting ``start_timeout``; so
        does the next message, which waits for this. No model is asked. Asking again is cheap, and counts as use. What
        goes wrong is recorded, not raised: the next message meets it anyway.

        Returns:
            Whether the channel has a process now that is ready for a turn, or in one. A channel that is suspended
            gets none, and no turn that runs or another channel that waits loses its place to one.

        Raises:
            InvalidMessage: The channel's name cannot be one.
            EngineClosed: The engine is draining.
        """
        if check_channel(channel) in self._supervisor.suspended:
            await trio.lowlevel.checkpoint()
            return False
        return await self._supervisor.actor(channel).prewarm()

    async def set_model(self, channel: str, model: str) -> None:
        """Choose the channel's model from its next turn on.

        Raises:
            SettingsError: The model is none of the setting ``models``.
        """
        self.settings.check_model(model)
        actor = self._supervisor.actor(check_channel(channel))
        async with actor.between_turns() as claim:
            with trio.CancelScope(shield=True):
                await actor.session.set_model(claim, model)
        self._services.record("operator.set_model", channel=channel, model=model)

    async def resume(self, channel: str) -> bool:
        """Lift a channel's suspension; False when it was not suspended."""
        await trio.lowlevel.checkpoint()
        resumed = self._supervisor.resume(channel)
        if resumed:
            self._services.record("operator.resume", channel=channel)
        return resumed

    async def session(self, channel: str) -> SessionSnapshot | None:
        """The channel's session as stored; None when it has none."""
        snapshot = await self._services.store.snapshot(check_channel(channel))
        return snapshot if snapshot is not None and snapshot.session_id is not None else None

    async def sessions(self, *, after: str = "", limit: int = 100) -> list[SessionSnapshot]:
        """A page of sessions by channel name, those after the given name."""
        return await self._services.store.snapshots(after=after, limit=limit)

    # -- the engine

    def status(self) -> EngineStatus:
        """What the engine is doing at this moment."""
        supervisor = self._supervisor
        return EngineStatus(
            run_id=self._services.hub.run_id,
            closing=supervisor.closing,
            live_channels=len(supervisor.actors),
            running_turns=self._services.turn_slots.held,
            waiting_for_slot=self._services.turn_slots.waiting,
            queued_messages=sum(actor.mailbox.depth for actor in supervisor.actors.values()),
            subscribers=self._services.hub.subscriptions,
            suspended=dict(supervisor.suspended),
            gate=self._services.gate.state.reason,
            audit_problem=self._audit.problem,
        )

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - how long turns may go on
        """Take no new messages and let running turns end; leaving the engine's block does this too.

        Args:
            timeout: Seconds for running turns, the setting ``drain_timeout`` by default; then they are cut, and run
                again at the next start, like everything that still waits.
        """
        if not self._supervisor.closing:
            self._services.record("engine.draining")
        await self._supervisor.drain(self.settings.drain_timeout if timeout is None else timeout)

    # -- within

    async def _accept(self, channel: str, text: str, options: MessageOptions) -> Taken:
        services = self._services
        limit = services.settings.max_message_bytes
        message = new_message(channel, text, options, now=services.now(), max_bytes=limit)
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
