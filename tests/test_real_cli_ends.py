"""Turns that do not end by themselves, and processes that do: clocks, interrupts, cancellations, kills."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import psutil
import pytest
import trio
import trio.testing
from conftest import Host, eventually, first, processes_with, residents

from echo_actors.engine import Engine
from echo_actors.errors import TurnFailed, TurnTimedOut
from echo_actors.events import Accepted, TextDelta, TurnStarted
from echo_actors.models import Clock, OutcomeKind
from echo_actors.simulator.prices import cost_usd

pytestmark = pytest.mark.real_cli

PLAIN = "echo started; sleep {n}"
DOUBLE_FORKED = "echo started; (setsid sleep {n} &) ; sleep {n}"
NOHUP = "echo started; nohup sleep {n} >/dev/null 2>&1 & sleep {n}"
PRICE = cost_usd("sonnet")
COMMANDS = (PLAIN, DOUBLE_FORKED, NOHUP)


def _use(command: str, seconds: str) -> str:
    """A message whose answer needs a tool that sleeps for so long."""
    return f'[[tool Bash {{"command": "{command.format(n=seconds)}"}}]]'


@pytest.mark.parametrize("clock", [Clock.TOTAL, Clock.IDLE])
async def test_a_clock_that_runs_out_ends_the_turn_and_all_its_tools_and_the_channel_goes_on(
    host: Host, clock: Clock
) -> None:
    """Also tools that left the process tree; nothing of them is alive when the end is announced."""
    tools = {f"98{place}{clock.value == 'idle':d}{os.getpid()}": command for place, command in enumerate(COMMANDS)}
    timeouts = {Clock.TOTAL: 5.0, Clock.IDLE: 60.0} if clock is Clock.TOTAL else {Clock.TOTAL: 60.0, Clock.IDLE: 2.0}

    async def run(engine: Engine, seconds: str) -> None:
        async with trio.open_nursery() as nursery:

            async def time_out() -> None:
                with pytest.raises(TurnTimedOut) as caught:
                    await engine.ask(seconds, _use(tools[seconds], seconds))
                assert caught.value.clock is clock
                assert caught.value.outcome.kind is OutcomeKind.TIMED_OUT
                assert not processes_with(seconds)

            nursery.start_soon(time_out)
            await eventually(lambda: len(processes_with(seconds)) == tools[seconds].count("sleep"))
        assert (await engine.ask(seconds, "after")).text == "echo: after"

    async with (
        host.engine(
            allowed_tools=("Bash",), total_timeout=timeouts[Clock.TOTAL], idle_timeout=timeouts[Clock.IDLE]
        ) as engine,
        trio.open_nursery() as nursery,
    ):
        for seconds in tools:
            nursery.start_soon(run, engine, seconds)
    assert len(host.audit("turn.ended", clock=clock.value)) == len(tools)
    assert {record["outcome"] for record in host.audit("turn.ended")} == {"timed_out", "answered"}


async def test_an_interrupt_ends_the_turn_and_the_same_process_answers_the_next(host: Host) -> None:
    """The operator's reason is in the outcome."""
    async with host.engine() as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", "one [[stall 10]]")
        await first(events, TextDelta)
        pid = residents(engine)["c"]
        assert await engine.interrupt("c", reason="enough")
        outcome = await engine.outcome(receipt.message_id)
        assert (await engine.ask("c", "two")).text == "echo: two"
        assert residents(engine) == {"c": pid}
        assert not await engine.interrupt("c")
    assert (outcome.kind, outcome.reason) == (OutcomeKind.CANCELLED, "enough")


async def test_an_interrupt_ends_a_running_tool(host: Host) -> None:
    """At once, not after the grace for turns that do not obey: the process stays."""
    seconds = f"981{os.getpid()}"
    async with host.engine(allowed_tools=("Bash",), interrupt_grace=20.0) as engine:
        receipt = await engine.post("c", _use(DOUBLE_FORKED, seconds))
        await eventually(lambda: len(processes_with(seconds)) == 2)
        pid = residents(engine)["c"]
        assert await engine.interrupt("c")
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.CANCELLED
        assert (await engine.ask("c", "two")).text.endswith("echo: two")
        assert residents(engine) == {"c": pid}
    assert not processes_with(seconds)


async def test_an_interrupt_before_the_cli_has_begun_is_not_lost(host: Host) -> None:
    """A CLI ignores an interrupt before it has begun the turn, so the engine holds it back until then."""
    async with host.engine(interrupt_grace=20.0) as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", "one [[stall 10]]")
        await first(events, TurnStarted)
        assert await engine.interrupt("c")
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.CANCELLED
        assert (await engine.ask("c", "two")).text == "echo: two"


async def test_a_turn_that_is_cut_at_any_moment_of_its_start_leaves_room_for_the_next(host: Host) -> None:
    """Its process is ended too, whether or not it was there yet."""
    async with host.engine(max_residents=1, interrupt_grace=0.001) as engine:
        for moment in (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256):
            key = uuid.uuid4()
            with trio.move_on_after(moment):
                await engine.ask(f"c{moment}", "one [[stall 10]]", message_id=key)
            assert (await engine.outcome(key)).kind is OutcomeKind.CANCELLED
        assert (await engine.ask("c", "two")).text == "echo: two"
        assert list(residents(engine)) == ["c"]


async def test_what_a_caller_does_not_catch_leaves_the_engine_as_it_is(host: Host) -> None:
    """No nursery wraps it into a group, so an except clause around the engine works."""
    with pytest.raises(TurnFailed):
        async with host.engine() as engine:
            await engine.ask("c", "one [[status 400]]")


async def test_cancelling_ask_withdraws_a_queued_message_and_interrupts_a_running_one(host: Host) -> None:
    """The model is never asked the first; the channel is free at once after the second."""
    running, queued = uuid.uuid4(), uuid.uuid4()
    async with host.engine() as engine, engine.subscribe("c") as events, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def ask_and_be_cancelled() -> None:
            with scope:
                await engine.ask("c", "one [[stall 10]]", message_id=running)

        nursery.start_soon(ask_and_be_cancelled)
        await first(events, TextDelta)
        with trio.CancelScope() as waiting:
            async with trio.open_nursery() as inner:
                inner.start_soon(lambda: engine.ask("c", "two", message_id=queued))
                await first(events, Accepted)
                waiting.cancel()
        assert (await engine.outcome(queued)).kind is OutcomeKind.CANCELLED
        scope.cancel()
        assert (await engine.outcome(running)).kind is OutcomeKind.CANCELLED
        assert (await engine.ask("c", "three")).text == "echo: three"
    assert host.asked("two") == []


async def test_cancelling_a_detached_ask_leaves_the_message_alone(host: Host) -> None:
    """Its answer is there for whoever asks for the outcome."""
    key = uuid.uuid4()
    async with host.engine() as engine, engine.subscribe("c") as events, trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def ask_and_be_cancelled() -> None:
            with scope:
                await engine.ask("c", "one [[stall 0.5]]", message_id=key, on_cancel="detach")

        nursery.start_soon(ask_and_be_cancelled)
        await first(events, TextDelta)
        scope.cancel()
        outcome = await engine.outcome(key)
    assert outcome.reply is not None
    assert outcome.reply.text == "echo: one [[stall 0.5]]"


async def test_a_cli_killed_in_a_turn_fails_that_message_alone(host: Host) -> None:
    """The outcome tells the truth, the channel goes on in its session, the neighbour notices nothing."""
    async with host.engine() as engine, trio.open_nursery() as nursery:
        before = await engine.ask("c", "one")
        neighbour = await engine.ask("n", "hello")
        nursery.start_soon(engine.ask, "n", "slow [[stall 1]]")
        async with engine.subscribe("c") as events:
            receipt = await engine.post("c", "two [[stall 10]]")
            await first(events, TextDelta)
        pids = residents(engine)
        os.kill(pids["c"], signal.SIGKILL)
        outcome = await engine.outcome(receipt.message_id)
        after = await engine.ask("c", "three")
        assert residents(engine)["n"] == pids["n"]
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.error == "cli_failed"
    assert "signal 9" in outcome.reason
    assert after.text == "echo: three"
    assert after.session_id == before.session_id
    assert host.model.calls[-1].history[0] == "one"
    slow = [record for record in host.audit("turn.ended", channel="n") if record["outcome"] == "answered"]
    assert len(slow) == 2
    assert {record["session"] for record in slow} == {neighbour.session_id}


async def test_a_cli_killed_before_it_said_anything_fails_or_is_answered_and_the_channel_goes_on(host: Host) -> None:
    """The first message of a channel, so its session has no transcript yet."""
    async with host.engine() as engine:
        receipt = await engine.post("c", "one")
        await eventually(lambda: "c" in residents(engine))
        os.kill(residents(engine)["c"], signal.SIGKILL)
        outcome = await engine.outcome(receipt.message_id)
        assert (await engine.ask("c", "two")).text == "echo: two"
    assert outcome.kind in {OutcomeKind.FAILED, OutcomeKind.ANSWERED}
    assert outcome.kind is OutcomeKind.ANSWERED or "signal 9" in outcome.reason


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_cli_killed_while_idle_costs_nothing(host: Host, noticed: bool) -> None:
    """The next message is answered in the same session, whether or not the engine saw the death before."""
    async with host.engine() as engine:
        before = await engine.ask("c", "one")
        pid = residents(engine)["c"]
        os.kill(pid, signal.SIGKILL)
        if noticed:
            await eventually(lambda: not psutil.pid_exists(pid))
        after = await engine.ask("c", "two")
    assert after.text == "echo: two"
    assert after.session_id == before.session_id
    assert host.model.calls[-1].history == ("one",)
    assert host.model.by_text == {"one": 1, "two": 1}


@pytest.mark.parametrize(
    ("directive", "error"),
    [
        ("[[status 400]]", "invalid_request"),
        ("[[status 401]]", "authentication_failed"),
        ("[[status 529]]", "overloaded"),
        ("[[cut]]", "server_error"),
    ],
)
async def test_a_failure_of_the_api_fails_the_message_and_the_channel_goes_on(
    host: Host, directive: str, error: str
) -> None:
    """The outcome says which; the next message is answered in the same session, and no cost is lost or made up."""
    async with host.engine(max_attempts=1) as engine:
        before = await engine.ask("c", "one")
        with pytest.raises(TurnFailed) as caught:
            await engine.ask("c", f"two {directive}")
        after = await engine.ask("c", "three")
        session = await engine.session("c")
    assert caught.value.outcome.error == error
    assert caught.value.outcome.reply is None
    assert "API Error" in caught.value.outcome.reason
    assert after.text == "echo: three"
    assert after.session_id == before.session_id
    assert session is not None
    assert session.message_count == 2
    # A request that was cut is counted by the CLI, as far as it saw it, and not by the model.
    assert session.total_cost_usd == pytest.approx(host.model.cost_usd, abs=1e-9 if "status" in directive else PRICE)


async def test_a_rate_limit_holds_the_next_message_back_until_it_has_passed(host: Host) -> None:
    """The message that met it fails when it has no attempt left; the other waits and is answered."""
    async with host.engine(max_attempts=1) as engine, trio.open_nursery() as nursery:
        with pytest.raises(TurnFailed) as caught:
            await engine.ask("c", "one [[status 429]]")
        receipt = await engine.post("c", "two")
        nursery.start_soon(engine.ask, "d", "three")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert host.asked("two") == host.asked("three") == []
        gate = engine._services.gate
        gate.on_success(gate.state.closures)
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
    assert caught.value.outcome.error == "rate_limit"
    assert len(host.audit("gate.closed", error="rate_limit")) == 1


async def test_a_passing_failure_of_the_api_is_tried_again_in_the_same_session(host: Host) -> None:
    """The message is answered by its second attempt."""
    async with host.engine() as engine:
        before = await engine.ask("c", "one")
        receipt = await engine.post("c", "two [[status 529 x1]]")
        outcome = await engine.outcome(receipt.message_id)
        session = await engine.session("c")
    assert outcome.reply is not None
    assert (outcome.reply.text, outcome.attempts) == ("echo: two [[status 529 x1]]", 2)
    assert outcome.reply.session_id == before.session_id
    assert session is not None
    assert session.message_count == 2
    assert session.total_cost_usd == pytest.approx(host.model.cost_usd, abs=1e-9)


async def test_a_cli_that_is_not_there_any_more_fails_the_turn_by_its_name(
    host: Host, tmp_path: Path, cli: Path
) -> None:
    """The engine stays open, and goes on when the program is back."""
    program = tmp_path / "claude"
    program.symlink_to(cli)
    async with host.engine(claude_bin=program) as engine:
        program.unlink()
        with pytest.raises(TurnFailed) as caught:
            await engine.ask("c", "one")
        program.symlink_to(cli)
        assert (await engine.ask("c", "two")).text == "echo: two"
    assert caught.value.outcome.error == "cli_not_found"
