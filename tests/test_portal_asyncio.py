"""The engine for asyncio, in debug mode: the same calls, cancellation wherever they wait and both ways, batches."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import logging
import traceback
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import attrs
import pytest
import trio
from conftest import Host
from portal_support import CHANNEL, WITHIN, engine_threads, finish, in_engine
from support import left_running, new_id, plain_settings, scripted_settings

from echo_actors import (
    Allow,
    AnsweredBy,
    Deny,
    Engine,
    EngineClosed,
    InvalidMessage,
    Lagged,
    OutcomeKind,
    PermissionAnswered,
    PermissionAsked,
    StoreLocked,
    TextDelta,
    ToolFinished,
    TurnEnded,
    TurnFailed,
    WrongLoop,
)
from echo_actors.claude.driver import TurnRequest, TurnResult
from echo_actors.errors import CLIFailed
from echo_actors.models import Block
from echo_actors.portal import open_async_portal
from echo_actors.portal.callbacks import LoopTask, on_loop
from echo_actors.portal.lane import AT_A_TIME, Lane
from echo_actors.portal.pipe import AHEAD, Batch, Pipe
from echo_actors.testing.instant_driver import InstantDriver, echo
from echo_actors.testing.puppet_driver import PuppetDriver

T = TypeVar("T")


@pytest.fixture(autouse=True)
def nothing_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test leaves a thread of an engine, and asyncio complains of nothing."""
    caplog.set_level(logging.ERROR, logger="asyncio")
    yield
    gc.collect()
    assert engine_threads() == []
    assert [record.getMessage() for record in caplog.get_records("call")] == []


def runs(main: Callable[[], Coroutine[Any, Any, T]], within: float = WITHIN) -> T:
    """Run a program of asyncio in debug mode; fails when it takes too long or leaves a task."""

    async def bounded() -> T:
        async with asyncio.timeout(within):
            result = await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    return asyncio.run(bounded(), debug=True)


def portal(tmp_path: Path, driver: Any = None, **overrides: Any) -> AbstractAsyncContextManager[Engine]:
    """An engine with a driver in this process."""
    return open_async_portal(plain_settings(tmp_path, **overrides), driver=driver or InstantDriver())


async def finished(engine: Engine, puppet: PuppetDriver, channel: str = CHANNEL) -> None:
    """Let the channel's turn be answered, once it has begun."""
    await asyncio.to_thread(finish, engine, puppet, channel)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what tells nobody."""
    while not holds():  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.002)


# -- calls


def test_a_program_of_asyncio_asks_and_gets_the_reply(tmp_path: Path) -> None:
    """Every kind of call: awaited ones, plain ones, properties."""

    async def main() -> None:
        async with portal(tmp_path) as engine:
            assert isinstance(engine, Engine)
            assert (await engine.ask(CHANNEL, "Hello")).text == "echo: Hello"
            receipt = await engine.post(CHANNEL, "And you?")
            assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
            assert engine.status().live_channels == 1
            assert engine.settings.model == "sonnet"
            session = await engine.session(CHANNEL)
            assert await engine.sessions() == [session]

    runs(main)


def test_a_stream_is_an_async_iterator_of_the_loop(tmp_path: Path) -> None:
    """With the reply afterwards."""

    async def main() -> None:
        async with portal(tmp_path) as engine:
            async with engine.stream(CHANNEL, "Hello") as turn:
                kinds = [type(event).__name__ async for event in turn]
            assert kinds == ["Accepted", "TurnStarted", "BlockFinished", "TurnEnded"]
            assert turn.reply.text == "echo: Hello"

    runs(main)


def test_many_tasks_ask_at_once(tmp_path: Path) -> None:
    """Each gets its own answer."""

    async def main() -> None:
        async with portal(tmp_path) as engine, asyncio.TaskGroup() as group:
            asks = [group.create_task(engine.ask(f"discord:{number % 10}", str(number))) for number in range(100)]
        assert [each.result().text for each in asks] == [f"echo: {number}" for number in range(100)]

    runs(main)


def test_what_tasks_say_at_once_has_the_order_in_which_they_say_it(tmp_path: Path) -> None:
    """As when a chat platform delivers several messages of a channel in one packet."""

    async def main() -> None:
        async with portal(tmp_path, mailbox_size=1000) as engine:
            for _ in range(20):
                receipts = await asyncio.gather(*(engine.post(CHANNEL, str(number)) for number in range(5)))
                assert [each.sequence for each in receipts] == sorted(each.sequence for each in receipts)

    runs(main)


def test_an_error_comes_with_its_traceback_from_the_engine(tmp_path: Path) -> None:
    """From who asked down to where it was raised."""

    async def main() -> None:
        async with portal(tmp_path, InstantDriver(answer=lambda _: CLIFailed("no"))) as engine:
            with pytest.raises(TurnFailed) as caught:
                await engine.ask(CHANNEL, "Hello")
            frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
            assert [frames[0], frames[-1]] == ["main", "answer"]
            with pytest.raises(InvalidMessage):
                async with engine.stream("", "Hello"):
                    raise AssertionError

    runs(main)


def test_a_second_engine_on_the_same_state_is_refused_where_it_is_opened(tmp_path: Path) -> None:
    """And the first goes on."""

    async def main() -> None:
        async with portal(tmp_path) as engine:
            with pytest.raises(StoreLocked):
                async with portal(tmp_path):
                    raise AssertionError
            assert (await engine.ask(CHANNEL, "Hello")).text == "echo: Hello"

    runs(main)


def test_two_portals_live_side_by_side(tmp_path: Path) -> None:
    """Each with its own state."""

    async def main() -> None:
        async with portal(tmp_path / "a") as one, portal(tmp_path / "b") as other:
            await asyncio.gather(one.ask(CHANNEL, "Hello"), other.ask(CHANNEL, "Hello"))
            assert one.status().run_id != other.status().run_id

    runs(main)


def test_an_engine_belongs_to_the_loop_that_opened_it(tmp_path: Path) -> None:
    """Another loop, or none, is told so."""

    async def main() -> None:
        async with portal(tmp_path) as engine:

            async def ask() -> None:
                await engine.ask(CHANNEL, "Hello")

            with pytest.raises(WrongLoop):
                await asyncio.to_thread(asyncio.run, ask())
            with pytest.raises(WrongLoop):
                await asyncio.to_thread(engine.status)

    runs(main)


def test_the_context_of_the_caller_is_that_of_its_call(tmp_path: Path) -> None:
    """Tasks have each their own."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def main() -> None:
        async with portal(tmp_path) as engine:

            async def look() -> str:
                return variable.get()

            async def ask(value: str) -> str:
                variable.set(value)
                return await asyncio.wrap_future(engine._thread.call(look).future)  # type: ignore[attr-defined]

            assert list(await asyncio.gather(ask("one"), ask("two"))) == ["one", "two"]

    runs(main)


# -- cancellation


When = Literal["while it waits", "when it could go on", "again and again"]


async def cancelled_at(step: int, when: When, call: Coroutine[Any, Any, object]) -> bool:
    """Run a call in a task, and cancel it where it is suspended for so many times; whether it came to that.

    Args:
        step: The first suspension is 1.
        when: As soon as it is suspended; or when what it waits for has come, and it was not resumed yet; or as soon
            as it is suspended, and at each suspension after that, as anyio does.
        call: What to run.
    """
    seen = 0

    def on_suspended(waits_for: asyncio.Future[object] | None) -> None:
        nonlocal seen
        seen += 1
        if seen == step and when == "when it could go on" and waits_for is not None:
            waits_for.add_done_callback(lambda _: task.cancel())
        elif seen == step or (seen > step and when == "again and again"):
            asyncio.get_running_loop().call_soon(task.cancel)

    async def stepped() -> None:
        await _Stepped(call, on_suspended)

    task = asyncio.create_task(stepped())
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled() == (seen >= step), "it was cancelled and did not say so"
    return task.cancelled()


@attrs.frozen
class _Stepped:
    """A coroutine that tells of each time it is suspended, before its task knows."""

    call: Coroutine[Any, Any, object]
    on_suspended: Callable[[asyncio.Future[object] | None], None]

    def __await__(self) -> Generator[Any, None, None]:
        steps, error = self.call.__await__(), None
        while True:
            try:
                waits_for = steps.send(None) if error is None else steps.throw(error)
            except StopIteration:
                return
            error = None
            self.on_suspended(waits_for)
            try:
                yield waits_for
            except BaseException as thrown:  # noqa: BLE001 - goes to the coroutine
                error = thrown


async def ask(engine: Engine, message: str) -> None:
    """Wait for a reply."""
    await engine.ask(CHANNEL, "Hello", message_id=message)


async def stream(engine: Engine, message: str) -> None:
    """Read a turn to its end."""
    async with engine.stream(CHANNEL, "Hello", message_id=message) as turn:
        async for _ in turn:
            await asyncio.sleep(0)


async def subscribe(engine: Engine, message: str) -> None:
    """Read events until the message has ended."""
    async with engine.subscribe() as events:
        await engine.post(CHANNEL, "Hello", message_id=message)
        async for event in events:
            if isinstance(event, TurnEnded):
                break


WHENS = get_args(When)
USES = [ask, stream, subscribe]


@pytest.mark.parametrize("when", WHENS)
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_a_call_can_be_cancelled_wherever_it_waits(
    tmp_path: Path, use: Callable[[Engine, str], Coroutine[Any, Any, None]], when: When
) -> None:
    """Nothing is left of it: no turn, no subscription, no task in the engine's thread; its message has its end."""

    async def main() -> int:
        async with portal(tmp_path) as engine:
            for step in itertools.count(1):
                message = new_id()
                cancelled = await cancelled_at(step, when, use(engine, message))
                with suppress(InvalidMessage):  # Cancelled before it was accepted.
                    outcome = await engine.outcome(message)
                    assert outcome.kind in {OutcomeKind.ANSWERED, OutcomeKind.CANCELLED}
                await until(lambda: idle(engine))
                if not cancelled:
                    assert outcome.kind is OutcomeKind.ANSWERED
                    return step
        raise AssertionError

    assert runs(main) > (1 if use is ask else 4)


def idle(engine: Any) -> bool:
    """Whether nothing goes on in an engine, and no task is there but what begins calls and what looks for the end."""
    status = engine.status()
    calls = in_engine(engine, lambda: len(engine._thread._calls.child_tasks))
    return (status.running_turns, status.queued_messages, status.subscribers, calls) == (0, 0, 0, 2)


@pytest.mark.parametrize("when", WHENS)
def test_a_program_can_be_cancelled_wherever_it_waits(tmp_path: Path, when: When) -> None:
    """While the engine opens, in its block, and while it closes; each time it is closed, and nothing is lost."""
    messages: list[str] = []

    async def program() -> None:
        async with portal(tmp_path) as engine:
            for use in USES:
                messages.append(new_id())
                await use(engine, messages[-1])

    async def main() -> None:
        for step in itertools.count(1):
            cancelled = await cancelled_at(step, when, program())
            assert engine_threads() == []
            if not cancelled:
                assert step > 12
                break
        async with portal(tmp_path) as engine:
            for message in messages:
                with suppress(InvalidMessage):
                    assert (await engine.outcome(message)).kind in {OutcomeKind.ANSWERED, OutcomeKind.CANCELLED}

    runs(main, within=120)


def test_cancelling_withdraws_what_waits_and_interrupts_what_runs(tmp_path: Path) -> None:
    """The queued message was never asked, the running one has ended when the next one runs."""
    asked: list[str] = []
    puppet = PuppetDriver(on_asked=lambda _channel, _uuid, content: asked.append(content))

    def queued(engine: Engine, messages: int) -> bool:
        return bool(asked) and engine.status().queued_messages == messages

    async def main() -> None:
        async with portal(tmp_path, puppet) as engine:
            ids = [new_id() for _ in range(2)]
            tasks = []
            for number in range(2):
                tasks.append(asyncio.create_task(engine.ask(CHANNEL, f"text {number}", message_id=ids[number])))
                # Two that are asked for at once may be accepted in either order.
                await until(partial(queued, engine, number))
            for task in reversed(tasks):
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            outcomes = [await engine.outcome(each) for each in ids]
            assert [each.kind for each in outcomes] == [OutcomeKind.CANCELLED] * 2
            async with asyncio.TaskGroup() as group:
                group.create_task(engine.ask(CHANNEL, "text 2"))
                await finished(engine, puppet)
        assert asked == ["text 0", "text 2"]

    runs(main)


def test_cancelling_leaves_what_was_detached(tmp_path: Path) -> None:
    """It runs on, and its outcome can be had."""
    puppet = PuppetDriver()

    async def main() -> None:
        async with portal(tmp_path, puppet) as engine:
            message = new_id()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await engine.ask(CHANNEL, "Hello", message_id=message, on_cancel="detach")
            await finished(engine, puppet)
            assert (await engine.outcome(message)).kind is OutcomeKind.ANSWERED

    runs(main)


def test_closing_wakes_who_waits(tmp_path: Path) -> None:
    """With a typed error, or the end of the iteration."""
    puppet = PuppetDriver()

    async def main() -> None:
        async with portal(tmp_path, puppet, drain_timeout=0.1) as engine:

            async def iterate() -> list[object]:
                async with engine.subscribe("elsewhere") as events:
                    return [event async for event in events]

            tasks = [asyncio.create_task(engine.ask(CHANNEL, "Hello")), asyncio.create_task(iterate())]
            await until(lambda: CHANNEL in puppet.running and engine.status().subscribers == 1)
        error, events = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(error, EngineClosed)
        assert events == []
        with pytest.raises(EngineClosed):
            await engine.ask(CHANNEL, "Hello")

    runs(main)


def test_cancelling_who_closes_cuts_the_turns(tmp_path: Path) -> None:
    """The drain would take a minute; the message runs again at the next start."""
    puppet, message = PuppetDriver(), new_id()

    async def main() -> None:
        async def program() -> None:
            async with portal(tmp_path, puppet, drain_timeout=60.0) as engine:
                await engine.post(CHANNEL, "Hello", message_id=message)
                await until(lambda: CHANNEL in puppet.running)
                in_block.set()

        in_block = asyncio.Event()
        task = asyncio.create_task(program())
        await in_block.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with portal(tmp_path) as engine:
            assert (await engine.outcome(message)).kind is OutcomeKind.ANSWERED

    runs(main)


@pytest.mark.real_cli
async def test_a_timeout_interrupts_a_turn_of_the_real_cli(host: Host) -> None:
    """Its channel is free again at once, in the same session, and nothing is left running."""

    async def main() -> None:
        async with open_async_portal(host.settings()) as engine:
            first = await engine.ask(CHANNEL, "Hello")
            message = new_id()
            began = asyncio.Event()

            async def look() -> None:
                async with engine.subscribe(CHANNEL) as events:
                    async for event in events:
                        if isinstance(event, TextDelta):
                            began.set()

            looking = asyncio.create_task(look())
            asking = asyncio.create_task(engine.ask(CHANNEL, "Slowly [[stall 30]]", message_id=message))
            await began.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert (await engine.outcome(message)).kind is OutcomeKind.CANCELLED
            assert (await engine.ask(CHANNEL, "Again")).session_id == first.session_id
            looking.cancel()
            run_ids.append(engine.status().run_id)

    run_ids: list[str] = []
    await trio.to_thread.run_sync(partial(asyncio.run, main(), debug=True))
    assert left_running(run_ids[0]) == set()


# -- events


def test_a_slow_subscriber_lags_in_the_engine_and_not_in_the_portal(tmp_path: Path) -> None:
    """The portal takes a few events ahead; of the others, those are lost that the engine's buffer has no room for."""
    turns, size = 40, 5

    def answer(request: TurnRequest) -> TurnResult:
        return attrs.evolve(echo(request), blocks=tuple(Block("text", str(number)) for number in range(20)))

    async def main() -> None:
        driver = InstantDriver(answer=answer)
        async with portal(tmp_path, driver) as engine, engine.subscribe(buffer_size=size) as events:
            for turn in range(turns):
                await engine.ask(CHANNEL, str(turn))
            hub: Any = engine._engine._services.hub  # type: ignore[attr-defined]
            got, missed = 0, 0
            while got + missed < hub._count:
                event = await anext(events)
                missed += event.missed if isinstance(event, Lagged) else 0
                got += not isinstance(event, Lagged)
            assert got + missed == hub._count
            assert got <= AHEAD + size + 1

    runs(main)


def test_events_cross_in_batches_while_the_reader_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that keeps up gets each at once; one that does not costs one crossing for many."""

    def answer(request: TurnRequest) -> TurnResult:
        return attrs.evolve(echo(request), blocks=tuple(Block("text", str(number)) for number in range(200)))

    crossings = 0
    ask = Pipe.ask

    def counted(pipe: Pipe, deliver: Callable[[Batch], None]) -> None:
        nonlocal crossings
        crossings += 1
        ask(pipe, deliver)

    async def main() -> None:
        async with portal(tmp_path, InstantDriver(answer=answer)) as engine, engine.subscribe() as events:
            await engine.post(CHANNEL, "Hello")
            async for event in events:
                if isinstance(event, TurnEnded):
                    return

    monkeypatch.setattr(Pipe, "ask", counted)
    runs(main)
    assert crossings <= 50


def test_a_loop_is_woken_once_for_all_that_comes_at_once() -> None:
    """And its other tasks run in between."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        lane, called, rounds = Lane(loop), list[int](), list[int]()
        count = 3 * AT_A_TIME

        for number in range(count):
            lane.post(called.append, number)
        while len(called) < count:
            rounds.append(len(called))
            await asyncio.sleep(0)
        assert called == list(range(count))
        assert rounds == [0, AT_A_TIME, 2 * AT_A_TIME]

    runs(main)


def test_nothing_is_kept_for_a_loop_that_is_closed() -> None:
    """Whoever would have waited there is gone."""
    loop = asyncio.new_event_loop()
    lane = Lane(loop)
    loop.close()
    assert not lane.post(print)
    assert not lane.post(print)
    assert not lane._queue


# -- callbacks of the host


def test_a_callback_of_the_host_runs_on_its_loop(tmp_path: Path) -> None:
    """A coroutine function or a plain one; what it raises reaches the engine."""

    async def answer(request: TurnRequest) -> TurnResult:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        if "fail" in request.content:
            raise CLIFailed("as asked")
        return echo(request)

    def plain(request: TurnRequest) -> TurnResult:
        loops.append(asyncio.get_running_loop())
        return echo(request)

    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        lane = Lane(asyncio.get_running_loop())
        async with portal(tmp_path / "a", InstantDriver(answer=on_loop(answer, lane))) as engine:
            assert (await engine.ask(CHANNEL, "Hello")).text == "echo: Hello"
            with pytest.raises(TurnFailed, match="as asked"):
                await engine.ask(CHANNEL, "fail")
        async with portal(tmp_path / "b", InstantDriver(answer=on_loop(plain, lane))) as engine:
            assert (await engine.ask(CHANNEL, "Hello")).text == "echo: Hello"
        assert loops == [asyncio.get_running_loop()] * 3

    runs(main)


def test_what_the_engine_gives_up_is_cancelled_on_the_loop() -> None:
    """It has ended when the engine goes on."""
    went: list[str] = []

    async def callback() -> None:
        try:
            went.append("began")
            await asyncio.sleep(WITHIN)
        finally:
            went.append("ended")

    async def main() -> None:
        awaited = on_loop(callback, Lane(asyncio.get_running_loop()))

        async def engine() -> None:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(awaited)
                    while not went:  # noqa: ASYNC110 - another thread
                        await trio.sleep(0.002)
                    scope.cancel()
            went.append("given up")

        await asyncio.to_thread(trio.run, engine)

    runs(main)
    assert went == ["began", "ended", "given up"]


def test_what_is_given_up_before_its_first_step_has_an_end_too() -> None:
    """Nobody waits for it in vain."""

    async def main() -> None:
        task = LoopTask(lambda: asyncio.sleep(WITHIN))
        task.start()
        task.cancel()
        with pytest.raises(EngineClosed):
            await asyncio.wrap_future(task.future)

    runs(main)


def test_a_callback_that_the_host_cancels_is_an_error_of_the_engine() -> None:
    """And no cancellation of it."""

    async def callback() -> None:
        raise asyncio.CancelledError

    async def main() -> None:
        awaited = on_loop(callback, Lane(asyncio.get_running_loop()))
        with pytest.raises(EngineClosed):
            await asyncio.to_thread(trio.run, awaited)

    runs(main)


def test_a_coroutine_function_answers_permission_questions_on_the_loop(tmp_path: Path) -> None:
    """It may use the engine there; a call that is quicker cancels it, before anybody goes on."""
    cancelled = asyncio.Event()

    engines: list[Engine] = []
    loops: list[asyncio.AbstractEventLoop] = []

    async def decide(question: PermissionAsked) -> Allow:
        (engine,) = engines
        loops.append(asyncio.get_running_loop())
        if await engine.answer_permission(question.channel, "no such question", Deny()):
            return Allow()
        if len(loops) == 1:
            return Allow(input={"command": "echo another"})
        try:
            assert await engine.answer_permission(question.channel, question.request_id, Deny(message="quicker"))
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Allow()

    async def told(answered: list[PermissionAnswered]) -> list[str]:
        async with engines[0].stream(CHANNEL, "[[ask-permission]]") as turn:
            events = [event async for event in turn]
        answered += [event for event in events if isinstance(event, PermissionAnswered)]
        return [event.text for event in events if isinstance(event, ToolFinished)]

    async def main() -> None:
        async with open_async_portal(scripted_settings(tmp_path), permissions=decide) as engine:
            engines.append(engine)
            answered: list[PermissionAnswered] = []
            assert await told(answered) == ["another"]
            assert await told(answered) == ["quicker"]
            await cancelled.wait()
        assert [event.by for event in answered] == [AnsweredBy.CALLBACK, AnsweredBy.CALL]
        assert loops == [asyncio.get_running_loop()] * 2

    runs(main)
