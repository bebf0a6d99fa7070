"""A channel's conversation over models, clearing, restarts, hibernation and personas, on the real CLI."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import trio
from conftest import Host, eventually, first, residents

from echo_actors.claude.transcript import Transcript
from echo_actors.events import SessionChanged, TextDelta
from echo_actors.simulator.prices import cost_usd

pytestmark = pytest.mark.real_cli


async def test_a_chosen_model_holds_from_the_next_turn_on_in_the_same_process(host: Host) -> None:
    """The running turn keeps its model; the warm process and the session stay."""
    async with host.engine() as engine, trio.open_nursery() as nursery, engine.subscribe("c") as events:
        receipt = await engine.post("c", "one [[stall 0.3]]")
        await first(events, TextDelta)
        nursery.start_soon(engine.set_model, "c", "opus")
        running = (await engine.outcome(receipt.message_id)).reply
        await first(events, SessionChanged)
        after = await engine.ask("c", "two")
    assert running is not None
    assert [_family(call.model) for call in host.model.calls] == ["sonnet", "opus"]
    assert after.session_id == running.session_id
    assert after.cost_usd == pytest.approx(cost_usd("opus"), abs=1e-9)
    assert len(host.audit("process.spawned")) == 1


async def test_a_chosen_model_holds_after_a_restart(host: Host) -> None:
    """Whether or not a turn came between the choice and the end of the program."""
    async with host.engine() as engine:
        await engine.ask("c", "one")
        await engine.set_model("c", "haiku")
        await engine.set_model("new", "opus")
    async with host.engine() as engine:
        await engine.ask("c", "two")
        await engine.ask("new", "three")
    assert [_family(call.model) for call in host.model.calls] == ["sonnet", "haiku", "opus"]


async def test_clearing_gives_a_new_session_without_history(host: Host) -> None:
    """The old process goes; the counts begin again; the chosen model stays."""
    async with host.engine() as engine:
        await engine.set_model("c", "opus")
        before = await engine.ask("c", "one")
        assert await engine.clear("c")
        assert await engine.session("c") is None
        after = await engine.ask("c", "two")
        session = await engine.session("c")
        assert len(residents(engine)) == 1
    assert session is not None
    assert after.session_id != before.session_id
    assert (session.session_id, session.message_count) == (after.session_id, 1)
    assert session.total_cost_usd == pytest.approx(cost_usd("opus"), abs=1e-9)
    assert [(_family(call.model), call.history) for call in host.model.calls] == [("opus", ()), ("opus", ())]


async def test_a_restarted_program_goes_on_in_the_same_session(host: Host) -> None:
    """With its history, and its counts added up rightly over the two."""
    async with host.engine() as engine:
        before = await engine.ask("c", "one")
        await engine.ask("c", "two")
    async with host.engine() as engine:
        after = await engine.ask("c", "three")
        session = await engine.session("c")
    assert session is not None
    assert after.session_id == before.session_id == session.session_id
    assert host.model.calls[-1].history == ("one", "two")
    assert session.message_count == 3
    assert session.total_cost_usd == pytest.approx(host.model.cost_usd, abs=1e-9)


async def test_a_hibernated_channel_wakes_in_the_same_session(host: Host) -> None:
    """Its old process is really gone before the new one starts, however soon the next message comes."""
    async with host.engine(hibernate_after=0.1) as engine:
        before = await engine.ask("c", "one")
        await eventually(lambda: not residents(engine))
        after = await engine.ask("c", "two")
        session = await engine.session("c")
    assert session is not None
    assert after.session_id == before.session_id
    assert host.model.calls[-1].history == ("one",)
    assert session.total_cost_usd == pytest.approx(host.model.cost_usd, abs=1e-9)
    spawned, stopped = host.audit("process.spawned"), host.audit("process.stopped")
    assert [record["resumed"] for record in spawned] == [False, True]
    assert stopped[0]["reason"] == "hibernated: idle"
    assert stopped[0]["seq"] < spawned[1]["seq"]


async def test_two_channels_share_the_room_of_one_process(host: Host) -> None:
    """The idle one hibernates for the other; each goes on in its own session, never with two processes at once."""
    async with host.engine(max_residents=1, turn_slots=1) as engine:
        for text in ("one", "two"):
            for channel in ("a", "b"):
                assert (await engine.ask(channel, f"{channel} {text}")).text == f"echo: {channel} {text}"
                assert list(residents(engine)) == [channel]
    assert [call.history for call in host.model.calls] == [(), (), ("a one",), ("b one",)]


async def test_one_process_per_message_keeps_the_history(host: Host) -> None:
    """Without warm processes each message has its own, in the same session."""
    async with host.engine(warm=False) as engine:
        before = await engine.ask("c", "one")
        assert not residents(engine)
        after = await engine.ask("c", "two")
        session = await engine.session("c")
    assert session is not None
    assert after.session_id == before.session_id
    assert host.model.calls[-1].history == ("one",)
    assert session.total_cost_usd == pytest.approx(host.model.cost_usd, abs=1e-9)
    assert len(host.audit("process.spawned")) == 2


async def test_a_lost_transcript_begins_a_new_session_and_says_so(host: Host) -> None:
    """The message is answered all the same."""
    async with host.engine() as engine:
        before = await engine.ask("c", "one")
    Transcript.of(before.session_id, host.work, {"HOME": str(host.home)}).path.unlink()
    async with host.engine() as engine, engine.subscribe("c") as events:
        after = await engine.ask("c", "two")
        lost = await first(events, SessionChanged)
    assert after.text == "echo: two"
    assert after.session_id != before.session_id
    assert isinstance(lost, SessionChanged)
    assert lost.previous == before.session_id
    assert "lost" in lost.reason


async def test_a_message_id_used_again_gives_the_first_outcome_and_asks_the_model_once(host: Host) -> None:
    """While the first is running, after its end, and after a restart of the program."""
    key = uuid.uuid4()
    texts = []
    async with host.engine() as engine:

        async def ask() -> None:
            texts.append((await engine.ask("c", "one [[stall 0.3]]", message_id=key)).text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
        await ask()
        outcome = await engine.outcome(key)
    async with host.engine() as engine:
        await ask()
        assert await engine.outcome(key) == outcome
        session = await engine.session("c")
    assert texts == ["echo: one [[stall 0.3]]"] * 4
    assert session is not None
    assert session.message_count == 1
    assert host.model.by_text == {"one [[stall 0.3]]": 1}


async def test_a_changed_persona_holds_from_the_next_process_on_and_is_announced(host: Host, tmp_path: Path) -> None:
    """The model gets exactly the persona's prompt; the conversation goes on under the new one."""
    persona = tmp_path / "persona"
    persona.mkdir()
    (persona / "IDENTITY.md").write_text("You are the first persona.")
    async with host.engine(personality_dir=persona) as engine:
        before = await engine.ask("c", "one")
    (persona / "IDENTITY.md").write_text("You are the second persona.")
    async with host.engine(personality_dir=persona) as engine, engine.subscribe("c") as events:
        after = await engine.ask("c", "two")
        changed = await first(events, SessionChanged)
        await engine.ask("c", "three")
    assert after.session_id == before.session_id
    assert isinstance(changed, SessionChanged)
    assert "persona" in changed.reason
    systems = [call.system for call in host.model.calls]
    assert ["first persona" in system for system in systems] == [True, False, False]
    assert ["second persona" in system for system in systems] == [False, True, True]
    assert "[fence NONCE" in systems[0]
    assert host.model.calls[-1].history == ("one", "two")
    assert len(host.audit("session.changed", reason="persona changed")) == 1


def _family(model: str) -> str:
    return next(family for family in ("haiku", "sonnet", "opus") if family in model)
