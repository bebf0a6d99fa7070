"""Metrics: what is counted, and that OpenTelemetry's SDK and Prometheus' parser read the same."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from prometheus_client.parser import text_string_to_metric_families
from support import Gate, opened, plain_settings, until

from echo_actors import BusyPolicy, OutcomeKind, Retrying, TurnEnded, TurnFailed, TurnStarted, open_engine
from echo_actors.claude.driver import TurnRequest
from echo_actors.engine.measures import DEFINITIONS as OF_THE_STATUS
from echo_actors.events import Accepted, Event, TextDelta, ToolFinished, ToolStarted
from echo_actors.models import Outcome, Spent, Usage
from echo_actors.telemetry import Definition, Kind, Metric, Point, Providers, prometheus_text
from echo_actors.telemetry.counts import DEFINITIONS as COUNTED
from echo_actors.telemetry.instruments import MOST_SERIES, OVERFLOW, Counter, Histogram
from echo_actors.telemetry.metric import SECONDS
from echo_actors.telemetry.prometheus import prometheus_name
from echo_actors.telemetry.telemetry import FAULTS, Telemetry, open_telemetry
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo

DAY = datetime(2030, 1, 1, tzinfo=UTC)
SPENT = Spent(usage=Usage(1, 20, 300, 0), cost_usd=0.5)


@attrs.frozen
class Shown:
    """Something that shows these metrics."""

    shown: tuple[Metric, ...]

    def metrics(self) -> tuple[Metric, ...]:
        """They are."""
        return self.shown


def samples(text: str) -> dict[str, float]:
    """What Prometheus' own parser makes of a text: values by name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def collected(reader: InMemoryMetricReader) -> dict[str, list[NumberDataPoint | HistogramDataPoint]]:
    """What the SDK makes of the metrics: points by name."""
    data = reader.get_metrics_data()
    scopes = [] if data is None else [scope for each in data.resource_metrics for scope in each.scope_metrics]
    assert {scope.scope.name for scope in scopes} <= {"echo_actors"}
    points: dict[str, list[Any]] = {
        each.name: list(each.data.data_points) for scope in scopes for each in scope.metrics
    }
    return points


def tell(telemetry: Telemetry, kind: type[Event], second: float, **fields: Any) -> None:
    """Tell of an event at a second of the day."""
    telemetry.on_event(kind(channel="c", time=DAY + timedelta(seconds=second), **fields))


def counted(events: Iterable[tuple[type[Event], float, dict[str, Any]]]) -> dict[str, float]:
    """What is counted of events, as Prometheus reads it."""
    faults: list[str] = []
    telemetry = open_telemetry(Providers(), "run", observed=(), content=False, on_fault=faults.append)
    for kind, second, fields in events:
        tell(telemetry, kind, second, **fields)
    assert faults == []
    return samples(prometheus_text(Shown(telemetry.read())))


def turn(*, tool: bool = False, outcome: OutcomeKind = OutcomeKind.ANSWERED) -> list[tuple[type[Event], float, Any]]:
    """A message that waits for 2 seconds; its turn takes 6, the first output of it 1, the tool in it 3."""
    of = {"message_id": "m", "turn_id": "t"}
    end = Outcome(kind=outcome)
    working: list[tuple[type[Event], float, Any]] = [
        (ToolStarted, 4, {**of, "tool": "Bash", "tool_use_id": "u", "input": {}}),
        (ToolFinished, 7, {**of, "tool_use_id": "u", "is_error": False, "text": ""}),
    ]
    return [
        (Accepted, 0, {"message_id": "m", "sequence": 1, "position": 0}),
        (TurnStarted, 2, {**of, "attempt": 1, "model": "opus", "session_id": "s"}),
        (TextDelta, 3, {**of, "text": "now"}),
        *(working if tool else []),
        (TurnEnded, 8, {**of, "outcome": end, "spent": SPENT}),
    ]


def test_times_and_ends_are_counted() -> None:
    """Of the wait, the turn, the first output and the tool."""
    found = counted(turn(tool=True))
    assert found["echo_actors_messages_accepted_total"] == 1
    assert found["echo_actors_messages_ended_total{outcome=answered}"] == 1
    assert found["echo_actors_message_queue_time_seconds_sum"] == 2
    assert found["echo_actors_turn_duration_seconds_sum{outcome=answered}"] == 6
    assert found["echo_actors_turn_first_output_seconds_sum"] == 1
    assert found["echo_actors_tool_duration_seconds_sum{tool=Bash,error=false}"] == 3
    assert found["echo_actors_turn_duration_seconds_bucket{outcome=answered,le=5.0}"] == 0
    assert found["echo_actors_turn_duration_seconds_bucket{outcome=answered,le=10.0}"] == 1
    assert found["echo_actors_turn_duration_seconds_bucket{outcome=answered,le=+Inf}"] == 1


@pytest.mark.parametrize("outcome", [OutcomeKind.ANSWERED, OutcomeKind.FAILED])
def test_what_a_turn_took_is_counted_answered_or_not(outcome: OutcomeKind) -> None:
    """By kind of token, and in dollars; a kind that was not used is not shown."""
    found = counted(turn(outcome=outcome))
    assert {name: value for name, value in found.items() if "tokens" in name or "usd" in name} == {
        "echo_actors_tokens_total{kind=input,model=opus}": 1,
        "echo_actors_tokens_total{kind=output,model=opus}": 20,
        "echo_actors_tokens_total{kind=cache_read,model=opus}": 300,
        "echo_actors_cost_usd_total{model=opus}": 0.5,
    }


def test_a_turn_that_is_tried_again_counts_and_costs() -> None:
    """The message has one end all the same, and has waited once."""
    first = [each for each in turn() if each[0] is not TurnEnded]
    failed = {"turn_id": "t", "reason": "", "attempt": 1, "delay": 0.0, "turn_over": True, "spent": SPENT}
    again = {"message_id": "m", "turn_id": "u"}
    answered = {"outcome": Outcome(kind=OutcomeKind.ANSWERED), "spent": SPENT}
    found = counted(
        [
            *first,
            (Retrying, 5, failed),
            (TurnStarted, 6, {**again, "attempt": 2, "model": "opus", "session_id": "s"}),
            (TurnEnded, 7, {**again, **answered}),
        ]
    )
    assert found["echo_actors_turn_duration_seconds_count{outcome=retried}"] == 1
    assert found["echo_actors_turn_duration_seconds_count{outcome=answered}"] == 1
    assert found["echo_actors_cost_usd_total{model=opus}"] == 1
    assert found["echo_actors_message_queue_time_seconds_count"] == 1
    assert found["echo_actors_messages_ended_total{outcome=answered}"] == 1


def test_a_clock_that_was_set_back_gives_no_negative_time() -> None:
    """A sum that goes down would look like a new start of the program."""
    early = [(kind, 100 - second, fields) for kind, second, fields in turn()]
    found = counted(early)
    assert found["echo_actors_turn_duration_seconds_sum{outcome=answered}"] == 0


def test_a_model_that_names_ever_new_tools_makes_no_end_of_series() -> None:
    """Those that come after the bound share one set of labels; the sum is right."""
    counter = Counter(Definition("n", Kind.COUNTER, "", "h"))
    histogram = Histogram(Definition("h", Kind.HISTOGRAM, "s", "h"))
    for number in range(MOST_SERIES + 100):
        counter.add(1, tool=str(number))
        histogram.observe(1, tool=str(number))
    for metric in (counter.read(), histogram.read()):
        assert len(metric.points) == MOST_SERIES + 1
        assert metric.points[-1].labels == (("tool", OVERFLOW),)
    assert counter.read().points[-1].value == 100


def test_text_for_prometheus_is_escaped() -> None:
    """Quotes, backslashes and lines in labels and in the help, and half of a surrogate pair."""
    evil = 'a"b\\c\nd} 1\n# é'
    text = prometheus_text(
        Shown((Metric(Definition("x.y", Kind.GAUGE, "By", "one\ntwo\\three"), (Point((("l", evil),), 1.5),)),))
    )
    (family,) = text_string_to_metric_families(text)
    assert (family.name, family.type, family.documentation) == ("x_y_bytes", "gauge", "one\ntwo\\three")
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"l": evil}, 1.5)]
    assert text.endswith("\n")
    broken = prometheus_text(Shown((Metric(Definition("x", Kind.GAUGE, "", "h"), (Point((("l", "\ud800"),), 1),)),)))
    assert broken.encode()


async def test_an_engines_status_is_read_by_prometheus_without_the_setting(tmp_path: Path) -> None:
    """Everything that the status knows; what only events tell is left out, and not shown as nothing."""
    gate = Gate()
    async with opened(plain_settings(tmp_path, turn_slots=3), driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        await engine.post("c", "later")
        found = samples(prometheus_text(engine))
        gate.open()
    assert set(found) == {prometheus_name(each) for each in OF_THE_STATUS}
    assert found["echo_actors_channels_live"] == found["echo_actors_turns_running"] == 1
    assert found["echo_actors_messages_queued"] == 1
    assert (found["echo_actors_turns_slots"], found["echo_actors_gate_open"]) == (3, 1)
    assert (found["echo_actors_audit_problem"], found["echo_actors_store_errors_total"]) == (0, 0)


async def test_no_label_grows_with_channels_or_messages(tmp_path: Path) -> None:
    """A hundred channels make no more series than one."""

    async def series(channels: int, directory: Path) -> set[str]:
        async with opened(plain_settings(directory, telemetry=True), driver=InstantDriver()) as engine:
            for number in range(channels):
                await engine.ask(f"c{number}", "hello")
            return set(samples(prometheus_text(engine)))

    assert await series(1, tmp_path / "one") == await series(100, tmp_path / "many")


async def test_opentelemetry_and_prometheus_read_the_same(tmp_path: Path) -> None:
    """The same names, by each one's rules, and the same values."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])

    def answer(request: TurnRequest) -> Answer:
        error = "invalid_request" if "fail" in request.content else None
        return attrs.evolve(echo(request), error=error)

    async with open_engine(
        plain_settings(tmp_path), driver=InstantDriver(answer), telemetry=Providers(meter=provider)
    ) as engine:
        await engine.ask("c", "hello")
        with pytest.raises(TurnFailed):
            await engine.ask("c", "fail")
        telemetry = engine._watch.telemetry
        assert telemetry is not None
        telemetry.observe(engine.metrics())
        shown, found = samples(prometheus_text(engine)), collected(reader)
    for definition in (*COUNTED, *OF_THE_STATUS, FAULTS):
        name = prometheus_name(definition)
        for point in found.get(definition.name, []):
            labels = ",".join(f"{key}={value!s}" for key, value in (point.attributes or {}).items())
            suffix = f"{{{labels}}}" if labels else ""
            if isinstance(point, HistogramDataPoint):
                assert point.explicit_bounds == SECONDS
                assert shown[f"{name}_sum{suffix}"] == point.sum
                assert shown[f"{name}_count{suffix}"] == point.count
            else:
                assert shown[f"{name}{suffix}"] == point.value
    unused = {"echo_actors.tool.duration"}
    assert set(found) == {each.name for each in (*COUNTED, *OF_THE_STATUS, FAULTS)} - unused
    assert {point.attributes and point.attributes["outcome"] for point in found["echo_actors.messages.ended"]} == {
        "answered",
        "failed",
    }
    assert collected(reader).get("echo_actors.channels.live", []) == [], "a closed engine measures nothing"
    provider.shutdown()


async def test_what_is_observed_comes_with_the_beat(tmp_path: Path) -> None:
    """OpenTelemetry asks in a thread of its own, which gets what was looked at on the loop."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    async with opened_with(plain_settings(tmp_path), provider) as engine:
        await engine.ask("c", "hello")
        await until(lambda: value_of(collected(reader), "echo_actors.channels.live") == 1)
    provider.shutdown()


def opened_with(settings: Any, provider: MeterProvider) -> Any:
    """An engine that answers at once, whose metrics go to this provider."""
    return open_engine(settings, driver=InstantDriver(), telemetry=Providers(meter=provider))


def value_of(found: dict[str, list[NumberDataPoint | HistogramDataPoint]], name: str) -> float | None:
    """The one value of a metric; None when it has none."""
    points = [point.value for point in found.get(name, []) if isinstance(point, NumberDataPoint)]
    return points[0] if points else None


def test_without_the_api_everything_is_counted_and_nothing_imported(tmp_path: Path) -> None:
    """The extra is one: a program that has not installed it gets text for Prometheus, and no error."""
    program = f"""
import sys
sys.modules.update(dict.fromkeys(["opentelemetry", "opentelemetry.metrics", "opentelemetry.trace"]))
import trio
from pathlib import Path
from echo_actors import Settings, open_engine
from echo_actors.telemetry import prometheus_text
from echo_actors.testing.instant_driver import InstantDriver

async def main():
    settings = Settings(state_dir=Path({str(tmp_path)!r}), telemetry=True)
    async with open_engine(settings, driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        print(prometheus_text(engine))

trio.run(main)
"""
    assert importlib.util.find_spec("opentelemetry") is not None, "this test takes away what is there"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert samples(done.stdout)["echo_actors_messages_ended_total{outcome=answered}"] == 1


def test_an_engine_without_the_setting_does_not_even_import_the_api(tmp_path: Path) -> None:
    """It takes a tenth of a second that nobody asked for."""
    program = f"""
import sys, trio
from pathlib import Path
from echo_actors import Settings, open_engine
from echo_actors.testing.instant_driver import InstantDriver

async def main():
    async with open_engine(Settings(state_dir=Path({str(tmp_path)!r})), driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        print(engine.metrics() and any(name.startswith("opentelemetry") for name in sys.modules))

trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False"


async def test_a_turn_that_messages_share_costs_once(tmp_path: Path) -> None:
    """Each of the three has its end; what was paid is what the session says."""
    gate = Gate()
    async with opened(plain_settings(tmp_path, telemetry=True), driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        posted = [await engine.post("c", text, busy=BusyPolicy.COLLECT) for text in ("one", "two", "three")]
        gate.open()
        for receipt in posted:
            await engine.outcome(receipt.message_id)
        await until(lambda: engine.status().running_turns == 0)
        snapshot, found = await engine.session("c"), samples(prometheus_text(engine))
    assert snapshot is not None
    assert found["echo_actors_messages_ended_total{outcome=answered}"] == 4
    assert found["echo_actors_turn_duration_seconds_count{outcome=answered}"] == 2
    assert found["echo_actors_cost_usd_total{model=sonnet}"] == snapshot.total_cost_usd
    assert found["echo_actors_tokens_total{kind=output,model=sonnet}"] == snapshot.total_output_tokens


async def test_a_failed_attempt_costs_as_well(tmp_path: Path) -> None:
    """One that is tried again, and the one that the message fails with in the end: all that the session counts."""

    def answer(request: TurnRequest) -> Answer:
        return attrs.evolve(echo(request), error="overloaded", reason="busy", blocks=())

    settings = plain_settings(tmp_path, telemetry=True, max_attempts=2)
    async with opened(settings, driver=InstantDriver(answer)) as engine:
        receipt = await engine.post("c", "hello")
        assert (await engine.outcome(receipt.message_id)).attempts == 2
        found = samples(prometheus_text(engine))
    assert found["echo_actors_turn_duration_seconds_count{outcome=retried}"] == 1
    assert found["echo_actors_turn_duration_seconds_count{outcome=failed}"] == 1
    assert found["echo_actors_cost_usd_total{model=sonnet}"] == 0.0008


async def test_a_reply_that_cannot_be_stored_was_paid_for(tmp_path: Path) -> None:
    """The message fails for it; the money is gone all the same."""

    def answer(request: TurnRequest) -> Answer:
        result = echo(request)
        return attrs.evolve(result, spent=attrs.evolve(result.spent, duration_ms=2**70))

    async with opened(plain_settings(tmp_path, telemetry=True), driver=InstantDriver(answer)) as engine:
        with pytest.raises(TurnFailed, match="64"):
            await engine.ask("c", "hello")
        assert samples(prometheus_text(engine))["echo_actors_cost_usd_total{model=sonnet}"] == 0.0004


async def test_events_that_a_subscriber_was_too_slow_for_are_counted(tmp_path: Path) -> None:
    """Over all subscribers."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        async with engine.subscribe(buffer_size=2), engine.subscribe("c", buffer_size=2):
            await engine.ask("c", "hello")
            lost = engine.status().events_lost
        assert lost >= 2
        assert samples(prometheus_text(engine))["echo_actors_events_lost_total"] == lost
