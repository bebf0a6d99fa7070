"""Spans: the tree of a message, its turns and tools, as OpenTelemetry's SDK exports it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from conftest import Host
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from support import Gate, audit_records, new_id, plain_settings, scripted_settings, until

from echo_actors import (
    Accepted,
    BusyPolicy,
    Clock,
    Event,
    OutcomeKind,
    Retrying,
    TextDelta,
    TurnEnded,
    TurnFailed,
    TurnStarted,
    open_engine,
)
from echo_actors.claude.driver import TurnRequest
from echo_actors.events import ToolFinished, ToolStarted
from echo_actors.models import Outcome, Reply, Spent, Usage
from echo_actors.telemetry import Providers
from echo_actors.telemetry.metric import Definition
from echo_actors.telemetry.telemetry import Telemetry, open_telemetry
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo

DAY = datetime(2030, 1, 1, tzinfo=UTC)
SECRET = "hunter2"  # noqa: S105 - the word that must not show


@attrs.define(eq=False)
class Recorded:
    """A provider whose spans are kept in memory."""

    exporter: InMemorySpanExporter = attrs.Factory(InMemorySpanExporter)
    provider: TracerProvider = attrs.field(factory=TracerProvider, init=False)

    def __attrs_post_init__(self) -> None:
        """Let the spans go to the exporter as they end."""
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def providers(self) -> Providers:
        """What an engine is given."""
        return Providers(tracer=self.provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in the order in which they began."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def one(self, name: str, **attributes: Any) -> ReadableSpan:
        """The one span of a name that has these attributes, whose dots are double underscores here."""
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        found = [
            span for span in self.spans if span.name == name and wanted.items() <= dict(attributes_of(span)).items()
        ]
        assert len(found) == 1, [(span.name, dict(attributes_of(span))) for span in self.spans]
        return found[0]


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes."""
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int | None:
    """The id of the span above it."""
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    """A span's own id."""
    assert span.context is not None
    identity: int = span.context.span_id
    return identity


def linked(span: ReadableSpan) -> list[int]:
    """The ids of the spans that it is linked to."""
    return [link.context.span_id for link in span.links]


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """A provider in memory, which is not the global one."""
    recorded = Recorded()
    yield recorded
    recorded.provider.shutdown()


class Told:
    """Telemetry that is told events of one channel, at given seconds."""

    def __init__(self, providers: Providers, *, content: bool = False, mask: Callable[[str], str] = str) -> None:
        self.faults: list[str] = []
        observed: tuple[Definition, ...] = ()
        self.telemetry: Telemetry = open_telemetry(
            providers, "run", observed=observed, content=content, on_fault=self.faults.append, mask=mask
        )

    def __call__(self, kind: type[Event], second: float, **fields: Any) -> None:
        """Tell an event."""
        self.telemetry.on_event(kind(channel="c", time=DAY + timedelta(seconds=second), **fields))
        assert self.faults == []

    def accepted(self, second: float, message: str) -> None:
        """A message comes."""
        self(Accepted, second, message_id=message, sequence=1, position=0)

    def started(self, second: float, message: str, turn: str, attempt: int = 1) -> None:
        """It begins in a turn."""
        about = {"message_id": message, "turn_id": turn, "attempt": attempt}
        self(TurnStarted, second, **about, model="opus", session_id="session")

    def ended(self, second: float, message: str, turn: str, **outcome: Any) -> None:
        """It ends."""
        spent = Spent(usage=Usage(10, 20, 300, 4000), cost_usd=0.5)
        end = Outcome(**{"kind": OutcomeKind.FAILED, "attempts": 1, **outcome})
        self(TurnEnded, second, message_id=message, turn_id=turn, outcome=end, spent=spent if turn else None)


def seconds_of(span: ReadableSpan) -> tuple[float, float]:
    """When a span began and ended, in seconds of the day."""
    midnight = int(DAY.timestamp()) * 10**9
    return ((span.start_time or 0) - midnight) / 1e9, ((span.end_time or 0) - midnight) / 1e9


# -- with an engine


async def test_a_messages_span_has_its_turn_and_the_caller_above_it(tmp_path: Path, recorded: Recorded) -> None:
    """Whoever asks within a span finds the message under it, and what the turn took."""
    tracer = recorded.provider.get_tracer("caller")
    async with open_engine(plain_settings(tmp_path), driver=InstantDriver(), telemetry=recorded.providers) as engine:
        with tracer.start_as_current_span("request") as request:
            reply = await engine.ask("c", "hello")
        await engine.ask("c", "again")
    trace_id = request.get_span_context().trace_id
    first, second = (span for span in recorded.spans if span.name == "message")
    assert (parent_of(first), parent_of(second)) == (request.get_span_context().span_id, None)
    turn = recorded.one("invoke_agent", echo_actors__turn__id=reply.turn_id)
    assert (parent_of(turn), turn.context and turn.context.trace_id) == (id_of(first), trace_id)
    assert (
        attributes_of(turn).items()
        >= {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "anthropic",
            "gen_ai.conversation.id": reply.session_id,
            "gen_ai.request.model": "sonnet",
            "gen_ai.response.model": "sonnet",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "echo_actors.cost_usd": 0.0004,
            "echo_actors.outcome": "answered",
        }.items()
    )
    assert "gen_ai.response.time_to_first_chunk" in attributes_of(turn)
    assert [span.name for span in recorded.spans].count("invoke_agent") == 2
    later = [span for span in recorded.spans if span.name == "invoke_agent" and span is not turn]
    assert [parent_of(span) for span in later] == [id_of(second)], "the actor inherited the first caller's context"


async def test_a_caller_in_another_thread_is_found_too(tmp_path: Path, recorded: Recorded) -> None:
    """Context variables go through trio's threads, and so through a portal's."""
    tracer = recorded.provider.get_tracer("caller")
    async with open_engine(plain_settings(tmp_path), driver=InstantDriver(), telemetry=recorded.providers) as engine:

        def in_a_thread() -> int:
            with tracer.start_as_current_span("request") as request:
                trio.from_thread.run(engine.ask, "c", "hello")
            return request.get_span_context().span_id

        caller = await trio.to_thread.run_sync(in_a_thread)
    assert parent_of(recorded.one("message")) == caller


async def test_collected_messages_share_a_turn_that_is_linked_to_them(tmp_path: Path, recorded: Recorded) -> None:
    """The turn is the first one's child; the others and the turn are linked both ways, and it is counted once."""
    gate = Gate()
    async with open_engine(
        plain_settings(tmp_path), driver=InstantDriver(gate), telemetry=recorded.providers
    ) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        posted = [await engine.post("c", text, busy=BusyPolicy.COLLECT) for text in ("one", "two")]
        gate.open()
        for receipt in posted:
            await engine.outcome(receipt.message_id)
    one, two = (recorded.one("message", echo_actors__message__id=receipt.message_id) for receipt in posted)
    shared = [span for span in recorded.spans if span.name == "invoke_agent" and parent_of(span) == id_of(one)]
    assert [linked(span) for span in shared] == [[id_of(two)]]
    assert (linked(two), linked(one)) == ([id_of(shared[0])], [])


async def test_a_message_that_is_tried_again_has_two_turns(tmp_path: Path, recorded: Recorded) -> None:
    """The failed one says so, and what it cost; the message itself is well."""
    overloaded = [True]

    def answer(request: TurnRequest) -> Answer:
        if overloaded.pop() if overloaded else False:
            return attrs.evolve(echo(request), error="overloaded", reason="too much", blocks=())
        return echo(request)

    async with open_engine(
        plain_settings(tmp_path), driver=InstantDriver(answer), telemetry=recorded.providers
    ) as engine:
        await engine.ask("c", "hello")
    failed, answered = (span for span in recorded.spans if span.name == "invoke_agent")
    message = recorded.one("message", echo_actors__attempts=2)
    assert [parent_of(span) for span in (failed, answered)] == [id_of(message)] * 2
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "too much")
    assert attributes_of(failed)["echo_actors.cost_usd"] == 0.0004
    assert (answered.status.status_code, message.status.status_code) == (StatusCode.UNSET, StatusCode.UNSET)
    assert [attributes_of(span)["echo_actors.attempt"] for span in (failed, answered)] == [1, 2]


async def test_a_failure_is_in_the_status_of_message_and_turn(tmp_path: Path, recorded: Recorded) -> None:
    """With the kind of error that a program can look for."""

    def answer(request: TurnRequest) -> Answer:
        return attrs.evolve(echo(request), error="invalid_request", reason="no such model", blocks=())

    async with open_engine(
        plain_settings(tmp_path), driver=InstantDriver(answer), telemetry=recorded.providers
    ) as engine:
        with pytest.raises(TurnFailed):
            await engine.ask("c", "hello")
    for name in ("message", "invoke_agent"):
        span = recorded.one(name, error__type="invalid_request", echo_actors__outcome="failed")
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no such model")


async def test_a_message_of_an_earlier_run_has_a_span_of_its_own(tmp_path: Path, recorded: Recorded) -> None:
    """Its caller is gone; that it was cut and taken up again shows in both runs."""
    gate, settings = Gate(), plain_settings(tmp_path, drain_timeout=0.01)
    async with open_engine(settings, driver=InstantDriver(gate), telemetry=recorded.providers) as engine:
        receipt = await engine.post("c", "hold")
        await gate.entered()
    async with open_engine(settings, driver=InstantDriver(), telemetry=recorded.providers) as engine:
        await engine.outcome(receipt.message_id)
    cut, again = (span for span in recorded.spans if span.name == "message")
    assert attributes_of(cut)["echo_actors.unfinished"] is True
    assert (attributes_of(again)["echo_actors.recovered"], parent_of(again)) == (True, None)
    turns = [span for span in recorded.spans if span.name == "invoke_agent"]
    assert [parent_of(span) for span in turns] == [id_of(cut), id_of(again)]
    assert attributes_of(turns[0])["echo_actors.unfinished"] is True


async def test_a_fault_of_the_exporter_stops_no_turn(tmp_path: Path) -> None:
    """It is counted, and the first one recorded."""

    class Broken(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            del span, parent_context
            raise RuntimeError(SECRET)

    provider = TracerProvider()
    provider.add_span_processor(Broken())
    settings = plain_settings(tmp_path)
    async with open_engine(settings, driver=InstantDriver(), telemetry=Providers(tracer=provider)) as engine:
        assert (await engine.ask("c", "hello")).text == "echo: hello"
        assert (await engine.ask("c", "again")).text == "echo: again"
        faults = next(each for each in engine.metrics() if each.definition.name == "echo_actors.telemetry.faults")
    assert faults.points[0].value != 0
    records = audit_records(settings, "telemetry.failed")
    assert [record["reason"] for record in records] == ["telemetry took an event wrongly: RuntimeError"]
    provider.shutdown()


async def test_without_the_setting_nobody_listens(tmp_path: Path) -> None:
    """So that a turn pays nothing for it."""
    async with open_engine(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        assert engine._services.hub._taps == []


async def test_with_the_setting_spans_go_to_the_global_provider(
    tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that an SDK, or OpenTelemetry's own launcher, has put there."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", recorded.provider)
    async with open_engine(plain_settings(tmp_path, telemetry=True), driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
    assert {span.name for span in recorded.spans} == {"message", "invoke_agent"}


async def test_the_scripted_clis_tools_are_below_their_turn(tmp_path: Path, recorded: Recorded) -> None:
    """A process that dies in one leaves a turn that failed, and a tool's span that is cut."""
    async with open_engine(scripted_settings(tmp_path), telemetry=recorded.providers) as engine:
        await engine.ask("c", "[[tool-sleep 0]] hello")
        turn, tool = recorded.one("invoke_agent"), recorded.one("execute_tool Bash")
        assert parent_of(tool) == id_of(turn)
        assert "echo_actors.unfinished" not in attributes_of(tool)


@pytest.mark.real_cli
async def test_the_real_clis_tree_of_spans_is_right(host: Host, recorded: Recorded) -> None:
    """Message, turn and two tools, one of which fails; tokens and cost; nothing of what was said."""
    text = '[[tool Read {"file_path": "/nowhere"}]] [[tool Bash {"command": "echo ' + SECRET + '"}]]'
    settings = host.settings()
    with trio.fail_after(40):
        async with open_engine(settings, telemetry=recorded.providers) as engine:
            reply = await engine.ask("discord:1", text)
    message, turn = recorded.one("message", echo_actors__channel="discord:1"), recorded.one("invoke_agent")
    tools = [recorded.one(f"execute_tool {name}") for name in ("Read", "Bash")]
    assert parent_of(turn) == id_of(message)
    assert [parent_of(tool) for tool in tools] == [id_of(turn)] * 2
    assert [tool.status.status_code for tool in tools] == [StatusCode.ERROR, StatusCode.UNSET]
    for inner, outer in ((turn, message), (tools[0], turn), (tools[1], turn)):
        assert (outer.start_time or 0) <= (inner.start_time or 0) <= (inner.end_time or 0) <= (outer.end_time or 0)
    said = attributes_of(turn)
    assert said["gen_ai.conversation.id"] == reply.session_id
    assert said["gen_ai.response.model"] == reply.model
    usage = reply.usage
    assert said["gen_ai.usage.input_tokens"] == (
        usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
    )
    assert said["echo_actors.cost_usd"] == reply.cost_usd > 0
    assert SECRET in reply.text or any(SECRET in str(block) for block in reply.blocks)
    assert not any(SECRET in span.to_json() for span in recorded.spans)


# -- from events alone


def test_spans_last_from_event_to_event(recorded: Recorded) -> None:
    """To the microsecond, whenever they are looked at."""
    told = Told(recorded.providers)
    told.accepted(1, "m")
    told.started(2.5, "m", "t")
    told(TextDelta, 3.000001, message_id="m", turn_id="t", text=SECRET)
    told(ToolStarted, 4, message_id="m", turn_id="t", tool="Bash", tool_use_id="u", input={"command": SECRET})
    told(ToolFinished, 6, message_id="m", turn_id="t", tool_use_id="u", is_error=True, text=SECRET)
    told.ended(7, "m", "t", kind=OutcomeKind.ANSWERED)
    assert [(span.name, *seconds_of(span)) for span in recorded.spans] == [
        ("message", 1.0, 7.0),
        ("invoke_agent", 2.5, 7.0),
        ("execute_tool Bash", 4.0, 6.0),
    ]
    turn, tool = recorded.one("invoke_agent"), recorded.one("execute_tool Bash")
    assert attributes_of(turn)["gen_ai.response.time_to_first_chunk"] == 0.500001
    assert attributes_of(turn)["gen_ai.usage.input_tokens"] == 4310
    assert (tool.status.status_code, attributes_of(tool)["error.type"]) == (StatusCode.ERROR, "tool_error")
    assert not any(SECRET in span.to_json() for span in recorded.spans)


def test_content_goes_into_attributes_when_it_is_asked_for_and_masked(recorded: Recorded) -> None:
    """What a tool got and gave, and the reply; a secret in it is replaced."""
    told = Told(recorded.providers, content=True, mask=lambda text: text.replace(SECRET, "***"))
    told.accepted(1, "m")
    told.started(2, "m", "t")
    told(ToolStarted, 4, message_id="m", turn_id="t", tool="Bash", tool_use_id="u", input={"command": SECRET})
    told(ToolFinished, 6, message_id="m", turn_id="t", tool_use_id="u", is_error=False, text=f"it is {SECRET}")
    reply = Reply(text=f"So {SECRET}", session_id="session", turn_id="t")
    told.ended(7, "m", "t", kind=OutcomeKind.ANSWERED, reply=reply)
    tool = attributes_of(recorded.one("execute_tool Bash"))
    assert (tool["gen_ai.tool.call.arguments"], tool["gen_ai.tool.call.result"]) == ('{"command":"***"}', "it is ***")
    assert "So ***" in attributes_of(recorded.one("invoke_agent"))["gen_ai.output.messages"]
    assert not any(SECRET in span.to_json() for span in recorded.spans)


def test_a_tool_without_a_result_ends_with_its_turn(recorded: Recorded) -> None:
    """And is no error of the tool's."""
    told = Told(recorded.providers)
    told.accepted(1, "m")
    told.started(2, "m", "t")
    told(ToolStarted, 3, message_id="m", turn_id="t", tool="Bash", tool_use_id="u", input={})
    told.ended(5, "m", "t", kind=OutcomeKind.TIMED_OUT, clock=Clock.IDLE)
    tool = recorded.one("execute_tool Bash", echo_actors__unfinished=True)
    assert (seconds_of(tool), tool.status.status_code) == ((3.0, 5.0), StatusCode.UNSET)


def test_a_message_that_the_cli_goes_on_with_has_a_turn_of_its_own(recorded: Recorded) -> None:
    """One that was steered into a turn and not answered by it: the CLI begins it under its own uuid."""
    told = Told(recorded.providers)
    told.accepted(1, "a")
    told.accepted(1, "b")
    told.started(2, "a", "a")
    told.started(3, "b", "a")
    told.ended(4, "a", "a", kind=OutcomeKind.ANSWERED)
    told(TextDelta, 5, message_id="b", turn_id="b", text="now")
    told.ended(6, "b", "b", kind=OutcomeKind.ANSWERED)
    own = recorded.one("invoke_agent", echo_actors__turn__id="b")
    assert parent_of(own) == id_of(recorded.one("message", echo_actors__message__id="b"))
    assert seconds_of(own) == (5.0, 6.0)


def test_a_turn_of_which_nobody_hears_any_more_ends_when_the_next_begins(recorded: Recorded) -> None:
    """Its messages were given back, so it has no end of its own."""
    told = Told(recorded.providers)
    told.accepted(1, "m")
    told.started(2, "m", "t")
    told.started(5, "m", "u", attempt=1)
    told.ended(6, "m", "u", kind=OutcomeKind.ANSWERED)
    assert seconds_of(recorded.one("invoke_agent", echo_actors__unfinished=True)) == (2.0, 5.0)
    assert seconds_of(recorded.one("invoke_agent", echo_actors__outcome="answered")) == (5.0, 6.0)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (OutcomeKind.EXPIRED, "queue_timeout"),
        (OutcomeKind.CANCELLED, None),
        (OutcomeKind.SUPERSEDED, None),
        (OutcomeKind.DROPPED, None),
        (OutcomeKind.DEAD_LETTERED, "dead_lettered"),
    ],
)
def test_what_somebody_wished_is_no_error(recorded: Recorded, kind: OutcomeKind, error: str | None) -> None:
    """What nobody did is one, and says which; the message never had a turn."""
    told = Told(recorded.providers)
    told.accepted(1, "m")
    told.ended(2, "m", "", kind=kind, clock=Clock.QUEUE if kind is OutcomeKind.EXPIRED else None)
    (span,) = recorded.spans
    assert span.status.status_code is (StatusCode.UNSET if error is None else StatusCode.ERROR)
    assert attributes_of(span).get("error.type") == error


def test_what_the_cli_tries_again_is_an_event_in_the_turn(recorded: Recorded) -> None:
    """The turn goes on."""
    told = Told(recorded.providers)
    told.accepted(1, "m")
    told.started(2, "m", "t")
    told(Retrying, 3, message_id="m", turn_id="t", reason="overloaded", attempt=1, delay=0.5)
    told.ended(9, "m", "t", kind=OutcomeKind.ANSWERED)
    turn = recorded.one("invoke_agent")
    assert [(event.name, dict(event.attributes or {})["reason"]) for event in turn.events] == [
        ("retrying", "overloaded")
    ]
    assert seconds_of(turn) == (2.0, 9.0)


def test_nothing_is_kept_of_what_has_ended(recorded: Recorded) -> None:
    """However many messages there were."""
    told = Told(recorded.providers)
    for number in range(50):
        message = new_id()
        told.accepted(number, message)
        told.started(number, message, message)
        told(ToolStarted, number, message_id=message, turn_id=message, tool="Bash", tool_use_id="u", input={})
        told.ended(number, message, message)
    spans, follower = told.telemetry.spans, told.telemetry._follower
    assert spans is not None
    assert [spans._messages, spans._turns, spans._tools, follower._messages, follower._turns] == [{}] * 5


async def test_a_crashed_actors_turn_ends_with_the_crash(tmp_path: Path, recorded: Recorded) -> None:
    """And the message has another one when the actor runs again."""
    crashes = [True]

    def answer(request: TurnRequest) -> Answer:
        if crashes:
            crashes.pop()
            raise ZeroDivisionError
        return echo(request)

    async with open_engine(
        plain_settings(tmp_path), driver=InstantDriver(answer), telemetry=recorded.providers
    ) as engine:
        await engine.ask("c", "hello")
        await until(lambda: engine.status().running_turns == 0)
        assert engine.status().actor_restarts == 1
    failed, answered = (span for span in recorded.spans if span.name == "invoke_agent")
    assert (failed.status.status_code, answered.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)


async def test_a_secret_of_the_environment_is_in_no_span(
    tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not when content is asked for, and the model says it."""
    monkeypatch.setenv("SOME_API_KEY", f"{SECRET}-{SECRET}-{SECRET}")
    settings = plain_settings(tmp_path, audit_content=True)
    async with open_engine(settings, driver=InstantDriver(), telemetry=recorded.providers) as engine:
        await engine.ask("c", f"it is {SECRET}-{SECRET}-{SECRET}")
    assert "it is " in attributes_of(recorded.one("invoke_agent"))["gen_ai.output.messages"]
    assert not any(f"{SECRET}-{SECRET}" in span.to_json() for span in recorded.spans)
