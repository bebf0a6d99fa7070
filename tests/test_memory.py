"""Who hibernates for memory, who is recycled, and whom background work protects; on the scripted CLI."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio.testing
from support import asked, audit_records, scripted_engine, scripted_settings, until
from test_spares import driver_of, has_spares

from echo_actors.claude import memory
from echo_actors.claude.process_table import ProcTable
from echo_actors.claude.process_tree import Identity, descendants
from echo_actors.claude.residency import Residency
from echo_actors.events import Event, ToolStarted
from echo_actors.models import OutcomeKind


async def tool_of(events: AsyncIterator[Event], driver: Residency, channel: str) -> Identity:
    """The process of the tool that the channel's turn runs, once it does."""
    async for event in events:
        if isinstance(event, ToolStarted):
            break
    pid = driver.residents[channel]
    await until(lambda: len(descendants(pid)) == 1)
    return descendants(pid).pop()


async def test_above_the_limit_the_least_recently_used_hibernates_first(tmp_path: Path) -> None:
    """Only as many as it takes; its session is resumed with the next message."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        driver = driver_of(engine)
        before = await engine.ask("a", "one")
        for channel in ("b", "c", "b"):
            await engine.ask(channel, "hello")
        await driver.memory.look()
        assert set(driver.residents) == {"a", "b", "c"}
        driver.memory.limit = driver.memory.total * 5 // 6
        await driver.memory.look()
        assert set(driver.residents) == {"b", "c"}
        await driver.memory.look()
        assert set(driver.residents) == {"b", "c"}
        driver.memory.limit = driver.memory.total * 3 // 4
        await driver.memory.look()
        assert set(driver.residents) == {"b"}
        driver.memory.limit = settings.max_resident_memory
        assert (await engine.ask("a", "two")).session_id == before.session_id
    reasons = [each["reason"] for each in audit_records(settings, "process.stopped") if each["channel"] == "a"]
    assert reasons[0].startswith("hibernated: all processes together have ")


async def test_spares_go_before_channels_and_none_is_started_while_memory_is_short(tmp_path: Path) -> None:
    """Else it would be ended and started for ever."""
    settings = scripted_settings(tmp_path, spares=1)
    async with scripted_engine(settings) as engine:
        driver = driver_of(engine)
        await engine.ask("a", "hello")
        (spare,) = await has_spares(engine)
        await driver.memory.look()
        driver.memory.limit = driver.memory.total * 3 // 4
        await driver.memory.look()
        assert set(driver.residents) == {"a"}
        assert spare.process is not None
        await spare.process.ended.wait()
        await driver.memory.look()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert driver.roster.spares == []
        driver.memory.limit *= 10
        await driver.memory.look()
        await has_spares(engine)


async def test_a_running_turn_is_not_ended_for_memory(tmp_path: Path) -> None:
    """It is recycled when it is over, if it is still too big; the next turn resumes."""
    settings = scripted_settings(tmp_path, recycle_above=1, max_resident_memory=1)
    async with scripted_engine(settings) as engine, engine.subscribe("c") as events:
        driver = driver_of(engine)
        receipt = await engine.post("c", "work [[tool-sleep 987]]")
        tool = await tool_of(events, driver, "c")
        await driver.memory.look()
        assert "c" in driver.residents
        tool.send(signal.SIGKILL)
        outcome = await engine.outcome(receipt.message_id)
        assert outcome.kind is OutcomeKind.ANSWERED
        assert driver.residents == {}
        after = await engine.ask("c", "after")
    assert outcome.reply is not None
    assert after.session_id == outcome.reply.session_id
    assert audit_records(settings, "process.stopped")[0]["reason"].startswith("recycled: ")


async def test_a_process_whose_tools_had_the_memory_is_not_recycled(tmp_path: Path) -> None:
    """When the turn is over it is measured once more."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine, engine.subscribe("c") as events:
        driver = driver_of(engine)
        receipt = await engine.post("c", "work [[tool-sleep 987]]")
        tool = await tool_of(events, driver, "c")
        pid = driver.residents["c"]
        await driver.memory.look()
        resident = driver.roster.get("c")
        assert resident is not None
        driver.memory.recycle_above = resident.memory - 1
        tool.send(signal.SIGKILL)
        await engine.outcome(receipt.message_id)
        assert driver.residents == {"c": pid}


async def test_an_interrupt_after_the_answer_loses_it_to_no_measuring(tmp_path: Path) -> None:
    """While the process is measured the turn has its answer, and keeps it."""
    settings = scripted_settings(tmp_path, recycle_above=1, interrupt_grace=0.05)
    async with scripted_engine(settings) as engine:
        driver = driver_of(engine)
        await engine.ask("c", "one")
        resident = driver.roster.get("c")
        assert resident is not None
        resident.memory = 2**40
        limiter = trio.to_thread.current_default_thread_limiter()
        taken = [object() for _ in range(int(limiter.available_tokens))]
        for each in taken:
            limiter.acquire_on_behalf_of_nowait(each)
        receipt = await engine.post("c", "two")
        await until(lambda: limiter.statistics().tasks_waiting == 1)
        attempt = engine._supervisor.actors["c"].runner._attempt
        assert attempt is not None
        scope = attempt._scope
        assert await engine.interrupt("c")
        await until(lambda: scope.cancel_called)
        for each in taken:
            limiter.release_on_behalf_of(each)
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED


async def test_nobody_hibernates_for_memory_that_a_recycled_one_gives_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has grown too big goes; without it all is well."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        driver = driver_of(engine)
        for channel in ("a", "big", "b"):
            await engine.ask(channel, "hello")
        sizes = {pid: 10 if channel == "big" else 3 for channel, pid in driver.residents.items()}
        monkeypatch.setattr(memory, "_sizes", lambda pids: [sizes[pid] for pid in pids])
        driver.memory.limit, driver.memory.recycle_above = 12, 5
        await driver.memory.look()
        assert set(driver.residents) == {"a", "b"}


async def test_nothing_hibernates_while_the_cli_has_background_work(tmp_path: Path) -> None:
    """Neither for idleness, nor for memory, nor for being too big, nor for room; all of it when the work is over."""
    settings = scripted_settings(tmp_path, max_residents=1, hibernate_after=0.05)
    async with scripted_engine(settings) as engine:
        driver = driver_of(engine)
        await engine.ask("c", "go [[background 1]]")
        driver.memory.limit = driver.memory.recycle_above = 1
        await driver.memory.look()
        assert not await engine.prewarm("d")
        receipt = await engine.post("d", "hello")
        await until(lambda: engine.status().running_turns == 1)
        driver.roster.make_room()
        assert driver.roster.dispensable() == []
        assert "c" in driver.residents
        assert asked(tmp_path) == ["go [[background 1]]"]
        resident = driver.roster.get("c")
        assert resident is not None
        resident.machine.background_tasks = 0
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED


async def test_one_reading_of_the_process_table_serves_all_residents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are."""
    scans = 0
    pids = ProcTable.pids

    def counted(self: ProcTable) -> list[int]:
        nonlocal scans
        scans += 1
        return pids(self)

    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        for number in range(5):
            await engine.ask(f"c{number}", "hello")
        monkeypatch.setattr(ProcTable, "pids", counted)
        await driver_of(engine).memory.look()
        assert scans == 1
        assert driver_of(engine).memory.total > 5 * os.sysconf("SC_PAGE_SIZE")
        monkeypatch.undo()
