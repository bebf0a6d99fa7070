"""The demo: right figures are shown as right, wrong ones as wrong, and nothing is left of it."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
from commands_program import Program, plain

from echo_actors.commands.demo_figures import Figure, Heard, Observed, figures, percentile
from echo_actors.events import Accepted, Event, Lagged, TurnEnded, TurnStarted
from echo_actors.models import Outcome, OutcomeKind, Reply

FIGURES = ("turns", "replies", "turn", "message", "cost", "events", "order", "history", "processes")
LOAD = {"a": ["a1", "a2"], "b": ["b1", "b2"]}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


# -- the figures


def ended(channel: str, text: str, kind: OutcomeKind = OutcomeKind.ANSWERED) -> TurnEnded:
    """The end of a message whose id is its text."""
    reply = Reply(text=f"echo: {text}", session_id="s", turn_id="t")
    outcome = Outcome(kind=kind, reason="as told", reply=reply if kind is OutcomeKind.ANSWERED else None)
    return TurnEnded(channel=channel, message_id=text, outcome=outcome)


def good_run() -> Observed:
    """A run in which everything is right; each event is a second after the one before it."""
    events: list[Event] = []
    for channel, texts in LOAD.items():
        events += [Accepted(channel=channel, message_id=text, sequence=1, position=0) for text in texts]
        for text in texts:
            events += [TurnStarted(channel=channel, message_id=text, attempt=1), ended(channel, text)]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    timed = [attrs.evolve(event, time=start + timedelta(seconds=n)) for n, event in enumerate(events)]
    heard = [Heard(text, tuple(texts[:n])) for texts in LOAD.values() for n, text in enumerate(texts)]
    return Observed(events=timed, heard=heard, model_usd=0.0016, recorded_usd=0.0016, processes_left=0)


def wrong(run: Observed) -> set[str]:
    """The names of the figures that are wrong."""
    return {figure.name for figure in figures(LOAD, run) if figure.problem}


def test_a_good_run_has_nothing_wrong() -> None:
    """All figures are there, in order, with what they say."""
    found = figures(LOAD, good_run())
    assert tuple(figure.name for figure in found) == FIGURES
    assert wrong(good_run()) == set()
    assert found[0] == Figure("turns", "4 of 4 answered")
    assert found[2].value.startswith("p50 1.000 s, p99 1.000 s")
    assert found[3].value.startswith("p50 3.000 s, p99 4.000 s")


def with_events(change: dict[int, Event | None], *more: Event) -> Observed:
    """The good run with some events in place of others, without those that are None, and with some at the end."""
    run = good_run()
    events = [change.get(place, event) for place, event in enumerate(run.events)]
    return attrs.evolve(run, events=[*filter(None, events), *more])


@pytest.mark.parametrize(
    ("run", "names"),
    [
        (with_events({3: ended("a", "a1", OutcomeKind.FAILED)}), {"turns", "replies"}),
        (with_events({3: None}), {"turns", "replies", "events", "order"}),
        (with_events({}, ended("a", "a2")), {"turns", "replies", "events", "order"}),
        (with_events({3: attrs.evolve(ended("a", "a2"), message_id="a1")}), {"replies"}),
        (with_events({2: TurnStarted(channel="a", message_id="a2", attempt=1)}), {"events", "order"}),
        (with_events({3: ended("a", "a2"), 5: ended("a", "a1")}), {"order"}),
        (with_events({}, Lagged(channel="", missed=1)), {"events"}),
        (attrs.evolve(good_run(), recorded_usd=0.0016 + 1e-8), {"cost"}),
        (attrs.evolve(good_run(), processes_left=1), {"processes"}),
        (attrs.evolve(good_run(), heard=good_run().heard[:-1]), {"history"}),
        (attrs.evolve(good_run(), heard=[*good_run().heard, Heard("a1", ())]), {"history"}),
        (attrs.evolve(good_run(), heard=[Heard(each.text, ()) for each in good_run().heard]), {"history"}),
    ],
    ids=[
        *("failed", "no end", "two ends", "another's reply", "started twice", "out of order", "lagged", "cost"),
        *("process", "not asked", "asked twice", "forgotten"),
    ],
)
def test_what_is_wrong_is_found(run: Observed, names: set[str]) -> None:
    """Each way of being wrong shows in the figures that it concerns."""
    assert wrong(run) == names


def test_a_percentile_is_one_of_the_values() -> None:
    """The smallest one that so many percent do not exceed."""
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([7.0], 99) == 7.0


# -- the command


def summary(out: str) -> dict[str, str]:
    """The figures by name, each with its mark."""
    lines = (line.split() for line in out.splitlines())
    return {line[1]: line[0] for line in lines if line and line[0] in ("ok", "wrong")}


async def test_the_demo_passes_with_the_scripted_cli(program: Program) -> None:
    """Every figure is right, progress is shown as lines, and no file is left anywhere."""
    finished = await program.run("demo", "--cli", "scripted", "--channels", "3", "--messages", "4")
    assert (finished.code, finished.err) == (0, "")
    assert summary(finished.out) == dict.fromkeys(FIGURES, "ok")
    assert "12 of 12 messages ended" in finished.out
    assert "\x1b" not in finished.out
    assert list(program.temporary.iterdir()) == []
    assert list(program.home.iterdir()) == []
    assert not program.state.exists()


@pytest.mark.real_cli
async def test_the_demo_passes_with_the_real_cli_whatever_account_there_is(program: Program, cli: Path) -> None:
    """Nothing of the user's account, proxies or settings reaches the CLI."""
    finished = await program.run(
        *("demo", "--channels", "2", "--messages", "2"),
        CLAUDE_BIN=str(cli),
        ANTHROPIC_BASE_URL="http://127.0.0.1:9",
        ANTHROPIC_CUSTOM_HEADERS="broken",
        CLAUDE_CODE_USE_BEDROCK="1",
        HTTP_PROXY="http://127.0.0.1:9",
        ECHO_ACTORS_AUDIT_PATH=str(program.root / "audit.jsonl"),
        for_cli={"ANTHROPIC_MODEL": "nonsense"},
    )
    assert (finished.code, finished.err) == (0, "")
    assert summary(finished.out) == dict.fromkeys(FIGURES, "ok")
    assert list(program.home.iterdir()) == []
    assert not (program.root / "audit.jsonl").exists()


async def test_a_wrong_figure_is_exit_code_one(program: Program) -> None:
    """A CLI that does not ask the model has answers, but no history and no cost."""
    finished = await program.run("demo", "--channels", "1", "--messages", "2")
    assert finished.code == 1
    assert {name for name, mark in summary(finished.out).items() if mark == "wrong"} == {"cost", "history"}
    assert [line.split(":")[2].strip() for line in finished.err.splitlines()] == ["cost", "history"]


async def test_the_demo_shows_a_table_in_a_terminal(program: Program) -> None:
    """A row for each channel, and then the summary."""
    async with program.terminal("demo", "--cli", "scripted", "--channels", "2", "--messages", "2") as running:
        await running.see("channel")
    shown = plain(running.written)
    assert "│ demo-2     │ done     │" in shown
    assert summary(shown) == dict.fromkeys(FIGURES, "ok")
    assert running.process.returncode == 0


async def test_the_demo_without_a_cli_is_exit_code_three(program: Program) -> None:
    """The line says how to get one."""
    finished = await program.run("demo", "--claude-bin", "nothing")
    assert (finished.code, finished.out) == (3, "")
    assert finished.err.startswith("echo-actors: ")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)], ids=["INT", "TERM", "HUP"]
)
async def test_a_signal_ends_the_demo_without_a_trace(program: Program, number: int, code: int) -> None:
    """No traceback, no process and no file is left."""
    async with program.start("demo", "--cli", "scripted", "--channels", "3", "--messages", "1000") as running:
        await running.see("messages ended")
        assert program.left() != set()
        running.process.send_signal(number)
    assert (running.process.returncode, bytes(running.errors)) == (code, b"")
    assert list(program.temporary.iterdir()) == []


async def test_ctrl_c_ends_the_demo_in_a_terminal(program: Program) -> None:
    """The live table gives the terminal back."""
    async with program.terminal("demo", "--cli", "scripted", "--channels", "3", "--messages", "1000") as running:
        await running.see("running")
        await running.type("\x03")
    assert running.process.returncode == 130
    assert b"Traceback" not in running.written
    assert b"\x1b[?25h" in running.written
    assert list(program.temporary.iterdir()) == []


async def test_the_demo_ends_when_its_reader_leaves(program: Program) -> None:
    """`demo | head` is no error message, and no process is left."""
    async with program.start("demo", "--cli", "scripted", "--channels", "3", "--messages", "1000") as running:
        await running.see("messages ended")
        assert running.process.stdout is not None
        await running.process.stdout.aclose()
    assert (running.process.returncode, bytes(running.errors)) == (1, b"")
    assert list(program.temporary.iterdir()) == []


async def test_the_demo_ends_with_its_terminal(program: Program) -> None:
    """There is nothing left to draw on; that is no other end than its signal, and nothing else is left either."""
    async with program.terminal("demo", "--cli", "scripted", "--channels", "3", "--messages", "1000") as running:
        await running.see("running")
        await running.hang_up()
    assert running.process.returncode == 143
    assert list(program.temporary.iterdir()) == []
