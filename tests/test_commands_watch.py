"""The command ``watch``: events as they come, to people and to programs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest
import trio
from commands_program import Program, plain
from support import plain_settings, until

from echo_actors import Engine, open_engine
from echo_actors.commands.cells import width_of
from echo_actors.commands.event_lines import line_of, on_screen
from echo_actors.commands.exits import Exit
from echo_actors.events import (
    Accepted,
    AuditChanged,
    BlockFinished,
    BudgetWarning,
    Event,
    Lagged,
    PermissionAnswered,
    PermissionAsked,
    Retrying,
    SessionChanged,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    TurnStarted,
    UnknownFrame,
)
from echo_actors.models import AnsweredBy, Block, Budget, BudgetPeriod, BudgetScope, Outcome, OutcomeKind, Spent, Usage
from echo_actors.testing.instant_driver import InstantDriver

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
_BUDGET = Budget(
    scope=BudgetScope.OVERALL,
    channel="",
    period=BudgetPeriod.DAY,
    limit_usd=5,
    spent_usd=4,
    resets_at=NOW + timedelta(hours=12),
)
_SPENT = Spent(usage=Usage(1, 2, 3, 4), cost_usd=0.5, duration_ms=1500)
_ENDED = Outcome(kind=OutcomeKind.FAILED, reason="it died")

LINES: dict[str, Event] = {
    "#7, 2 before it": Accepted(channel="c", sequence=7, position=2),
    "opus, attempt 2": TurnStarted(channel="c", attempt=2, model="opus"),
    "half a": TextDelta(channel="c", text="half a"),
    "a b": BlockFinished(channel="c", block=Block("text", "a\nb")),
    "[tool_use] Bash": BlockFinished(channel="c", block=Block("tool_use", name="Bash")),
    'Bash {"command":"ls"}': ToolStarted(channel="c", tool="Bash", tool_use_id="1", input={"command": "ls"}),
    "failed: no": ToolFinished(channel="c", tool_use_id="1", is_error=True, text="no"),
    "Bash until 12:00:00Z: list": PermissionAsked(
        channel="c", request_id="1", tool="Bash", input={}, description="list", deadline=NOW
    ),
    "Bash denied by deadline: late": PermissionAnswered(
        channel="c", request_id="1", tool="Bash", allowed=False, message="late", by=AnsweredBy.DEADLINE
    ),
    "cleared: no session": SessionChanged(channel="c", session_id=None, previous="1", reason="cleared"),
    "busy; attempt 1 in 2.5 s": Retrying(channel="c", reason="busy", attempt=1, delay=2.5),
    "4.0000 of 5.0000 USD are spent (overall_daily_budget_usd)": BudgetWarning(channel="", budget=_BUDGET),
    "3 events were lost": Lagged(channel="", missed=3),
    "events were lost, nobody knows how many": Lagged(channel="", missed=-1),
    "failed: it died (10 tokens, 0.5000 USD, 1.5 s)": TurnEnded(channel="c", outcome=_ENDED, spent=_SPENT),
    "new": UnknownFrame(channel="c", kind="new", data={}),
    "disk full; 2 records are lost": AuditChanged(channel="", problem="disk full", lost=2),
}


@pytest.mark.parametrize(("text", "event"), LINES.items(), ids=[type(each).__name__ for each in LINES.values()])
def test_each_kind_of_event_has_its_line(text: str, event: Event) -> None:
    """In few words."""
    assert line_of(attrs.evolve(event, time=NOW)).text == text
    assert line_of(attrs.evolve(event, time=NOW)).time == "2030-01-01T12:00:00.000Z"


def test_every_kind_of_event_is_among_those() -> None:
    """A new kind needs a line."""
    assert {type(event) for event in LINES.values()} == set(Event.__subclasses__())


def test_a_line_of_others_fits_the_terminal_and_does_nothing_to_it() -> None:
    """Whatever the channel and the text are."""
    event = TextDelta(channel="\x1b[2J日本" * 20, text="\x1b]0;x\x07\n🎉" * 90, time=NOW)
    for width in (10, 80, 160):
        line = on_screen(event, width, channel=True).plain
        assert width_of(line) <= width
        assert line.isprintable()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


@asynccontextmanager
async def engine_of(program: Program) -> AsyncIterator[Engine]:
    """An engine on the program's state directory, in this process."""
    async with open_engine(plain_settings(program.root, state_dir=program.state), driver=InstantDriver()) as engine:
        yield engine


async def test_events_come_as_lines_and_as_json(program: Program) -> None:
    """Of one channel or of all; at once, also into a pipe; from a cursor on."""
    async with engine_of(program) as engine:
        async with program.start("watch", "--json") as running:
            await until(lambda: engine.status().subscribers == 1)
            await engine.ask("c", "one")
            await running.see('"type":"TurnEnded"')
            await engine.ask("d", "two")
            await running.see('"echo: two"')
            running.process.send_signal(signal.SIGINT)
        assert running.process.returncode == Exit.INTERRUPTED
        assert running.errors == b""
        cursor = f"{engine.status().run_id}:2"
        async with program.start("watch", "c", "--since", cursor) as running:
            await running.see("TurnEnded\tanswered (120 tokens, 0.0004 USD, 0.0 s)\n")
            await engine.ask("d", "three")
            await engine.ask("c", "four")
            await running.see("Z\tc\tAccepted\t#4\n")
            await running.see("echo: four")
            assert b"three" not in running.written
            running.process.send_signal(signal.SIGTERM)
        assert running.process.returncode == Exit.TERMINATED


async def test_only_some_kinds_may_be_wanted(program: Program) -> None:
    """By name or pattern, whatever their case; what was lost is told anyway."""
    async with engine_of(program) as engine:
        await engine.ask("c", "one")
        async with program.start("watch", "--since", "0", "--kind", "turn*", "--kind", "Accepted") as running:
            await running.see("TurnEnded")
            await engine.ask("c", "two")
            await until(lambda: running.written.count(b"TurnEnded") == 1)
            running.process.send_signal(signal.SIGINT)
        kinds = [line.split("\t")[2] for line in running.written.decode().splitlines() if line.count("\t") > 1]
        assert kinds == ["Accepted", "TurnStarted", "TurnEnded"]
        assert b"Lagged" not in running.written
        wrong = await program.run("watch", "--kind", "TurnEnd")
        assert (wrong.code, "Did you mean 'TurnEnded'?" in wrong.err) == (Exit.USAGE, True)


async def test_lost_events_are_told(program: Program) -> None:
    """Here those of another run."""
    async with engine_of(program) as engine:
        await engine.ask("c", "one")
        async with program.start("watch", "--since", "another:1", "--kind", "TurnEnded") as running:
            await running.see("Lagged\tevents were lost, nobody knows how many\n")
            await running.see("TurnEnded")
            running.process.send_signal(signal.SIGINT)


async def test_on_a_terminal_a_line_is_no_wider_than_that(program: Program) -> None:
    """Ctrl-C and a closed terminal end it without a word."""
    async with engine_of(program) as engine:
        async with program.terminal("watch") as running:
            await until(lambda: engine.status().subscribers == 1)
            await engine.ask("c", "long \x1b[2J " * 30)
            await until(lambda: b"TurnEnded" in running.written)
            lines = plain(running.written).splitlines()
            assert max(map(len, lines)) <= 80
            assert any("BlockFinished" in line and "\\x1b[2J" in line for line in lines)
            await running.type("\x03")
        assert running.process.returncode == Exit.INTERRUPTED
        assert b"Traceback" not in running.written
        async with program.terminal("watch") as running:
            await until(lambda: engine.status().subscribers == 1)
            await running.hang_up()
        assert running.process.returncode == Exit.TERMINATED


async def test_without_an_engine_there_is_nothing_to_watch(program: Program) -> None:
    """The exit code is one of its own."""
    finished = await program.run("watch")
    assert (finished.code, finished.out) == (Exit.NOT_RUNNING, "")
    assert "no engine is running" in finished.err


async def test_it_goes_on_with_the_next_engine(program: Program) -> None:
    """It says that the one has gone and the other is there, and misses nothing of that."""
    close, closed = trio.Event(), trio.Event()

    async def first(task_status: trio.TaskStatus[Engine]) -> None:
        async with engine_of(program) as engine:
            task_status.started(engine)
            await close.wait()
        closed.set()

    async with trio.open_nursery() as nursery:
        engine = await nursery.start(first)
        async with program.start("watch") as running:
            await until(lambda: engine.status().subscribers == 1)
            close.set()
            await closed.wait()
            await until(lambda: b"the engine has gone; waiting for the next one" in running.errors)
            async with engine_of(program) as engine:
                await engine.ask("c", "before it is seen")
                await running.see("echo: before it is seen")
                assert b"an engine is running again" in running.errors
                running.process.send_signal(signal.SIGINT)
                await running.process.wait()
        assert running.process.returncode == Exit.INTERRUPTED


async def test_a_reader_that_leaves_ends_it_quietly(program: Program) -> None:
    """Also while there is nothing to write."""
    async with engine_of(program) as engine:
        read, write = os.pipe()
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "echo_actors", "watch"],
            stdout=write,
            stderr=subprocess.PIPE,
            cwd=program.root,
            env=program.environment({}, {}),
        )
        os.close(write)
        assert process.stderr is not None
        try:
            with trio.fail_after(30):
                await until(lambda: engine.status().subscribers == 1)
                await engine.ask("c", "one")
                await trio.to_thread.run_sync(os.read, read, 10)
                os.close(read)
                assert await process.stderr.receive_some() == b""
                assert await process.wait() == Exit.FAILED
        finally:
            process.kill()
            await process.stderr.aclose()
