"""The engine on a CLI that misbehaves: each fault is a typed end or is overcome, and stays within its channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from support import asked, audit_records, scripted_engine, scripted_settings
from test_spares import driver_of

from echo_actors import (
    Engine,
    OptionChanges,
    Outcome,
    OutcomeKind,
    Reply,
    TextDelta,
    ToolFinished,
    TurnEnded,
    TurnFailed,
    TurnTimedOut,
    UnknownFrame,
)
from echo_actors.claude.driver import TurnRequest
from echo_actors.models import Clock

TIGHT: dict[str, Any] = {"start_timeout": 3.0, "idle_timeout": 1.0, "total_timeout": 12.0, "teardown_timeout": 3.0}
"""Short enough to wait for, and long enough for a plain message in a process of its own while the machine is busy."""


async def outcome_of(engine: Engine, text: str, channel: str = "c") -> Outcome:
    """How a message ends."""
    receipt = await engine.post(channel, text)
    return await engine.outcome(receipt.message_id)


async def check_all_is_well(engine: Engine, channel: str = "c") -> Reply:
    """The channel answers the next plain message, with its own answer."""
    reply = await engine.ask(channel, "plain")
    assert reply.text == "echo: plain"
    return reply


async def with_a_neighbour(engine: Engine, text: str) -> Outcome:
    """How a message ends, while a neighbour is answered."""
    outcomes: list[Outcome] = []

    async def run() -> None:
        outcomes.append(await outcome_of(engine, text))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        assert (await engine.ask("neighbour", "hello")).text == "echo: hello"
    return outcomes[0]


# -- what is overcome


@pytest.mark.parametrize(
    "fault",
    [
        "[[bad-json]]",
        "[[inside]]",
        "[[bad-utf8]]",
        "[[big-line 20]]",
        "[[stderr 1048576]]",
        "[[unknown-frame]]",
        "[[result-twice]]",
        "[[stray-result]]",
        "[[stray-result bare]]",
        "[[double-fork]]",
        "[[tool-sleep 0.2]]",
    ],
)
async def test_what_is_only_noise_is_overcome(tmp_path: Path, fault: str) -> None:
    """The message gets its answer, and so do the next one and the neighbour's."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        outcome = await with_a_neighbour(engine, f"odd {fault}")
        assert outcome.kind is OutcomeKind.ANSWERED, outcome
        assert outcome.reply is not None
        assert outcome.reply.text == f"echo: odd {fault}"
        await check_all_is_well(engine)


@pytest.mark.parametrize(("fault", "kind"), [("[[bad-json]]", "bad line"), ("[[unknown-frame]]", "novelty")])
async def test_noise_is_reported(tmp_path: Path, fault: str, kind: str) -> None:
    """As an event of its message; the stream goes on."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine, engine.stream("c", f"odd {fault}") as turn:
        events = [event async for event in turn]
    assert kind in [event.kind for event in events if isinstance(event, UnknownFrame)]
    assert any(isinstance(event, TextDelta) for event in events)
    assert isinstance(events[-1], TurnEnded)


@pytest.mark.parametrize(
    ("fault", "begins", "size"), [("[[bad-utf8]]", "before \ufffd", 16), ("[[big-line 20]]", "xxx", 20 * 2**20)]
)
async def test_odd_output_of_tools_arrives(tmp_path: Path, fault: str, begins: str, size: int) -> None:
    """Invalid bytes are replaced, and a long line is read whole."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine, engine.stream("c", fault) as turn:
        (text,) = [event.text async for event in turn if isinstance(event, ToolFinished)]
    assert text.startswith(begins)
    assert len(text) == size


async def test_a_line_over_the_limit_is_skipped(tmp_path: Path) -> None:
    """The turn is answered all the same."""
    async with scripted_engine(scripted_settings(tmp_path, max_line_bytes=2**20)) as engine:
        async with engine.stream("c", "long [[big-line 2]]") as turn:
            events = [event async for event in turn]
            assert turn.reply.text == "echo: long [[big-line 2]]"
        assert [event.data["reason"] for event in events if isinstance(event, UnknownFrame)] == ["too long"]
        await check_all_is_well(engine)


async def test_a_session_id_that_the_cli_changes_does_not_cost_the_conversation_its_answers(tmp_path: Path) -> None:
    """The id is taken from the result; one that has no transcript is given up, which is announced."""
    other = "33333333-3333-4333-8333-333333333333"
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        reply = await engine.ask("c", f"[[session-id {other}]]")
        assert reply.session_id == other
        await check_all_is_well(engine)
    async with scripted_engine(settings) as engine:
        await check_all_is_well(engine)
    assert any("lost" in each["reason"] for each in audit_records(settings, "session.changed"))


async def test_an_answer_without_init_is_an_answer(tmp_path: Path) -> None:
    """The lifecycle is enough."""
    settings = scripted_settings(tmp_path, variables={"SCRIPTED_CLI_FAULT": "no-init"}, **TIGHT)
    async with scripted_engine(settings) as engine:
        await check_all_is_well(engine)
        await check_all_is_well(engine)


async def test_a_slow_start_within_its_clock_is_no_fault(tmp_path: Path) -> None:
    """The idle clock does not run yet."""
    variables = {"SCRIPTED_CLI_FAULT": "slow-start 1"}
    settings = scripted_settings(tmp_path, variables=variables, start_timeout=5.0, idle_timeout=0.5)
    async with scripted_engine(settings) as engine:
        await check_all_is_well(engine)


@pytest.mark.parametrize("fault", ["[[stop-reading]]", "[[grandchild]]"])
async def test_a_process_that_is_spoilt_after_its_answer_is_replaced(tmp_path: Path, fault: str) -> None:
    """One that reads nothing more times out, one that left has a successor; the answer counts."""
    async with scripted_engine(scripted_settings(tmp_path, first_event_timeout=2.0, **TIGHT)) as engine:
        outcome = await with_a_neighbour(engine, f"odd {fault}")
        assert outcome.kind is OutcomeKind.ANSWERED
        if fault == "[[stop-reading]]":
            assert (await outcome_of(engine, "unread")).kind is OutcomeKind.TIMED_OUT
        await check_all_is_well(engine)


# -- what ends the turn


@pytest.mark.parametrize("fault", ["[[no-result]]", "[[silence]]", "[[ignore-sigterm]] [[no-result]]"])
async def test_silence_runs_into_a_clock(tmp_path: Path, fault: str) -> None:
    """And the process that keeps it is ended, however deaf it is."""
    async with scripted_engine(scripted_settings(tmp_path, first_event_timeout=2.0, **TIGHT)) as engine:
        outcome = await with_a_neighbour(engine, f"odd {fault}")
        assert outcome.kind is OutcomeKind.TIMED_OUT, outcome
        await check_all_is_well(engine)


async def test_an_answer_without_a_result_times_out_as_idle(tmp_path: Path) -> None:
    """``ask`` raises the clock's name."""
    async with scripted_engine(scripted_settings(tmp_path, **TIGHT)) as engine:
        with pytest.raises(TurnTimedOut, match="idle") as caught:
            await engine.ask("c", "[[no-result]]")
        assert caught.value.clock is Clock.IDLE
        await check_all_is_well(engine)


async def test_a_long_tool_runs_into_the_total_clock_and_is_gone(tmp_path: Path) -> None:
    """The tool too, in the session of its own."""
    settings = scripted_settings(tmp_path, idle_timeout=60.0, total_timeout=3.0)
    async with scripted_engine(settings) as engine:
        outcome = await with_a_neighbour(engine, "[[tool-sleep 987]]")
        assert (outcome.kind, outcome.clock) == (OutcomeKind.TIMED_OUT, Clock.TOTAL)
        await check_all_is_well(engine)


@pytest.mark.parametrize(
    "fault", ["[[no-result-exit]]", "[[no-result-exit 3]]", "[[exit 0]]", "[[exit 3]]", "[[die]]"]
)
async def test_a_process_that_ends_before_its_result_fails_the_turn(tmp_path: Path, fault: str) -> None:
    """The reason says how it ended; the next message has a process of its own."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        await check_all_is_well(engine)
        outcome = await with_a_neighbour(engine, f"odd {fault}")
        assert (outcome.kind, outcome.error) == (OutcomeKind.FAILED, "cli_failed")
        assert "CLI" in outcome.reason
        await check_all_is_well(engine)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("[[is-error 400]]", "invalid_request"),
        ("[[is-error 413]]", "request_too_large"),
        ("[[is-error 418]]", "unknown"),
        ("[[error-kind authentication_failed]]", "authentication_failed"),
        ("[[error-kind billing_error]]", "billing_error"),
        ("[[error-kind novelty]]", "novelty"),
    ],
)
async def test_an_error_result_is_a_failure_with_its_kind(tmp_path: Path, fault: str, error: str) -> None:
    """Though its subtype is ``success``; the process goes on."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        with pytest.raises(TurnFailed) as caught:
            await engine.ask("c", fault)
        assert (caught.value.outcome.kind, caught.value.outcome.error) == (OutcomeKind.FAILED, error)
        await check_all_is_well(engine)


async def test_an_empty_answer_in_a_used_session_is_tried_again_in_a_fresh_one(tmp_path: Path) -> None:
    """A damaged session answers nothing, for nothing, for ever; the second time it is a failure."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        before = await check_all_is_well(engine)
        outcome = await outcome_of(engine, "[[empty]]")
        assert (outcome.kind, outcome.error, outcome.attempts) == (OutcomeKind.FAILED, "empty_reply", 2)
        after = await check_all_is_well(engine)
    assert after.session_id != before.session_id
    assert asked(tmp_path) == ["plain", "[[empty]]", "[[empty]]", "plain"]


# -- faults of the whole process


def once(tmp_path: Path, fault: str) -> dict[str, str]:
    """The variables by which only the first process has a fault."""
    return {"SCRIPTED_CLI_FAULT": fault, "SCRIPTED_CLI_FAULT_ONCE": str(tmp_path / "happened")}


@pytest.mark.parametrize(
    ("fault", "clock"),
    [("slow-start 987", Clock.START), ("not-reading", Clock.START)],
)
async def test_a_process_that_does_not_start_runs_into_the_start_clock(
    tmp_path: Path, fault: str, clock: Clock
) -> None:
    """The next message has a process of its own."""
    settings = scripted_settings(tmp_path, variables=once(tmp_path, fault), **TIGHT)
    async with scripted_engine(settings) as engine:
        outcome = await outcome_of(engine, "first")
        assert (outcome.kind, outcome.clock) == (OutcomeKind.TIMED_OUT, clock)
        await check_all_is_well(engine)


@pytest.mark.parametrize("fault", ["exit-at-start 7 no license", "die-before-init"])
async def test_a_process_that_ends_at_its_start_fails_the_message_with_what_it_said(
    tmp_path: Path, fault: str
) -> None:
    """And the next one has a process of its own."""
    settings = scripted_settings(tmp_path, variables=once(tmp_path, fault), **TIGHT)
    async with scripted_engine(settings) as engine:
        outcome = await outcome_of(engine, "first")
        assert (outcome.kind, outcome.error) == (OutcomeKind.FAILED, "cli_failed")
        assert ("no license" in outcome.reason) == ("license" in fault)
        await check_all_is_well(engine)


async def test_a_cli_that_never_starts_fails_every_message_and_nothing_else(tmp_path: Path) -> None:
    """The engine stays; each message has its end."""
    settings = scripted_settings(tmp_path, variables={"SCRIPTED_CLI_FAULT": "exit-at-start 7 no license"}, **TIGHT)
    async with scripted_engine(settings) as engine:
        outcomes = [await outcome_of(engine, "hi", channel) for channel in ("a", "a", "b")]
        assert {outcome.kind for outcome in outcomes} == {OutcomeKind.FAILED}
        assert engine.status().suspended == {}


# -- the versions of the CLI


async def test_an_old_cli_is_served_with_right_costs_over_a_resume(tmp_path: Path) -> None:
    """It names nothing and counts in totals, which go on after a resume."""
    settings = scripted_settings(tmp_path, variables={"SCRIPTED_CLI_VERSION": "1.0.0"})
    async with scripted_engine(settings) as engine:
        costs = [(await check_all_is_well(engine)).cost_usd for _ in range(3)]
    async with scripted_engine(settings) as engine:
        costs += [(await check_all_is_well(engine)).cost_usd for _ in range(2)]
        snapshot = await engine.session("c")
    assert [round(cost, 9) for cost in costs] == [0.0004] * 5
    assert snapshot is not None
    assert round(snapshot.total_cost_usd, 9) == 0.002
    assert snapshot.message_count == 5
    assert [record["resumed"] for record in audit_records(settings, "process.spawned")] == [False, True]


async def test_an_old_cli_that_was_killed_counts_no_negative_costs(tmp_path: Path) -> None:
    """Its total goes back to the last one that it saved."""
    settings = scripted_settings(tmp_path, variables={"SCRIPTED_CLI_VERSION": "1.0.0"})
    async with scripted_engine(settings) as engine:
        await check_all_is_well(engine)
        assert (await outcome_of(engine, "[[die]]")).kind is OutcomeKind.FAILED
        reply = await check_all_is_well(engine)
    assert round(reply.cost_usd, 9) in {0.0, 0.0004}


async def test_the_costs_of_a_stray_result_are_not_lost(tmp_path: Path) -> None:
    """The sum of all turns is what the CLI says it spent."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        await engine.ask("c", "[[result-twice]] [[stray-result]]")
        for _ in range(3):
            await check_all_is_well(engine)
        snapshot = await engine.session("c")
    assert snapshot is not None
    assert round(snapshot.total_cost_usd, 9) == 0.0016


async def test_a_process_that_refuses_to_change_is_replaced_by_one_that_starts_as_wanted(tmp_path: Path) -> None:
    """The message is run once, in the same session."""
    settings = scripted_settings(tmp_path, variables=once(tmp_path, "refuse-changes"))
    async with scripted_engine(settings) as engine:
        before = await engine.ask("c", "one")
        await engine.configure("c", model="opus", permission_mode="plan")
        after = await engine.ask("c", "two")
        assert (await engine.ask("c", "three")).session_id == after.session_id == before.session_id
    assert after.model == "claude-opus-5-5"
    assert asked(tmp_path) == ["one", "two", "three"]
    assert [each["resumed"] for each in audit_records(settings, "process.spawned")] == [False, True]


@pytest.mark.parametrize("told", [{}, {"model": "opus"}])
async def test_a_mode_that_a_turn_changed_is_the_channels_again_in_the_next(
    tmp_path: Path, told: OptionChanges
) -> None:
    """As when a plan was approved: what follows is another message's turn, under its own policy."""
    async with scripted_engine(scripted_settings(tmp_path, permission_mode="plan")) as engine:
        await engine.ask("c", "one [[mode acceptEdits]]")
        resident = driver_of(engine).roster.get("c")
        assert resident is not None
        assert resident.machine.permission_mode == "acceptEdits"
        await engine.configure("c", **told)
        await engine.ask("c", "two")
        assert driver_of(engine).roster.get("c") is resident
        assert resident.machine.permission_mode == "plan"


async def test_an_answer_is_found_where_its_turn_ran_after_the_working_directory_changed(tmp_path: Path) -> None:
    """A crash may come between the two."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        receipt = await engine.post("c", "one")
        reply = (await engine.outcome(receipt.message_id)).reply
        assert reply is not None
        launch = attrs.evolve(engine._services.launch, working_dir=tmp_path)
        request = TurnRequest(
            channel="c",
            session_id=reply.session_id,
            established=True,
            launch=launch,
            turn_id=receipt.message_id,
            content="",
        )
        recalled = await driver_of(engine).recall(request)
    assert recalled is not None
    assert recalled.text == "echo: one"
