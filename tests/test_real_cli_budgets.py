"""Budgets on the real CLI: a limit that neither a kill nor a restart lifts, and the limit of one turn."""

from __future__ import annotations

import json
import os
import signal
import uuid

import pytest
from conftest import Host, eventually, first, residents
from engine_program import Orders, portable, running, told

from echo_actors import BudgetExceeded, OutcomeKind, TurnFailed, TurnOverBudget, TurnTimedOut
from echo_actors.claude.residency import Residency
from echo_actors.events import TextDelta, ToolStarted
from echo_actors.simulator.prices import cost_usd

pytestmark = pytest.mark.real_cli

PRICE = cost_usd("sonnet")
"""What a request to the model costs."""

TOOL = '[[tool Bash {"command": "echo used"}]]'


async def test_a_cent_stops_the_next_turn_and_not_the_running_one_also_after_kill_9_and_a_restart(host: Host) -> None:
    """The turn that goes over the budget answers; nothing after it reaches the model, whoever asks, in any run."""
    budget, turns = 0.01, 25
    settings = host.settings(overall_daily_budget_usd=budget)
    assert turns * PRICE == pytest.approx(budget)
    posts = [(str(uuid.uuid4()), "c", f"message {number}") for number in range(turns - 1)]
    async with running(settings, Orders(settings=portable(settings), posts=posts)) as program:
        for _ in posts:
            await told(program, "TurnEnded")
        os.kill(program.pid, signal.SIGKILL)
    async with host.engine(overall_daily_budget_usd=budget) as engine, engine.subscribe("c") as events:
        assert (await engine.spending()).today_usd == pytest.approx((turns - 1) * PRICE)
        running_turn = await engine.post("c", "the last [[stall 1]]")
        await first(events, TextDelta)
        waiting = await engine.post("c", "waits behind it")
        ended = await engine.outcome(running_turn.message_id)
        assert ended.kind is OutcomeKind.ANSWERED
        refused = await engine.outcome(waiting.message_id)
        assert (refused.kind, refused.error) == (OutcomeKind.FAILED, "budget_exceeded")
        with pytest.raises(BudgetExceeded):
            await engine.ask("another", "one more")
    async with host.engine(overall_daily_budget_usd=budget) as engine:
        with pytest.raises(BudgetExceeded) as caught:
            await engine.ask("another", "after the restart")
        assert caught.value.budget.spent_usd == pytest.approx(turns * PRICE)
    asked = host.asked("")
    assert len(asked) == turns
    assert "the last" in asked[-1]


async def test_a_channel_s_budget_holds_after_a_restart_too(host: Host) -> None:
    """Its first message is accepted, because nobody has looked yet, and no process is started for it."""
    async with host.engine(daily_budget_usd=PRICE) as engine:
        await engine.ask("c", "one")
    async with host.engine(daily_budget_usd=PRICE) as engine:
        with pytest.raises(TurnOverBudget):
            await engine.ask("c", "two")
        with pytest.raises(BudgetExceeded):
            await engine.post("c", "three")
        assert residents(engine) == {}
    assert len(host.asked("")) == 1


async def test_a_turn_is_ended_at_its_budget_and_the_channel_goes_on(host: Host) -> None:
    """After the request that goes over it; what it cost counts, and the next turn has a budget of its own."""
    async with host.engine(turn_budget_usd=3 * PRICE, allowed_tools=("Bash",)) as engine:
        with pytest.raises(TurnFailed, match="turn_budget_usd") as caught:
            await engine.ask("c", f"{TOOL} {TOOL} {TOOL} {TOOL} {TOOL}")
        outcome = caught.value.outcome
        assert (outcome.kind, outcome.error) == (OutcomeKind.FAILED, "error_max_budget_usd")
        assert not isinstance(caught.value, BudgetExceeded)
        assert (await engine.spending("c")).today_usd == pytest.approx(3 * PRICE)
        reply = await engine.ask("c", f"and now {TOOL}")
        assert reply.text == "tool said: used"
        assert reply.cost_usd == pytest.approx(2 * PRICE)
    (ended,) = host.audit("turn.ended", outcome="failed")
    assert ended["cost_usd"] == pytest.approx(3 * PRICE)


async def test_an_answer_whose_last_request_goes_over_the_turn_s_budget_is_an_answer(host: Host) -> None:
    """It is whole and paid for, although the CLI calls its result an error."""
    async with host.engine(turn_budget_usd=PRICE) as engine:
        reply = await engine.ask("c", "dear")
        assert reply.text == "echo: dear"
        assert reply.cost_usd == pytest.approx(PRICE)
        assert (await engine.ask("c", "again")).text == "echo: again"


async def test_the_turns_before_it_take_at_most_a_quarter_of_a_turn_s_budget(host: Host) -> None:
    """A process that has spent more gives way to one that resumes; until then turns share it."""
    pids = []
    async with host.engine(turn_budget_usd=8 * PRICE, allowed_tools=("Bash",)) as engine:
        for number in range(6):
            assert (await engine.ask("c", f"turn {number}")).text == f"echo: turn {number}"
            pids.append(residents(engine)["c"])
        # Two that were spent leave six: five uses of a tool and the answer.
        await engine.ask("d", "one")
        await engine.ask("d", "two")
        before = residents(engine)["d"]
        assert (await engine.ask("d", " ".join([TOOL] * 5))).text == "tool said: used"
        assert residents(engine)["d"] == before
        session = await engine.session("c")
        assert session is not None
        assert session.total_cost_usd == pytest.approx(6 * PRICE)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3]
    assert len({record["session"] for record in host.audit("process.spawned", channel="c")}) == 1


SLOW = '[[tool Bash {"command": "echo started; sleep 30"}]]'
"""A turn that has cost something before it hangs."""


async def test_a_turn_that_a_clock_ends_is_paid_for_all_the_same(host: Host) -> None:
    """Else a channel whose turns all run until they are cut would never reach its budget."""
    async with host.engine(allowed_tools=("Bash",), total_timeout=5, idle_timeout=1, daily_budget_usd=PRICE) as engine:
        with pytest.raises(TurnTimedOut):
            await engine.ask("c", SLOW)
        assert (await engine.spending("c")).today_usd == pytest.approx(host.model.cost_usd)
        with pytest.raises(BudgetExceeded):
            await engine.ask("c", "one more")
    (ended,) = host.audit("turn.ended", outcome="timed_out")
    assert ended["cost_usd"] == pytest.approx(PRICE)
    assert host.model.cost_usd == pytest.approx(PRICE)


async def test_what_goes_on_after_a_turn_is_paid_for_by_the_next_also_when_its_process_has_gone(host: Host) -> None:
    """A sub-agent in the background: the CLI says what it cost while no turn runs."""
    agent = {"description": "d", "prompt": "[[delay 1]] sub", "subagent_type": "general-purpose"}
    text = f"[[tool Agent {json.dumps({**agent, 'run_in_background': True})}]]"
    async with host.engine(allowed_tools=("Agent",)) as engine:
        await engine.ask("c", text)
        driver = engine._services.driver
        assert isinstance(driver, Residency)
        resident = driver.roster.get("c")
        assert resident is not None
        await eventually(lambda: resident.machine.meter.owes)
        await driver.retire("c", "to see what becomes of the cost")
        await engine.ask("c", "next")
        assert (await engine.spending("c")).today_usd == pytest.approx(host.model.cost_usd)
    assert host.model.cost_usd > 3 * PRICE


async def test_a_turn_that_a_drain_cuts_is_paid_for_and_so_is_its_second_run(host: Host) -> None:
    """Its message has no end yet, and costs for each run."""
    brief = SLOW.replace("30", "2")
    async with host.engine(allowed_tools=("Bash",)) as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", brief)
        await first(events, ToolStarted)
        await engine.drain(0)
    async with host.engine(allowed_tools=("Bash",)) as engine:
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
        assert (await engine.spending("c")).today_usd == pytest.approx(host.model.cost_usd)
    assert host.model.cost_usd == pytest.approx(3 * PRICE)
