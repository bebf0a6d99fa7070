"""Crashes: whatever moment a program is killed at, each accepted message has exactly one outcome."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
import trio
from conftest import MakeSettings
from engine_program import Orders, killed, portable, running, told
from support import (
    Gate,
    asked,
    audit_records,
    left_running,
    new_id,
    plain_settings,
    scripted_engine,
    scripted_settings,
    until,
)

from bench.crash import Place, Plan, Run, result_of
from echo_actors import Engine, MailboxFull, Settings, open_engine
from echo_actors.audit import verify
from echo_actors.claude.process_tree import marked
from echo_actors.claude.transcript import Transcript
from echo_actors.events import SessionChanged, TurnEnded
from echo_actors.models import OutcomeKind, Reply
from echo_actors.simulator.model import ModelServer
from echo_actors.state.records import StoredMessage
from echo_actors.state.sqlite import SQLiteStore, open_sqlite_store
from echo_actors.testing.instant_driver import InstantDriver

CHANNEL = "chat:1"
WORKING = "go on [[hold 1.5]]"
"""A message whose turn uses a tool, so that the program can be killed within it; its CLI is reaped before its end."""

POINTS_ASKED_ATTEMPTS = [("accepted", 1, 1), ("started", 1, 2), ("working", 2, 2), ("unstored", 1, 1), ("ended", 1, 1)]
"""Where the program is killed, how often the model is asked in the end, and how often the message was started."""


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[SQLiteStore]:
    """The store as the program left it."""
    async with open_sqlite_store(settings.state_dir, owner="test", now=lambda: datetime.now(UTC)) as store:
        yield store


async def stored(settings: Settings, message_id: str) -> StoredMessage:
    """A message as the program left it."""
    async with opened_store(settings) as store:
        message = await store.message(message_id)
    assert message is not None
    return message


async def answer_of(engine: Engine, message_id: str) -> Reply:
    """The reply that a message was answered by."""
    outcome = await engine.outcome(message_id)
    assert outcome.kind is OutcomeKind.ANSWERED, outcome
    assert outcome.reply is not None
    return outcome.reply


def sessions_asked(tmp_path: Path) -> list[str]:
    """The sessions in which the scripted CLI's model was asked, in order."""
    return [orjson.loads(line)["session_id"] for line in (tmp_path / "asked").read_bytes().splitlines()]


def transcript_of(settings: Settings, session_id: str) -> Path:
    """Where the CLI keeps a session."""
    return Transcript.of(session_id, settings.working_dir, settings.environment).path


def homed(settings: Settings) -> set[Any]:
    """Everything that runs and was started with the test's home directory."""
    return set(marked({"HOME": settings.environment["HOME"]}))


# -- killed at a named point


@pytest.mark.parametrize(("point", "times_asked", "attempts"), POINTS_ASKED_ATTEMPTS)
async def test_a_message_has_one_outcome_wherever_the_program_is_killed(
    tmp_path: Path, point: str, times_asked: int, attempts: int
) -> None:
    """The model is asked again only where nobody can know what it had answered."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    text = WORKING if point == "working" else "go on"
    await killed(settings, (message_id, CHANNEL, text), at=point)
    async with scripted_engine(settings) as engine:
        reply = await answer_of(engine, message_id)
        snapshot = await engine.session(CHANNEL)
    outcome = (await stored(settings, message_id)).outcome
    assert outcome is not None
    assert (reply.text, outcome.attempts) == (f"echo: {text}", attempts)
    assert asked(tmp_path) == [text] * times_asked
    assert snapshot is not None
    assert (snapshot.session_id, snapshot.message_count) == (reply.session_id, 1)
    assert sum(record["message"] == message_id for record in audit_records(settings, "turn.ended")) <= 1
    assert verify([settings.audit_file]).ok


@pytest.mark.parametrize(("point", "times_asked", "attempts"), POINTS_ASKED_ATTEMPTS)
async def test_a_message_after_others_has_one_outcome_wherever_the_program_is_killed(
    tmp_path: Path, point: str, times_asked: int, attempts: int
) -> None:
    """In a session that is established, recovery resumes it, and counts each answer once."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    text = WORKING if point == "working" else "go on"
    posts = [(new_id(), CHANNEL, "before"), (message_id, CHANNEL, text)]
    await killed(settings, *posts, at=point, nth=1 if point == "working" else 2)
    async with scripted_engine(settings) as engine:
        before, reply = await answer_of(engine, posts[0][0]), await answer_of(engine, message_id)
        outcome = await engine.outcome(message_id)
        snapshot = await engine.session(CHANNEL)
    assert (reply.text, outcome.attempts) == (f"echo: {text}", attempts)
    assert asked(tmp_path) == ["before", *[text] * times_asked]
    assert reply.session_id == before.session_id
    assert snapshot is not None
    assert snapshot.message_count == 2


async def test_an_answer_that_was_not_stored_is_read_from_the_transcript_of_an_old_cli_too(tmp_path: Path) -> None:
    """A CLI that knows no uuids of finished messages would answer a second time; it is not asked."""
    settings, message_id = scripted_settings(tmp_path, variables={"SCRIPTED_CLI_VERSION": "1.0.0"}), new_id()
    await killed(settings, (message_id, CHANNEL, "once"), at="unstored")
    async with scripted_engine(settings) as engine:
        assert (await answer_of(engine, message_id)).text == "echo: once"
    assert asked(tmp_path) == ["once"]


async def test_what_the_cli_says_in_the_models_place_is_no_answer(tmp_path: Path) -> None:
    """On resuming a session whose last message has no answer, the real CLI notes that no response was requested."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    await killed(settings, (message_id, CHANNEL, WORKING), at="working")
    session_id = (await stored(settings, message_id)).session_id
    assert session_id is not None
    said = {"model": "<synthetic>", "stop_reason": "stop_sequence", "content": [{"type": "text", "text": "Nothing."}]}
    with transcript_of(settings, session_id).open("ab") as transcript:
        transcript.write(orjson.dumps({"type": "assistant", "uuid": new_id(), "message": said}) + b"\n")
    async with scripted_engine(settings) as engine:
        assert (await answer_of(engine, message_id)).text == f"echo: {WORKING}"


async def test_a_first_turn_that_was_cut_goes_on_in_the_session_that_it_began(tmp_path: Path) -> None:
    """The session's id is kept before the turn starts."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    await killed(settings, (message_id, CHANNEL, WORKING), at="working")
    began = (await stored(settings, message_id)).session_id
    async with scripted_engine(settings) as engine:
        assert (await answer_of(engine, message_id)).session_id == began
    assert sessions_asked(tmp_path) == [began, began]


async def test_a_session_whose_transcript_is_gone_gives_way_to_a_fresh_one_once(tmp_path: Path) -> None:
    """The loss is announced, and the message that was cut is answered all the same."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    posts = [(new_id(), CHANNEL, "before"), (message_id, CHANNEL, WORKING)]
    await killed(settings, *posts, at="working")
    old = (await stored(settings, message_id)).session_id
    assert old is not None
    transcript_of(settings, old).unlink()
    async with scripted_engine(settings) as engine, engine.subscribe(CHANNEL, since="") as events:
        reply = await answer_of(engine, message_id)
        engine._services.hub.close()
        changes = [event async for event in events if isinstance(event, SessionChanged)]
    assert reply.session_id != old
    assert [(each.session_id, each.previous) for each in changes] == [(None, old), (reply.session_id, None)]
    assert "lost" in changes[0].reason
    assert asked(tmp_path) == ["before", WORKING, WORKING]


async def test_a_transcript_that_is_gone_after_a_first_turn_was_cut_is_no_loss(tmp_path: Path) -> None:
    """Nothing was said in that session yet: it simply begins."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    await killed(settings, (message_id, CHANNEL, WORKING), at="working")
    began = (await stored(settings, message_id)).session_id
    assert began is not None
    transcript_of(settings, began).unlink()
    async with scripted_engine(settings) as engine:
        assert (await answer_of(engine, message_id)).text == f"echo: {WORKING}"
    assert not [each for each in audit_records(settings, "session.changed") if "lost" in each["reason"]]


async def test_a_message_that_was_cut_too_often_becomes_a_dead_letter(tmp_path: Path) -> None:
    """Starts are counted over all lives of the program, and the end is announced and listed."""
    settings, message_id, text = scripted_settings(tmp_path, max_attempts=2), new_id(), "poison [[tool-sleep 987]]"
    await killed(settings, (message_id, CHANNEL, text), at="working")
    await killed(settings, at="working")
    async with scripted_engine(settings) as engine, engine.subscribe(CHANNEL, since="") as events:
        outcome = await engine.outcome(message_id)
        engine._services.hub.close()
        ends = [event.outcome async for event in events if isinstance(event, TurnEnded)]
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.DEAD_LETTERED, 2)
    assert ends == [outcome]
    assert asked(tmp_path) == [text, text]
    async with opened_store(settings) as store:
        assert [each.message.message_id for each in await store.dead_letters()] == [message_id]


async def test_an_answer_that_came_in_the_last_attempt_is_no_dead_letter(tmp_path: Path) -> None:
    """The transcript is asked before the attempts are counted."""
    settings, message_id = scripted_settings(tmp_path, max_attempts=1), new_id()
    await killed(settings, (message_id, CHANNEL, "just in time"), at="unstored")
    async with scripted_engine(settings) as engine:
        assert (await answer_of(engine, message_id)).text == "echo: just in time"
    assert asked(tmp_path) == ["just in time"]


async def test_an_id_that_was_accepted_before_the_kill_is_not_accepted_again(tmp_path: Path) -> None:
    """The caller that never heard the answer may ask again: it gets the first outcome."""
    settings, ended, waiting = scripted_settings(tmp_path), new_id(), new_id()
    await killed(settings, (ended, CHANNEL, "first"), (waiting, CHANNEL, "second"), at="ended")
    async with scripted_engine(settings) as engine:
        receipts = [await engine.post(CHANNEL, "again", message_id=each) for each in (ended, waiting)]
        replies = [(await engine.ask(CHANNEL, "again", message_id=each)).text for each in (ended, waiting)]
    assert [each.sequence for each in receipts] == [1, 2]
    assert replies == ["echo: first", "echo: second"]
    assert asked(tmp_path) == ["first", "second"]


async def test_messages_that_shared_a_turn_are_answered_from_it_after_a_kill(tmp_path: Path) -> None:
    """The answer that was not stored is the answer to all of them."""
    settings = scripted_settings(tmp_path)
    posts = [(new_id(), CHANNEL, text) for text in ("first [[hold 0.5]]", "alpha", "beta")]
    await killed(settings, *posts, at="unstored", nth=2, busy="collect")
    async with scripted_engine(settings) as engine:
        replies = [(await answer_of(engine, message_id)).text for message_id, *_ in posts]
    assert replies == ["echo: first [[hold 0.5]]", *["echo: alpha\n\nbeta"] * 2]
    assert asked(tmp_path) == ["first [[hold 0.5]]", "alpha\n\nbeta"]


async def test_messages_that_shared_a_turn_which_was_cut_are_all_answered(tmp_path: Path) -> None:
    """None is given an answer to what it did not say."""
    settings = scripted_settings(tmp_path)
    posts = [(new_id(), CHANNEL, text) for text in ("first [[hold 0.5]]", f"alpha {WORKING}", "beta")]
    await killed(settings, *posts, at="working", nth=2, busy="collect")
    async with scripted_engine(settings) as engine:
        alpha, beta = [(await answer_of(engine, message_id)).text for message_id, *_ in posts[1:]]
    assert "alpha" in alpha
    assert "beta" in beta


@pytest.mark.parametrize("point", ["unstored", "ended"])
async def test_a_message_that_joined_a_running_turn_is_answered_after_a_kill(tmp_path: Path, point: str) -> None:
    """Each gets an answer to what it said itself, and both are ended."""
    settings = scripted_settings(tmp_path)
    posts = [(new_id(), CHANNEL, "first [[hold 0.7]]"), (new_id(), CHANNEL, "joining")]
    await killed(settings, *posts, at=point, busy="steer")
    async with scripted_engine(settings) as engine:
        first, joining = [(await answer_of(engine, message_id)).text for message_id, *_ in posts]
        assert (await engine.ask(CHANNEL, "after")).text == "echo: after"
    assert "first" in first
    assert "joining" in joining
    assert asked(tmp_path)[:2] == ["first [[hold 0.7]]", "joining"]


async def test_a_message_that_had_begun_before_its_deadline_does_not_expire_while_the_program_is_down(
    tmp_path: Path,
) -> None:
    """A deadline is for the beginning; the answer that was not stored is still an answer."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    await killed(settings, (message_id, CHANNEL, "in time"), at="unstored", deadline=1.0)
    deadline = (await stored(settings, message_id)).message.deadline
    assert deadline is not None
    await until(lambda: datetime.now(UTC) > deadline)
    async with scripted_engine(settings) as engine:
        assert (await answer_of(engine, message_id)).text == "echo: in time"


async def test_a_message_that_waited_past_its_deadline_while_the_program_was_down_expires(tmp_path: Path) -> None:
    """It is told so, and not run."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    await killed(settings, (message_id, CHANNEL, "too late"), at="accepted", deadline=0.001)
    async with scripted_engine(settings) as engine:
        assert (await engine.outcome(message_id)).kind is OutcomeKind.EXPIRED
    assert asked(tmp_path) == []


# -- on a spare


@pytest.mark.parametrize(("point", "times_asked", "attempts"), POINTS_ASKED_ATTEMPTS)
async def test_a_first_message_on_a_spare_has_one_outcome_wherever_the_program_is_killed(
    tmp_path: Path, point: str, times_asked: int, attempts: int
) -> None:
    """The spare's session was stored as the message's before it got the message."""
    settings, message_id = scripted_settings(tmp_path, spares=1), new_id()
    text = WORKING if point == "working" else "go on"
    await killed(settings, (message_id, CHANNEL, text), at=point)
    spare = audit_records(settings, "process.spawned")[0]["session"]
    async with scripted_engine(settings) as engine:
        reply, outcome = await answer_of(engine, message_id), await engine.outcome(message_id)
    assert (reply.text, outcome.attempts) == (f"echo: {text}", attempts)
    assert asked(tmp_path) == [text] * times_asked
    assert reply.session_id == spare or point == "accepted"
    assert sum(each["message"] == message_id for each in audit_records(settings, "turn.ended")) <= 1


# -- backlog


async def test_a_backlog_larger_than_the_mailbox_runs_completely_and_in_order(tmp_path: Path) -> None:
    """The mailbox is a window on it."""
    settings = scripted_settings(tmp_path, mailbox_size=10)
    posts = [(new_id(), CHANNEL, f"message {number}") for number in range(500)]
    await killed(attrs.evolve(settings, mailbox_size=1000), *posts, at="accepted", nth=len(posts), stuck=True)
    async with scripted_engine(settings) as engine:
        replies = [(await answer_of(engine, message_id)).text for message_id, *_ in posts]
    assert replies == [f"echo: {text}" for *_, text in posts]
    assert asked(tmp_path) == [text for *_, text in posts]


async def test_nothing_new_is_accepted_behind_a_backlog_until_there_is_room(tmp_path: Path) -> None:
    """So order holds, and the refusal tells the depth of all that waits."""
    settings, gate = plain_settings(tmp_path, mailbox_size=10), Gate()
    posts = [(new_id(), CHANNEL, f"hold {number}") for number in range(50)]
    await killed(attrs.evolve(settings, mailbox_size=1000), *posts, at="accepted", nth=len(posts), stuck=True)
    driver = InstantDriver(gate)
    with trio.fail_after(30):
        async with open_engine(settings, driver=driver) as engine:
            await gate.entered()
            with pytest.raises(MailboxFull) as refused:
                await engine.post(CHANNEL, "hold new")
            assert (refused.value.depth, refused.value.limit) == (49, 10)
            gate.open()
            await answer_of(engine, posts[-1][0])
            assert (await engine.ask(CHANNEL, "hold new")).text == "echo: hold new"
    assert [each.content for each in driver.requests] == [*(text for *_, text in posts), "hold new"]


# -- what was left running


async def test_what_a_killed_program_left_running_is_ended_at_the_next_start(tmp_path: Path) -> None:
    """A tool in a session of its own and a double-forked one survive the kill, and not the start after it."""
    text = "leave it [[double-fork]] [[tool-sleep 987]]"
    settings = scripted_settings(tmp_path)
    await killed(settings, (new_id(), CHANNEL, text), at="working")
    left = homed(settings)
    assert len(left) >= 2
    with trio.fail_after(30):
        async with open_engine(settings) as engine:
            assert not [each for each in left if each.alive()]
            run_id = engine.status().run_id
            await engine.drain(0)
    assert left_running(run_id) == set()
    assert homed(settings) == set()
    assert audit_records(settings, "run.reaped")[0]["processes"] == len(left)


# -- a copy of the files


async def test_a_copy_of_the_files_has_every_message_that_was_accepted_before_it(tmp_path: Path) -> None:
    """The program is stopped at any moment, its files are copied, and it goes on."""
    settings = attrs.evolve(plain_settings(tmp_path), mailbox_size=10_000)
    posts = [(new_id(), f"chat:{number % 20}", f"message {number}") for number in range(4000)]
    accepted = 0
    async with running(settings, Orders(settings=portable(settings), posts=posts, stuck=True)) as process:
        for copy in range(5):
            for _ in range(40 + 23 * copy):
                await told(process, "Accepted")
                accepted += 1
            process.send_signal(signal.SIGSTOP)
            state = tmp_path / f"copy{copy}"
            await trio.run_process(["cp", "-a", str(settings.state_dir), str(state)])
            process.send_signal(signal.SIGCONT)
            async with open_sqlite_store(state, owner="test", now=lambda: datetime.now(UTC)) as store:
                assert store.set_aside is None
                found = [await store.message(message_id) for message_id, *_ in posts[:accepted]]
                assert None not in found
            assert verify([state / "audit.jsonl"]).first_bad is None
        assert process.poll() is None


async def test_an_engine_on_a_copy_leaves_what_the_original_runs_alone(tmp_path: Path) -> None:
    """The copy names the run as unfinished, but its program is alive."""
    settings = scripted_settings(tmp_path)
    posts = [(new_id(), CHANNEL, "working [[tool-sleep 987]]")]
    with trio.fail_after(30):
        async with running(settings, Orders(settings=portable(settings), posts=posts)) as process:
            await told(process, "ToolStarted")
            runs = homed(settings)
            copy = attrs.evolve(settings, state_dir=tmp_path / "copy")
            await trio.run_process(["cp", "-a", str(settings.state_dir), str(copy.state_dir)])
            async with open_engine(copy, driver=InstantDriver()) as engine:
                await answer_of(engine, posts[0][0])
            assert len(runs) >= 2
            assert all(each.alive() for each in runs)
        async with open_engine(settings, driver=InstantDriver()):
            assert homed(settings) == set()


# -- the audit log


async def test_a_line_of_the_audit_log_that_was_torn_is_accounted_for(tmp_path: Path) -> None:
    """The log of the next run goes on after it, and proves both."""
    settings = scripted_settings(tmp_path)
    await killed(settings, (new_id(), CHANNEL, "hello"), at="ended")
    with settings.audit_file.open("r+b") as log:
        log.truncate(settings.audit_file.stat().st_size - 20)
    async with scripted_engine(settings) as engine:
        await engine.ask(CHANNEL, "again")
    verdict = verify([settings.audit_file])
    assert verdict.ok
    assert verdict.torn == 1


# -- at random moments


async def crashed(plan: Plan, directory: Path) -> dict[str, list[str]]:
    """Kill the benchmark's program at random moments; what contradicts the engine's promises."""
    run = Run(plan, Place(directory), lambda _: None)
    evidence = await run.go()
    assert run.kills == plan.kills
    assert evidence.counts()["answered"] == len(evidence.plan)
    assert all(check.passed for check in result_of(plan, run.kills, evidence).checks) == (
        not any(evidence.problems().values())
    )
    return {name: found for name, found in evidence.problems().items() if found}


async def test_no_promise_is_broken_by_kills_at_random_moments(tmp_path: Path) -> None:
    """Outcomes, order, snapshots, sessions, the audit log and the processes, after five kills."""
    plan = Plan(kills=5, channels=8, cli="scripted", seed=5, longest=0.8, share=12, slowest=0.05)
    assert await crashed(plan, tmp_path) == {}


@pytest.mark.real_cli
async def test_no_promise_of_the_real_cli_is_broken_by_kills_at_random_moments(tmp_path: Path) -> None:
    """The same with the real program, after two kills."""
    plan = Plan(kills=2, channels=2, cli="real", seed=2, longest=4.0, share=4, slowest=0.3)
    assert await crashed(plan, tmp_path) == {}


@pytest.mark.real_cli
async def test_an_answer_that_was_not_stored_is_read_from_the_real_transcript(
    real_settings: MakeSettings, model: ModelServer
) -> None:
    """The model is asked once, and the conversation goes on where it was."""
    settings, message_id = real_settings(), new_id()
    await killed(settings, (message_id, CHANNEL, "once"), at="unstored")
    async with scripted_engine(settings, seconds=40) as engine:
        reply = await answer_of(engine, message_id)
        after = await engine.ask(CHANNEL, "and now")
    assert (reply.text, after.text) == ("echo: once", "echo: and now")
    assert after.session_id == reply.session_id
    assert model.by_text == {"once": 1, "and now": 1}


@pytest.mark.real_cli
async def test_a_first_turn_of_the_real_cli_that_was_cut_goes_on_in_the_session_that_it_began(
    real_settings: MakeSettings, model: ModelServer, tmp_path: Path
) -> None:
    """The program is killed while a tool runs; the CLI may take the message for done, and is then given it anew."""
    command = f"echo started; sleep 1; echo {tmp_path.name}"
    text = f'work [[tool Bash {{"command": "{command}"}}]]'
    settings, message_id = real_settings(allowed_tools=("Bash",)), new_id()
    await killed(settings, (message_id, CHANNEL, text), at="working")
    began = (await stored(settings, message_id)).session_id
    async with scripted_engine(settings, seconds=40) as engine:
        reply = await answer_of(engine, message_id)
        outcome = await engine.outcome(message_id)
    assert reply.session_id == began
    assert tmp_path.name in reply.text
    assert model.by_text[text] == 2 == outcome.attempts
    assert homed(settings) == set()


@pytest.mark.real_cli
@pytest.mark.parametrize(("point", "times_asked"), [("working", 2), ("unstored", 1)])
async def test_a_first_turn_on_a_spare_of_the_real_cli_has_one_outcome_after_a_kill(
    real_settings: MakeSettings, model: ModelServer, point: str, times_asked: int
) -> None:
    """It goes on in the session that the spare was started for, and nothing is left of either run."""
    text = 'work [[tool Bash {"command": "echo started; sleep 1; echo done"}]]'
    settings, message_id = real_settings(allowed_tools=("Bash",), spares=1), new_id()
    await killed(settings, (message_id, CHANNEL, text), at=point)
    began = (await stored(settings, message_id)).session_id
    assert began == audit_records(settings, "process.spawned")[0]["session"]
    async with scripted_engine(settings, seconds=40) as engine:
        reply = await answer_of(engine, message_id)
    assert reply.session_id == began
    assert "done" in reply.text
    assert model.by_text[text] == times_asked
    assert homed(settings) == set()
