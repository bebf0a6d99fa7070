"""``echo-actors dead-letters`` on the store of an engine that does not run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
import trio
from commands_program import Program, said_besides
from support import Gate, audit_records, new_id, opened

from echo_actors import Outcome, OutcomeKind, Settings, open_engine
from echo_actors.claude.driver import TurnRequest
from echo_actors.commands.exits import Exit
from echo_actors.errors import InvalidMessage
from echo_actors.events import Event, TurnEnded
from echo_actors.models import Message
from echo_actors.state.lock import lock_directory
from echo_actors.state.records import End
from echo_actors.state.sqlite import SQLiteStore, open_sqlite_store
from echo_actors.testing.instant_driver import Answer, InstantDriver


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The command in a place of its own."""
    return Program(tmp_path)


async def leave_dead_letter(program: Program, text: str = "poison", channel: str = "c") -> str:
    """Leave a dead letter in the store; give its id."""
    message_id, now = new_id(), datetime.now(UTC)
    outcome = Outcome(kind=OutcomeKind.DEAD_LETTERED, reason="started 3 times without coming to an end", attempts=3)
    async with open_sqlite_store(program.state, owner="test", now=lambda: now) as store:
        sequence = await store.last_sequence() + 1
        message = Message(message_id=message_id, channel=channel, text=text, sequence=sequence, accepted_at=now)
        await store.accept(message)
        claim = await store.claim(channel)
        for _ in range(3):
            await store.start(claim, [message], turn_id=new_id(), session_id=new_id())
        await store.finish(claim, [End(message_id=message_id, outcome=outcome, ended_at=now)], None)
    return message_id


async def test_list_shows_each_with_the_reason(program: Program) -> None:
    """As a table, and with every field as JSON."""
    one, two = await leave_dead_letter(program), await leave_dead_letter(program, channel="\x1b[31mred\n")
    lines = [line.split("\t") for line in (await program.run("dead-letters", "list")).out.splitlines()]
    assert [line[0] for line in lines] == ["message", one, two]
    assert "started 3 times" in lines[1][-1]
    assert lines[2][1] == r"\x1b[31mred\n"
    found = orjson.loads((await program.run("dead-letters", "list", "--json")).out)
    assert [(each["message_id"], each["text"], each["attempts"]) for each in found] == [
        (one, "poison", 3),
        (two, "poison", 3),
    ]


async def test_show_prints_the_text(program: Program) -> None:
    """Under what is known about the message."""
    one = await leave_dead_letter(program, "line one\nline two")
    shown = (await program.run("dead-letters", "show", one)).out
    assert shown.startswith(f"message: {one}\nchannel: c\n")
    assert shown.endswith("\n\nline one\nline two\n")
    assert orjson.loads((await program.run("dead-letters", "show", one, "--json")).out)["text"] == "line one\nline two"


async def test_resend_lets_it_run_at_the_next_start(program: Program) -> None:
    """With its attempts counted anew; it is a dead letter no more."""
    one = await leave_dead_letter(program)
    finished = await program.run("dead-letters", "resend", one)
    assert (finished.code, finished.out, said_besides(finished)) == (0, "", "")
    assert orjson.loads((await program.run("dead-letters", "list", "--json")).out) == []
    with trio.fail_after(20):
        async with open_engine(Settings(state_dir=program.state), driver=InstantDriver()) as engine:
            outcome = await engine.outcome(one)
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.ANSWERED, 1)


async def test_drop_forgets_it(program: Program) -> None:
    """The others stay."""
    one, two = await leave_dead_letter(program), await leave_dead_letter(program)
    assert (await program.run("dead-letters", "drop", one)).code == Exit.DONE
    found = orjson.loads((await program.run("dead-letters", "list", "--json")).out)
    assert [each["message_id"] for each in found] == [two]


@pytest.mark.parametrize("verb", ["show", "resend", "drop"])
async def test_what_is_no_dead_letter_is_left_alone(program: Program, verb: str) -> None:
    """Also where there is no store at all, and none is made."""
    finished = await program.run("dead-letters", verb, new_id())
    assert finished.code == Exit.USAGE
    assert "is a dead letter" in finished.err
    assert not program.state.exists()
    assert (await program.run("dead-letters", verb, "nonsense")).code == Exit.USAGE


@pytest.mark.parametrize("arguments", [["list"], ["resend"], ["drop"]])
async def test_a_running_engine_keeps_the_store_to_itself(program: Program, arguments: list[str]) -> None:
    """The exit code is that of the store."""
    one = await leave_dead_letter(program)
    lock = lock_directory(program.state, now=datetime.now(UTC))
    try:
        finished = await program.run("dead-letters", *arguments, *([] if arguments == ["list"] else [one]))
    finally:
        lock.release()
    assert finished.code == Exit.STORE
    assert finished.out == ""


# -- of an engine that runs


async def test_a_running_engine_revives_and_discards(program: Program) -> None:
    """The one runs at once, behind what waits; the other is forgotten. Both are on record."""
    one, two = await leave_dead_letter(program, "one"), await leave_dead_letter(program, "two")
    settings, gate = Settings(state_dir=program.state), Gate("held")
    async with opened(settings, driver=InstantDriver(answer=gate)) as engine:
        assert [each.message.message_id for each in await engine.dead_letters()] == [one, two]
        await engine.post("c", "held")
        await gate.entered()
        waiting = await engine.post("c", "waiting")
        await engine.revive(one)
        await engine.discard(two)
        assert await engine.dead_letters() == []
        async with engine.subscribe("c") as events:
            gate.open()
            ended = [event.message_id async for event in _ends(events, 3)]
        assert ended[1:] == [waiting.message_id, one]
        outcome = await engine.outcome(one)
        assert (outcome.kind, outcome.attempts) == (OutcomeKind.ANSWERED, 1)
        for call in (engine.revive, engine.discard):
            with pytest.raises(InvalidMessage, match="is a dead letter"):
                await call(two)
    recorded = [(each["event"], each["message"]) for each in audit_records(settings) if "operator" in each["event"]]
    assert recorded == [("operator.revive", one), ("operator.discard", two)]


async def test_one_that_is_revived_amid_a_backlog_runs_once(program: Program) -> None:
    """Whether the backlog has come to its place or not: it is among those that are loaded as there is room, or not."""
    gate, settings = Gate("held"), Settings(state_dir=program.state, mailbox_size=2)
    first = await leave_dead_letter(program, "first")
    async with opened(settings, driver=InstantDriver(answer=gate)) as engine:
        await engine.post("c", "held")
        await gate.entered()
        await engine.post("c", "a")
        await engine.post("c", "b")
        await engine.drain(timeout=0)
    later = await leave_dead_letter(program, "later")
    answered: list[str] = []
    async with opened(settings, driver=InstantDriver(answer=gate)) as engine, engine.subscribe("c") as events:
        await gate.entered()
        await engine.revive(first)
        await engine.revive(later)
        gate.open()
        answered = [event.message_id async for event in _ends(events, 5)]
        assert engine.status().queued_messages == 0
    assert len(set(answered)) == 5
    assert {first, later} < set(answered)


async def test_a_dead_letter_that_two_operators_want_back_runs_once(program: Program) -> None:
    """The second one is told that it is none any more, whether the first one's has begun or not."""
    one = await leave_dead_letter(program, "held")
    gate, refused, ran = Gate("held"), list[str](), list[str]()

    def answer(request: TurnRequest) -> Answer | Awaitable[Answer]:
        ran.append(request.channel)
        return gate(request)

    async with opened(Settings(state_dir=program.state), driver=InstantDriver(answer=answer)) as engine:

        async def revive() -> None:
            try:
                await engine.revive(one)
            except InvalidMessage as problem:
                refused.append(str(problem))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(revive)
            nursery.start_soon(revive)
        await gate.entered()
        assert engine.status().queued_messages == 0
        gate.open()
        assert (await engine.outcome(one)).kind is OutcomeKind.ANSWERED
        await engine.ask("c", "later")
    assert len(refused) == 1
    assert ran == ["c", "c"]


async def test_a_dead_letter_is_either_revived_or_discarded(program: Program) -> None:
    """Who comes second is told; nothing is on record that did not happen."""
    one, refused = await leave_dead_letter(program), list[str]()
    settings = Settings(state_dir=program.state)
    async with opened(settings, driver=InstantDriver()) as engine:

        async def decide(call: Callable[[str], Awaitable[None]]) -> None:
            try:
                await call(one)
            except InvalidMessage as problem:
                refused.append(str(problem))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(decide, engine.revive)
            nursery.start_soon(decide, engine.discard)
    assert len(refused) == 1
    assert len([each for each in audit_records(settings) if "operator" in each["event"]]) == 1


async def test_who_gives_up_amid_a_revival_leaves_a_message_that_runs(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no dead letter any more by then, so nobody could revive it once more before the next start."""
    one = await leave_dead_letter(program)
    scope, revive = trio.CancelScope(), SQLiteStore.revive

    async def revived(store: SQLiteStore, message_id: str) -> bool:
        scope.cancel()
        return await revive(store, message_id)

    monkeypatch.setattr(SQLiteStore, "revive", revived)
    async with opened(Settings(state_dir=program.state), driver=InstantDriver()) as engine:
        with scope:
            await engine.revive(one)
        assert (await engine.outcome(one)).kind is OutcomeKind.ANSWERED


async def _ends(events: AsyncIterator[Event], count: int) -> AsyncIterator[TurnEnded]:
    async for event in events:
        if isinstance(event, TurnEnded):
            yield event
            count -= 1
            if not count:
                return
