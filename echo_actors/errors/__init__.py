"""Every error that the package raises on purpose.

One root, ``EchoActorsError``; where a builtin says the same, the class derives from it too, so that code written
against builtins keeps working. Each error has fields for programs and a text that says what to do for people.

The classes are attrs classes without slots: the builtin bases bring layouts that slots cannot be mixed with.
"""

from echo_actors.errors.cli import CLIFailed, CLINotFound
from echo_actors.errors.refusals import BudgetExceeded, ChannelSuspended, EngineClosed, GateClosed, MailboxFull
from echo_actors.errors.root import EchoActorsError
from echo_actors.errors.store import BackupError, NotStorable, StaleRevision, StoreError, StoreFull, StoreLocked
from echo_actors.errors.turns import CallTimedOut, TurnFailed, TurnOverBudget, TurnTimedOut
from echo_actors.errors.use import (
    ActiveFileError,
    ControlError,
    ConversationExists,
    EngineNotRunning,
    InvalidAnswer,
    InvalidMessage,
    NoConversation,
    PersonalityError,
    SettingsError,
    TranscriptMissing,
    WrongLoop,
)

__all__ = [
    "ActiveFileError",
    "BackupError",
    "BudgetExceeded",
    "CLIFailed",
    "CLINotFound",
    "CallTimedOut",
    "ChannelSuspended",
    "ControlError",
    "ConversationExists",
    "EchoActorsError",
    "EngineClosed",
    "EngineNotRunning",
    "GateClosed",
    "InvalidAnswer",
    "InvalidMessage",
    "MailboxFull",
    "NoConversation",
    "NotStorable",
    "PersonalityError",
    "SettingsError",
    "StaleRevision",
    "StoreError",
    "StoreFull",
    "StoreLocked",
    "TranscriptMissing",
    "TurnFailed",
    "TurnOverBudget",
    "TurnTimedOut",
    "WrongLoop",
]
