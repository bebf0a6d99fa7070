"""Spares, prewarming and hibernation by memory on the real CLI."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import Host, eventually, first, residents
from test_spares import driver_of, has_spares, pid_of

from echo_actors.events import TextDelta, ToolStarted
from echo_actors.models import OutcomeKind
from echo_actors.simulator.prices import cost_usd

pytestmark = pytest.mark.real_cli


async def test_a_spare_serves_a_new_channel_with_another_model(host: Host) -> None:
    """In the session that it was started for, at that model's price, with the persona; the next turn follows on."""
    async with host.engine(spares=1) as engine:
        (spare,) = await has_spares(engine)
        await engine.set_model("c", "opus")
        reply = await engine.ask("c", "one")
        after = await engine.ask("c", "two")
        assert residents(engine) == {"c": pid_of(spare)}
        session = await engine.session("c")
    assert (reply.text, after.text) == ("echo: one", "echo: two")
    assert reply.session_id == after.session_id == spare.machine.session_id
    assert session is not None
    assert session.total_cost_usd == pytest.approx(2 * cost_usd("opus"), abs=1e-9)
    assert [(call.user_text, call.history) for call in host.model.calls] == [("one", ()), ("two", ("one",))]
    assert all("opus" in call.model for call in host.model.calls)


async def test_a_turn_on_a_spare_asks_the_model_the_same_as_one_on_a_process_of_its_own(host: Host) -> None:
    """Being started ahead changes neither the system prompt nor the tools."""
    async with host.engine() as engine:
        await engine.ask("cold", "hello")
    async with host.engine(spares=1) as engine:
        await has_spares(engine)
        await engine.ask("warm", "hello")
    cold, warm = host.model.calls
    assert (warm.system, warm.tools, warm.model) == (cold.system, cold.tools, cold.model)


async def test_a_spare_killed_when_it_was_claimed_is_replaced_under_its_session(host: Host) -> None:
    """The CLI takes the id of a spare that never had a turn once more."""
    async with host.engine(spares=1) as engine:
        (spare,) = await has_spares(engine)
        assert await engine.prewarm("c")
        os.kill(pid_of(spare), signal.SIGKILL)
        await eventually(lambda: spare.failure is not None)
        reply = await engine.ask("c", "hello")
    assert (reply.text, reply.session_id) == ("echo: hello", spare.machine.session_id)


async def test_an_interrupt_ends_the_first_turn_on_a_spare(host: Host) -> None:
    """And the same process answers the next message."""
    async with host.engine(spares=1) as engine, engine.subscribe("c") as events:
        (spare,) = await has_spares(engine)
        receipt = await engine.post("c", "slow [[stall 20]]")
        await first(events, TextDelta)
        assert await engine.interrupt("c")
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.CANCELLED
        assert (await engine.ask("c", "after")).text == "echo: after"
        assert residents(engine) == {"c": pid_of(spare)}


async def test_a_prewarmed_session_goes_on_where_it_was(host: Host) -> None:
    """A hibernated channel's process is there before its message."""
    async with host.engine() as engine:
        before = await engine.ask("c", "one")
        await driver_of(engine).retire("c", "hibernated")
        assert await engine.prewarm("c")
        pids = residents(engine)
        after = await engine.ask("c", "two")
        assert residents(engine) == pids
        session = await engine.session("c")
    assert after.session_id == before.session_id
    assert host.model.calls[-1].history == ("one",)
    assert session is not None
    assert session.total_cost_usd == pytest.approx(host.model.cost_usd, abs=1e-9)
    assert [each["resumed"] for each in host.audit("process.spawned")] == [False, True]


async def test_memory_pressure_hibernates_the_least_recently_used_first(host: Host) -> None:
    """Measured is what a real process has for itself."""
    async with host.engine() as engine:
        driver = driver_of(engine)
        for channel in ("a", "b", "a"):
            await engine.ask(channel, "hello")
        await driver.memory.look()
        assert 2 * 50_000_000 < driver.memory.total < 2 * 400_000_000
        driver.memory.limit = driver.memory.total * 3 // 4
        await driver.memory.look()
        assert set(residents(engine)) == {"a"}
        assert (await engine.ask("b", "again")).text == "echo: again"


async def test_a_process_with_background_work_does_not_hibernate(host: Host) -> None:
    """What the model left running would be ended with it."""
    command = '{"command": "echo started; sleep 20", "run_in_background": true}'
    async with host.engine(allowed_tools=("Bash",)) as engine, engine.subscribe("c") as events:
        driver = driver_of(engine)
        await engine.ask("c", f"[[tool Bash {command}]]")
        await first(events, ToolStarted)
        resident = driver.roster.get("c")
        assert resident is not None
        await eventually(lambda: resident.machine.background_tasks == 1)
        driver.memory.limit = driver.memory.recycle_above = 1
        await driver.memory.look()
        assert set(residents(engine)) == {"c"}
