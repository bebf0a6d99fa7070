"""What an operator sees of each live channel."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from conftest import Host, first, residents
from support import Gate, opened, plain_settings, scripted_engine, scripted_settings, until

from echo_actors import ChannelState, Engine, InvalidMessage, SessionChanged, TurnStarted
from echo_actors.claude.residency import Residency
from echo_actors.models import Usage
from echo_actors.testing.instant_driver import InstantDriver


def states(engine: Engine) -> dict[str, str]:
    """The states by channel."""
    return {each.channel: each.state.value for each in engine.channels()}


async def test_channels_are_idle_running_or_queued(tmp_path: Path) -> None:
    """One has the slot, one waits for it behind it, one has had its turn."""
    gate = Gate()
    async with opened(plain_settings(tmp_path, turn_slots=1), driver=InstantDriver(gate)) as engine:
        assert engine.channels() == ()
        await engine.ask("idle", "hello")
        await engine.post("running", "hold")
        await gate.entered()
        for text in ("one", "two"):
            await engine.post("running", text)
            await engine.post("queued", text)
        found = {each.channel: each for each in engine.channels()}
        assert states(engine) == {"idle": "idle", "queued": "queued", "running": "running"}
        assert [each.queued for each in found.values()] == [0, 2, 2]
        running, idle = found["running"], found["idle"]
        assert running.turn_id
        assert (idle.turn_id, idle.turn_started, running.cost_usd) == (None, None, 0)
        gate.open()


async def test_a_channel_tells_what_it_has_taken_and_what_happened_last(tmp_path: Path) -> None:
    """Tokens and cost of its session, the model of its next turn, the last event with its time."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        for _ in range(2):
            reply = await engine.ask("c", "hello")
        async with engine.subscribe("c") as events:
            await engine.set_model("c", "opus")
            changed = await first(events, SessionChanged)
        (status,) = engine.channels()
        assert status.usage == Usage(200, 40)
        assert (status.cost_usd, status.messages, status.context_tokens) == (0.0008, 2, 120)
        assert (status.model, status.session_id) == ("opus", reply.session_id)
        assert (status.last_event, status.last_event_at) == ("SessionChanged", changed.time)


async def test_a_turn_that_runs_says_since_when(tmp_path: Path) -> None:
    """The time of its start's event."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        async with engine.subscribe("c") as events:
            await engine.post("c", "hold")
            await gate.entered()
            (status,) = engine.channels()
            started = await first(events, TurnStarted)
        gate.open()
    assert (status.turn_started, status.turn_id) == (started.time, started.turn_id)
    assert (status.last_event, status.last_event_at) == ("TurnStarted", started.time)


async def test_a_suspended_channel_says_why(tmp_path: Path) -> None:
    """It stays in the list, with what waits in it."""
    driver = InstantDriver(lambda _: KeyError("a bug"))
    async with opened(plain_settings(tmp_path, max_attempts=10), driver=driver) as engine:
        await engine.post("c", "hello")
        await until(lambda: bool(engine.status().suspended))
        (status,) = engine.channels()
        assert (status.state, status.queued) == (ChannelState.SUSPENDED, 1)
        assert status.suspended == "KeyError: 'a bug'"
        assert engine.status().actor_restarts == 6


async def test_pages_follow_each_other_in_the_order_of_names(tmp_path: Path) -> None:
    """Each channel once, however it was brought; a page has at least one."""
    names = [f"c{number:02}" for number in range(25)]
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        for name in reversed(names):
            await engine.ask(name, "hello")
        pages, after = [], ""
        while page := engine.channels(after=after, limit=10):
            pages.append([each.channel for each in page])
            after = page[-1].channel
        assert pages == [names[:10], names[10:20], names[20:]]
        assert [each.channel for each in engine.channels(limit=None)] == names
        with pytest.raises(InvalidMessage, match="at least 1"):
            engine.channels(limit=0)


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_of_sessions_has_at_least_one(tmp_path: Path, limit: int) -> None:
    """The store would take a limit below for none at all."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        with pytest.raises(InvalidMessage, match="at least 1"):
            await engine.sessions(limit=limit)
        assert [each.channel for each in await engine.sessions(limit=1)] == ["c"]


async def test_only_live_channels_are_shown_and_nothing_is_kept_of_the_others(tmp_path: Path) -> None:
    """One that has left memory is known to the store alone."""
    async with opened(plain_settings(tmp_path, passivate_after=0.01), driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        await until(lambda: engine.status().live_channels == 0)
        assert engine.channels() == ()
        assert engine._services.hub.latest("c") is None
        assert [each.channel for each in await engine.sessions()] == ["c"]


async def test_a_channels_process_is_told_and_its_start_shows(tmp_path: Path) -> None:
    """While it starts, there is no process id to tell yet, or it has just got one; then there is."""
    settings = scripted_settings(tmp_path, variables={"SCRIPTED_CLI_FAULT": "slow-start 0.3"})
    async with scripted_engine(settings) as engine:
        await engine.post("c", "[[hold 0.2]] hello")
        await until(lambda: states(engine) == {"c": "starting"})
        await until(lambda: states(engine) == {"c": "running"})
        (status,) = engine.channels()
        assert status.pid == residents(engine)["c"]
        with trio.fail_after(10):
            await until(lambda: states(engine) == {"c": "idle"})
        await engine.clear("c")
        (status,) = engine.channels()
        assert (status.pid, status.memory, status.session_id) == (None, 0, None)


@pytest.mark.real_cli
async def test_a_real_clis_memory_is_told_once_it_was_measured(host: Host) -> None:
    """That of its process, in bytes."""
    async with host.engine() as engine:
        await engine.ask("c", "hello")
        driver = engine._services.driver
        assert isinstance(driver, Residency)
        await driver.memory.look()
        (status,) = engine.channels()
        assert status.memory > 20 * 2**20
        assert engine.status().resident_memory == status.memory
