"""The calls that concern one channel, or the list of them."""

from __future__ import annotations

from typing import Unpack

import trio

from echo_actors.actors.verdict import Stop
from echo_actors.admission.budgets import Account, Limits
from echo_actors.engine.calls import Calls
from echo_actors.engine.intake import check_channel, check_limit, check_session, choice
from echo_actors.errors import SettingsError
from echo_actors.models import Answer, OutcomeKind, Spending, Trust
from echo_actors.settings import NO_OPTIONS, ChannelOptions, OptionChanges
from echo_actors.settings.layers import changed, in_channel
from echo_actors.state.records import SessionSnapshot


class ChannelCalls(Calls):
    """A channel's turn, session, options and process."""

    async def interrupt(self, channel: str, *, reason: str = "interrupted by the operator") -> bool:
        """End the channel's running turn, whose message is then ``cancelled``; False when none is running."""
        await trio.lowlevel.checkpoint()
        actor = self._supervisor.actors.get(channel)
        stopped = actor is not None and actor.stop_turn(Stop(OutcomeKind.CANCELLED, reason))
        if stopped:
            self._services.record("operator.interrupt", channel=channel, reason=reason)
        return stopped

    async def answer_permission(self, channel: str, request_id: str, answer: Answer) -> bool:
        """Answer a question that a ``PermissionAsked`` event put. The first answer counts.

        Returns:
            False when it comes too late: the question was answered, its deadline passed, or its turn ended.

        Raises:
            InvalidAnswer: It cannot be given as it is. The question stays open.
        """
        await trio.lowlevel.checkpoint()
        actor = self._supervisor.actors.get(channel)
        return actor is not None and actor.runner.answer_permission(request_id, answer)

    async def clear(self, channel: str) -> bool:
        """Forget the channel's conversation once its running turn has ended; False when there is none.

        Messages that wait run in the new session.

        Raises:
            InvalidMessage: The channel's name cannot be one.
            StoreError: The store did not give the channel's session, or did not take that it is cleared.
            EngineClosed: The engine drains, or began to before the channel was cleared.
        """
        actor = self._supervisor.actor(check_channel(channel))
        async with actor.between_turns() as claim:
            with trio.CancelScope(shield=True):
                cleared = await actor.session.clear(claim)
                if cleared:
                    await self._services.driver.retire(channel, "cleared")
        self._services.record("operator.clear", channel=channel, cleared=cleared)
        return cleared

    async def adopt(self, channel: str, session_id: str) -> None:
        """Let the channel go on, from its next turn, in a session that was begun elsewhere, such as in a terminal.

        Its transcript may be that of another working directory, and is then moved to the channel's. If there is none,
        that turn begins a new session.

        Args:
            channel: Whatever session it has is forgotten, and its counts; its options stay.
            session_id: Of the CLI's, a UUID.

        Raises:
            InvalidMessage: The channel's name, or the session's id, cannot be one.
        """
        check_session(session_id)
        actor = self._supervisor.actor(check_channel(channel))
        async with actor.between_turns() as claim:
            with trio.CancelScope(shield=True):
                await actor.session.take_over(claim, session_id)
        self._services.record("operator.adopt", channel=channel, session=session_id)

    async def prewarm(self, channel: str, *, trust: Trust | None = None) -> bool:
        """Have the channel's CLI process ready before a message comes, as when somebody begins to type.

        It starts the process, or resumes the session of one that hibernated, within the setting ``start_timeout``; so
        does the next message, which waits for this. No model is asked. Asking again is cheap, and counts as use. What
        goes wrong is recorded, not raised: the next message meets it anyway.

        Args:
            channel: The conversation's key.
            trust: Of the message that is expected, as another one may need another process; that of the channel's last
                turn by default, ``member`` before the first.

        Returns:
            Whether the channel has a process now that is ready for a turn, or in one. A channel that is suspended
            gets none, and no turn that runs or another channel that waits loses its place to one.

        Raises:
            InvalidMessage: The channel's name cannot be one, or there is no such trust.
            EngineClosed: The engine is draining.
        """
        expected = None if trust is None else choice(Trust, trust)
        if check_channel(channel) in self._supervisor.suspended:
            await trio.lowlevel.checkpoint()
            return False
        return await self._supervisor.actor(channel).prewarm(expected)

    async def set_model(self, channel: str, model: str) -> None:
        """Choose the channel's model from its next turn on.

        Raises:
            SettingsError: The model is none of the setting ``models``.
            InvalidMessage: The channel's name cannot be one.
            StoreError: The store did not give the channel's session, or did not take the choice.
            EngineClosed: The engine drains, or began to before the model was chosen.
        """
        await self._configure(channel, {"model": model}, f"model set to {model}")
        self._services.record("operator.set_model", channel=channel, model=model)

    async def configure(self, channel: str, **changes: Unpack[OptionChanges]) -> ChannelOptions:
        """Change the channel's own options, from its next turn on; those that are not named stay.

        They are kept with the channel, also when it is cleared, and go before the settings. None gives one back to the
        settings. The size of the mailbox changes at once; the mailbox of a channel that was not in use has it once the
        channel's first message is on disk.

        Returns:
            All of the channel's own options.

        Raises:
            SettingsError: An option is unknown or cannot be used. Nothing has changed then.
            InvalidMessage: The channel's name cannot be one.
            StoreError: The options could not be kept.
            EngineClosed: The engine is draining.
        """
        names = ", ".join(sorted(changes))
        after = await self._configure(channel, changes, f"options changed: {names}")
        # Their values may hold secrets.
        self._services.record("operator.configure", channel=channel, options=names)
        return after

    async def options(self, channel: str) -> ChannelOptions:
        """The channel's own options, as set by ``configure``; what is None is as in the settings."""
        snapshot = await self._services.store.snapshot(check_channel(channel))
        return NO_OPTIONS if snapshot is None else snapshot.options

    async def spending(self, channel: str | None = None) -> Spending:
        """What the turns of a channel, or with None of all channels, have cost in this day and month of UTC."""
        services = self._services
        if channel is None:
            limits = services.budgets.limits
        else:
            limits = Limits.of_channel(in_channel(self.settings, channel, await self.options(channel)))
        moment, account = services.now(), Account(channel or "")
        await account.load(services.store, moment.date().replace(day=1))
        return account.spending(limits, moment)

    async def _configure(self, channel: str, changes: OptionChanges, reason: str) -> ChannelOptions:
        given = changed(NO_OPTIONS, changes)
        self.settings.check_options(given)
        if given.working_dir is not None:
            # Kept as it is meant now: the next run of the program may be at home elsewhere.
            directory = await trio.Path(given.working_dir).resolve()
            if not await directory.is_dir():
                raise SettingsError(f"working_dir: {directory} is not a directory.", "working_dir")
            changes = {**changes, "working_dir": str(directory)}
        return await self._supervisor.actor(check_channel(channel)).configure(changes, reason)

    async def suspend(self, channel: str, *, reason: str = "suspended by the operator") -> bool:
        """Let the channel take nothing until it is resumed; False when it is suspended already.

        New messages are refused with ``ChannelSuspended``. Those that wait go on waiting, on their queue clock, and a
        turn that runs goes on to its end, unless it is interrupted. It holds for this run of the program.

        Raises:
            InvalidMessage: The channel's name cannot be one.
            EngineClosed: The engine is draining.
        """
        await trio.lowlevel.checkpoint()
        suspended = self._supervisor.suspend(check_channel(channel), reason)
        if suspended:
            self._services.record("operator.suspend", channel=channel, reason=reason)
        return suspended

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
        """A page of sessions by channel name, those after the given name.

        Raises:
            InvalidMessage: The limit is below 1.
        """
        check_limit(limit)
        return await self._services.store.snapshots(after=after, limit=limit)
