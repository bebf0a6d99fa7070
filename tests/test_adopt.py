"""A channel that goes on in a session which was begun elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from support import Gate, audit_records, new_id, opened, plain_settings

from echo_actors import Event, InvalidMessage, SessionChanged
from echo_actors.testing.instant_driver import InstantDriver


async def until_reason(events: AsyncIterator[Event], reason: str) -> AsyncIterator[SessionChanged]:
    """The changes of the session up to the one for this reason."""
    async for event in events:
        if isinstance(event, SessionChanged):
            yield event
            if event.reason == reason:
                return


async def test_the_next_turn_runs_in_the_adopted_session(tmp_path: Path) -> None:
    """As one that had turns before; the store has it at once, also for the next run of the program."""
    settings, session_id = plain_settings(tmp_path), new_id()
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.adopt("c", session_id)
    driver = InstantDriver()
    async with opened(settings, driver=driver) as engine:
        stored = await engine.session("c")
        reply = await engine.ask("c", "hello")
    assert stored is not None
    assert stored.session_id == reply.session_id == session_id
    assert [(each.session_id, each.established) for each in driver.requests] == [(session_id, True)]
    assert [each["session"] for each in audit_records(settings, "operator.adopt")] == [session_id]


async def test_a_running_turn_ends_in_the_session_it_began_in(tmp_path: Path) -> None:
    """What waits behind it runs in the adopted one."""
    gate, session_id = Gate(), new_id()
    driver = InstantDriver(gate)
    async with opened(plain_settings(tmp_path), driver=driver) as engine, trio.open_nursery() as nursery:
        running = await engine.post("c", "hold")
        await gate.entered()
        nursery.start_soon(engine.adopt, "c", session_id)
        await trio.testing.wait_all_tasks_blocked()
        waiting = await engine.post("c", "next")
        gate.open()
        before, after = await engine.outcome(running.message_id), await engine.outcome(waiting.message_id)
    assert before.reply is not None
    assert after.reply is not None
    assert before.reply.session_id != after.reply.session_id == session_id


async def test_what_the_session_before_took_is_not_counted_for_the_adopted_one(tmp_path: Path) -> None:
    """What was chosen for the channel stays; the change says what it was."""
    session_id = new_id()
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine, engine.subscribe("c") as events:
        before = await engine.ask("c", "hello")
        await engine.set_model("c", "opus")
        await engine.adopt("c", session_id)
        stored = await engine.session("c")
        changes = [event async for event in until_reason(events, "adopted")]
    assert stored is not None
    assert (stored.message_count, stored.total_cost_usd, stored.model) == (0, 0.0, "opus")
    assert (changes[-1].previous, changes[-1].session_id) == (before.session_id, session_id)


@pytest.mark.parametrize("session_id", ["", "../x", "x" * 36, "5F7C1E0A-7A9F-4F8E-9A43-1F7A5A6C0D11"])
async def test_what_can_be_no_session_is_refused(tmp_path: Path, session_id: str) -> None:
    """It would become an argument of the CLI and the name of a file."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        with pytest.raises(InvalidMessage, match="a session's id is a UUID"):
            await engine.adopt("c", session_id)
        assert await engine.session("c") is None
