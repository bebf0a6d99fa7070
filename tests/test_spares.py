"""Spares and prewarming on the scripted CLI: who gets a process that is ready, and what becomes of the others."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import attrs
import pytest
import trio
from support import asked, audit_records, opened, plain_settings, scripted_engine, scripted_settings, until

from echo_actors import Engine, EngineClosed, InvalidMessage, OutcomeKind, Policy, Trust
from echo_actors.claude.driver import TurnListener, TurnRequest, TurnResult
from echo_actors.claude.residency import Residency
from echo_actors.claude.resident import Resident
from echo_actors.claude.session_lock import SessionLock, lock_session
from echo_actors.claude.transcript import config_dir
from echo_actors.events import ToolStarted
from echo_actors.testing.instant_driver import InstantDriver


def driver_of(engine: Engine) -> Residency:
    """The engine's driver."""
    driver = engine._services.driver
    assert isinstance(driver, Residency)
    return driver


def ready(engine: Engine) -> list[Resident]:
    """The spares that could be claimed."""
    return [each for each in driver_of(engine).roster.spares if each.listener is None and each.usable]


def pid_of(resident: Resident) -> int:
    """The process id."""
    assert resident.process is not None
    return resident.process.pid


async def has_spares(engine: Engine, count: int = 1) -> list[Resident]:
    """Wait until so many spares are ready."""
    await until(lambda: len(ready(engine)) == count)
    return ready(engine)


# -- spares


async def test_a_new_channel_gets_the_spare_and_another_one_is_started(tmp_path: Path) -> None:
    """The first turn runs in the session that the spare was started for, on the channel's own model."""
    settings = scripted_settings(tmp_path, spares=1)
    async with scripted_engine(settings) as engine:
        (spare,) = await has_spares(engine)
        await engine.set_model("c", "opus")
        reply = await engine.ask("c", "hello")
        assert driver_of(engine).residents == {"c": pid_of(spare)}
        await has_spares(engine)
        assert ready(engine) != [spare]
    assert (reply.text, reply.session_id) == ("echo: hello", spare.machine.session_id)
    assert "opus" in reply.model
    spawned = audit_records(settings, "process.spawned")
    assert [(each["channel"], each["spare"]) for each in spawned] == [("", True), ("", True)]
    stopped = {each["pid"]: (each["channel"], each["spare"]) for each in audit_records(settings, "process.stopped")}
    assert stopped == {pid_of(spare): ("c", False), spawned[1]["pid"]: ("", True)}
    (claimed,) = audit_records(settings, "spare.claimed")
    assert (claimed["channel"], claimed["process"]) == ("c", spawned[0]["process"])


async def test_a_spare_that_starts_gives_way_to_a_channel_that_waits_to_start(tmp_path: Path) -> None:
    """Its place in the start ramp is the channel's, at once, also when it would never come up."""
    fault = {"SCRIPTED_CLI_FAULT": "slow-start 987", "SCRIPTED_CLI_FAULT_ONCE": str(tmp_path / "once")}
    settings = scripted_settings(tmp_path, spares=1, start_slots=1, variables=fault)
    async with scripted_engine(settings) as engine:
        await until((tmp_path / "once").exists)
        assert (await engine.ask("c", "hello")).text == "echo: hello"
        await has_spares(engine)
    assert audit_records(settings, "spare.failed") == []


async def test_an_old_session_gets_no_spare(tmp_path: Path) -> None:
    """It is resumed in a process of its own."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        before = await engine.ask("c", "one")
    async with scripted_engine(scripted_settings(tmp_path, spares=1)) as engine:
        (spare,) = await has_spares(engine)
        after = await engine.ask("c", "two")
        assert ready(engine) == [spare]
    assert after.session_id == before.session_id


async def test_a_channel_that_was_cleared_gets_a_spare_and_keeps_one_process(tmp_path: Path) -> None:
    """Its next session is a new one."""
    async with scripted_engine(scripted_settings(tmp_path, spares=1)) as engine:
        await engine.ask("c", "one")
        (spare,) = await has_spares(engine)
        await engine.clear("c")
        assert (await engine.ask("c", "two")).session_id == spare.machine.session_id
        assert driver_of(engine).residents == {"c": pid_of(spare)}


async def test_a_spare_that_was_killed_while_it_waited_is_replaced(tmp_path: Path) -> None:
    """The next channel does not notice."""
    settings = scripted_settings(tmp_path, spares=1)
    async with scripted_engine(settings) as engine:
        (dead,) = await has_spares(engine)
        os.kill(pid_of(dead), signal.SIGKILL)
        await until(lambda: dead.failure is not None)
        assert (await engine.ask("c", "hello")).session_id != dead.machine.session_id
        (other,) = await has_spares(engine)
        assert (await engine.ask("d", "hello")).session_id == other.machine.session_id
    assert "signal 9" in audit_records(settings, "spare.failed")[0]["reason"]


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_spare_that_dies_when_it_was_claimed_is_replaced_under_the_same_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, noticed: bool
) -> None:
    """The message was never begun, so nobody need hear of it."""
    settings = scripted_settings(tmp_path, spares=1)
    run_turn = Residency.run_turn

    async def kill_first(self: Residency, request: TurnRequest, listener: TurnListener) -> TurnResult:
        os.kill(pid_of(spare), signal.SIGKILL)
        if noticed:
            await until(lambda: spare.failure is not None)
        return await run_turn(self, request, listener)

    async with scripted_engine(settings) as engine:
        (spare,) = await has_spares(engine)
        monkeypatch.setattr(Residency, "run_turn", kill_first)
        reply = await engine.ask("c", "hello")
    assert (reply.text, reply.session_id) == ("echo: hello", spare.machine.session_id)
    assert asked(tmp_path) == ["hello"]


async def test_a_spare_whose_launch_differs_is_not_claimed(tmp_path: Path) -> None:
    """Only the model and the permission mode can be changed in a process that runs."""
    async with scripted_engine(scripted_settings(tmp_path, spares=1)) as engine:
        (spare,) = await has_spares(engine)
        driver, session_id = driver_of(engine), spare.machine.session_id
        assert driver.new_session("c", attrs.evolve(spare.launch, disallowed_tools=("Bash",))) != session_id
        assert driver.new_session("d", attrs.evolve(spare.launch, model="opus", permission_mode="plan")) == session_id


async def test_a_claimed_spare_that_is_never_used_is_the_channels_until_it_hibernates(tmp_path: Path) -> None:
    """Whoever asks again for the channel's new session gets the same one."""
    async with scripted_engine(scripted_settings(tmp_path, spares=1, hibernate_after=0.2)) as engine:
        (spare,) = await has_spares(engine)
        driver = driver_of(engine)
        first, again = (driver.new_session("c", spare.launch) for _ in range(2))
        assert first == again == spare.machine.session_id
        await until(lambda: driver.residents == {})


async def test_a_spare_goes_first_when_a_channel_needs_its_place(tmp_path: Path) -> None:
    """A resumed session cannot use it, and need not wait for it; an idle channel keeps its process."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        await engine.ask("old", "one")
    settings = scripted_settings(tmp_path, spares=5, max_residents=2)
    async with scripted_engine(settings) as engine:
        await has_spares(engine, 2)
        await engine.ask("new", "one")
        await has_spares(engine, 1)
        assert (await engine.ask("old", "two")).text == "echo: two"
        assert set(driver_of(engine).residents) == {"new", "old"}
        assert ready(engine) == []


async def test_a_spare_that_does_not_start_is_recorded_and_tried_again_later(tmp_path: Path) -> None:
    """Channels go on without."""
    variables = {"SCRIPTED_CLI_FAULT": "exit-at-start 3 broken", "SCRIPTED_CLI_FAULT_ONCE": str(tmp_path / "once")}
    settings = scripted_settings(tmp_path, spares=1, variables=variables)
    async with scripted_engine(settings) as engine:
        await has_spares(engine)
    (failed,) = audit_records(settings, "spare.failed")
    assert "broken" in failed["reason"]
    assert failed["retry_in"] == 1.0


async def test_a_spare_that_hangs_at_its_start_gives_way_to_a_channel(tmp_path: Path) -> None:
    """The only place there is shall not be held by what nobody waits for."""
    variables = {"SCRIPTED_CLI_FAULT": "not-reading", "SCRIPTED_CLI_FAULT_ONCE": str(tmp_path / "once")}
    settings = scripted_settings(
        tmp_path, spares=1, max_residents=1, start_slots=2, variables=variables, start_timeout=60
    )
    async with scripted_engine(settings) as engine:
        await until((tmp_path / "once").exists)
        assert (await engine.ask("c", "hello")).text == "echo: hello"


async def test_an_interrupt_ends_the_first_turn_on_a_spare(tmp_path: Path) -> None:
    """And the process stays the channel's."""
    async with scripted_engine(scripted_settings(tmp_path, spares=1)) as engine, engine.subscribe("c") as events:
        (spare,) = await has_spares(engine)
        receipt = await engine.post("c", "wait [[hold 30]]")
        async for event in events:
            if isinstance(event, ToolStarted):
                break
        assert await engine.interrupt("c")
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.CANCELLED
        assert (await engine.ask("c", "after")).session_id == spare.machine.session_id
        assert driver_of(engine).residents == {"c": pid_of(spare)}


async def test_a_drain_with_spares_leaves_none(tmp_path: Path) -> None:
    """Neither those that wait nor one that is being started; what was accepted is answered."""
    settings = scripted_settings(tmp_path, spares=3)
    async with scripted_engine(settings) as engine:
        await has_spares(engine, 3)
        receipt = await engine.post("c", "hello [[hold 0.2]]")
        await until(lambda: "c" in driver_of(engine).residents)
        await engine.drain()
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
    spawned = {each["pid"] for each in audit_records(settings, "process.spawned")}
    assert {each["pid"] for each in audit_records(settings, "process.stopped")} == spawned


async def test_the_status_counts_the_processes_of_each_kind(tmp_path: Path) -> None:
    """Those that start are told from those that are up, and no memory is claimed before it was measured."""
    variables = {"SCRIPTED_CLI_FAULT": "slow-start 987", "SCRIPTED_CLI_FAULT_ONCE": str(tmp_path / "once")}
    async with scripted_engine(scripted_settings(tmp_path, spares=1)) as engine:
        await has_spares(engine)
        await engine.ask("c", "hello")
        await has_spares(engine)
        status = engine.status()
        assert (status.residents, status.spares, status.starting, status.ending) == (1, 1, 0, 0)
        assert status.resident_memory == 0
        await driver_of(engine).memory.look()
        assert engine.status().resident_memory > 0
    async with scripted_engine(scripted_settings(tmp_path, spares=1, variables=variables)) as engine:
        await until((tmp_path / "once").exists)
        status = engine.status()
        assert (status.residents, status.spares, status.starting) == (0, 0, 1)


# -- prewarming


async def test_a_driver_without_processes_hears_of_every_prewarming(tmp_path: Path) -> None:
    """A program's own tests can see that it asks; no turn is begun by it, and no session."""
    driver = InstantDriver()
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        assert await engine.prewarm("c")
        assert await engine.session("c") is None
        reply = await engine.ask("c", "hello")
    (request,) = driver.prewarmed
    assert (request.channel, request.session_id, request.established) == ("c", reply.session_id, False)


async def test_prewarming_starts_the_process_that_the_next_message_finds(tmp_path: Path) -> None:
    """A new channel's, on its own model; asking again starts nothing."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        assert await engine.prewarm("c")
        assert await engine.prewarm("c")
        pid = driver_of(engine).residents["c"]
        await engine.set_model("c", "opus")
        assert "opus" in (await engine.ask("c", "hello")).model
        assert driver_of(engine).residents == {"c": pid}
    assert len(audit_records(settings, "process.spawned")) == 1


async def test_prewarming_for_a_stranger_starts_the_process_that_the_stranger_s_message_finds(tmp_path: Path) -> None:
    """Also when nothing has run in the channel before; one of a member's would have to go."""
    settings = scripted_settings(tmp_path, spares=0)
    async with scripted_engine(settings) as engine:
        assert await engine.prewarm("c", trust=Trust.EXTERNAL)
        await engine.ask("c", "hello", trust=Trust.EXTERNAL)
        assert await engine.prewarm("c")
        await engine.ask("c", "again", trust=Trust.EXTERNAL)
        with pytest.raises(InvalidMessage, match="no Trust"):
            await engine.prewarm("c", trust="friend")  # type: ignore[arg-type]
    assert len(audit_records(settings, "process.spawned")) == 1


async def test_prewarming_resumes_a_session(tmp_path: Path) -> None:
    """Before its message comes."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        before = await engine.ask("c", "one")
    async with scripted_engine(settings) as engine:
        assert await engine.prewarm("c")
        after = await engine.ask("c", "two")
    assert after.session_id == before.session_id
    assert [each["resumed"] for each in audit_records(settings, "process.spawned")] == [False, True]


async def test_prewarming_a_new_channel_claims_a_spare(tmp_path: Path) -> None:
    """Also when the actor has left memory before the message comes."""
    async with scripted_engine(scripted_settings(tmp_path, spares=1, passivate_after=0.05)) as engine:
        (spare,) = await has_spares(engine)
        assert await engine.prewarm("c")
        await until(lambda: engine.status().live_channels == 0)
        assert (await engine.ask("c", "hello")).session_id == spare.machine.session_id


async def test_a_message_that_comes_while_its_channel_is_prewarmed_starts_no_second_process(tmp_path: Path) -> None:
    """It waits for the one that is starting."""
    variables = {"SCRIPTED_CLI_FAULT": "slow-start 0.3"}
    settings = scripted_settings(tmp_path, variables=variables)
    async with scripted_engine(settings) as engine, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(engine.prewarm, "c")
        await until(lambda: "c" in driver_of(engine).residents)
        assert (await engine.ask("c", "hello")).text == "echo: hello"
    assert len(audit_records(settings, "process.spawned")) == 1


async def test_prewarming_during_a_turn_returns_at_once(tmp_path: Path) -> None:
    """The process is warm already."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine, engine.subscribe("c") as events:
        await engine.post("c", "wait [[hold 60]]")
        async for event in events:
            if isinstance(event, ToolStarted):
                break
        assert await engine.prewarm("c")
        await engine.interrupt("c")


async def test_a_prewarming_that_fails_is_recorded_and_harms_nobody(tmp_path: Path) -> None:
    """The message tries again by itself."""
    variables = {"SCRIPTED_CLI_FAULT": "exit-at-start 3 broken", "SCRIPTED_CLI_FAULT_ONCE": str(tmp_path / "once")}
    settings = scripted_settings(tmp_path, variables=variables)
    async with scripted_engine(settings) as engine:
        assert not await engine.prewarm("c")
        assert (await engine.ask("c", "hello")).text == "echo: hello"
    (failed,) = audit_records(settings, "prewarm.failed")
    assert failed["channel"] == "c"
    assert "broken" in failed["reason"]


async def test_prewarming_does_not_wait_for_a_session_that_somebody_else_has(tmp_path: Path) -> None:
    """The message that comes would be held up by it."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        session_id = (await engine.ask("c", "one")).session_id
        await driver_of(engine).retire("c", "hibernated")
        lock = lock_session(session_id, config_dir(settings.environment))
        assert isinstance(lock, SessionLock)
        assert not await engine.prewarm("c")
        lock.release()
        assert await engine.prewarm("c")
    assert "is in use by another engine" in audit_records(settings, "prewarm.failed")[0]["reason"]


async def test_a_prewarming_whose_start_hangs_ends_with_the_start_clock(tmp_path: Path) -> None:
    """And leaves nothing; the message then starts its own."""
    variables = {"SCRIPTED_CLI_FAULT": "not-reading", "SCRIPTED_CLI_FAULT_ONCE": str(tmp_path / "once")}
    settings = scripted_settings(tmp_path, variables=variables, start_timeout=3.0)
    async with scripted_engine(settings) as engine:
        assert not await engine.prewarm("c")
        assert driver_of(engine).residents == {}
        assert (await engine.ask("c", "hello")).text == "echo: hello"
    assert "start clock" in audit_records(settings, "prewarm.failed")[0]["reason"]


async def test_a_cancelled_prewarming_leaves_no_process(tmp_path: Path) -> None:
    """Whatever it had begun to start is ended before it returns."""
    variables = {"SCRIPTED_CLI_FAULT": "not-reading"}
    async with scripted_engine(scripted_settings(tmp_path, variables=variables)) as engine:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.prewarm, "c")
            await until(lambda: "c" in driver_of(engine).residents)
            nursery.cancel_scope.cancel()
        assert driver_of(engine).residents == {}


async def test_prewarming_takes_the_place_of_the_least_recently_used_but_of_no_running_turn(tmp_path: Path) -> None:
    """Being prewarmed again counts as use."""
    async with scripted_engine(scripted_settings(tmp_path, max_residents=2)) as engine:
        for channel in ("a", "b"):
            await engine.ask(channel, "hello")
        assert await engine.prewarm("a")
        assert await engine.prewarm("c")
        assert set(driver_of(engine).residents) == {"a", "c"}
        async with engine.subscribe() as events:
            for channel in ("a", "c"):
                await engine.post(channel, "wait [[hold 30]]")
            running = 0
            async for event in events:
                running += isinstance(event, ToolStarted)
                if running == 2:
                    break
        assert not await engine.prewarm("d")
        for channel in ("a", "c"):
            await engine.interrupt(channel)


async def test_a_channel_that_is_suspended_or_an_engine_that_drains_prewarms_nothing(tmp_path: Path) -> None:
    """Nor is a name that no channel can have."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        with pytest.raises(InvalidMessage):
            await engine.prewarm("")
        engine._supervisor.suspended["c"] = "it crashed"
        assert not await engine.prewarm("c")
        del engine._supervisor.suspended["c"]
        await engine.drain()
        with pytest.raises(EngineClosed):
            await engine.prewarm("c")


async def test_a_prewarming_ends_when_the_engine_drains(tmp_path: Path) -> None:
    """It would start a process after all others were ended; it is not a failure of the channel's."""
    settings = scripted_settings(tmp_path)
    warm: list[bool] = []
    async with trio.open_nursery() as nursery:
        async with scripted_engine(settings) as engine:
            # With no start slot left, nothing comes up.
            starts = driver_of(engine).spawner.starts
            while starts.free:
                await starts.acquire()

            async def prewarm() -> None:
                warm.append(await engine.prewarm("c"))

            nursery.start_soon(prewarm)
            await until(lambda: starts.waiting == 1)
        assert warm == [False]
    assert audit_records(settings, "prewarm.failed") == []
    assert audit_records(settings, "process.spawned") == []


async def test_spares_are_for_members(tmp_path: Path) -> None:
    """Most messages are theirs; a stranger's first turn starts a process of its own."""
    policies = {Trust.MEMBER: Policy(disallowed_tools=("Bash",))}
    async with scripted_engine(scripted_settings(tmp_path, spares=1, policies=policies)) as engine:
        (spare,) = await has_spares(engine)
        stranger = await engine.ask("s", "hello", trust=Trust.EXTERNAL)
        member = await engine.ask("m", "hello")
    assert stranger.session_id != spare.machine.session_id == member.session_id
