"""Many channels and many messages at once, on the real CLI."""

from __future__ import annotations

import pytest
import trio
from conftest import Host, first, residents

from echo_actors.events import TextDelta
from echo_actors.models import Reply
from echo_actors.simulator.prices import cost_usd

pytestmark = pytest.mark.real_cli

CHANNELS, MESSAGES = 16, 4
PRICE = cost_usd("sonnet")


def _text(channel: int, message: int) -> str:
    return f"channel {channel} message {message}"


async def test_sixteen_channels_answer_four_messages_each_in_order_in_one_session_at_the_right_cost(
    host: Host,
) -> None:
    """All at once: nothing is lost, doubled, mixed up, miscounted or left running."""
    replies: dict[tuple[int, int], Reply] = {}
    order: dict[int, list[int]] = {channel: [] for channel in range(CHANNELS)}

    async with host.engine(within=60, total_timeout=60) as engine:

        async def wait(channel: int, message: int, message_id: str) -> None:
            outcome = await engine.outcome(message_id)
            assert outcome.reply is not None, outcome
            replies[channel, message] = outcome.reply
            order[channel].append(message)

        async with trio.open_nursery() as nursery:
            for message in range(MESSAGES):
                for channel in range(CHANNELS):
                    receipt = await engine.post(f"c{channel}", _text(channel, message))
                    nursery.start_soon(wait, channel, message, receipt.message_id)
        sessions = await engine.sessions()

    assert {key: reply.text for key, reply in replies.items()} == {
        (channel, message): f"echo: {_text(channel, message)}"
        for channel in range(CHANNELS)
        for message in range(MESSAGES)
    }
    assert all(seen == list(range(MESSAGES)) for seen in order.values())
    assert len(sessions) == CHANNELS
    assert sum(session.message_count for session in sessions) == CHANNELS * MESSAGES
    spent = sum(session.total_cost_usd for session in sessions)
    assert spent == pytest.approx(CHANNELS * MESSAGES * PRICE, abs=1e-9)
    assert spent == pytest.approx(host.model.cost_usd, abs=1e-9)
    for channel in range(CHANNELS):
        ids = {replies[channel, message].session_id for message in range(MESSAGES)}
        calls = [call for call in host.model.calls if call.session_id in ids]
        assert len(ids) == 1
        assert len(host.audit("process.spawned", channel=f"c{channel}")) == 1
        assert [(*call.history, call.user_text) for call in calls] == [
            tuple(_text(channel, earlier) for earlier in range(message + 1)) for message in range(MESSAGES)
        ]


async def test_a_message_during_a_turn_waits_and_starts_no_second_process(host: Host) -> None:
    """Two processes on one session would fork its history."""
    async with host.engine() as engine, engine.subscribe("c") as events:
        first_id = (await engine.post("c", "one [[stall 0.5]]")).message_id
        await first(events, TextDelta)
        receipt = await engine.post("c", "two")
        assert receipt.position == 1
        assert len(residents(engine)) == 1
        answered = await engine.outcome(receipt.message_id)
        assert len(residents(engine)) == 1
        assert (await engine.outcome(first_id)).reply is not None
        assert answered.reply is not None
        assert answered.reply.text == "echo: two"
    assert len(host.audit("process.spawned")) == 1
    assert host.asked("") == ["one [[stall 0.5]]", "two"]


async def test_a_message_of_300_kb_is_answered(host: Host) -> None:
    """It is longer than an argument of a program may be."""
    text = "0123456789 äöü " * 18_000
    assert len(text.encode()) > 300_000
    async with host.engine() as engine:
        await engine.ask("c", f"[[say taken]]{text}|")
    assert host.asked("") == [f"[[say taken]]{text}|"]


@pytest.mark.parametrize("channel", ["nul\0inside", "🦜 emoji", "two\nlines", "a/../../b", "--resume"])
async def test_any_text_can_name_a_channel(host: Host, channel: str) -> None:
    """The name reaches neither a path nor an argument in a way that could break either."""
    async with host.engine() as engine:
        before = await engine.ask(channel, "one")
        after = await engine.ask(channel, "two")
        session = await engine.session(channel)
    assert (before.text, after.text) == ("echo: one", "echo: two")
    assert session is not None
    assert (session.channel, session.session_id) == (channel, after.session_id)
    assert before.session_id == after.session_id
    assert host.audit("turn.ended", channel=channel)[-1]["outcome"] == "answered"
