"""A channel that begins with a copy of another's conversation."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from engine_program import killed
from support import Gate, audit_records, new_id, opened, plain_settings, scripted_engine, scripted_settings

from echo_actors import (
    CLIFailed,
    ConversationExists,
    Engine,
    EngineClosed,
    InvalidMessage,
    MailboxFull,
    NoConversation,
    SessionChanged,
    Settings,
    TranscriptMissing,
)
from echo_actors.claude.forking import fork
from echo_actors.claude.transcript import Transcript
from echo_actors.testing.instant_driver import InstantDriver


async def texts(engine: Engine, channel: str) -> list[str]:
    """What was said in a channel."""
    return [entry.text for entry in (await engine.history(channel)).entries]


def transcripts(settings: Settings) -> list[Path]:
    """All files beside the sessions that a CLI can resume, and those."""
    return sorted(Transcript.of("x", settings.working_dir, settings.environment).path.parent.iterdir())


async def test_a_fork_has_what_was_said_and_goes_its_own_way(tmp_path: Path) -> None:
    """Later turns of either are not in the other."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        await engine.ask("a", "one")
        await engine.fork("a", "b")
        await engine.ask("a", "two")
        reply = await engine.ask("b", "three")
        assert await texts(engine, "a") == ["one", "echo: one", "two", "echo: two"]
        assert await texts(engine, "b") == ["one", "echo: one", "three", "echo: three"]
        first, second = await engine.session("a"), await engine.session("b")
    assert first is not None
    assert second is not None
    assert reply.session_id == second.session_id != first.session_id


async def test_a_fork_takes_over_what_was_chosen_and_nothing_that_was_spent(tmp_path: Path) -> None:
    """Its first turn costs what a turn costs, although the original's session has a total."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        await engine.set_model("a", "opus")
        await engine.set_model("b", "haiku")
        for _ in range(3):
            await engine.ask("a", "x")
        await engine.fork("a", "b")
        origin, began = await engine.session("a"), await engine.session("b")
        reply = await engine.ask("b", "y")
        after = await engine.session("b")
    assert origin is not None
    assert began is not None
    assert after is not None
    assert (began.model, began.context_tokens) == ("opus", origin.context_tokens)
    assert (began.message_count, began.total_cost_usd, began.total_input_tokens, began.duration_ms) == (0, 0, 0, 0)
    assert began.created_at > origin.created_at
    assert reply.cost_usd == pytest.approx(origin.total_cost_usd / 3)
    assert after.message_count == 1
    assert after.total_cost_usd == pytest.approx(reply.cost_usd)


async def test_a_fork_has_the_size_of_mailbox_that_was_chosen_for_the_original(tmp_path: Path) -> None:
    """At once, although its actor lives since before."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        await engine.ask("a", "one")
        await engine.configure("a", mailbox_size=1)
        await engine.fork("a", "b")
        await engine.post("b", "hold")
        await gate.entered()
        await engine.post("b", "waits")
        with pytest.raises(MailboxFull):
            await engine.post("b", "one too many")
        gate.open()


async def test_a_fork_is_announced_and_recorded(tmp_path: Path) -> None:
    """To those who follow the new channel, and to the operator."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine, engine.subscribe("b") as events:
        await engine.ask("a", "one")
        await engine.fork("a", "b")
        event = await anext(events)
        session = await engine.session("b")
    assert session is not None
    assert isinstance(event, SessionChanged)
    assert (event.session_id, event.previous, event.reason) == (session.session_id, None, "forked from channel a")
    (record,) = audit_records(settings, "operator.fork")
    assert (record["channel"], record["forked"], record["session"]) == ("a", "b", session.session_id)


async def test_a_fork_waits_for_the_running_turn(tmp_path: Path) -> None:
    """And has its answer; messages for the new channel that come meanwhile run after it."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        await engine.ask("a", "one")
        await engine.post("a", "hold")
        await gate.entered()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.fork, "a", "b")
            await trio.testing.wait_all_tasks_blocked()
            assert await engine.session("b") is None
            gate.open()
        assert await texts(engine, "b") == ["one", "echo: one", "hold", "echo: hold"]


async def test_forks_of_two_channels_into_each_other_end(tmp_path: Path) -> None:
    """Neither waits for what the other holds."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        refused: list[str] = []

        async def try_to(channel: str, new_channel: str) -> None:
            try:
                await engine.fork(channel, new_channel)
            except NoConversation:
                refused.append(channel)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(try_to, "a", "b")
            nursery.start_soon(try_to, "b", "a")
    assert sorted(refused) == ["a", "b"]


async def test_two_forks_into_one_channel_are_one(tmp_path: Path) -> None:
    """The second finds a conversation."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("a", "one")
        refused: list[str] = []

        async def try_to() -> None:
            try:
                await engine.fork("a", "b")
            except ConversationExists as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(try_to)
            nursery.start_soon(try_to)
    assert len(refused) == 1
    assert "'b' has a conversation already" in refused[0]


async def test_a_fork_that_cannot_be_changes_nothing(tmp_path: Path) -> None:
    """Each reason has its error."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        with pytest.raises(NoConversation, match="'a' has no conversation"):
            await engine.fork("a", "b")
        await engine.ask("a", "one")
        for new_channel in ("a", ""):
            with pytest.raises(InvalidMessage):
                await engine.fork("a", new_channel)
        await engine.ask("b", "two")
        with pytest.raises(ConversationExists):
            await engine.fork("a", "b")
        assert await texts(engine, "b") == ["two", "echo: two"]
        await engine.clear("b")
        await engine.fork("a", "b")
        assert await texts(engine, "b") == ["one", "echo: one"]
        await engine.drain()
        with pytest.raises(EngineClosed):
            await engine.fork("a", "c")


async def test_a_conversation_that_is_gone_or_cannot_be_copied_is_said(tmp_path: Path) -> None:
    """The new channel has none then."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        reply = await engine.ask("a", "one")
        path = Transcript.of(reply.session_id, settings.working_dir, settings.environment).path
        path.rename(path.with_suffix(".away"))
        with pytest.raises(TranscriptMissing, match=reply.session_id):
            await engine.fork("a", "b")
        path.mkdir()
        with pytest.raises(CLIFailed, match="cannot be copied"):
            await engine.fork("a", "b")
        assert await engine.session("b") is None
    assert len(transcripts(settings)) == 2


async def test_a_prewarmed_process_of_the_new_channel_gives_way(tmp_path: Path) -> None:
    """It was for another session; the next turn has the copy."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        await engine.ask("a", "one")
        assert await engine.prewarm("b")
        await engine.fork("a", "b")
        await engine.ask("b", "two")
        assert await texts(engine, "b") == ["one", "echo: one", "two", "echo: two"]


@pytest.mark.parametrize("point", ["copying", "copied", "forked"])
async def test_no_half_of_a_fork_is_left_wherever_the_program_is_killed(tmp_path: Path, point: str) -> None:
    """The new channel has all of it, or nothing and can be forked into again."""
    settings = scripted_settings(tmp_path)
    await killed(settings, (new_id(), "a", "one"), at=point, fork=("a", "b"))
    async with scripted_engine(settings) as engine:
        if point == "forked":
            with pytest.raises(ConversationExists):
                await engine.fork("a", "b")
        else:
            assert await engine.session("b") is None
            await engine.fork("a", "b")
        await engine.ask("b", "two")
        await engine.ask("a", "three")
        assert await texts(engine, "b") == ["one", "echo: one", "two", "echo: two"]
        assert await texts(engine, "a") == ["one", "echo: one", "three", "echo: three"]


def test_a_copy_has_the_conversation_and_no_more(tmp_path: Path) -> None:
    """Under its own session; not the cost, nor what cannot be read; what only a CLI can read, too."""
    lines = [
        b'{"type":"user","uuid":"a","sessionId":"s","big":123456789012345678901234567890,"x":1.50}',
        b'{"type":"assistant","uuid":"b","parentUuid":"a","sessionId":"s","message":{"sessionId":"s","t":"\\ud83d"}}',
        b'{"type":"cost-state","uuid":"e","sessionId":"s","totalCostUSD":1}',
        b'{"type":"queue-operation","sessionId":"s"}',
        b"damaged",
        b'{"type":"system","uuid":"c","sessionId":"s"}',
        b'{"type":"content-replacement","sessionId":"s"}',
        b'{"type":"user","uuid":"torn',
    ]
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"\n".join(lines))
    copy_id = fork(Transcript(path))
    copied = (tmp_path / f"{copy_id}.jsonl").read_bytes().splitlines()
    wanted = [json.loads(line) | {"sessionId": copy_id} for line in (*lines[:2], *lines[5:7])]
    assert [json.loads(line) for line in copied] == wanted
    assert str(uuid.UUID(copy_id)) == copy_id
    assert path.read_bytes() == b"\n".join(lines)
    assert (tmp_path / f"{copy_id}.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """No file that a CLI or a person could take for a conversation."""
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"type":"user"}\n')
    (tmp_path / "taken.jsonl").mkdir()
    with pytest.raises(OSError, match="taken"):
        fork(Transcript(path), lambda: "taken")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["s.jsonl", "taken.jsonl"]


async def test_a_forked_snapshot_keeps_what_it_does_not_know_of(tmp_path: Path) -> None:
    """Whatever else is chosen for a channel holds in the fork: only what was spent is named, and set to nothing."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("a", "one")
        await engine.fork("a", "b")
        origin, copy = await engine.session("a"), await engine.session("b")
    assert origin is not None
    assert copy is not None
    kept = {"model", "working_dir", "persona_hash", "context_tokens"}
    same = {
        field.name for field in attrs.fields(type(copy)) if getattr(origin, field.name) == getattr(copy, field.name)
    }
    assert kept <= same
