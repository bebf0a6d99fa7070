"""Made of ``Engine`` by ``tests/portal_stub.py``; change that class, and run it again."""

import uuid
from contextlib import AbstractContextManager
from typing import Unpack

from echo_actors.engine.channels import ChannelStatus
from echo_actors.engine.health import Health
from echo_actors.engine.intake import MessageOptions
from echo_actors.engine.message_calls import OnCancel
from echo_actors.engine.status import EngineStatus
from echo_actors.events import Event
from echo_actors.history import History
from echo_actors.models.budgets import Spending
from echo_actors.models.choices import Trust
from echo_actors.models.messages import Outcome, Receipt, Reply
from echo_actors.models.permissions import Answer
from echo_actors.portal.blocking import Blocking
from echo_actors.portal.iteration import BlockingEvents
from echo_actors.settings.options import ChannelOptions, OptionChanges
from echo_actors.settings.settings import Settings
from echo_actors.state.records import SessionSnapshot, StoredMessage
from echo_actors.telemetry.metric import Metric

class _Stream(BlockingEvents[Event]):
    @property
    def message_id(self) -> str: ...
    @property
    def outcome(self) -> Outcome | None: ...
    @property
    def reply(self) -> Reply:
        """The answer, once the iteration has ended.

        Raises:
            TurnFailed: The message ended without an answer.
            TurnOverBudget: A budget was used up when its turn came.
            TurnTimedOut: One of its clocks ran out.
            EngineClosed: The engine closed before the message ended; it runs again at the next start.
            RuntimeError: The iteration has not ended yet.
        """

class _Subscription(BlockingEvents[Event]):
    @property
    def empty(self) -> bool:
        """Whether nothing waits to be read."""

class BlockingEngine(Blocking):
    """An engine in a thread of its own. Its calls are those of ``Engine``; any thread may make them, and waits.

    A call that Ctrl-C breaks off is cancelled as its async original: ``ask`` then withdraws the message, or interrupts
    its turn. Context managers and iterators are plain ones.
    """

    def adopt(self, channel: str, session_id: str) -> None:
        """Let the channel go on, from its next turn, in a session that was begun elsewhere, such as in a terminal.

        Its transcript may be that of another working directory, and is then moved to the channel's. If there is none,
        that turn begins a new session.

        Args:
            channel: Whatever session it has is forgotten, and its counts; its options stay.
            session_id: Of the CLI's, a UUID.

        Raises:
            InvalidMessage: The channel's name, or the session's id, cannot be one.
        """

    def answer_permission(self, channel: str, request_id: str, answer: Answer) -> bool:
        """Answer a question that a ``PermissionAsked`` event put. The first answer counts.

        Returns:
            False when it comes too late: the question was answered, its deadline passed, or its turn ended.

        Raises:
            InvalidAnswer: It cannot be given as it is. The question stays open.
        """

    def ask(
        self, channel: str, text: str, *, on_cancel: OnCancel = "interrupt", **options: Unpack[MessageOptions]
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

    def channels(self, *, after: str = "", limit: int | None = 1000) -> tuple[ChannelStatus, ...]:
        """What the live channels are doing at this moment, in the order of their names.

        Those that are known and not live, as they have been idle for the setting ``passivate_after``, are in
        ``sessions``.

        Args:
            after: The name before the first one: that of the last channel on the page before.
            limit: The most channels; None for all of them.

        Raises:
            InvalidMessage: The limit is below 1.
        """

    def clear(self, channel: str) -> bool:
        """Forget the channel's conversation once its running turn has ended; False when there is none.

        Messages that wait run in the new session.

        Raises:
            InvalidMessage: The channel's name cannot be one.
            StoreError: The store did not give the channel's session, or did not take that it is cleared.
            EngineClosed: The engine drains, or began to before the channel was cleared.
        """

    def configure(self, channel: str, **changes: Unpack[OptionChanges]) -> ChannelOptions:
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

    def dead_letters(self, *, after: int = 0, limit: int = 100) -> list[StoredMessage]:
        """A page of the dead letters, oldest first, those after the given sequence.

        Raises:
            InvalidMessage: The limit is below 1.
        """

    def discard(self, message_id: str | uuid.UUID) -> None:
        """Drop a dead letter for good.

        Raises:
            InvalidMessage: It is none.
            StoreError: The store did not take it.
        """

    def drain(self, timeout: float | None = None) -> None:
        """Take no new messages and let running turns end; leaving the engine's block does this too.

        Args:
            timeout: Seconds for running turns, the setting ``drain_timeout`` by default; then they are cut, and run
                again at the next start, like everything that still waits.
        """

    def fork(self, channel: str, new_channel: str) -> None:
        """Let a new channel begin with a copy of this one's conversation, once its running turn has ended.

        The copy is made at once; from then on the two know nothing of each other. What was chosen for the channel, as
        its model, holds in the new one too. Counts and costs of the new one begin at nothing. After a crash the new
        channel has the whole copy, or no conversation.

        Raises:
            InvalidMessage: A channel's name cannot be one, or both are the same.
            NoConversation: There is nothing to copy.
            ConversationExists: The new channel has a conversation already.
            TranscriptMissing: The store knows the conversation, and the CLI has it no more.
            CLIFailed: The transcript cannot be copied.
            StoreError: The new channel could not be kept.
            EngineClosed: The engine is draining.
        """

    def health(self) -> Health:
        """Whether the engine is alive, and whether it is ready for messages. May be called in any thread."""

    def history(self, channel: str, *, limit: int | None = 100, before: str | None = None) -> History:
        """What was said in the channel's conversation, newest last; empty when it has none.

        It is read from the CLI's transcript, in a thread, so a running turn is there as far as it came, and what was
        said before a crash too. After ``clear`` or a lost session it begins anew.

        Args:
            channel: The conversation's key.
            limit: The most entries, the newest; None for all of them.
            before: The id of an entry: those before it. The ``earlier`` of one page gives the page before.

        Raises:
            InvalidMessage: The channel's name cannot be one, the limit is below 1, or there is no such entry.
            TranscriptMissing: The transcript is gone.
            CLIFailed: The transcript cannot be read.
        """

    def interrupt(self, channel: str, *, reason: str = "interrupted by the operator") -> bool:
        """End the channel's running turn, whose message is then ``cancelled``; False when none is running."""

    def metrics(self) -> tuple[Metric, ...]:
        """What the engine measures: of its status, and with the setting ``telemetry`` of messages, turns and tools."""

    def options(self, channel: str) -> ChannelOptions:
        """The channel's own options, as set by ``configure``; what is None is as in the settings."""

    def outcome(self, message_id: str | uuid.UUID) -> Outcome:
        """Wait for a message's end; also for a message of an earlier run.

        Raises:
            InvalidMessage: No such message was accepted, or it is older than the store remembers.
            EngineClosed: The engine closed before the end; the message runs again at the next start.
        """

    def post(self, channel: str, text: str, **options: Unpack[MessageOptions]) -> Receipt:
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

    def prewarm(self, channel: str, *, trust: Trust | None = None) -> bool:
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

    def resume(self, channel: str) -> bool:
        """Lift a channel's suspension; False when it was not suspended."""

    def revive(self, message_id: str | uuid.UUID) -> None:
        """Let a dead letter run again, as if it had not been started yet; behind what waits in its channel.

        Raises:
            InvalidMessage: It is none.
            StoreError: The store did not take it.
            EngineClosed: The engine is draining.
        """

    def session(self, channel: str) -> SessionSnapshot | None:
        """The channel's session as stored; None when it has none."""

    def sessions(self, *, after: str = "", limit: int = 100) -> list[SessionSnapshot]:
        """A page of sessions by channel name, those after the given name.

        Raises:
            InvalidMessage: The limit is below 1.
        """

    def set_model(self, channel: str, model: str) -> None:
        """Choose the channel's model from its next turn on.

        Raises:
            SettingsError: The model is none of the setting ``models``.
            InvalidMessage: The channel's name cannot be one.
            StoreError: The store did not give the channel's session, or did not take the choice.
            EngineClosed: The engine drains, or began to before the model was chosen.
        """

    @property
    def settings(self) -> Settings:
        """The settings in force."""

    def spending(self, channel: str | None = None) -> Spending:
        """What the turns of a channel, or with None of all channels, have cost in this day and month of UTC."""

    def status(self) -> EngineStatus:
        """What the engine is doing at this moment."""

    def stream(
        self, channel: str, text: str, *, on_cancel: OnCancel = "interrupt", **options: Unpack[MessageOptions]
    ) -> AbstractContextManager[_Stream]:
        """Accept a message and give its events as they come; iterate over what the block gets, then see its ``reply``.

        Leaving the block before the end does what ``on_cancel`` says. Arguments and errors are those of ``ask``; the
        errors of a turn come from ``reply``.
        """

    def subscribe(
        self, channel: str | None = None, *, since: str | None = None, buffer_size: int | None = None
    ) -> AbstractContextManager[_Subscription]:
        """Subscribe to a channel's events, or with None to all; an async context manager and iterator.

        Args:
            channel: None for every channel.
            since: The cursor of the last event seen, or ``BEGIN``; events after it that the ring still holds come
                first, and a ``Lagged`` before them when some are lost.
            buffer_size: How many events may wait for this subscriber; the setting ``subscriber_buffer`` by default.
        """

    def suspend(self, channel: str, *, reason: str = "suspended by the operator") -> bool:
        """Let the channel take nothing until it is resumed; False when it is suspended already.

        New messages are refused with ``ChannelSuspended``. Those that wait go on waiting, on their queue clock, and a
        turn that runs goes on to its end, unless it is interrupted. It holds for this run of the program.

        Raises:
            InvalidMessage: The channel's name cannot be one.
            EngineClosed: The engine is draining.
        """
