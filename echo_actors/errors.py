"""Every error that the package raises on purpose.

One root, ``EchoActorsError``; where a builtin says the same, the class derives from it too, so that code written
against builtins keeps working. Each error has fields for programs and a text that says what to do for people.

The classes are attrs classes without slots: the builtin bases bring layouts that slots cannot be mixed with.
"""

from __future__ import annotations

import attrs

from echo_actors.models import Budget, Clock, Outcome


class EchoActorsError(Exception):
    """The root of all errors of this package."""


@attrs.define(slots=False, eq=False)
class ActiveFileError(EchoActorsError, RuntimeError):
    """A file of Echo-Core's sessions cannot be read or written as a whole. Nothing was changed."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@attrs.define(slots=False, eq=False)
class SettingsError(EchoActorsError, ValueError):
    """A setting is unknown or its value cannot be used. Raised before anything is started.

    ``within`` has the tables that ``name`` is in; of one in the settings file, ``file`` and ``line`` say where it is.
    """

    reason: str
    name: str = ""
    nearest: str = ""
    within: tuple[str, ...] = ()
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        hint = f" Did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{place}{self.reason}{hint}"


@attrs.define(slots=False, eq=False)
class PersonalityError(SettingsError, FileNotFoundError):
    """The personality folder is missing, empty, or has a file that cannot be read."""

    path: str = ""


@attrs.define(slots=False, eq=False)
class CLINotFound(EchoActorsError, FileNotFoundError):
    """No usable Claude CLI. Not raised for a CLI that starts and then fails: that is ``CLIFailed``."""

    reason: str
    searched: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" Looked in: {', '.join(self.searched)}." if self.searched else ""
        return (
            f"{self.reason}{where} Install it with `pip install 'echo-actors[claude]'` or "
            "`npm install -g @anthropic-ai/claude-code`, or name it with CLAUDE_BIN."
        )


@attrs.define(slots=False, eq=False)
class CLIFailed(EchoActorsError, RuntimeError):
    """The CLI ended, or stopped obeying, before it gave a result.

    Attributes:
        exit_code: Negative for a signal, None while the process had not ended.
        stderr_tail: The last of what it said on stderr.
    """

    reason: str
    exit_code: int | None = None
    stderr_tail: str = ""

    def __str__(self) -> str:
        code = "" if self.exit_code is None else f" (exit code {self.exit_code})"
        said = f": {self.stderr_tail.strip()[-500:]}" if self.stderr_tail.strip() else ""
        return f"{self.reason}{code}{said}"


@attrs.define(slots=False, eq=False)
class InvalidMessage(EchoActorsError, ValueError):
    """A message or a channel's name cannot be accepted as it is. Nothing was stored."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False, eq=False)
class InvalidAnswer(EchoActorsError, ValueError):
    """The answer to a permission question cannot be given as it is. The question stays open."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False, eq=False)
class MailboxFull(EchoActorsError, RuntimeError):
    """The channel has as many messages waiting as it may. Nothing was stored; try again later.

    Attributes:
        depth: How many are waiting.
        limit: How many may, the setting ``mailbox_size``.
    """

    channel: str
    depth: int
    limit: int

    def __str__(self) -> str:
        return f"channel {self.channel!r} has {self.depth} of at most {self.limit} messages waiting; try again later"


@attrs.define(slots=False, eq=False)
class EngineClosed(EchoActorsError, RuntimeError):
    """The engine is draining or closed and takes no new work."""

    reason: str = "the engine is closing and takes no new messages"

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False, eq=False)
class StoreError(EchoActorsError, RuntimeError):
    """The store could not do what was asked; nothing of that request was stored."""

    reason: str

    def __str__(self) -> str:
        return self.reason


@attrs.define(slots=False, eq=False)
class StoreLocked(StoreError):
    """Another engine owns the state directory.

    Attributes:
        pid: The owner's process id, 0 when it could not be read.
    """

    pid: int = 0


@attrs.define(slots=False, eq=False)
class StoreFull(StoreError):
    """The disk, or the store's own limit, is full. Acceptance resumes when there is room."""


@attrs.define(slots=False, eq=False)
class NotStorable(StoreError):
    """A record holds what no store can keep, such as a number of more than 64 bits. Trying again will not help."""


@attrs.define(slots=False, eq=False)
class StaleRevision(StoreError):
    """A write was based on something older than what is stored: a snapshot's revision, a message, or a claim."""


@attrs.define(slots=False, eq=False)
class GateClosed(EchoActorsError, RuntimeError):
    """The account cannot be used: several turns in a row failed for authentication or billing. Nothing was stored.

    Attributes:
        retry_after: Seconds until the engine tries again by itself.
    """

    reason: str
    retry_after: float

    def __str__(self) -> str:
        return f"no messages are taken for {self.retry_after:.0f} s: {self.reason}; mend the account"


@attrs.define(slots=False, eq=False)
class BudgetExceeded(EchoActorsError):
    """No turn may begin: what may be spent in the day or the month was spent.

    Raised as such when a message is refused for it; nothing was stored then. For one that had been accepted before,
    ``ask`` raises the subclass ``TurnOverBudget``.

    Attributes:
        budget: Whose it is, its limit, what was spent, and when the next one begins.
    """

    budget: Budget

    def __str__(self) -> str:
        return str(self.budget)


@attrs.define(slots=False, eq=False)
class TurnFailed(EchoActorsError, RuntimeError):
    """A message ended without an answer. Never raised for a message that was not accepted."""

    outcome: Outcome

    def __str__(self) -> str:
        return f"{self.outcome.kind.value.replace('_', ' ')}: {self.outcome.reason or 'no reason was given'}"


@attrs.define(slots=False, eq=False)
class TurnTimedOut(TurnFailed, TimeoutError):
    """One of the message's clocks ran out; ``clock`` names it."""

    @property
    def clock(self) -> Clock | None:
        """The clock that ran out."""
        return self.outcome.clock


@attrs.define(slots=False, eq=False)
class CallTimedOut(EchoActorsError, TimeoutError):
    """A turn took too long for a caller of ``echo_core``, who tells this from a RuntimeError."""

    outcome: Outcome

    def __str__(self) -> str:
        return self.outcome.reason


@attrs.define(slots=False, eq=False)
class NoConversation(EchoActorsError, LookupError):
    """A channel that was to be forked has no conversation yet. Nothing was changed."""

    channel: str

    def __str__(self) -> str:
        return f"channel {self.channel!r} has no conversation to fork"


@attrs.define(slots=False, eq=False)
class ConversationExists(EchoActorsError, FileExistsError):
    """A channel that a fork was to go to has a conversation already. Nothing was changed."""

    channel: str

    def __str__(self) -> str:
        return f"channel {self.channel!r} has a conversation already; fork into another, or engine.clear() it first"


@attrs.define(slots=False, eq=False)
class TranscriptMissing(EchoActorsError, FileNotFoundError):
    """The store knows a conversation whose transcript is not where the CLI keeps it.

    Not raised for a channel without a conversation, whose history is empty.
    """

    channel: str
    session_id: str
    working_dir: str

    def __str__(self) -> str:
        return (
            f"the transcript of channel {self.channel!r}, session {self.session_id}, is gone: it was deleted, or the "
            f"CLI has another home (HOME, CLAUDE_CONFIG_DIR) than the one that ran in {self.working_dir or 'it'}"
        )


@attrs.define(slots=False, eq=False)
class TurnOverBudget(TurnFailed, BudgetExceeded):
    """The message was accepted, and when its turn came a budget was used up."""


@attrs.define(slots=False, eq=False)
class ChannelSuspended(EchoActorsError, RuntimeError):
    """The channel's actor failed too often and takes nothing until it is resumed."""

    channel: str
    reason: str = ""

    def __str__(self) -> str:
        return f"channel {self.channel!r} is suspended: {self.reason}; resume it with engine.resume()"


@attrs.define(slots=False, eq=False)
class WrongLoop(EchoActorsError, RuntimeError):
    """A way into the engine was used where another kind of event loop runs, or none; the text says which fits."""

    reason: str

    def __str__(self) -> str:
        return self.reason
