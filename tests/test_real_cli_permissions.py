"""Permission questions of the real CLI: what it does with each answer, and without one."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import trio
from conftest import Host, eventually, first, residents

from echo_actors import (
    Allow,
    AnsweredBy,
    Clock,
    Deny,
    Engine,
    Event,
    OutcomeKind,
    PermissionAnswered,
    PermissionAsked,
    ToolFinished,
    TurnFailed,
)

pytestmark = pytest.mark.real_cli

COMMAND = "echo written > note.txt; echo done"


def use(tool: str, **tool_input: Any) -> str:
    """A message whose answer needs a tool."""
    return f"[[tool {tool} {orjson.dumps(tool_input).decode()}]]"


ASK = use("Bash", command=COMMAND)


async def told(engine: Engine, text: str, channel: str = "c") -> tuple[list[Event], str]:
    """A message's events, and the answer."""
    async with engine.stream(channel, text) as turn:
        events = [event async for event in turn]
    return events, turn.reply.text


def only(events: list[Event], kind: type[Event]) -> list[Any]:
    """Those of one kind."""
    return [event for event in events if isinstance(event, kind)]


async def test_a_tool_that_is_allowed_runs_and_one_that_is_denied_does_not(host: Host) -> None:
    """In the first turn, in a warm process, and in one that resumed; the model sees why."""
    answers: list[Allow | Deny] = []
    seen: list[PermissionAsked] = []

    async def decide(question: PermissionAsked) -> Allow | Deny:
        await trio.lowlevel.checkpoint()
        seen.append(question)
        return answers.pop(0)

    async with host.engine(permissions=decide, allowed_tools=()) as engine:
        answers.append(Deny(message="not today"))
        events, text = await told(engine, ASK)
        (finished,) = only(events, ToolFinished)
        assert (finished.is_error, finished.text) == (True, "not today")
        assert text == "tool said: not today"
        assert not (host.work / "note.txt").exists()

        answers.append(Allow())
        events, text = await told(engine, ASK)
        (finished,) = only(events, ToolFinished)
        assert (finished.is_error, finished.text, text) == (False, "done", "tool said: done")
        assert (host.work / "note.txt").read_text() == "written\n"

        await engine._services.driver.retire("c", "the test wants it resumed")
        answers.append(Allow(input={"command": "echo something else"}))
        events, text = await told(engine, ASK)
        assert text == "tool said: something else"
    question = seen[0]
    assert (question.tool, question.input) == ("Bash", {"command": COMMAND})
    assert question.tool_use_id
    assert question.description == COMMAND
    assert question.suggestions
    assert [record["allowed"] for record in host.audit("permission.answered")] == [False, True, True]
    assert any(record["resumed"] for record in host.audit("process.spawned"))


async def test_a_question_that_nobody_answers_is_denied_and_the_turn_goes_on(host: Host) -> None:
    """Its idle clock, which is much shorter, stood still."""
    async with host.engine(
        allowed_tools=(), permission_questions=True, permission_timeout=2.5, idle_timeout=0.8
    ) as engine:
        events, text = await told(engine, ASK)
    assert [answer.by for answer in only(events, PermissionAnswered)] == [AnsweredBy.DEADLINE]
    assert text.startswith("tool said: Nobody said within 2.5 s")


async def test_an_interrupt_while_it_asks_cancels_the_turn_and_the_process_stays(host: Host) -> None:
    """An answer is then too late, and harms nothing."""
    async with (
        host.engine(allowed_tools=(), permission_questions=True) as engine,
        engine.subscribe("c") as events,
    ):
        receipt = await engine.post("c", ASK)
        question = await first(events, PermissionAsked)
        assert isinstance(question, PermissionAsked)
        before = residents(engine)
        assert await engine.interrupt("c")
        assert not await engine.answer_permission("c", question.request_id, Allow())
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.CANCELLED
        assert (await engine.ask("c", "[[say after]]")).text == "after"
        assert residents(engine) == before
    assert not (host.work / "note.txt").exists()


async def test_a_denial_that_interrupts_cancels_the_turn_and_the_process_stays(host: Host) -> None:
    """The next message is not touched by it."""

    async def stop(_question: PermissionAsked) -> Deny:
        await trio.lowlevel.checkpoint()
        return Deny(message="enough", interrupt=True)

    async with host.engine(permissions=stop, allowed_tools=()) as engine:
        await engine.ask("c", "before")
        before = residents(engine)
        for _ in range(3):
            with pytest.raises(TurnFailed) as caught:
                await engine.ask("c", ASK)
            assert caught.value.outcome.kind is OutcomeKind.CANCELLED
            assert caught.value.outcome.reason.endswith("enough")
            assert (await engine.ask("c", "[[say after]]")).text == "after"
        assert residents(engine) == before


async def test_a_callback_that_raises_denies_and_the_turn_goes_on(host: Host) -> None:
    """The model is told no secrets of it."""

    async def fail(_question: PermissionAsked) -> Allow:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("secret")

    async with host.engine(permissions=fail, allowed_tools=()) as engine:
        assert await engine.prewarm("c")
        _, text = await told(engine, ASK)
    assert text == "tool said: Whether this tool may be used could not be decided, so it may not."
    assert len(host.audit("permission.callback_failed", reason="RuntimeError: secret")) == 1


async def test_a_question_that_is_open_when_the_total_clock_runs_out_ends_with_it(host: Host) -> None:
    """The channel goes on."""
    async with host.engine(
        allowed_tools=(), permission_questions=True, permission_timeout=float("inf"), total_timeout=4.0
    ) as engine:
        with pytest.raises(TurnFailed) as caught:
            await engine.ask("c", ASK)
        assert caught.value.outcome.clock is Clock.TOTAL
        assert (await engine.ask("c", "[[say after]]")).text == "after"
    assert [record["by"] for record in host.audit("permission.answered")] == ["withdrawn"]


SUB = {"description": "sub", "subagent_type": "general-purpose", "prompt": use("Bash", command="echo sub > sub.txt")}


async def test_a_conversation_and_its_sub_agent_ask_at_once(host: Host) -> None:
    """Each gets its own answer."""
    async with (
        host.engine(allowed_tools=(), permission_questions=True) as engine,
        engine.subscribe("c") as events,
    ):
        text = f"{use('Task', **SUB, run_in_background=True)} {use('Bash', command='echo main > main.txt')}"
        receipt = await engine.post("c", text)
        asked = [await first(events, PermissionAsked), await first(events, PermissionAsked)]
        main, sub = sorted(only(asked, PermissionAsked), key=lambda question: str(question.agent_id))
        assert (main.agent_id, main.input["command"]) == ("", "echo main > main.txt")
        assert sub.input["command"] == "echo sub > sub.txt"
        assert await engine.answer_permission("c", sub.request_id, Allow())
        await eventually((host.work / "sub.txt").exists)
        assert await engine.answer_permission("c", main.request_id, Deny(message="not you"))
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
    assert not (host.work / "main.txt").exists()


async def test_a_sub_agent_that_outlives_its_turn_is_denied(host: Host) -> None:
    """While it asks, and when it asks later; the session goes on."""
    slow = {**SUB, "prompt": f"[[delay 1.5]] {SUB['prompt']}"}
    async with host.engine(allowed_tools=(), permission_questions=True) as engine:
        await engine.ask("c", f"{use('Task', **slow, run_in_background=True)}")
        driver: Any = engine._services.driver
        machine = driver.roster.get("c").machine
        assert machine.background_tasks
        await eventually(lambda: not machine.background_tasks)
        assert (await engine.ask("c", "[[say after]]")).text == "after"
    assert not (host.work / "sub.txt").exists()
    assert not host.audit("permission.asked")


async def test_without_the_setting_the_cli_denies_by_itself(host: Host) -> None:
    """As it always did."""
    async with host.engine(allowed_tools=()) as engine:
        events, text = await told(engine, ASK)
    assert only(events, PermissionAsked) == []
    assert only(events, ToolFinished)[0].is_error
    assert text != "tool said: done"
