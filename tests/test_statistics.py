"""Figures out of the audit log: against ones worked out by hand, a naive computation, and what engines count."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support import Gate, new_id, opened, plain_settings, scripted_engine, scripted_settings, until

from echo_actors import BusyPolicy, Engine, Settings, TurnFailed
from echo_actors.audit import Keeping, log_files, open_audit
from echo_actors.audit.reading import LogReader, Wanted
from echo_actors.claude.driver import TurnRequest
from echo_actors.models import FullPolicy, OutcomeKind
from echo_actors.statistics.figures import ERRORS, TOKENS, Figures, quantiles, total
from echo_actors.statistics.gathering import gather, size_of
from echo_actors.statistics.ledger import KINDS, Ledger
from echo_actors.telemetry.metric import Distribution
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo

DAY = datetime(2026, 1, 2, tzinfo=UTC)
ONE, TWO = date(2026, 1, 2), date(2026, 1, 3)
COST: dict[str, Any] = {
    "cost_usd": 0.5,
    "input_tokens": 10,
    "output_tokens": 20,
    "cache_read_tokens": 30,
    "cache_creation_tokens": 40,
}


def record(second: float, event: str, message: str = "m", channel: str = "c", **fields: Any) -> dict[str, Any]:
    """A record of so many seconds after the beginning of the first day."""
    time = (DAY + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
    return {"event": event, "time": time, "run": "r", "channel": channel, "message": message, **fields}


def ledger_of(records: Iterable[dict[str, Any]], **options: Any) -> Ledger:
    """A ledger that has taken these."""
    ledger = Ledger(**options)
    for each in records:
        ledger.take(each)
    return ledger


def a_turn(begin: float = 0, **end: Any) -> list[dict[str, Any]]:
    """A message that waits for 2 seconds; its turn takes 6, its first output half of one."""
    of = {"outcome": "answered", "turn": "t", "first_output_ms": 500.0, **COST, **end}
    return [
        record(begin, "message.accepted"),
        record(begin + 2, "turn.started", attempt=1),
        record(begin + 8, "turn.ended", **of),
    ]


def write_log(path: Path, records: Sequence[dict[str, Any]], keeping: Keeping | None = None) -> None:
    """Write records as an engine's log does."""
    times = iter([datetime.fromisoformat(each["time"]) for each in records])
    now = [DAY]
    log = open_audit(path, run_id="r", clock=lambda: now[0], keeping=keeping or Keeping())
    for each, now[0] in zip(records, times, strict=True):
        own = {name: value for name, value in each.items() if name not in {"event", "time", "run"}}
        log.record(each["event"], **own)
        trio.run(log.flush)
        trio.run(log.flush)  # the second one finds whether it is time for a new file
    log.close()


# -- by hand


def test_a_log_worked_out_by_hand() -> None:
    """Three messages on two channels, one of them failed; counts, sums, and times."""
    found = ledger_of(
        [
            *a_turn(),
            record(10, "message.accepted", "n", "d"),
            record(11, "turn.started", "n", "d", attempt=1),
            record(12, "turn.ended", "n", "d", outcome="timed_out", turn="u", **{**COST, "cost_usd": 0.25}),
            record(20, "message.accepted", "o", "d"),
            record(25, "turn.ended", "o", "d", outcome="failed", error="budget_exceeded"),
        ]
    )
    assert list(found.days) == [("c", ONE), ("d", ONE)]
    c, d = found.days.values()
    assert (c.messages, c.answered, c.turns, c.cost_usd, c.errors) == (1, 1, 1, 0.5, Counter())
    assert [list(times) for times in (c.waits, c.first_outputs, c.durations)] == [[2.0], [0.5], [6.0]]
    assert dict(c.tokens) == {"input_tokens": 10, "output_tokens": 20, "cache_read_tokens": 30} | {
        "cache_creation_tokens": 40
    }
    assert (d.messages, d.answered, d.turns, d.cost_usd) == (2, 0, 1, 0.25)
    assert d.errors == {"timed_out": 1, "over_budget": 1}
    assert [list(times) for times in (d.waits, d.first_outputs, d.durations)] == [[1.0], [], [1.0]]
    whole = total(found.days.values())
    assert (whole.messages, whole.turns, whole.cost_usd, whole.errors.total()) == (3, 2, 0.75, 2)
    assert sorted(whole.waits) == [1.0, 2.0]
    assert found.unended == 0


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], None),
        ([3.0], (1, 3.0, 3.0, 3.0)),
        ([2.0, 1.0], (2, 1.0, 2.0, 2.0)),
        (list(map(float, range(1, 101))), (100, 50.0, 95.0, 99.0)),
        (list(map(float, range(1, 202))), (201, 101.0, 191.0, 199.0)),
    ],
)
def test_quantiles_are_times_that_there_were(times: list[float], expected: tuple[float, ...] | None) -> None:
    """The smallest that so many percent of all do not exceed."""
    found = quantiles(times)
    assert (None if found is None else attrs.astuple(found)) == expected


def test_a_turn_over_midnight_counts_on_the_day_of_its_end() -> None:
    """All of it: message, wait, duration and cost. Days are those of UTC, whatever the log's times are written in."""
    found = ledger_of(a_turn(86_400 - 7))
    assert list(found.days) == [("c", TWO)]
    assert list(found.days["c", TWO].durations) == [6.0]
    last = record(0, "turn.ended", outcome="answered")
    assert list(ledger_of([{**last, "time": "2026-01-02T23:59:59.999999Z"}]).days) == [("c", ONE)]
    assert list(ledger_of([{**last, "time": "2026-01-03T00:00:00.000000Z"}]).days) == [("c", TWO)]
    assert list(ledger_of([{**last, "time": "2026-01-02T23:30:00-01:00"}]).days) == [("c", TWO)]


def test_what_messages_share_counts_once() -> None:
    """Each has an end and a wait of its own; turn, cost and duration are those of the first."""
    of = {"outcome": "answered", "turn": "t", "first_output_ms": 500.0, **COST}
    found = ledger_of(
        [
            *(record(second, "message.accepted", name) for second, name in enumerate("abc")),
            *(record(10, "turn.started", name, attempt=1, turn="t") for name in "ab"),
            record(12, "turn.started", "c", attempt=1, turn="t"),
            *(record(20, "turn.ended", name, **of) for name in "abc"),
            record(21, "turn.ended", "z", **{**of, "turn": "another"}),
        ]
    ).days["c", ONE]
    assert (found.messages, found.turns, found.cost_usd) == (4, 2, 1.0)
    assert list(found.waits) == [10.0, 9.0, 10.0]
    assert list(found.durations) == [10.0]


def test_turns_that_are_tried_again_or_cut_cost_and_are_counted_apart() -> None:
    """The message has one end, waited once, and its turn is its last one."""
    found = ledger_of(
        [
            record(0, "message.accepted"),
            record(1, "turn.started", attempt=1),
            record(5, "turn.retried", turn="t", attempt=1, **COST),
            record(6, "turn.started", attempt=2),
            record(8, "turn.cut", turn="u", **COST),
            record(90, "turn.started", attempt=2, run="s"),
            record(94, "turn.ended", outcome="answered", turn="v", run="s", **COST),
        ]
    ).days["c", ONE]
    assert (found.messages, found.turns, found.retried, found.cut, found.cost_usd) == (1, 1, 1, 1, 1.5)
    assert (list(found.waits), list(found.durations)) == ([1.0], [4.0])


def test_what_a_crash_left_is_told_and_what_the_next_run_found_has_no_duration() -> None:
    """A recalled answer says nothing of how long its turn took; without an end there is nothing to count."""
    crashed = [record(0, "message.accepted"), record(1, "turn.started", attempt=1)]
    found = ledger_of(crashed)
    assert (found.unended, found.days) == (1, {})
    found = ledger_of([*crashed, record(3600, "turn.ended", outcome="answered", turn="t", run="next")])
    assert found.unended == 0
    assert (found.days["c", ONE].turns, list(found.days["c", ONE].durations)) == (1, [])


def test_a_log_whose_beginning_was_removed_says_what_it_can() -> None:
    """Counts and cost; a wait only where the acceptance is known, and the first start."""
    assert ledger_of(a_turn()[2:]).days["c", ONE].cost_usd == 0.5
    assert list(ledger_of(a_turn()[2:]).days["c", ONE].durations) == []
    assert list(ledger_of(a_turn()[1:]).days["c", ONE].durations) == [6.0]
    first, started, ended = a_turn()
    found = ledger_of([first, {**started, "attempt": 2}, ended]).days["c", ONE]
    assert (list(found.waits), list(found.durations)) == ([], [6.0])


def test_the_order_of_acceptance_and_start_does_not_matter() -> None:
    """A start may be recorded while its acceptance is still being announced; no time is negative."""
    first, started, ended = a_turn()
    assert list(ledger_of([started, first, ended]).days["c", ONE].waits) == [2.0]
    early = record(-5, "turn.started", attempt=1)
    assert list(ledger_of([early, first, ended]).days["c", ONE].waits) == [0.0]


@pytest.mark.parametrize("kind", OutcomeKind)
def test_every_outcome_is_an_answer_or_a_kind_of_error(kind: OutcomeKind) -> None:
    """None is left out of the sums."""
    found = ledger_of(a_turn(outcome=kind.value)).days["c", ONE]
    assert found.errors.total() == (kind is not OutcomeKind.ANSWERED)
    assert set(found.errors) <= set(ERRORS)
    assert found.answered == (kind is OutcomeKind.ANSWERED)


@pytest.mark.parametrize(
    "odd",
    [
        {"event": ["turn.ended"]},
        {"channel": 7},
        {"time": "soon"},
        {"time": None},
        {"event": "turn.renamed"},
    ],
    ids=str,
)
def test_a_record_that_is_not_as_it_should_be_is_passed_over(odd: dict[str, Any]) -> None:
    """The chain's proof is another command's."""
    assert ledger_of([{**a_turn()[2], **odd}]).days == {}


def test_a_figure_that_is_no_number_counts_nothing() -> None:
    """One that was too large for a number in JSON is written as a text."""
    found = ledger_of(a_turn(cost_usd=None, input_tokens="0x400000000000000000", first_output_ms="late"))
    figures = found.days["c", ONE]
    assert (figures.cost_usd, figures.tokens["input_tokens"], figures.tokens["output_tokens"]) == (0, 0, 20)
    assert list(figures.first_outputs) == []


def test_time_and_channel_choose_what_is_counted() -> None:
    """By the end of a message, from the first time on and before the second."""
    records = [*a_turn(), record(8, "turn.ended", "n", "d", outcome="answered")]
    at = DAY + timedelta(seconds=8)
    assert len(ledger_of(records, since=at).days) == 2
    assert list(ledger_of(records, since=at).days["c", ONE].waits) == [2.0]
    assert ledger_of(records, since=at + timedelta(microseconds=1)).days == {}
    assert (ledger_of(records, until=at).days, ledger_of(records, until=at).unended) == ({}, 1)
    assert [channel for channel, _ in ledger_of(records, chosen=lambda name: name == "d").days] == ["d"]


# -- against a naive computation


@attrs.frozen
class Story:
    """A message's life: when each thing was, in seconds, and how it ended."""

    channel: str
    accepted: int
    wait: int
    work: int
    outcome: str
    cost: float


STORIES = st.lists(
    st.builds(
        Story,
        st.sampled_from(["a", "b", "$c"]),
        st.integers(0, 3 * 86_400),
        st.integers(0, 90_000),
        st.integers(0, 4_000),
        st.sampled_from([kind.value for kind in OutcomeKind]),
        st.floats(0, 100),
    ),
    max_size=30,
)


def records_of(stories: Sequence[Story]) -> Iterator[dict[str, Any]]:
    """All that is recorded of some messages, in the order of time."""
    found = []
    for number, each in enumerate(stories):
        name, start = str(number), each.accepted + each.wait
        found += [
            record(each.accepted, "message.accepted", name, each.channel),
            record(start, "turn.started", name, each.channel, attempt=1),
            record(start, "tool.started", name, each.channel, tool="turn.ended"),
            record(
                start + each.work,
                "turn.ended",
                name,
                each.channel,
                outcome=each.outcome,
                turn=name,
                cost_usd=each.cost,
            ),
        ]
    yield from sorted(found, key=lambda each: each["time"])  # what was at one time stays in its order


@given(STORIES, st.integers(0, 4 * 86_400))
def test_the_figures_are_those_of_a_naive_computation(stories: list[Story], begin: int) -> None:
    """For any mix of messages, each channel and day, from any time on."""
    found = ledger_of(records_of(stories), since=DAY + timedelta(seconds=begin))
    told = [each for each in stories if each.accepted + each.wait + each.work >= begin]
    groups: dict[tuple[str, date], list[Story]] = {}
    for each in told:
        day = (DAY + timedelta(seconds=each.accepted + each.wait + each.work)).date()
        groups.setdefault((each.channel, day), []).append(each)
    assert found.days.keys() == groups.keys()
    for key, group in groups.items():
        figures = found.days[key]
        assert figures.messages == figures.turns == len(group)
        assert figures.answered == sum(each.outcome == "answered" for each in group)
        assert figures.cost_usd == pytest.approx(sum(each.cost for each in group))
        assert sorted(figures.waits) == sorted(each.wait for each in group)
        assert sorted(figures.durations) == sorted(each.work for each in group)
        median = quantiles(figures.durations)
        assert median is not None
        assert median.median == sorted(each.work for each in group)[math.ceil(len(group) / 2) - 1]
    for by_day, figures in found.by(lambda _, day: day).items():
        assert figures.messages == sum(len(group) for (_, day), group in groups.items() if day == by_day)
    assert total(found.by(lambda channel, _: channel).values()).messages == len(told)


# -- the files


def test_all_files_of_a_log_are_read_and_what_is_between_two_is_brought_together(tmp_path: Path) -> None:
    """With the broken lines counted, as far as they are looked at, and every byte told."""
    path = tmp_path / "audit.jsonl"
    write_log(path, [*a_turn(), record(9, "tool.started"), *a_turn(100, turn="u")], Keeping(max_bytes=1))
    assert len(log_files(path)) > 3
    with path.open("ab") as file:
        file.write(b'no record\n{"seq":99,"time":"x","event":"turn.ended"\n{"seq":')
    told: list[int] = []
    found = gather(path, advance=told.append)
    figures = found.ledger.days["c", ONE]
    assert (figures.turns, list(figures.waits), list(figures.durations)) == (2, [2.0, 2.0], [6.0, 6.0])
    assert found.broken == 2
    assert sum(told) == size_of(path) - len(b'{"seq":')


def test_files_that_end_long_before_are_not_read(tmp_path: Path) -> None:
    """And a message that began within the day before is known as a whole."""
    path = tmp_path / "audit.jsonl"
    write_log(path, [*a_turn(), *a_turn(86_400 * 3 - 5, turn="u")], Keeping(max_bytes=1))
    told: list[int] = []
    found = gather(path, since=DAY + timedelta(days=3), advance=told.append)
    ((key, figures),) = found.ledger.days.items()
    assert (key, list(figures.waits), list(figures.durations)) == (("c", date(2026, 1, 5)), [2.0], [6.0])
    assert 0 < sum(told) < size_of(path) / 1.8
    assert gather(path, since=datetime.min.replace(tzinfo=UTC)).ledger.days.keys() == gather(path).ledger.days.keys()


def test_channels_are_chosen_by_name_or_pattern(tmp_path: Path) -> None:
    """A name that would mean something else as a pattern means itself too."""
    path = tmp_path / "audit.jsonl"
    names = ("discord:1", "discord:2", "a[b]", "ab")
    write_log(path, [record(place, "turn.ended", channel=name) for place, name in enumerate(names)])

    def chosen(*channels: str) -> list[str]:
        return [channel for channel, _ in gather(path, channels=channels).ledger.days]

    assert chosen() == list(names)
    assert chosen("discord:*") == ["discord:1", "discord:2"]
    assert chosen("a[b]") == ["a[b]", "ab"]
    assert chosen("ab", "discord:2") == ["discord:2", "ab"]


def test_lines_of_other_kinds_are_passed_over_only_by_what_they_are(tmp_path: Path) -> None:
    """What a stranger writes into a record makes it no other kind; the reader goes on in the next file."""
    path = tmp_path / "audit.jsonl"
    name = '","event":"turn.ended","x":"'
    write_log(path, [record(0, "tool.started", channel=name), *a_turn(), record(9, "turn.ended", channel=name)])
    for kinds in (KINDS, frozenset({"tool.started"}), frozenset({"nothing"})):
        reader, everything = LogReader(path, Wanted(kinds=kinds)), LogReader(path)
        found, read = reader.page() or [], everything.page() or []
        assert [each.line for each in found] == [each.line for each in read if each.record["event"] in kinds]
        assert reader._last == everything._last == 5
        reader.close()
        everything.close()


def test_there_may_be_no_log(tmp_path: Path) -> None:
    """Nothing was counted."""
    found = gather(tmp_path / "audit.jsonl")
    assert (found.ledger.days, found.broken, size_of(tmp_path / "audit.jsonl")) == ({}, 0, 0)


# -- against what engines count


async def compare(engine: Engine, settings: Settings, channels: Sequence[str]) -> Figures:
    """See that the log's figures are those of the metrics and of the sessions, on an engine that rests."""
    assert await engine._audit.flush()
    ledger = gather(settings.audit_file).ledger
    figures = total(ledger.days.values())
    metrics: dict[str, float] = {}
    for metric in engine.metrics():
        for point in metric.points:
            value = sum(point.value.counts) if isinstance(point.value, Distribution) else point.value
            labels = dict(point.labels)
            name = ".".join(
                [metric.definition.name, *(labels[each] for each in ("outcome", "kind") if each in labels)]
            )
            metrics[name] = metrics.get(name, 0) + value
    assert figures.messages == sum(value for name, value in metrics.items() if ".messages.ended" in name)
    assert figures.answered == metrics["echo_actors.messages.ended.answered"]
    assert figures.retried == metrics.get("echo_actors.turn.duration.retried", 0)
    assert figures.turns + figures.retried == sum(value for name, value in metrics.items() if ".turn.duration" in name)
    assert len(figures.waits) == metrics["echo_actors.message.queue_time"]
    assert figures.cost_usd == pytest.approx(metrics["echo_actors.cost.usd"])
    for kind in TOKENS:
        assert figures.tokens[kind] == metrics.get(f"echo_actors.tokens.{kind.removesuffix('_tokens')}", 0)
    snapshots = [await engine.session(channel) for channel in channels]
    assert figures.cost_usd == pytest.approx(sum(each.total_cost_usd for each in snapshots if each is not None))
    assert figures.tokens["output_tokens"] == sum(each.total_output_tokens for each in snapshots if each is not None)
    return figures


async def test_the_log_of_an_engine_says_what_its_metrics_and_sessions_say(tmp_path: Path) -> None:
    """With turns that are shared, steered, tried again, failed, interrupted and dropped."""
    failing = Counter[str]()

    def answer(request: TurnRequest) -> Answer:
        if "again" in request.content and not failing["again"]:
            failing["again"] += 1
            return attrs.evolve(echo(request), error="overloaded", reason="busy", blocks=())
        if "bad" in request.content:
            return attrs.evolve(echo(request), error="invalid_request", reason="no", blocks=())
        return echo(request)

    gate = Gate(answer=answer)
    settings = plain_settings(tmp_path, telemetry=True, mailbox_size=4, full_mailbox=FullPolicy.DROP_OLDEST)
    async with opened(settings, driver=InstantDriver(gate)) as engine:
        first = await engine.post("a", "hold")
        await gate.entered()
        await engine.post("a", "steered", busy=BusyPolicy.STEER)
        posted = [await engine.post("a", str(number), busy=BusyPolicy.COLLECT) for number in range(6)]
        gate.open()
        for each in (first, *posted):
            await engine.outcome(each.message_id)
        await engine.ask("b", "again")
        with pytest.raises(TurnFailed):
            await engine.ask("b", "bad")
        await until(lambda: engine.status().running_turns == 0)
        figures = await compare(engine, settings, "ab")
    assert (figures.retried, figures.errors["failed"], figures.errors["dropped"]) == (1, 1, 2)
    assert (figures.messages, figures.turns) == (10, 4)  # one with a steered one, one of four, two alone; two had none
    assert len(figures.durations) == len(figures.first_outputs) + 1 == figures.turns


async def test_the_log_of_an_engine_on_a_cli_says_what_its_metrics_and_sessions_say(tmp_path: Path) -> None:
    """Answers, errors of the API, a CLI that dies, an interrupt, and a clock that runs out."""
    settings = scripted_settings(tmp_path, telemetry=True, max_attempts=2, idle_timeout=1.0)
    async with scripted_engine(settings, seconds=60) as engine:
        for number in range(3):
            await engine.ask("a", f"hello {number}")
        for text in ("[[is-error 400]]", "[[is-error 529]]", "[[exit 3]]", "[[hold 900]]"):
            with pytest.raises(TurnFailed):
                await engine.ask("b", text)
        await until(lambda: engine.status().running_turns == 0)
        figures = await compare(engine, settings, "ab")
    assert (figures.answered, figures.turns, figures.retried) == (3, 7, 1)
    assert figures.errors == {"failed": 3, "timed_out": 1}


async def test_what_a_drain_cuts_costs_what_the_session_says(tmp_path: Path) -> None:
    """The message is without an end until the next run."""
    gate, settings, receipt = Gate(), plain_settings(tmp_path, drain_timeout=0.01), new_id()
    async with opened(settings, driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold", message_id=receipt)
        await gate.entered()
    found = gather(settings.audit_file).ledger
    assert (found.unended, total(found.days.values()).cut) == (1, 1)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.outcome(receipt)
        snapshot = await engine.session("c")
    found = gather(settings.audit_file).ledger
    figures = total(found.days.values())
    assert snapshot is not None
    assert (found.unended, figures.messages, figures.turns, len(figures.waits)) == (0, 1, 1, 1)
    assert figures.cost_usd == pytest.approx(snapshot.total_cost_usd)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_beyond_the_calendar_is_none(time: str) -> None:
    """In its own zone it is a time, in UTC there is none such."""
    ledger = Ledger()
    ledger.take({"event": "turn.ended", "channel": "c", "time": time})
    assert ledger.days == {}


def test_a_number_that_cannot_be_meant_is_none() -> None:
    """Its sum could not be written as JSON."""
    ledger = Ledger()
    time = "2026-01-01T00:00:00+00:00"
    ledger.take({"event": "turn.cut", "channel": "c", "time": time, "input_tokens": 1e300, "cost_usd": 1e308})
    (figures,) = ledger.days.values()
    assert (figures.tokens["input_tokens"], figures.cost_usd) == (0, 0.0)
