"""A program that is asked to end: its running turns may end, what is cut or still waits runs at the next start."""

from __future__ import annotations

import signal
from collections import Counter
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from conftest import MakeSettings
from engine_program import Orders, portable, running, tidings, told
from support import asked, audit_records, left_running, new_id, scripted_engine, scripted_settings

from echo_actors import Settings
from echo_actors.models import OutcomeKind
from echo_actors.simulator.model import ModelServer
from echo_actors.state.records import StoredMessage
from echo_actors.state.sqlite import open_sqlite_store

CHANNEL = "chat:1"

Post = tuple[str, str, str]


def posts_of(*texts: str) -> list[Post]:
    """Messages with these texts."""
    return [(new_id(), CHANNEL, text) for text in texts]


async def ended_by_signal(settings: Settings, posts: list[Post], *, drain: float) -> None:
    """Run the program, and ask it to end once all is accepted and the first turn uses its tool."""
    with trio.fail_after(40):
        async with running(settings, Orders(settings=portable(settings), posts=posts, drain=drain)) as process:
            missing = Counter(ready=1, Accepted=len(posts), ToolStarted=1)
            async with aclosing(tidings(process)) as events:
                async for event in events:
                    missing[event["kind"]] -= 1
                    if max(missing.values()) <= 0:
                        break
            process.send_signal(signal.SIGTERM)
            await told(process, "drained")
            await told(process, "closed")
            assert await process.wait() == 0
    runs = {record["run"] for record in audit_records(settings)}
    assert not any(left_running(run_id) for run_id in runs)


async def stored(settings: Settings, posts: list[Post]) -> list[StoredMessage]:
    """The messages as the program left them."""
    async with open_sqlite_store(settings.state_dir, owner="test", now=lambda: datetime.now(UTC)) as store:
        found = [await store.message(message_id) for message_id, *_ in posts]
    return [each for each in found if each is not None]


async def answers(settings: Settings, posts: list[Post]) -> list[tuple[str, int]]:
    """What the messages are answered at the next start, and how many attempts each took."""
    async with scripted_engine(settings, seconds=40) as engine:
        outcomes = [await engine.outcome(message_id) for message_id, *_ in posts]
    return [(each.reply.text, each.attempts) for each in outcomes if each.reply is not None]


async def test_a_turn_that_ends_in_time_is_answered_and_nothing_else_begins(tmp_path: Path) -> None:
    """What waits keeps its place, unstarted, and runs in order at the next start."""
    settings = scripted_settings(tmp_path)
    posts = posts_of("first [[hold 0.5]]", "second", "third", "fourth")
    await ended_by_signal(settings, posts, drain=20)
    assert asked(tmp_path) == ["first [[hold 0.5]]"]
    first, *later = await stored(settings, posts)
    assert first.outcome is not None
    assert first.outcome.kind is OutcomeKind.ANSWERED
    assert [(each.outcome, each.attempts) for each in later] == [(None, 0)] * 3
    assert await answers(settings, posts) == [(f"echo: {text}", 1) for *_, text in posts]
    assert asked(tmp_path) == [text for *_, text in posts]


async def test_a_turn_that_outlasts_the_drain_is_cut_and_runs_again_before_what_waits(tmp_path: Path) -> None:
    """It has no outcome, and its attempt does not count."""
    settings = scripted_settings(tmp_path)
    posts = posts_of("first [[hold 2]]", "second", "third")
    await ended_by_signal(settings, posts, drain=0.1)
    assert [(each.outcome, each.attempts) for each in await stored(settings, posts)] == [(None, 0)] * 3
    assert not audit_records(settings, "turn.ended")
    assert await answers(settings, posts) == [(f"echo: {text}", 1) for *_, text in posts]
    assert asked(tmp_path) == ["first [[hold 2]]", "first [[hold 2]]", "second", "third"]


async def test_drains_never_make_a_message_a_dead_letter(tmp_path: Path) -> None:
    """However often a program is restarted, a message that it cut each time is still answered."""
    settings = scripted_settings(tmp_path, max_attempts=1)
    posts = posts_of("first [[hold 1.5]]")
    for run in range(2):
        await ended_by_signal(settings, [] if run else posts, drain=0.1)
    assert await answers(settings, posts) == [("echo: first [[hold 1.5]]", 1)]


async def test_a_turn_that_a_drain_cut_in_an_established_session_runs_again_in_it(tmp_path: Path) -> None:
    """The conversation is the same one before and after."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        session_id = (await engine.ask(CHANNEL, "before")).session_id
    posts = posts_of("cut [[hold 1.5]]")
    await ended_by_signal(settings, posts, drain=0.1)
    async with scripted_engine(settings) as engine:
        outcome = await engine.outcome(posts[0][0])
    assert outcome.reply is not None
    assert (outcome.reply.text, outcome.reply.session_id) == ("echo: cut [[hold 1.5]]", session_id)


@pytest.mark.real_cli
async def test_a_turn_of_the_real_cli_that_a_drain_cut_runs_again(
    real_settings: MakeSettings, model: ModelServer
) -> None:
    """The program ends with nothing left running, and the next one answers the message."""
    settings = real_settings(allowed_tools=("Bash",))
    text = 'work [[tool Bash {"command": "echo started; sleep 3; echo done"}]]'
    posts = posts_of(text, "after it")
    await ended_by_signal(settings, posts, drain=0.2)
    assert [(each.outcome, each.attempts) for each in await stored(settings, posts)] == [(None, 0)] * 2
    assert not audit_records(settings, "turn.ended")
    (first, _), (second, _) = await answers(settings, posts)
    assert "done" in first
    assert second == "echo: after it"
    assert model.by_text[text] >= 1
