"""The errors: one root, the builtins they also are, a text that says what to do, and safe travel between processes."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import attrs
import pytest

import echo_actors
from echo_actors import errors
from echo_actors.models import Budget, BudgetPeriod, BudgetScope, Clock, Outcome, OutcomeKind

TIMED_OUT = Outcome(kind=OutcomeKind.TIMED_OUT, reason="the idle clock ran out after 5 s", clock=Clock.IDLE)
BUDGET = Budget(
    scope=BudgetScope.CHANNEL,
    channel="c",
    period=BudgetPeriod.DAY,
    limit_usd=0.01,
    spent_usd=0.0104,
    resets_at=datetime(2030, 1, 2, tzinfo=UTC),
)

EXAMPLES = [
    errors.ActiveFileError("/p/active.json", "it is empty"),
    errors.BackupError("/b", "it is not empty"),
    errors.CallTimedOut(TIMED_OUT),
    errors.SettingsError("There is no setting x.", "x", "y"),
    errors.SettingsError("There is no x.", "x", "y", ("channels", "c"), "a.toml", 3),
    errors.PersonalityError("The folder is missing.", path="/p"),
    errors.CLINotFound("There is no CLI.", ("/bin",)),
    errors.CLIFailed("the CLI exited", 3, "boom"),
    errors.InvalidMessage("the message is empty"),
    errors.InvalidAnswer("no answer"),
    errors.MailboxFull("c", 7, 5),
    errors.ControlError("a line is no JSON"),
    errors.EngineNotRunning("no engine is running"),
    errors.EngineClosed(),
    errors.StoreError("the disk is gone"),
    errors.StoreLocked("in use by 42", 42),
    errors.StoreFull("no room"),
    errors.NotStorable("a number of 70 bits"),
    errors.StaleRevision("stale"),
    errors.TurnFailed(Outcome(kind=OutcomeKind.DEAD_LETTERED, reason="three attempts")),
    errors.TurnTimedOut(TIMED_OUT),
    errors.NoConversation("c"),
    errors.ConversationExists("c"),
    errors.TranscriptMissing("c", "the-session", "/work"),
    errors.BudgetExceeded(BUDGET),
    errors.TurnOverBudget(
        outcome=Outcome(kind=OutcomeKind.FAILED, error="budget_exceeded", budget=BUDGET), budget=BUDGET
    ),
    errors.ChannelSuspended("c", "it crashed"),
    errors.GateClosed("billing", 60.0),
    errors.WrongLoop("use open_engine"),
]
OF_A_BUILTIN = {
    errors.ActiveFileError: RuntimeError,
    errors.BackupError: RuntimeError,
    errors.CallTimedOut: TimeoutError,
    errors.SettingsError: ValueError,
    errors.PersonalityError: FileNotFoundError,
    errors.CLINotFound: FileNotFoundError,
    errors.CLIFailed: RuntimeError,
    errors.GateClosed: RuntimeError,
    errors.InvalidMessage: ValueError,
    errors.MailboxFull: RuntimeError,
    errors.ControlError: RuntimeError,
    errors.EngineNotRunning: ConnectionError,
    errors.EngineClosed: RuntimeError,
    errors.StoreError: RuntimeError,
    errors.TurnFailed: RuntimeError,
    errors.TurnTimedOut: TimeoutError,
    errors.NoConversation: LookupError,
    errors.ConversationExists: FileExistsError,
    errors.TranscriptMissing: FileNotFoundError,
    errors.BudgetExceeded: RuntimeError,
    errors.ChannelSuspended: RuntimeError,
    errors.WrongLoop: RuntimeError,
}


def name(error: object) -> str:
    """The class's name, for the list of tests."""
    return type(error).__name__


def test_every_error_class_has_an_example_here() -> None:
    """So that the tests below speak of all."""
    defined = {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.EchoActorsError) and each is not errors.EchoActorsError
    }
    assert defined - {type(example) for example in EXAMPLES} == set()


@pytest.mark.parametrize("error", EXAMPLES, ids=name)
def test_every_error_has_the_one_root(error: Exception) -> None:
    """One ``except`` clause catches all, and the class is public."""
    assert isinstance(error, errors.EchoActorsError)
    assert getattr(echo_actors, type(error).__name__) is type(error)


@pytest.mark.parametrize(("error", "builtin"), OF_A_BUILTIN.items())
def test_an_error_is_also_the_builtin_that_says_the_same(error: type, builtin: type) -> None:
    """Code that is written against builtins keeps working."""
    assert issubclass(error, builtin)


@pytest.mark.parametrize("error", EXAMPLES, ids=name)
def test_every_error_survives_pickling(error: Exception) -> None:
    """With all its fields and its text, for a program that uses processes."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own bytes
    assert type(copy) is type(error)
    assert attrs.asdict(copy) == attrs.asdict(error)  # type: ignore[arg-type]  # all of them are attrs classes
    assert str(copy) == str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=name)
def test_every_error_can_carry_a_note_and_a_cause(error: Exception) -> None:
    """The classes have no slots, which would forbid it."""
    error.add_note("noted")
    error.__cause__ = KeyError("because")
    assert error.__notes__[-1] == "noted"


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (errors.SettingsError("There is no setting x.", "x", "y"), ["no setting x", "Did you mean 'y'?"]),
        (errors.SettingsError("No.", "x", "y", (), "a.toml", 3), ["a.toml:3: No. Did you mean 'y'?"]),
        (errors.SettingsError("No.", file="a.toml"), ["a.toml: No."]),
        (errors.PersonalityError("The folder is missing.", path="/p"), ["The folder is missing."]),
        (errors.CLINotFound("There is no CLI.", ("/bin",)), ["There is no CLI.", "/bin", "pip install", "CLAUDE_BIN"]),
        (errors.CLIFailed("the CLI exited", 3, "boom\n"), ["the CLI exited", "(exit code 3)", "boom"]),
        (errors.CLIFailed("killed", -9), ["killed (exit code -9)"]),
        (errors.MailboxFull("c", 7, 5), ["'c'", "7", "5", "try again later"]),
        (errors.EngineClosed(), ["closing"]),
        (errors.TurnTimedOut(TIMED_OUT), ["timed out: the idle clock ran out after 5 s"]),
        (errors.TurnFailed(Outcome(kind=OutcomeKind.FAILED)), ["failed: no reason was given"]),
        (errors.ChannelSuspended("c", "it crashed"), ["'c'", "it crashed", "engine.resume"]),
        (errors.GateClosed("billing", 60.0), ["60 s", "billing"]),
        (
            errors.BudgetExceeded(BUDGET),
            ["'c'", "day", "0.0104 of 0.0100 USD", "2030-01-02 00:00", "daily_budget_usd"],
        ),
    ],
    ids=lambda value: name(value) if isinstance(value, Exception) else "",
)
def test_the_text_says_what_happened_and_what_to_do(error: Exception, parts: list[str]) -> None:
    """In words for people."""
    assert all(part in str(error) for part in parts)


def test_a_long_stderr_is_cut_to_its_end() -> None:
    """The last words say why."""
    text = str(errors.CLIFailed("ended", 1, "x" * 10_000 + " the reason"))
    assert text.endswith("the reason")
    assert len(text) < 600


def test_a_time_out_names_its_clock() -> None:
    """For programs."""
    assert errors.TurnTimedOut(TIMED_OUT).clock is Clock.IDLE
