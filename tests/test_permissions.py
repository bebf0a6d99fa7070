"""Permission questions on the scripted CLI: who answers them, what ends them, and what the turn makes of it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio
from conftest import first, residents
from support import audit_records, left_running, scripted_settings, until

from echo_actors import (
    Allow,
    AnsweredBy,
    Author,
    BusyPolicy,
    Clock,
    Deny,
    Engine,
    Event,
    InvalidAnswer,
    OutcomeKind,
    PermissionAnswered,
    PermissionAsked,
    Settings,
    ToolFinished,
    Trust,
    TurnFailed,
    UnknownFrame,
    open_engine,
)
from echo_actors.actors.questions import MOST_OPEN

ASK = "[[ask-permission]]"
Callback = Callable[[PermissionAsked], Any]


@asynccontextmanager
async def asking(settings: Settings, permissions: Callback | None = None) -> AsyncIterator[Engine]:
    """An engine that puts permission questions; nothing that it started may be left."""
    with trio.fail_after(30):
        async with open_engine(settings, permissions=permissions) as engine:
            yield engine
            run_id = engine.status().run_id
        assert left_running(run_id) == set()


def questions_on(tmp_path: Path, **overrides: Any) -> Settings:
    """Settings that let the CLI ask."""
    return scripted_settings(tmp_path, **{"permission_questions": True, **overrides})


async def told(engine: Engine, text: str, channel: str = "c") -> list[Event]:
    """A message's events; the turn is answered."""
    async with engine.stream(channel, text) as turn:
        events = [event async for event in turn]
    assert turn.reply.text
    return events


def only(events: list[Event], kind: type[Event]) -> list[Any]:
    """Those of one kind."""
    return [event for event in events if isinstance(event, kind)]


async def asked(events: AsyncIterator[Event]) -> PermissionAsked:
    """The next question."""
    question = await first(events, PermissionAsked)
    assert isinstance(question, PermissionAsked)
    return question


async def answered(events: AsyncIterator[Event]) -> PermissionAnswered:
    """The next end of a question."""
    answer = await first(events, PermissionAnswered)
    assert isinstance(answer, PermissionAnswered)
    return answer


async def allow(_question: PermissionAsked) -> Allow:
    """Allow everything."""
    await trio.lowlevel.checkpoint()
    return Allow()


async def wait_for_ever(_question: PermissionAsked) -> Allow:
    """Never decide."""
    await trio.sleep_forever()


# -- the callback


async def test_a_callback_allows_and_the_tool_runs(tmp_path: Path) -> None:
    """It sees what is asked, and by whose message; giving it is enough to be asked."""
    seen: list[PermissionAsked] = []

    async def decide(question: PermissionAsked) -> Allow:
        await trio.lowlevel.checkpoint()
        seen.append(question)
        return Allow()

    settings = scripted_settings(tmp_path)
    async with asking(settings, decide) as engine:
        assert engine.settings.permission_questions
        async with engine.stream("c", ASK, author=Author("ana"), trust=Trust.EXTERNAL) as turn:
            events = [event async for event in turn]
        message_id = turn.message_id
    (question,) = seen
    assert (question.channel, question.message_id, question.tool) == ("c", message_id, "Bash")
    assert (question.input, question.description) == ({"command": "echo asked"}, "echo asked")
    assert (question.trust, question.authors) == (Trust.EXTERNAL, (Author("ana"),))
    assert question.deadline is not None
    assert question.time < question.deadline
    assert question in events
    (finished,) = only(events, ToolFinished)
    assert (finished.text, finished.is_error, finished.tool_use_id) == ("asked", False, question.tool_use_id)
    (answer,) = only(events, PermissionAnswered)
    assert (answer.request_id, answer.allowed, answer.by) == (question.request_id, True, AnsweredBy.CALLBACK)
    (record,) = audit_records(settings, "permission.asked")
    assert (record["tool"], record["message"], record["input_chars"]) == ("Bash", message_id, 24)
    assert "echo asked" not in str(record)
    (record,) = audit_records(settings, "permission.answered")
    assert (record["tool"], record["allowed"], record["by"]) == ("Bash", True, "callback")


async def test_a_callback_need_not_be_async(tmp_path: Path) -> None:
    """One that only looks something up has nothing to wait for."""
    async with asking(scripted_settings(tmp_path), lambda question: Deny(message=f"no {question.tool}")) as engine:
        events = await told(engine, ASK)
    assert [event.text for event in only(events, ToolFinished)] == ["no Bash"]


async def test_a_callback_changes_what_the_tool_gets(tmp_path: Path) -> None:
    """The input of the answer, not the model's."""

    async def change(_question: PermissionAsked) -> Allow:
        await trio.lowlevel.checkpoint()
        return Allow(input={"command": "echo changed"})

    async with asking(scripted_settings(tmp_path), change) as engine:
        (finished,) = only(await told(engine, ASK), ToolFinished)
        assert finished.text == "changed"


async def test_the_model_sees_why_a_callback_denied(tmp_path: Path) -> None:
    """As the tool's result; the turn goes on."""

    async def deny(_question: PermissionAsked) -> Deny:
        await trio.lowlevel.checkpoint()
        return Deny(message="not on Sundays")

    async with asking(scripted_settings(tmp_path), deny) as engine:
        events = await told(engine, ASK)
    (finished,) = only(events, ToolFinished)
    assert (finished.text, finished.is_error) == ("not on Sundays", True)
    (answer,) = only(events, PermissionAnswered)
    assert (answer.allowed, answer.message, answer.tool) == (False, "not on Sundays", "Bash")


async def test_a_denial_that_interrupts_cancels_the_message(tmp_path: Path) -> None:
    """The outcome says what was denied, and the process serves the next message."""

    async def stop(_question: PermissionAsked) -> Deny:
        await trio.lowlevel.checkpoint()
        return Deny(message="enough", interrupt=True)

    async with asking(scripted_settings(tmp_path), stop) as engine:
        await engine.ask("c", "before")
        before = residents(engine)
        with pytest.raises(TurnFailed) as caught:
            await engine.ask("c", ASK)
        assert caught.value.outcome.kind is OutcomeKind.CANCELLED
        assert caught.value.outcome.reason == "the use of Bash was denied: enough"
        assert (await engine.ask("c", "after")).text == "echo: after"
        assert residents(engine) == before


async def _raises(_question: PermissionAsked) -> Allow:
    await trio.lowlevel.checkpoint()
    raise KeyError("lost")


async def _says_nonsense(_question: PermissionAsked) -> object:
    await trio.lowlevel.checkpoint()
    return True


async def _forgets_to_return(_question: PermissionAsked) -> None:
    await trio.lowlevel.checkpoint()


async def _has_no_table(_question: PermissionAsked) -> Allow:
    await trio.lowlevel.checkpoint()
    return Allow(input=["command"])  # type: ignore[arg-type]  # what is wrong is what is tested


async def _has_no_json(_question: PermissionAsked) -> Allow:
    await trio.lowlevel.checkpoint()
    return Allow(input={"command": object()})


async def _goes_round(_question: PermissionAsked) -> Allow:
    await trio.lowlevel.checkpoint()
    circle: dict[str, Any] = {}
    circle["command"] = circle
    return Allow(input=circle)


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (_raises, "KeyError: 'lost'"),
        (_says_nonsense, "InvalidAnswer: "),
        (_forgets_to_return, "InvalidAnswer: "),
        (_has_no_table, "InvalidAnswer: "),
        (_has_no_json, "InvalidAnswer: "),
        (_goes_round, "InvalidAnswer: "),
    ],
)
async def test_a_callback_that_fails_denies_and_the_turn_goes_on(
    tmp_path: Path, callback: Callback, reason: str
) -> None:
    """It is recorded once, with why."""
    settings = scripted_settings(tmp_path)
    async with asking(settings, callback) as engine:
        events = await told(engine, ASK)
    (finished,) = only(events, ToolFinished)
    assert finished.is_error
    assert "could not be decided" in finished.text
    (answer,) = only(events, PermissionAnswered)
    assert (answer.allowed, answer.by) == (False, AnsweredBy.CALLBACK)
    (record,) = audit_records(settings, "permission.callback_failed")
    assert record["reason"].startswith(reason)


# -- the call


async def test_a_call_answers_the_question_of_an_event(tmp_path: Path) -> None:
    """The first answer counts; there is no second, and none to what nobody asked."""
    async with asking(questions_on(tmp_path)) as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", ASK)
        question = await asked(events)
        assert not await engine.answer_permission("c", "another", Allow())
        assert not await engine.answer_permission("d", question.request_id, Allow())
        assert await engine.answer_permission("c", question.request_id, Deny(message="no"))
        assert not await engine.answer_permission("c", question.request_id, Allow())
        assert (await answered(events)).by is AnsweredBy.CALL
        finished = await first(events, ToolFinished)
        assert isinstance(finished, ToolFinished)
        assert finished.text == "no"
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
        assert not await engine.answer_permission("c", question.request_id, Allow())


async def test_an_answer_that_cannot_be_given_leaves_the_question_open(tmp_path: Path) -> None:
    """Whoever called is told, and may try again."""
    async with asking(questions_on(tmp_path)) as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", ASK)
        question = await asked(events)
        with pytest.raises(InvalidAnswer, match="JSON"):
            await engine.answer_permission("c", question.request_id, Allow(input={"command": {1, 2}}))
        assert await engine.answer_permission("c", question.request_id, Allow())
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED


async def test_a_call_is_quicker_than_the_callback(tmp_path: Path) -> None:
    """The callback is then cancelled, and its end is no failure."""
    cancelled = trio.Event()

    async def think(_question: PermissionAsked) -> Allow:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    settings = scripted_settings(tmp_path)
    async with asking(settings, think) as engine, engine.subscribe("c") as events:
        await engine.post("c", ASK)
        assert await engine.answer_permission("c", (await asked(events)).request_id, Deny())
        assert (await answered(events)).by is AnsweredBy.CALL
        await cancelled.wait()
    assert audit_records(settings, "permission.callback_failed") == []


async def test_nothing_is_asked_unless_it_is_wanted(tmp_path: Path) -> None:
    """By default the CLI denies by itself, at once."""
    async with asking(scripted_settings(tmp_path)) as engine:
        events = await told(engine, ASK)
    assert only(events, PermissionAsked) == []
    (finished,) = only(events, ToolFinished)
    assert finished.is_error


# -- other ends


@pytest.mark.parametrize("callback", [None, wait_for_ever])
async def test_a_question_that_nobody_answers_is_denied(tmp_path: Path, callback: Callback | None) -> None:
    """The model is told so, and the turn goes on."""
    async with asking(questions_on(tmp_path, permission_timeout=0.2), callback) as engine:
        events = await told(engine, ASK)
    (finished,) = only(events, ToolFinished)
    assert "Nobody said within 0.2 s" in finished.text
    assert [answer.by for answer in only(events, PermissionAnswered)] == [AnsweredBy.DEADLINE]


async def test_the_idle_clock_stands_still_while_a_question_is_open(tmp_path: Path) -> None:
    """It would have ended the turn long before the deadline did the question; afterwards it runs again."""
    settings = questions_on(tmp_path, idle_timeout=0.6, permission_timeout=1.5)
    async with asking(settings) as engine:
        assert only(await told(engine, ASK), PermissionAnswered)[0].by is AnsweredBy.DEADLINE
        with pytest.raises(TurnFailed) as caught:
            await engine.ask("c", f"{ASK} [[no-result]]")
        assert caught.value.outcome.clock is Clock.IDLE


async def test_the_total_clock_goes_on_while_a_question_is_open(tmp_path: Path) -> None:
    """Nobody can hold a turn for ever by not answering."""
    settings = questions_on(tmp_path, total_timeout=0.6, permission_timeout=float("inf"))
    async with asking(settings) as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", ASK)
        question = await asked(events)
        assert question.deadline is None
        outcome = await engine.outcome(receipt.message_id)
        assert (outcome.kind, outcome.clock) == (OutcomeKind.TIMED_OUT, Clock.TOTAL)
        assert (await answered(events)).by is AnsweredBy.WITHDRAWN
        assert not await engine.answer_permission("c", question.request_id, Allow())
        assert (await engine.ask("c", "after")).text == "echo: after"


async def test_an_interrupt_withdraws_the_question_and_keeps_the_process(tmp_path: Path) -> None:
    """Whoever was asked is let go, and too late with an answer."""
    async with asking(scripted_settings(tmp_path), wait_for_ever) as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", ASK)
        question = await asked(events)
        before = residents(engine)
        assert await engine.interrupt("c")
        assert (await answered(events)).by is AnsweredBy.WITHDRAWN
        assert not await engine.answer_permission("c", question.request_id, Allow())
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.CANCELLED
        assert (await engine.ask("c", "after")).text == "echo: after"
        assert residents(engine) == before


async def test_a_caller_who_gives_up_withdraws_the_question(tmp_path: Path) -> None:
    """As any other turn that is interrupted for its sender's sake."""
    async with asking(questions_on(tmp_path)) as engine, engine.subscribe("c") as events:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.ask, "c", ASK)
            await asked(events)
            nursery.cancel_scope.cancel()
        assert (await answered(events)).by is AnsweredBy.WITHDRAWN
        assert (await engine.ask("c", "after")).text == "echo: after"


async def test_a_drain_does_not_wait_for_an_answer_that_does_not_come(tmp_path: Path) -> None:
    """The turn is cut and runs again at the next start, when it asks again."""
    settings = questions_on(tmp_path, drain_timeout=0.2)
    async with asking(settings, wait_for_ever) as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", ASK)
        await asked(events)
    async with asking(settings, allow) as engine:
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED


async def test_a_question_dies_with_its_process(tmp_path: Path) -> None:
    """The message fails, the question is over, and a new process serves the next one."""
    async with asking(questions_on(tmp_path), wait_for_ever) as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", ASK)
        question = await asked(events)
        await until(lambda: "c" in residents(engine))
        os.kill(residents(engine)["c"], signal.SIGKILL)
        assert (await answered(events)).by is AnsweredBy.WITHDRAWN
        assert not await engine.answer_permission("c", question.request_id, Allow())
        assert (await engine.outcome(receipt.message_id)).error == "cli_failed"
        assert (await engine.ask("c", "after")).text == "echo: after"


# -- many, and malformed ones


async def test_several_questions_are_open_at_once(tmp_path: Path) -> None:
    """Each has its own answer, in whatever order they come; the idle clock waits for the last."""
    async with asking(questions_on(tmp_path, idle_timeout=0.8)) as engine, engine.subscribe("c") as events:
        receipt = await engine.post("c", "[[ask-permission 2]]")
        one, two = await asked(events), await asked(events)
        assert await engine.answer_permission("c", two.request_id, Deny(message="not two"))
        await trio.sleep(1.2)  # longer than the idle clock would run: that it does not is what is tested
        assert await engine.answer_permission("c", one.request_id, Allow())
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
        results = [await first(events, ToolFinished), await first(events, ToolFinished)]
        assert {(each.tool_use_id, each.text) for each in only(results, ToolFinished)} == {
            (one.tool_use_id, "asked"),
            (two.tool_use_id, "not two"),
        }


async def test_a_flood_of_questions_is_bounded(tmp_path: Path) -> None:
    """Those beyond the limit are denied at once, and the others end as they would."""
    flood = MOST_OPEN + 25
    async with asking(questions_on(tmp_path, permission_timeout=1.0)) as engine:
        events = await told(engine, f"[[ask-permission {flood}]]")
    ends = [answer.by for answer in only(events, PermissionAnswered)]
    assert ends == [AnsweredBy.LIMIT] * 25 + [AnsweredBy.DEADLINE] * MOST_OPEN
    assert len({question.request_id for question in only(events, PermissionAsked)}) == flood


@pytest.mark.parametrize(
    "request_",
    [
        {"subtype": "hook_callback", "callback_id": "hook_0"},
        {"subtype": "mcp_message", "server_name": "s", "message": {}},
        {"subtype": "news from 2031"},
        {},
        {"subtype": "can_use_tool"},
        {"subtype": "can_use_tool", "tool_name": "Bash", "input": "echo"},
        {"subtype": "can_use_tool", "tool_name": None, "input": {}},
    ],
)
async def test_a_request_that_is_no_question_is_refused_at_once(tmp_path: Path, request_: dict[str, Any]) -> None:
    """The CLI would wait for ever; subscribers see what it was."""
    async with asking(questions_on(tmp_path), allow) as engine:
        events = await told(engine, f"[[ask-host {orjson.dumps(request_).decode()}]]")
    (finished,) = only(events, ToolFinished)
    response = orjson.loads(finished.text)
    assert response["subtype"] == "error"
    assert response["error"]
    (unknown,) = only(events, UnknownFrame)
    assert (unknown.kind, unknown.data["request"]) == ("control_request", request_)
    assert only(events, PermissionAsked) == []


async def test_a_question_about_an_unknown_tool_is_put_like_any_other(tmp_path: Path) -> None:
    """New tools come with new CLIs; fields of other types than expected are left out."""
    request = {"subtype": "can_use_tool", "tool_name": "Telepathy", "input": {}, "permission_suggestions": 7}
    async with asking(questions_on(tmp_path), allow) as engine:
        events = await told(engine, f"[[ask-host {orjson.dumps(request).decode()}]]")
    (question,) = only(events, PermissionAsked)
    assert (question.tool, question.input, question.suggestions) == ("Telepathy", {}, ())
    (finished,) = only(events, ToolFinished)
    assert orjson.loads(finished.text)["response"] == {"behavior": "allow", "updatedInput": {}}


# -- wherever a process comes from


async def test_every_process_asks_first_warm_resumed_spare_or_prewarmed(tmp_path: Path) -> None:
    """To ask is a part of how a process is started, for each of them."""
    settings = questions_on(tmp_path, spares=1)
    async with asking(settings, allow) as engine:
        for text in ("first", "warm"):
            assert only(await told(engine, f"{ASK} {text}"), PermissionAnswered)[0].allowed
        await engine._services.driver.retire("c", "the test wants it resumed")
        assert only(await told(engine, f"{ASK} resumed"), PermissionAnswered)[0].allowed
        assert await engine.prewarm("p")
        assert only(await told(engine, f"{ASK} prewarmed", "p"), PermissionAnswered)[0].allowed
    assert audit_records(settings, "spare.claimed")
    assert any(record["resumed"] for record in audit_records(settings, "process.spawned"))


async def test_a_message_that_joined_the_turn_is_among_those_asked_for(tmp_path: Path) -> None:
    """A question that comes after it names its author too."""
    seen: list[PermissionAsked] = []
    go_on = trio.Event()

    async def decide(question: PermissionAsked) -> Allow:
        seen.append(question)
        await go_on.wait()
        return Allow()

    async with (
        asking(scripted_settings(tmp_path), decide) as engine,
        engine.subscribe("c") as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(engine.ask, "c", f"{ASK} {ASK}")
        await asked(events)
        await engine.post("c", "and this", author=Author("bea"), busy=BusyPolicy.STEER)
        await until(lambda: engine.status().queued_messages == 0)
        go_on.set()
    assert [question.authors for question in seen] == [(None,), (None, Author("bea"))]
