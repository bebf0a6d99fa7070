"""What a message does that finds its channel busy: queue, steer, collect, interrupt. Each gets an end of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from conftest import Host, first
from support import asked, new_id, plain_settings, scripted_engine, scripted_settings, until

from echo_actors import BusyPolicy, Engine, Outcome, OutcomeKind, Trust, open_engine
from echo_actors.events import ToolStarted, TurnStarted
from echo_actors.state.sqlite import SQLiteStore
from echo_actors.testing.puppet_driver import Conversations, Decision, PuppetDriver, died

BURST = 25
COST_OF_A_TURN = 0.0004


async def _burst(engine: Engine, busy: BusyPolicy) -> dict[str, str]:
    """Post many messages at once; give their texts by their ids, in the order of acceptance."""
    accepted: dict[int, tuple[str, str]] = {}

    async def post(text: str) -> None:
        receipt = await engine.post("c", text, busy=busy)
        accepted[receipt.sequence] = (receipt.message_id, text)

    async with trio.open_nursery() as nursery:
        for number in range(BURST):
            nursery.start_soon(post, f"burst {number:02}")
    return dict(accepted[sequence] for sequence in sorted(accepted))


async def _outcomes(engine: Engine, message_ids: list[str]) -> list[Outcome]:
    return [await engine.outcome(message_id) for message_id in message_ids]


def _turns(outcomes: list[Outcome]) -> Counter[str]:
    """How many messages each turn answered; fails when one was not answered."""
    assert {outcome.kind for outcome in outcomes} == {OutcomeKind.ANSWERED}
    return Counter(outcome.reply.turn_id for outcome in outcomes if outcome.reply is not None)


# -- on the scripted CLI


@pytest.mark.parametrize("busy", [BusyPolicy.STEER, BusyPolicy.COLLECT, BusyPolicy.QUEUE])
async def test_each_message_of_a_burst_is_asked_once_in_order_and_paid_once(tmp_path: Path, busy: BusyPolicy) -> None:
    """Steered ones share the running turn, collected ones the next, queued ones nothing."""
    async with (
        scripted_engine(scripted_settings(tmp_path, allowed_tools=("Bash",))) as engine,
        engine.subscribe("c") as events,
    ):
        running = await engine.post("c", "first [[hold 1]]")
        await first(events, ToolStarted)
        burst = await _burst(engine, busy)
        outcomes = await _outcomes(engine, [running.message_id, *burst])
        turns = _turns(outcomes)
        snapshot = await engine.session("c")
    said = [line for text in asked(tmp_path) for line in text.splitlines() if line.startswith("burst")]
    assert said == list(burst.values())
    expected = {BusyPolicy.STEER: [26], BusyPolicy.COLLECT: [25, 1], BusyPolicy.QUEUE: [1] * 26}
    assert sorted(turns.values(), reverse=True) == expected[busy]
    assert snapshot is not None
    assert snapshot.message_count == BURST + 1
    assert snapshot.total_cost_usd == pytest.approx(COST_OF_A_TURN * len(turns))


async def test_a_message_steered_into_generated_text_waits_in_the_cli_for_the_next_turn(tmp_path: Path) -> None:
    """The result of the first does not name the second, which is answered by a turn of its own, once."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine, engine.subscribe("c") as events:
        one = await engine.post("c", "one [[delay 0.5]]")
        await first(events, TurnStarted)
        await until(lambda: asked(tmp_path) != [])
        two = await engine.post("c", "two", busy=BusyPolicy.STEER)
        outcomes = await _outcomes(engine, [one.message_id, two.message_id])
    assert [outcome.reply.text for outcome in outcomes if outcome.reply] == ["echo: one [[delay 0.5]]", "echo: two"]
    assert asked(tmp_path) == ["one [[delay 0.5]]", "two"]
    assert len(_turns(outcomes)) == 2


async def test_an_interrupting_message_supersedes_the_running_turn_alone(tmp_path: Path) -> None:
    """Messages that waited before it keep their place."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine, engine.subscribe("c") as events:
        running = await engine.post("c", "running [[hold 20]]")
        await first(events, ToolStarted)
        queued = await engine.post("c", "queued")
        interrupting = await engine.post("c", "interrupting", busy=BusyPolicy.INTERRUPT)
        superseded, *others = await _outcomes(engine, [running.message_id, queued.message_id, interrupting.message_id])
    assert superseded.kind is OutcomeKind.SUPERSEDED
    assert interrupting.message_id in superseded.reason
    assert len(_turns(others)) == 2
    assert asked(tmp_path) == ["running [[hold 20]]", "queued", "interrupting"]


# -- with a driver in this process, which is told how each turn ends


@asynccontextmanager
async def _puppet(tmp_path: Path, driver: PuppetDriver, **overrides: Any) -> AsyncIterator[Engine]:
    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path, **overrides), driver=driver) as engine:
            yield engine


async def _running(driver: PuppetDriver, uuid: str) -> None:
    await until(lambda: "c" in driver.running and uuid in driver.running["c"].begun)


@pytest.mark.parametrize("busy", [BusyPolicy.STEER, BusyPolicy.COLLECT, BusyPolicy.INTERRUPT])
@pytest.mark.parametrize("owner", [Trust.OWNER, Trust.MEMBER])
async def test_a_stranger_gets_into_nobody_elses_turn(tmp_path: Path, busy: BusyPolicy, owner: Trust) -> None:
    """Nor does a stranger stop it: the message waits for a turn under its own policy."""
    driver = PuppetDriver()
    async with _puppet(tmp_path, driver) as engine:
        running = await engine.post("c", "running", trust=owner)
        await _running(driver, running.message_id)
        first_own = await engine.post("c", "own", trust=owner, busy=BusyPolicy.COLLECT)
        stranger = await engine.post("c", "strange", trust=Trust.EXTERNAL, busy=busy)
        assert list(driver.running["c"].begun) == [running.message_id]
        assert driver.decide("c", Decision())
        for receipt in (first_own, stranger):
            await _running(driver, receipt.message_id)
            assert list(driver.running["c"].begun) == [receipt.message_id]
            assert driver.decide("c", Decision())
            await engine.outcome(receipt.message_id)
        outcomes = await _outcomes(engine, [each.message_id for each in (running, first_own, stranger)])
    assert len(_turns(outcomes)) == 3


async def test_what_the_cli_gives_back_is_asked_next_and_keeps_its_place(tmp_path: Path) -> None:
    """A discarded message runs before those that came after it, and its attempt is not counted."""
    driver = PuppetDriver(in_tool=False)
    async with _puppet(tmp_path, driver) as engine:
        running = await engine.post("c", "running")
        await _running(driver, running.message_id)
        steered = await engine.post("c", "steered", busy=BusyPolicy.STEER)
        await until(lambda: steered.message_id in driver.running["c"].waiting)
        later = await engine.post("c", "later")
        driver.decide("c", Decision(left="return"))
        await engine.outcome(running.message_id)
        await until(lambda: "c" in driver.running and "steered" in driver.running["c"].begun.values())
        driver.decide("c", Decision())
        outcome = await engine.outcome(steered.message_id)
        await _running(driver, later.message_id)
        driver.decide("c", Decision())
        assert (await engine.outcome(later.message_id)).kind is OutcomeKind.ANSWERED
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.ANSWERED, 1)


async def test_a_steered_message_the_cli_had_not_begun_outlives_the_turns_death(tmp_path: Path) -> None:
    """Only what had begun fails with the CLI; the rest is asked again."""
    driver = PuppetDriver(in_tool=False)
    async with _puppet(tmp_path, driver) as engine:
        running = await engine.post("c", "running")
        await _running(driver, running.message_id)
        steered = await engine.post("c", "steered", busy=BusyPolicy.STEER)
        await until(lambda: steered.message_id in driver.running["c"].waiting)
        driver.decide("c", died())
        assert (await engine.outcome(running.message_id)).kind is OutcomeKind.FAILED
        await until(lambda: "c" in driver.running and "steered" in driver.running["c"].begun.values())
        driver.decide("c", Decision())
        assert (await engine.outcome(steered.message_id)).kind is OutcomeKind.ANSWERED


async def test_a_turn_that_dies_while_a_message_joins_it_costs_that_message_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its attempt was being counted: it is asked once, after the turn's death, and the count is right."""
    conversed = list[str]()
    driver = PuppetDriver(on_asked=lambda _channel, _uuid, content: conversed.append(content))
    committing, go_on, start = trio.Event(), trio.Event(), SQLiteStore.start

    async def late(self: SQLiteStore, *arguments: Any, **fields: Any) -> None:
        await start(self, *arguments, **fields)
        if conversed:
            committing.set()
            await go_on.wait()

    async with _puppet(tmp_path, driver) as engine:
        monkeypatch.setattr(SQLiteStore, "start", late)
        running = await engine.post("c", "running")
        await _running(driver, running.message_id)
        steered = await engine.post("c", "steered", busy=BusyPolicy.STEER)
        await committing.wait()
        driver.decide("c", died())
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
        assert (await engine.outcome(running.message_id)).kind is OutcomeKind.FAILED
        await until(lambda: driver.decide("c", Decision()))
        outcome = await engine.outcome(steered.message_id)
        assert (await engine._services.store.message(steered.message_id)).attempts == 1  # type: ignore[union-attr]  # known
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.ANSWERED, 1)
    assert conversed == ["running", "steered"]


@pytest.mark.parametrize("busy", [BusyPolicy.STEER, BusyPolicy.COLLECT, BusyPolicy.INTERRUPT])
async def test_a_busy_channel_that_is_closed_and_opened_again_loses_and_repeats_nothing(
    tmp_path: Path, busy: BusyPolicy
) -> None:
    """Cut in the middle of the turn; every message has its one end after the next start."""
    conversations, ids = Conversations(), [new_id() for _ in range(6)]
    driver = PuppetDriver(conversations, obedient=False)
    async with _puppet(tmp_path, driver, drain_timeout=0.05, teardown_timeout=0.5) as engine:
        await engine.post("c", "running", message_id=ids[0])
        await _running(driver, ids[0])
        for number, message_id in enumerate(ids[1:]):
            await engine.post("c", f"message {number}", message_id=message_id, busy=busy)
    again: Counter[str] = Counter()
    driver = PuppetDriver(conversations, lambda _channel, _uuid, content: again.update(content.split("\n\n")))
    async with _puppet(tmp_path, driver) as engine, trio.open_nursery() as nursery:

        async def answer_all() -> None:
            while True:
                await until(lambda: driver.decide("c", Decision()))

        nursery.start_soon(answer_all)
        outcomes = await _outcomes(engine, ids)
        nursery.cancel_scope.cancel()
    assert {outcome.kind for outcome in outcomes} <= {OutcomeKind.ANSWERED, OutcomeKind.SUPERSEDED}
    assert all(outcome.kind is OutcomeKind.ANSWERED for outcome in outcomes[1:])
    assert set(again.values()) == {1}


# -- on the real CLI


@pytest.mark.real_cli
async def test_the_real_cli_takes_a_burst_into_its_running_turn(host: Host) -> None:
    """All that was steered while a tool ran is answered, each message by exactly one turn; the cost is the model's."""
    tool = '[[tool Bash {"command": "echo started; sleep 2", "description": "x"}]]'
    async with host.engine(allowed_tools=("Bash",)) as engine, engine.subscribe("c") as events:
        running = await engine.post("c", f"first {tool}")
        await first(events, ToolStarted)
        burst = await _burst(engine, BusyPolicy.STEER)
        outcomes = await _outcomes(engine, [running.message_id, *burst])
        turns = _turns(outcomes)
        snapshot = await engine.session("c")
    assert max(turns.values()) > 1
    assert snapshot is not None
    assert snapshot.message_count == BURST + 1
    assert snapshot.total_cost_usd == pytest.approx(host.model.cost_usd)
    said = " ".join(call.user_text for call in host.model.calls if call.asked)
    assert all(said.count(f"burst {number:02}") == 1 for number in range(BURST))


@pytest.mark.real_cli
async def test_the_real_cli_answers_a_collected_burst_in_one_turn(host: Host) -> None:
    """Twenty-five messages, one more turn, one cost."""
    async with host.engine() as engine, engine.subscribe("c") as events:
        running = await engine.post("c", "first [[delay 1]]")
        await first(events, TurnStarted)
        burst = await _burst(engine, BusyPolicy.COLLECT)
        outcomes = await _outcomes(engine, [running.message_id, *burst])
        snapshot = await engine.session("c")
    assert sorted(_turns(outcomes).values()) == [1, BURST]
    assert snapshot is not None
    assert snapshot.total_cost_usd == pytest.approx(host.model.cost_usd)
    assert [call.user_text.count("burst") for call in host.model.calls if call.asked] == [0, BURST]


@pytest.mark.real_cli
async def test_the_real_cli_is_interrupted_by_the_owner_and_not_by_a_stranger(host: Host) -> None:
    """The stranger's message waits; the owner's ends the turn and runs in its place."""
    async with host.engine() as engine, engine.subscribe("c") as events, trio.open_nursery() as nursery:
        running = await engine.post("c", "first [[stall 20]]", trust=Trust.OWNER)
        await first(events, TurnStarted)
        nursery.start_soon(partial(engine.ask, "c", "strange", trust=Trust.EXTERNAL, busy=BusyPolicy.INTERRUPT))
        reply = await engine.ask("c", "owner's", trust=Trust.OWNER, busy=BusyPolicy.INTERRUPT)
        superseded = await engine.outcome(running.message_id)
    assert superseded.kind is OutcomeKind.SUPERSEDED
    assert "strange" not in superseded.reason
    assert reply.text == "echo: owner's"
