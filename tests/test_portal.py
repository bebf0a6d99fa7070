"""The engine for threads: the same calls, blocking, from any number of threads; Ctrl-C; the portal's own shape."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import gc
import inspect
import threading
import traceback
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from portal_stub import REMOTE_STUB, STUB, remote_stub, stub
from portal_support import CHANNEL, WITHIN, engine_threads, eventually, finish, in_engine
from support import new_id, plain_settings, scripted_settings

from echo_actors import (
    Allow,
    AnsweredBy,
    Engine,
    EngineClosed,
    InvalidMessage,
    Lagged,
    OutcomeKind,
    PermissionAnswered,
    PermissionAsked,
    SettingsError,
    StoreLocked,
    TurnEnded,
    TurnFailed,
    WrongLoop,
    open_engine,
)
from echo_actors.claude.driver import TurnRequest, TurnResult
from echo_actors.errors import CLIFailed
from echo_actors.events import Event
from echo_actors.models import Block
from echo_actors.portal import AsyncEngine, BlockingEngine, open_async_portal, open_portal
from echo_actors.portal.callbacks import in_worker, with_callbacks
from echo_actors.portal.pipe import AHEAD
from echo_actors.shape import Kind, carried, kind_of, public
from echo_actors.telemetry import Providers
from echo_actors.testing.instant_driver import InstantDriver, echo
from echo_actors.testing.puppet_driver import PuppetDriver


@pytest.fixture(autouse=True)
def nothing_left() -> Any:
    """No test leaves a thread of an engine."""
    yield
    assert engine_threads() == []


def portal(tmp_path: Path, driver: Any = None, **overrides: Any) -> AbstractContextManager[BlockingEngine]:
    """An engine with a driver in this process."""
    return open_portal(plain_settings(tmp_path, **overrides), driver=driver or InstantDriver())


# -- the shape


@pytest.mark.parametrize("portal_engine", [BlockingEngine, AsyncEngine])
def test_a_portal_has_every_public_call_of_the_engine(portal_engine: type) -> None:
    """Each its own, with the engine's arguments and docstring; none inherited from Engine, whose thread is another."""
    for name, original in public(Engine).items():
        here = vars(portal_engine)[name]
        assert here is not original
        assert inspect.getdoc(here) == inspect.getdoc(original)
        if not isinstance(original, property):
            assert inspect.signature(here) == inspect.signature(original)


def test_a_call_that_the_engine_gets_is_a_call_that_a_portal_gets() -> None:
    """Whatever it is: there is no list to keep in step."""

    class Larger(Engine):
        async def another(self, channel: str) -> list[str]:
            """What was said."""
            return [channel]

    made: type = carried(Larger, dict.fromkeys(Kind, lambda call: call))(type("Portal", (), {}))
    assert set(vars(made)) >= {"another", "ask", "settings"}


def test_what_no_portal_can_carry_is_said_when_it_is_defined() -> None:
    """A bare async generator has no block that ends it."""

    async def events(_: Engine) -> Any:
        yield 1

    with pytest.raises(TypeError, match="cannot carry"):
        kind_of(events)


def test_the_stubs_are_those_of_the_engine() -> None:
    """If this fails: python tests/portal_stub.py."""
    assert STUB.read_text(encoding="utf-8") == stub()
    assert REMOTE_STUB.read_text(encoding="utf-8") == remote_stub()


def test_the_stub_has_a_call_with_its_docstring_for_each_of_the_engine() -> None:
    """As a call that blocks."""
    classes = {each.name: each for each in ast.parse(stub()).body if isinstance(each, ast.ClassDef)}
    calls = {each.name: each for each in classes["BlockingEngine"].body if isinstance(each, ast.FunctionDef)}
    assert calls.keys() == public(Engine).keys()
    assert all(map(ast.get_docstring, calls.values()))


@pytest.mark.parametrize("opening", [open_portal, open_async_portal])
def test_opening_a_portal_takes_what_opening_an_engine_takes(opening: Callable[..., Any]) -> None:
    """Under the same names."""
    assert inspect.signature(opening).parameters == inspect.signature(open_engine).parameters
    assert "in a thread of its own" in (opening.__doc__ or "")


# -- calls


def test_a_program_without_a_loop_asks_and_gets_the_reply(tmp_path: Path) -> None:
    """Every kind of call: awaited ones, plain ones, properties."""
    with portal(tmp_path) as engine:
        assert engine.ask(CHANNEL, "Hello").text == "echo: Hello"
        receipt = engine.post(CHANNEL, "And you?")
        outcome = engine.outcome(receipt.message_id)
        assert outcome.kind is OutcomeKind.ANSWERED
        assert engine.status().live_channels == 1
        assert engine.settings.model == "sonnet"
        session = engine.session(CHANNEL)
        assert session is not None
        assert engine.sessions() == [session]


def test_a_stream_is_a_plain_context_manager_and_iterator(tmp_path: Path) -> None:
    """With the reply afterwards, as the async one."""
    with portal(tmp_path) as engine:
        with engine.stream(CHANNEL, "Hello") as turn:
            kinds = [type(event).__name__ for event in turn]
        assert kinds == ["Accepted", "TurnStarted", "BlockFinished", "TurnEnded"]
        assert turn.reply.text == "echo: Hello"
        assert turn.outcome is not None
        with pytest.raises(AttributeError):
            turn.nothing  # noqa: B018 - to read it is the test


def test_leaving_a_stream_early_withdraws_as_in_the_engine(tmp_path: Path) -> None:
    """And with detach it does not."""
    puppet = PuppetDriver()
    with portal(tmp_path, puppet) as engine:
        with engine.stream(CHANNEL, "Hello") as turn:
            next(turn)
        assert engine.outcome(turn.message_id).kind is OutcomeKind.CANCELLED
        with engine.stream(CHANNEL, "Again", on_cancel="detach") as turn:
            assert any(type(event).__name__ == "TurnStarted" for event in turn)
        finish(engine, puppet)
        assert engine.outcome(turn.message_id).kind is OutcomeKind.ANSWERED


def test_an_error_comes_with_its_traceback_from_the_engine(tmp_path: Path) -> None:
    """It is the same class, and shows both where it was raised and who called."""
    with portal(tmp_path, InstantDriver(answer=lambda _: CLIFailed("no"))) as engine:
        with pytest.raises(TurnFailed) as caught:
            engine.ask(CHANNEL, "Hello")
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[0] == "test_an_error_comes_with_its_traceback_from_the_engine"
        assert frames[-1] == "answer"
        with pytest.raises(InvalidMessage):
            engine.ask("", "Hello")


def test_an_error_is_gone_when_it_was_dealt_with(tmp_path: Path) -> None:
    """Its traceback does not lead back to it, which would keep all that its frames have until the next collection."""
    gone = []
    gc.disable()
    try:
        with portal(tmp_path) as engine:
            try:
                engine.set_model(CHANNEL, "none")
            except SettingsError as error:
                gone.append(weakref.ref(error))
            eventually(lambda: gone[0]() is None)
    finally:
        gc.enable()


def test_a_subscription_can_wait_with_a_timeout_and_loses_nothing_by_it(tmp_path: Path) -> None:
    """What comes later is there for the next look."""
    with portal(tmp_path) as engine, engine.subscribe(CHANNEL) as events:
        with pytest.raises(TimeoutError):
            events.get(timeout=0.01)
        engine.ask(CHANNEL, "Hello")
        assert type(events.get(timeout=WITHIN)).__name__ == "Accepted"
        assert [type(event).__name__ for event in (next(events), next(events))] == ["TurnStarted", "BlockFinished"]


def test_a_slow_subscriber_lags_in_the_engine_and_not_in_the_portal(tmp_path: Path) -> None:
    """The portal takes a few events ahead; of the others, those are lost that the engine's buffer has no room for."""
    turns, size = 40, 5

    def answer(request: TurnRequest) -> TurnResult:
        return attrs.evolve(echo(request), blocks=tuple(Block("text", str(number)) for number in range(20)))

    with portal(tmp_path, InstantDriver(answer=answer)) as engine, engine.subscribe(buffer_size=size) as events:
        for turn in range(turns):
            engine.ask(CHANNEL, str(turn))
        published = in_engine(engine, lambda: engine._engine._services.hub._count)
        got, missed = 0, 0
        while got + missed < published:
            event = events.get(timeout=WITHIN)
            if isinstance(event, Lagged):
                missed += event.missed
            else:
                got += 1
        assert got + missed == published
        assert got <= AHEAD + size + 1


def test_a_callback_gets_every_event_up_to_the_end_of_its_block(tmp_path: Path) -> None:
    """One that fails is told to the thread's hook, and gets the next event."""
    got: list[Event] = []
    told: list[threading.ExceptHookArgs] = []

    def callback(event: Event) -> None:
        got.append(event)
        if len(got) == 1:
            raise ValueError("the first")

    with pytest.MonkeyPatch.context() as patch, portal(tmp_path) as engine:
        patch.setattr(threading, "excepthook", told.append)
        with engine.on_event(callback, CHANNEL):
            engine.ask(CHANNEL, "Hello")
        assert isinstance(got[-1], TurnEnded)
        assert [str(each.exc_value) for each in told] == ["the first"]
        engine.ask(CHANNEL, "Not heard")
        assert isinstance(got[-1], TurnEnded)


def test_thirty_two_threads_at_once_get_each_their_own_answer(tmp_path: Path) -> None:
    """And each channel has its messages in order."""
    with portal(tmp_path) as engine, ThreadPoolExecutor(32) as threads:

        def talk(number: int) -> list[str]:
            channel = f"discord:{number % 8}"
            return [engine.ask(channel, f"{number}:{turn}").text for turn in range(5)]

        said = list(threads.map(talk, range(32)))
        assert said == [[f"echo: {number}:{turn}" for turn in range(5)] for number in range(32)]
        assert sum(each.message_count for each in engine.sessions()) == 32 * 5


def test_the_context_of_the_caller_is_that_of_its_call(tmp_path: Path) -> None:
    """Also where a call of the engine makes something that is called within."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []
    with portal(tmp_path) as engine:

        async def look() -> None:
            seen.append(variable.get())
            variable.set("changed within")

        for value in ("one", "two"):
            variable.set(value)
            engine._thread.call(look).future.result(WITHIN)
        engine._thread.direct(lambda: seen.append(variable.get())).result(WITHIN)
        assert seen == ["one", "two", "two"]
        assert variable.get() == "two"


def test_two_portals_live_side_by_side(tmp_path: Path) -> None:
    """Each with its own state."""
    with portal(tmp_path / "a") as one, portal(tmp_path / "b") as other:
        one.ask(CHANNEL, "Hello")
        assert other.session(CHANNEL) is None
        assert one.status().run_id != other.status().run_id


def test_a_second_engine_on_the_same_state_is_refused_in_the_thread_that_opens_it(tmp_path: Path) -> None:
    """With the error itself, in no group and with no other behind it."""
    with portal(tmp_path) as engine:
        with pytest.raises(StoreLocked) as caught, portal(tmp_path):
            raise AssertionError("it was opened twice")
        frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        assert {"open_portal", "open_engine"} <= set(frames)
        assert engine.ask(CHANNEL, "Hello").text == "echo: Hello"


def test_what_the_block_raises_comes_out_as_it_is(tmp_path: Path) -> None:
    """After the engine was drained."""
    error = KeyError("mine")
    message = new_id()
    try:
        with portal(tmp_path) as engine:
            engine.post(CHANNEL, "Hello", message_id=message)
            raise error
    except KeyError as caught:
        assert caught is error  # noqa: PT017 - two statements are not one that raises
    with portal(tmp_path) as engine:
        assert engine.outcome(message).kind is OutcomeKind.ANSWERED


def test_a_closed_engine_says_so(tmp_path: Path) -> None:
    """To every kind of call."""
    with portal(tmp_path) as engine:
        pass
    for call in (lambda: engine.ask(CHANNEL, "Hello"), engine.status, engine.stream(CHANNEL, "Hello").__enter__):
        with pytest.raises(EngineClosed):
            call()
    assert engine.settings.model == "sonnet"


def test_closing_wakes_who_waits(tmp_path: Path) -> None:
    """In ``ask``, in an iterator, in any other call; each with what says that the engine has closed."""
    puppet = PuppetDriver()
    raised: dict[str, BaseException | None] = {}
    with ExitStack() as threads:

        def waiting(name: str, function: Callable[[], object]) -> None:
            def run() -> None:
                try:
                    function()
                except EngineClosed as error:
                    raised[name] = error
                else:
                    raised[name] = None

            thread = threading.Thread(target=run)
            thread.start()
            threads.callback(thread.join, WITHIN)

        with portal(tmp_path, puppet, drain_timeout=0.1) as engine:
            engine.post(CHANNEL, "Hello")
            eventually(lambda: CHANNEL in puppet.running)

            def iterate() -> None:
                with engine.subscribe("elsewhere") as events:
                    assert list(events) == []

            waiting("ask", lambda: engine.ask(CHANNEL, "Hello"))
            waiting("clear", lambda: engine.clear(CHANNEL))
            waiting("subscribe", iterate)
            eventually(lambda: engine.status().queued_messages == 1 and engine.status().subscribers == 1)
    assert isinstance(raised["ask"], EngineClosed)
    assert raised["subscribe"] is None
    assert raised.keys() == {"ask", "clear", "subscribe"}


def test_an_engine_that_comes_down_says_so_at_the_end_of_the_block(tmp_path: Path) -> None:
    """As an engine without a portal does."""

    async def fail() -> None:
        raise ZeroDivisionError

    def use() -> None:
        with portal(tmp_path) as engine:
            in_engine(engine, lambda: engine._engine._supervisor.nursery.start_soon(fail))
            eventually(engine._thread.ended.done)
            with pytest.raises(EngineClosed):
                engine.ask(CHANNEL, "Hello")

    with pytest.raises(ExceptionGroup) as caught:
        use()
    assert caught.group_contains(ZeroDivisionError)


# -- where no portal may be used


def test_no_portal_is_opened_where_a_loop_runs(tmp_path: Path) -> None:
    """It would stop that loop; the error names what to use."""

    async def use() -> None:
        with portal(tmp_path):
            raise AssertionError

    async def use_async() -> None:
        async with open_async_portal(plain_settings(tmp_path)):
            raise AssertionError

    with pytest.raises(WrongLoop, match="async with open_engine"):
        trio.run(use)
    with pytest.raises(WrongLoop, match="open_engine under trio"):
        trio.run(use_async)
    with pytest.raises(WrongLoop, match="open_async_portal"):
        asyncio.run(use())


def test_no_call_is_made_where_a_loop_runs(tmp_path: Path) -> None:
    """Nor in the engine's own thread, where it would wait for itself."""
    with portal(tmp_path) as engine:

        async def use() -> None:
            engine.ask(CHANNEL, "Hello")

        with pytest.raises(WrongLoop, match="open_engine"):
            trio.run(use)
        with pytest.raises(WrongLoop, match="or asyncio"):
            asyncio.run(use())
        with pytest.raises(WrongLoop):
            in_engine(engine, engine.status)


# -- callbacks of the host


Decide = Callable[[str], Awaitable[bool]]


class Judge:
    """An object with a method, as a driver is."""

    async def __call__(self, question: str) -> bool:
        """Decide."""
        return bool(question)


@asynccontextmanager
async def opener(
    settings: str, *, ask: Decide | None = None, judge: Judge | None = None, note: Callable[[str], None] = print
) -> Any:
    """Takes what a later engine might."""
    yield settings, ask, judge, note


def test_what_the_engine_awaits_is_carried_and_nothing_else() -> None:
    """The annotations say what that is."""
    note, decide = print, len
    judge = Judge()
    given = {"settings": str, "ask": decide, "judge": judge, "note": note}
    assert with_callbacks(opener, given, lambda _: "carried") == {  # type: ignore[arg-type,return-value]
        "settings": str,
        "ask": "carried",
        "judge": "carried",
        "note": note,
    }
    assert with_callbacks(opener, {"ask": None}, in_worker) == {"ask": None}


def test_a_plain_callback_runs_in_a_worker_thread_and_may_use_the_portal(tmp_path: Path) -> None:
    """While the engine waits for it."""
    engines: list[BlockingEngine] = []

    def answer(request: TurnRequest) -> TurnResult:
        threads.append(threading.current_thread())
        return echo(request, f"{engines[0].status().running_turns} running")

    threads: list[threading.Thread] = []
    with portal(tmp_path, InstantDriver(answer=in_worker(answer))) as engine:
        engines.append(engine)
        assert engine.ask(CHANNEL, "Hello").text == "1 running"
    assert threads[0] is not threading.main_thread()


def test_a_plain_callback_answers_permission_questions_and_may_use_the_portal(tmp_path: Path) -> None:
    """In a worker thread; one that raises denies."""
    answers: list[Allow | Exception] = [Allow(), RuntimeError("who knows")]

    def decide(question: PermissionAsked) -> Allow:
        asked.append((question.channel, engine.status().running_turns, threading.current_thread()))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    asked: list[tuple[str, int, threading.Thread]] = []
    seen: list[Event] = []
    with open_portal(scripted_settings(tmp_path), permissions=decide) as engine:
        for _ in range(2):
            with engine.stream(CHANNEL, "[[ask-permission]]") as turn:
                seen += [event for event in turn if isinstance(event, PermissionAnswered)]
            assert turn.reply.text
    assert [(channel, running) for channel, running, _ in asked] == [(CHANNEL, 1)] * 2
    assert threading.main_thread() not in [thread for _, _, thread in asked]
    assert [(event.allowed, event.by) for event in seen if isinstance(event, PermissionAnswered)] == [
        (True, AnsweredBy.CALLBACK),
        (False, AnsweredBy.CALLBACK),
    ]


# -- for those who watch


def test_health_is_told_while_the_engines_loop_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is when it matters: a call that went through the loop would wait with it."""
    monkeypatch.setattr("echo_actors.engine.health.WEDGED", 0.1)
    goes_on = threading.Event()
    with open_portal(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        assert engine.health().live
        engine._thread.soon(goes_on.wait, 30)
        eventually(lambda: not engine.health().live)
        goes_on.set()
        eventually(lambda: bool(engine.health().live))


def test_a_callers_span_is_found_through_the_portal(tmp_path: Path) -> None:
    """The message's span is below it."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with open_portal(plain_settings(tmp_path), driver=InstantDriver(), telemetry=Providers(tracer=provider)) as engine:
        with provider.get_tracer("caller").start_as_current_span("request") as request:
            engine.ask(CHANNEL, "hello")
        engine.ask(CHANNEL, "again")
    first, second = (span for span in exporter.get_finished_spans() if span.name == "message")
    assert first.parent == request.get_span_context()
    assert second.parent is None
    provider.shutdown()
