"""What befalls the CLI, against when: each cell of the table has a typed end and spoils nothing but its message."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from conftest import first, residents
from support import asked, new_id, scripted_engine, scripted_settings, until

from echo_actors import (
    BlockFinished,
    Engine,
    Event,
    Outcome,
    OutcomeKind,
    PermissionAsked,
    ToolFinished,
    ToolStarted,
    TurnStarted,
)
from echo_actors.models import Clock

# -- when


@attrs.frozen
class Phase:
    """A moment in a turn: the message that stops there, and the event that shows that this is reached."""

    text: str
    sign: type[Event]


PHASES = {
    "before_init": Phase("[[silence]]", TurnStarted),
    "in_text": Phase("[[hold 0.05]] [[delay 60]]", ToolFinished),
    "in_tool": Phase("[[tool-sleep 60]]", ToolStarted),
    "in_tool_and_deaf": Phase("[[ignore-sigterm]] [[tool-sleep 60]]", ToolStarted),
    "while_asking": Phase("[[ask-permission]]", PermissionAsked),
    "answered_without_result": Phase("[[no-result]]", BlockFinished),
}

# -- what


async def _signal(engine: Engine, channel: str, number: signal.Signals) -> None:
    os.kill(residents(engine)[channel], number)


async def _kill(engine: Engine, channel: str) -> None:
    await _signal(engine, channel, signal.SIGKILL)


async def _terminate(engine: Engine, channel: str) -> None:
    await _signal(engine, channel, signal.SIGTERM)


async def _freeze(engine: Engine, channel: str) -> None:
    await _signal(engine, channel, signal.SIGSTOP)


async def _interrupt(engine: Engine, channel: str) -> None:
    await engine.interrupt(channel)


async def _leave_alone(_engine: Engine, _channel: str) -> None:
    await trio.lowlevel.checkpoint()


@attrs.frozen
class End:
    """What an outcome must say."""

    kind: OutcomeKind
    error: str | None = None
    clock: Clock | None = None


FAILED = End(OutcomeKind.FAILED, error="cli_failed")
CANCELLED = End(OutcomeKind.CANCELLED)
ANSWERED = End(OutcomeKind.ANSWERED)


def _timed_out(clock: Clock) -> End:
    return End(OutcomeKind.TIMED_OUT, clock=clock)


FAULTS = {"kill": _kill, "terminate": _terminate, "freeze": _freeze, "interrupt": _interrupt, "nothing": _leave_alone}

TABLE: dict[str, dict[str, End]] = {
    "kill": dict.fromkeys(PHASES, FAILED),
    # A tool that sleeps and a CLI that says nothing look alike: silence is what the idle clock measures.
    "terminate": dict.fromkeys(PHASES, FAILED) | {"in_tool_and_deaf": _timed_out(Clock.IDLE)},
    "freeze": dict.fromkeys(PHASES, _timed_out(Clock.IDLE)) | {"before_init": _timed_out(Clock.START)},
    "interrupt": dict.fromkeys(PHASES, CANCELLED),
    "nothing": dict.fromkeys(PHASES, _timed_out(Clock.IDLE))
    | {"before_init": _timed_out(Clock.START), "while_asking": ANSWERED},
}

BY_ITSELF = {
    "dies before its answer": ("[[die]]", FAILED),
    "dies after a tool": ("[[hold 0.1]] [[die]]", FAILED),
    "exits before its answer": ("[[exit 7]]", FAILED),
    "exits after a tool": ("[[hold 0.1]] [[exit 0]]", FAILED),
    "exits before its result": ("[[no-result-exit 3]]", FAILED),
    "garbles a line around a tool": ("[[bad-json]] [[hold 0.1]] [[bad-json]]", ANSWERED),
    "tears a line in its answer": ("[[hold 0.1]] [[inside]]", ANSWERED),
    "floods its errors in a tool": ("[[stderr 300000]] [[hold 0.1]] [[stderr 300000]]", ANSWERED),
    "answers strangers before the answer": ("[[stray-result]] [[hold 0.1]]", ANSWERED),
    "says its result twice": ("[[result-twice]]", ANSWERED),
    "leaves a process after the result": ("[[grandchild]]", ANSWERED),
    "leaves a process from a tool": ("[[double-fork]] [[hold 0.1]]", ANSWERED),
    "stops reading after the result": ("[[stop-reading]]", ANSWERED),
}


@asynccontextmanager
async def _engine(tmp_path: Path) -> AsyncIterator[Engine]:
    settings = scripted_settings(
        tmp_path,
        turn_slots=4,
        max_residents=4,
        start_timeout=4.0,
        first_event_timeout=2.0,
        idle_timeout=2.0,
        total_timeout=20.0,
        write_timeout=1.0,
        permission_questions=True,
        permission_timeout=1.0,
    )
    async with scripted_engine(settings, seconds=55) as engine:
        yield engine


def _holds(outcome: Outcome, end: End) -> None:
    assert (outcome.kind, outcome.error, outcome.clock) == (end.kind, end.error, end.clock), outcome
    assert (outcome.reply is not None) == (end.kind is OutcomeKind.ANSWERED)
    assert outcome.reason or outcome.reply is not None


async def _goes_on(engine: Engine, channel: str) -> None:
    """The channel answers what comes next, and so does a neighbour."""
    assert (await engine.ask(channel, "after")).text == "echo: after"
    assert (await engine.ask("neighbour", f"beside {channel}")).text == f"echo: beside {channel}"


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_in_a_turn_ends_that_message_alone(tmp_path: Path, fault: str) -> None:
    """Whatever the phase: the end names its kind, the next message is answered, and nothing is left running."""

    async def cell(engine: Engine, phase: str) -> None:
        async with engine.subscribe(phase) as events:
            receipt = await engine.post(phase, PHASES[phase].text)
            await first(events, PHASES[phase].sign)
        await until(lambda: phase in residents(engine))
        await FAULTS[fault](engine, phase)
        _holds(await engine.outcome(receipt.message_id), TABLE[fault][phase])
        await _goes_on(engine, phase)

    async with _engine(tmp_path) as engine, trio.open_nursery() as nursery:
        for phase in PHASES:
            nursery.start_soon(cell, engine, phase)


@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ("kill", ANSWERED),
        ("terminate", ANSWERED),
        ("freeze", _timed_out(Clock.FIRST_EVENT)),
        ("interrupt", ANSWERED),
    ],
)
async def test_a_fault_between_turns_costs_at_most_the_next_message(tmp_path: Path, fault: str, end: End) -> None:
    """A dead process is replaced unseen; a frozen one is found out by the clock, once."""
    async with _engine(tmp_path) as engine:
        await engine.ask("c", "first")
        await FAULTS[fault](engine, "c")
        message_id = new_id()
        await engine.post("c", "second", message_id=message_id)
        _holds(await engine.outcome(message_id), end)
        await _goes_on(engine, "c")
    assert asked(tmp_path).count("second") == (end is ANSWERED)


async def test_what_the_cli_does_by_itself_ends_its_message_alone(tmp_path: Path) -> None:
    """Each in a channel of its own, all beside each other."""

    async def cell(engine: Engine, name: str, text: str, end: End) -> None:
        receipt = await engine.post(name, text)
        _holds(await engine.outcome(receipt.message_id), end)
        await _goes_on(engine, name)

    async with _engine(tmp_path) as engine, trio.open_nursery() as nursery:
        for name, (text, end) in BY_ITSELF.items():
            nursery.start_soon(cell, engine, name, text, end)
