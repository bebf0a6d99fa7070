"""What an actor asks of whatever runs its turns, and what it gets back.

``residency.Residency`` is the real driver. A driver that answers at once and starts nothing is in
``echo_actors.testing``; it serves tests of the actors and benchmarks of the engine alone.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from echo_actors.errors import CLIFailed
from echo_actors.events import Event, PermissionAsked
from echo_actors.history import History
from echo_actors.models import Answer, Block, Spent

UNLIMITED: Final = "bypassPermissions"
"""The permission mode that a running CLI refuses to change to (measured with CLI 2.1.331)."""


@attrs.frozen(kw_only=True)
class Launch:
    """How a channel's CLI is to run.

    Attributes:
        turn_budget_usd: What one turn may cost.
        available_tools: The CLI's own tools that there are; None for all that it has.
        files: Options that name a file, and what the file has in it: what may hold secrets, or be long.
        options: Further options.
        extra_arguments: What the operator adds.
    """

    model: str
    working_dir: Path
    allowed_tools: tuple[str, ...]
    permission_mode: str
    prompt_file: Path | None
    partial_messages: bool = True
    permission_questions: bool = False
    turn_budget_usd: float | None = None
    available_tools: tuple[str, ...] | None = None
    disallowed_tools: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    extra_arguments: tuple[str, ...] = ()

    def serves(self, other: Launch) -> bool:
        """Whether a process launched like this can run like the other, at once or after ``Resident.adapt``.

        All but the model and the permission mode is settled at the start, and so is whether no permission is needed.
        """
        if self.permission_mode != other.permission_mode and UNLIMITED in (
            self.permission_mode,
            other.permission_mode,
        ):
            return False
        return attrs.evolve(self, model=other.model, permission_mode=other.permission_mode) == other


@attrs.frozen(kw_only=True)
class SessionRequest:
    """A session that a channel needs a process for.

    Attributes:
        established: Whether the session has had a turn before; a missing transcript is then a loss.
    """

    channel: str
    session_id: str
    established: bool
    launch: Launch


@attrs.frozen(kw_only=True)
class KeptSession:
    """A session as the CLI keeps it, whether or not one runs.

    Attributes:
        working_dir: Where its CLI ran; it is kept by that.
    """

    channel: str
    session_id: str
    working_dir: Path


@attrs.frozen(kw_only=True)
class TurnRequest(SessionRequest):
    """One turn to run.

    Attributes:
        turn_id: The uuid of the message as the CLI sees it, its key for "already done".
        content: The text as the model shall see it, fenced if need be.
    """

    turn_id: str
    content: str


class Phase(enum.Enum):
    """How far a turn has come; the clocks follow it."""

    STARTING = "starting"
    SENT = "sent"
    RUNNING = "running"


class TurnListener(Protocol):
    """What a turn tells while it runs. Calls are synchronous and must not wait."""

    def on_phase(self, phase: Phase) -> None:
        """The turn has come this far."""

    def on_life(self) -> None:
        """The CLI gave a sign of life."""

    def on_begun(self, uuid: str) -> None:
        """The CLI has begun the message that was sent under this uuid."""

    def on_event(self, event: Event) -> None:
        """The turn made an event, not yet stamped with time and cursor."""

    def on_last_word(self, result: TurnResult) -> None:
        """The turn was cancelled, and the CLI had a result all the same: what it cost, perhaps an answer."""


class Silence:
    """The listener of a process that is got ready while no turn runs."""

    def on_phase(self, phase: Phase) -> None:
        """No clock follows it."""

    def on_life(self) -> None:
        """Nobody doubts it."""

    def on_begun(self, uuid: str) -> None:
        """It has no message."""

    def on_event(self, event: Event) -> None:
        """Nobody listens."""

    def on_last_word(self, result: TurnResult) -> None:
        """It has no turn."""


@attrs.frozen(kw_only=True)
class TurnResult:
    """How a turn ended, as far as the CLI said.

    Attributes:
        uuids: The messages, by the uuid they were sent under, that this result ends.
        returned: Those that the CLI gave back undone (discarded or refused).
        error: None for an answer, else the kind of failure, one of the words in ``failures.ERRORS`` or the CLI's own.
        replayed: The CLI said that it had done this message before. Nothing ran, and the answer is not in here: see
            ``Driver.recall``.
        resets_at: For a rate limit, when it ends (seconds since the epoch).
    """

    uuids: tuple[str, ...]
    session_id: str
    model: str = ""
    text: str = ""
    blocks: tuple[Block, ...] = ()
    structured_output: dict[str, Any] | None = None
    spent: Spent = Spent()
    error: str | None = None
    reason: str = ""
    returned: tuple[str, ...] = ()
    replayed: bool = False
    resets_at: float | None = None


class SessionLost(CLIFailed):
    """The session to be resumed is not there any more, or cannot be used."""


@attrs.frozen(kw_only=True)
class Processes:
    """What a driver has running at this moment; nothing for a driver without processes.

    Attributes:
        residents: Processes that are up and belong to a channel, in a turn or idle.
        spares: Those that are up and wait for a channel.
        starting: Those that are not up yet, or still wait for room to start.
        ending: Those that are on their way out.
        memory: The private bytes that residents, spares and their tools had when they were last measured; 0 before.
    """

    residents: int = 0
    spares: int = 0
    starting: int = 0
    ending: int = 0
    memory: int = 0


@attrs.frozen
class ProcessStatus:
    """A channel's process.

    Attributes:
        memory: The private bytes that it and its tools had when they were last measured; 0 before.
    """

    pid: int
    memory: int


class Driver(Protocol):
    """Runs turns, one at a time per channel."""

    def new_session(self, channel: str, launch: Launch) -> str:
        """The id for the channel's new session: that of a process which is ready for one, else a fresh uuid."""

    async def prewarm(self, request: SessionRequest) -> bool:
        """Have the channel's process ready, so that its next turn need not wait for one; False when there is no room.

        No turn of the channel may start meanwhile. When cancelled, it ends what it had begun to start.

        Raises:
            CLINotFound: There is no usable CLI.
            CLIFailed: The CLI did not start, or somebody else has the session open.
            SessionLost: The session cannot be resumed.
        """

    def is_warm(self, channel: str) -> bool:
        """Whether the channel has a process that is ready for a turn, or in one."""

    def processes(self) -> Processes:
        """What runs at this moment, for an operator."""

    def process(self, channel: str) -> ProcessStatus | None:
        """The channel's process, for an operator; None when it has none, or the driver has no processes."""

    def problem(self) -> str:
        """Why no turn could run now, of any channel; empty when turns can. May be called in any thread."""

    async def run_turn(self, request: TurnRequest, listener: TurnListener) -> TurnResult:
        """Run one turn to its end.

        When cancelled, it ends the turn and whatever the turn started before it lets the cancellation through; that
        takes at most the teardown timeout.

        Raises:
            CLINotFound: There is no usable CLI.
            CLIFailed: The CLI ended or stopped obeying before its result.
            SessionLost: The session cannot be resumed.
        """

    def interrupt(self, channel: str) -> None:
        """Ask the channel's running turn to end; held back until the CLI has begun it."""

    def steer(self, channel: str, uuid: str, content: str) -> bool:
        """Give one more message to the running turn; False when there is none that could take it."""

    def answer_permission(self, question: PermissionAsked, answer: Answer) -> bool:
        """Answer a question that a turn put as an event; False when its process takes no answer any more.

        Raises:
            InvalidAnswer: It cannot be given as it is.
        """

    async def recall(self, request: TurnRequest) -> TurnResult | None:
        """The answer to a request that was run before, if the session has it whole; None otherwise."""

    async def history(self, session: KeptSession, *, limit: int | None, before: str | None) -> History | None:
        """A page of a session's conversation, also while a turn runs in it; None when there is no such session.

        Args:
            session: Which.
            limit: The most entries, the newest of those in question; None for all.
            before: The id of an entry that the page shall end before; None for the end of the conversation.

        Raises:
            InvalidMessage: The conversation has no such entry.
            CLIFailed: The session cannot be read.
        """

    async def fork(self, session: KeptSession) -> str:
        """Copy a session as it is now; give the id of the copy, which no turn has run in and nothing was paid for.

        No turn may run in it meanwhile. The copy is there whole or not at all.

        Raises:
            SessionLost: There is no such session.
            CLIFailed: It cannot be copied.
        """

    async def retire(self, channel: str, reason: str) -> None:
        """End the channel's process, if there is one."""
