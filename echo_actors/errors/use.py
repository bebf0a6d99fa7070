"""What the program that uses the engine did that it cannot do."""

from __future__ import annotations

import attrs

from echo_actors.errors.root import EchoActorsError, Reasoned


@attrs.define(slots=False, eq=False)
class SettingsError(EchoActorsError, ValueError):
    """A setting is unknown or its value cannot be used. Raised before anything is started.

    Attributes:
        name: The setting, or what is wrong within it.
        nearest: The known name that is most like an unknown one.
        within: The tables that ``name`` is in, the outermost first.
        file: The settings file, if that is where it is.
        line: The line in it, 0 where that is not known.
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
class InvalidMessage(Reasoned, EchoActorsError, ValueError):
    """A message or a channel's name cannot be accepted as it is. Nothing was stored."""


@attrs.define(slots=False, eq=False)
class InvalidAnswer(Reasoned, EchoActorsError, ValueError):
    """The answer to a permission question cannot be given as it is. The question stays open."""


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
class ActiveFileError(EchoActorsError, RuntimeError):
    """A file of Echo-Core's sessions cannot be read or written as a whole. Nothing was changed."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@attrs.define(slots=False, eq=False)
class WrongLoop(Reasoned, EchoActorsError, RuntimeError):
    """A way into the engine was used where another kind of event loop runs, or none; the text says which fits."""


@attrs.define(slots=False, eq=False)
class ControlError(Reasoned, EchoActorsError, RuntimeError):
    """The control socket was used in a way that it does not allow, or it gave what cannot be understood."""


@attrs.define(slots=False, eq=False)
class EngineNotRunning(Reasoned, EchoActorsError, ConnectionError):
    """No engine listens in the state directory. Not raised for one that closes meanwhile: that is ``EngineClosed``."""
