"""Permission questions without a process: a turn that asks, and is answered, whenever the test says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from conftest import first
from support import DAY, memory_services, new_id, plain_settings

from echo_actors import (
    Allow,
    AnsweredBy,
    Deny,
    Engine,
    Event,
    InvalidAnswer,
    OutcomeKind,
    PermissionAnswered,
    PermissionAsked,
    PermissionCallback,
    Trust,
    TurnStarted,
    open_engine,
)
from echo_actors.actors.batch import Batch
from echo_actors.actors.mailbox import Entry
from echo_actors.actors.questions import Questions
from echo_actors.actors.topic import Subscription
from echo_actors.events import TextDelta
from echo_actors.models import Answer, Message
from echo_actors.testing.instant_driver import InstantDriver
from echo_actors.testing.puppet_driver import Decision, PuppetDriver


@attrs.define(eq=False)
class Play:
    """An engine whose one turn is running, and what is seen of it."""

    engine: Engine
    driver: PuppetDriver
    events: Subscription
    message_id: str

    async def answered(self) -> PermissionAnswered:
        """The next end of a question."""
        event = await first(self.events, PermissionAnswered)
        assert isinstance(event, PermissionAnswered)
        return event

    async def so_far(self) -> list[Event]:
        """The events that were published and not read."""
        self.driver.running["c"].listener.on_event(TextDelta(channel="c", text="the last"))
        seen: list[Event] = []
        async for event in self.events:
            if isinstance(event, TextDelta):
                return seen
            seen.append(event)
        raise AssertionError


@asynccontextmanager
async def play(
    tmp_path: Path, driver: PuppetDriver | None = None, permissions: PermissionCallback | None = None
) -> AsyncIterator[Play]:
    """Start an engine and a turn; at the end the turn is told to end."""
    driver = driver or PuppetDriver()
    settings = plain_settings(tmp_path, drain_timeout=0.1, interrupt_grace=0.3)
    with trio.fail_after(15):
        async with (
            open_engine(settings, driver=driver, permissions=permissions) as engine,
            engine.subscribe("c") as events,
        ):
            receipt = await engine.post("c", "hello")
            await first(events, TurnStarted)
            while "c" not in driver.running or not driver.running["c"].begun:
                await trio.lowlevel.checkpoint()
            yield Play(engine, driver, events, receipt.message_id)
            driver.decide("c", Decision())


async def test_an_answer_reaches_the_turn_that_asked(tmp_path: Path) -> None:
    """As it was given."""
    async with play(tmp_path) as on:
        request_id = on.driver.ask_permission("c", command="ls")
        answer = Deny(message="no")
        assert await on.engine.answer_permission("c", request_id, answer)
        assert on.driver.answers == {request_id: answer}


async def test_a_question_that_is_said_twice_is_put_once(tmp_path: Path) -> None:
    """Its name says that it is the same."""
    async with play(tmp_path) as on:
        on.driver.ask_permission("c", command="ls")
        (question,) = await on.so_far()
        assert isinstance(question, PermissionAsked)
        on.driver.running["c"].listener.on_event(attrs.evolve(question, cursor=""))
        assert await on.so_far() == []


async def test_a_question_that_the_cli_takes_back_is_over(tmp_path: Path) -> None:
    """The CLI is told nothing; an unknown name changes nothing."""
    async with play(tmp_path) as on:
        request_id = on.driver.ask_permission("c", command="ls")
        for name in ("another", request_id):
            back = PermissionAnswered(
                channel="c", request_id=name, tool="", allowed=False, message="", by=AnsweredBy.WITHDRAWN
            )
            on.driver.running["c"].listener.on_event(back)
        answer = await on.answered()
        assert (answer.request_id, answer.tool, answer.by) == (request_id, "Bash", AnsweredBy.WITHDRAWN)
        assert not await on.engine.answer_permission("c", request_id, Allow())
        assert on.driver.answers == {}


async def test_a_question_that_is_open_when_its_turn_is_answered_is_denied(tmp_path: Path) -> None:
    """As that of a sub-agent, which would wait for ever."""
    async with play(tmp_path) as on:
        request_id = on.driver.ask_permission("c", command="ls")
        on.driver.decide("c", Decision())
        answer = await on.answered()
        assert (answer.allowed, answer.by) == (False, AnsweredBy.WITHDRAWN)
        assert on.driver.answers == {request_id: Deny(message="Nobody is asked any more: the turn has ended.")}
        assert (await on.engine.outcome(on.message_id)).kind is OutcomeKind.ANSWERED


async def test_nobody_is_asked_once_a_turn_is_to_end(tmp_path: Path) -> None:
    """Not even of a CLI that does not obey: what is open is denied, and what it still asks."""
    async with play(tmp_path, PuppetDriver(obedient=False)) as on:
        before = on.driver.ask_permission("c", command="before")
        assert await on.engine.interrupt("c")
        after = on.driver.ask_permission("c", command="after")
        assert set(on.driver.answers) == {before, after}
        ends = [event for event in await on.so_far() if isinstance(event, PermissionAnswered)]
        assert [(end.request_id, end.allowed, end.by) for end in ends] == [
            (before, False, AnsweredBy.WITHDRAWN),
            (after, False, AnsweredBy.WITHDRAWN),
        ]
        assert (await on.engine.outcome(on.message_id)).kind is OutcomeKind.CANCELLED


class _Deaf(PuppetDriver):
    """Its process takes nothing any more."""

    def answer_permission(self, question: PermissionAsked, answer: Answer) -> bool:
        del question, answer
        return False


async def test_an_answer_that_the_process_does_not_take_is_too_late(tmp_path: Path) -> None:
    """It allowed nothing, whatever it said."""
    async with play(tmp_path, _Deaf()) as on:
        request_id = on.driver.ask_permission("c", command="ls")
        assert not await on.engine.answer_permission("c", request_id, Allow())
        answer = await on.answered()
        assert (answer.allowed, answer.by) == (False, AnsweredBy.WITHDRAWN)


async def test_a_callback_that_answers_late_all_the_same_is_not_heard(tmp_path: Path) -> None:
    """Not even when it takes no notice of its cancellation."""
    returned = trio.Event()

    async def stubborn(_question: PermissionAsked) -> Allow:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            returned.set()
        return Allow()

    async with play(tmp_path, permissions=stubborn) as on:
        request_id = on.driver.ask_permission("c", command="ls")
        await trio.testing.wait_all_tasks_blocked()
        assert await on.engine.answer_permission("c", request_id, Deny())
        await returned.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert on.driver.answers == {request_id: Deny()}
        assert len([event for event in await on.so_far() if isinstance(event, PermissionAnswered)]) == 1


async def test_a_callback_may_call_the_engine(tmp_path: Path) -> None:
    """To interrupt the turn, or to answer itself; neither waits for it."""
    answered: list[bool] = []

    async def call(question: PermissionAsked) -> Allow:
        engine = on.engine
        answered.append(await engine.answer_permission(question.channel, question.request_id, Deny(message="mine")))
        return Allow()

    async with play(tmp_path, permissions=call) as on:
        request_id = on.driver.ask_permission("c", command="ls")
        assert (await on.answered()).message == "mine"
        assert answered == [True]
        assert on.driver.answers == {request_id: Deny(message="mine")}


@pytest.mark.parametrize("answer", [True, None, Deny(message=7), Allow(input=[])])  # type: ignore[arg-type]
async def test_what_is_no_answer_is_refused(tmp_path: Path, answer: Answer) -> None:
    """The question stays open."""
    async with play(tmp_path) as on:
        request_id = on.driver.ask_permission("c", command="ls")
        with pytest.raises(InvalidAnswer):
            await on.engine.answer_permission("c", request_id, answer)
        assert await on.engine.answer_permission("c", request_id, Allow())


async def test_a_question_has_the_least_trust_of_those_it_is_for(tmp_path: Path) -> None:
    """Whoever decides must not take a stranger's wish for the owner's."""
    batch = Batch(Trust.OWNER)
    for sequence, trust in enumerate((Trust.OWNER, Trust.EXTERNAL, Trust.MEMBER)):
        message = Message(message_id=new_id(), channel="c", text="x", sequence=sequence, accepted_at=DAY, trust=trust)
        batch.add(message.message_id, [Entry(message)])
    published: list[Event] = []
    questions = Questions(memory_services(InstantDriver(), tmp_path), batch, published.append, lambda _function: None)
    questions.ask(PermissionAsked(channel="c", request_id="q", tool="Bash", input={}))
    (question,) = published
    assert isinstance(question, PermissionAsked)
    assert (question.trust, question.authors) == (Trust.EXTERNAL, (None, None, None))
    assert question.deadline == DAY + timedelta(seconds=300)
