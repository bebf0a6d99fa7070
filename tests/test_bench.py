"""The benchmarks: their arithmetic, quick runs, and what is published. No figure is asserted."""

from __future__ import annotations

import io
import math
import shlex
from functools import partial
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree as ET

import attrs
import orjson
import psutil
import pytest
import trio
from pages import CLONE
from rich.console import Console

from bench.__main__ import UNPUBLISHED, main, run, scenario_names
from bench.harness import Harness, Size
from bench.pictures import PAGES, RESULTS, draw_targets, publish, with_table
from bench.promises import PROMISES
from bench.report import Check, Result, Round, Target, save, show
from bench.soak import Sample, grown, left_at_rest, memory_growth
from bench.statistics import Summary, paired_ratio, percentile, summarize
from bench.summary import Row, markdown, number, read_kept, rows
from echo_actors.simulator.cli import write_scripted_cli

_RATIO = Target("speed, mine : theirs", ">=", 0.95)


def test_a_summary_is_the_median_and_how_far_the_rounds_spread() -> None:
    """One disturbed round moves the spread, not the figure."""
    assert summarize([3.0, 100.0, 1.0]) == Summary(median=3.0, low=1.0, high=100.0, count=3)


def test_the_median_of_an_even_number_of_rounds_lies_between_the_middle_two() -> None:
    """Neither of the two is preferred."""
    assert summarize([1.0, 2.0, 4.0, 9.0]).median == 3.0


@pytest.mark.parametrize(("percent", "expected"), [(50, 50.0), (99, 99.0), (100, 100.0), (0.5, 1.0)])
def test_a_percentile_is_a_measurement_that_so_many_do_not_exceed(percent: float, expected: float) -> None:
    """It is one of the measurements, whatever their order, not a number between two of them."""
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == expected


def test_the_99th_percentile_of_few_measurements_is_the_worst_one() -> None:
    """What is rare is not averaged away."""
    assert percentile([1.0, 2.0, 50.0], 99) == 50.0


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which everything was slow does not favour anybody."""
    assert paired_ratio([10.0, 1.0, 12.0], [5.0, 0.5, 4.0]) == Summary(median=2.0, low=2.0, high=3.0, count=3)


def test_contenders_with_different_numbers_of_rounds_are_not_compared() -> None:
    """A missing round is an error, not a shorter comparison."""
    with pytest.raises(ValueError, match="zip"):
        paired_ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_an_impossible_percentile_is_refused(percent: float) -> None:
    """So is one of no measurements, which would otherwise look like a result."""
    with pytest.raises(ValueError, match="no such percentile"):
        percentile([1.0], percent)
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("sense", "value", "met"), [(">=", 1.0, True), (">=", 0.99, False), ("<=", 1.0, True), ("<=", 1.01, False)]
)
def test_a_target_is_met_at_its_limit_and_on_its_good_side(
    sense: Literal[">=", "<="], value: float, *, met: bool
) -> None:
    """Whether more or less is better is part of the target."""
    assert Check(Target("figure", sense, 1.0), summarize([value])).passed is met


def test_a_missed_target_is_shown_as_missed_and_a_small_run_is_not_judged() -> None:
    """Nobody takes a quick run for a verdict."""
    rounds: dict[str, list[Round]] = {"mine": [{"turns_per_s": 9.0}], "theirs": [{"turns_per_s": 10.0}]}
    result = Result(scenario="some", parameters={"channels": 1}, full=True, rounds=rounds)
    result = attrs.evolve(result, checks=[result.ratio(_RATIO, "mine", "theirs", "turns_per_s")])
    assert "missed  speed, mine : theirs: 0.9, target >= 0.95" in _shown(result)
    assert "not judged" in _shown(attrs.evolve(result, full=False))


async def test_contenders_alternate_and_each_round_begins_with_another() -> None:
    """What changes with time, or after a certain contender, hits all of them alike."""
    order: list[str] = []
    steps: list[tuple[int, int]] = []

    async def take_part(name: str) -> Round:
        await trio.lowlevel.checkpoint()
        order.append(name)
        return {"place": float(len(order))}

    harness = Harness(
        cli=Path(),
        scripted_cli=Path(),
        model_url="",
        size=Size(rounds=3),
        on_step=lambda _, done, total: steps.append((done, total)),
    )
    results = await harness.alternate({name: partial(take_part, name) for name in ("a", "b", "c")})
    assert "".join(order) == "abcbcacab"
    assert [each["place"] for each in results["a"]] == [1, 6, 8]
    assert steps == [(done, 9) for done in range(10)]


async def test_a_quick_run_of_every_scenario_goes_through_and_is_kept(tmp_path: Path) -> None:
    """On the scripted CLI: every contender answers every message, and the results can be read again."""
    shown = io.StringIO()
    results = tmp_path / "results"
    with trio.fail_after(300):
        found = await run(
            scenario_names(),
            size=Size(quick=True, minutes=0.03),
            cli=write_cli(tmp_path),
            results=results,
            console=Console(file=shown, width=200),
        )
    kept = read_kept(results)
    assert list(kept) == sorted(result.file_name for result in found) == scenario_names()
    for each in kept.values():
        assert not each["full"]
        assert each["machine"]["cores"] >= 1
        assert each["scenario"] in shown.getvalue()
        assert all(
            math.isfinite(figure["median"]) for rounds in each["medians"].values() for figure in rounds.values()
        )
    measured = {name: {Target(**check["target"]) for check in each["checks"]} for name, each in kept.items()}
    assert [each for each in PROMISES if each.scenario in kept and each.target not in measured[each.scenario]] == []
    assert (results / "summary.md").read_text(encoding="utf-8") == markdown(kept)
    assert psutil.Process().children(recursive=True) == []


@pytest.mark.parametrize(
    ("size", "number"),
    [(Size(), 3), (Size(quick=True), 1), (Size(full=True), 5), (Size(rounds=2), 2), (Size(quick=True, rounds=7), 7)],
)
def test_a_size_says_how_much_there_is_unless_it_was_asked_for(size: Size, number: int) -> None:
    """Quick, published, or between them."""
    assert size.of("rounds", full=5, quick=1, middle=3) == number


def test_a_run_between_quick_and_full_is_as_large_as_the_full_one() -> None:
    """Where a scenario says nothing else: its targets mean that size."""
    assert Size().of("channels", full=16, quick=2) == 16


@pytest.mark.parametrize(
    ("options", "place", "published"),
    [
        (["--quick"], UNPUBLISHED, False),
        ([], UNPUBLISHED, False),
        (["--full"], RESULTS, True),
        (["--full", "--results", "elsewhere"], Path("elsewhere"), False),
    ],
)
def test_only_a_full_run_replaces_what_is_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], place: Path, *, published: bool
) -> None:
    """And one whose results shall be elsewhere does not."""
    ran: list[Path] = []
    made: list[bool] = []

    async def note(_: object, *, results: Path, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        ran.append(results)

    def publish_nothing() -> list[Path]:
        made.append(True)
        return []

    monkeypatch.setattr("bench.__main__.run", note)
    monkeypatch.setattr("bench.__main__.publish_all", publish_nothing)
    assert main([*options, "--cli", str(write_scripted_cli(tmp_path))]) == 0
    assert (ran, made) == ([place], [True] * published)


def test_an_unknown_scenario_is_a_usage_error_that_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started for it."""
    with pytest.raises(SystemExit, match="2"):
        main(["chanels"])
    said = capsys.readouterr().err
    assert "no such scenario: chanels" in said
    assert {"added-latency", "channels", "engine-alone"} <= set(scenario_names())
    assert all(name in said for name in scenario_names())


# -- the soak's arithmetic


def sample(**held: int) -> Sample:
    """A sample, of a process that holds little but what is given."""
    usual = {"rss": 100, "uss": 100, "tasks": 10, "descriptors": 10, "threads": 2, "children": 0, "live_channels": 0}
    return Sample(seconds=0.0, turns=0, **(usual | held))


def test_memory_that_rises_before_the_warm_up_ends_is_no_growth() -> None:
    """What follows it is compared, its first third with its last."""
    warming = [sample(rss=10 * number, uss=1) for number in range(8)]
    steady = [sample(rss=100 + number, uss=1) for number in range(12)]
    assert memory_growth([*warming, *steady]) == pytest.approx(109.5 / 101.5)


def test_tasks_that_pile_up_are_named() -> None:
    """More of them than a process that comes or goes explains."""
    assert grown([sample(tasks=number) for number in range(100, 200)]) == ["tasks grew from 149.5 to 189.5"]
    assert grown([sample(tasks=number % 8) for number in range(100)]) == []


def test_what_an_engine_at_rest_still_holds_is_named() -> None:
    """Threads and memory may stay: pools and caches."""
    assert left_at_rest(sample(), sample(rss=200, threads=9)) == []
    assert left_at_rest(sample(), sample(descriptors=11, live_channels=1)) == [
        "1 channels are live at rest",
        "descriptors: 10 before the load, 11 after it",
    ]


# -- what is published


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_shows_the_figures_that_are_kept(page: Path) -> None:
    """None is typed by hand: making the table again changes nothing."""
    assert with_table(page.read_text(encoding="utf-8"), RESULTS) == page.read_text(encoding="utf-8")


def test_the_pictures_and_the_summary_show_the_figures_that_are_kept(tmp_path: Path) -> None:
    """Each of them made again is the same."""
    for path in RESULTS.glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    made = {path.name: path.read_text(encoding="utf-8") for path in publish(tmp_path, tmp_path)}
    shown = {path.name: path for path in [RESULTS / "summary.md", *(CLONE / "docs").glob("bench-*.svg")]}
    assert made == {name: path.read_text(encoding="utf-8") for name, path in shown.items()}


def test_a_readme_without_marks_is_not_overwritten() -> None:
    """It is an error, and not a table at its end."""
    with pytest.raises(ValueError, match="has no marks"):
        with_table("# A title", RESULTS)


def test_every_promise_has_its_row_whether_it_was_measured_or_not(tmp_path: Path) -> None:
    """Missed is written in bold; what is smaller than its target means is not judged."""
    (first, *_) = PROMISES
    limit = first.target.limit
    assert [row.verdict for row in rows({})] == ["not measured"] * len(PROMISES)
    for value, full, verdict in [(limit, True, "met"), (limit + 1, True, "**missed**"), (limit, False, "small run")]:
        result = Result(
            scenario=first.scenario,
            parameters={},
            full=full,
            rounds={"engine": [{"some_ms": value}]},
            checks=[Check(first.target, summarize([value]))],
        )
        about = {"cores": 2, "processor": "some", "system": "Linux", "python": "3", "cli": "1"}
        save(result, about, tmp_path)
        lines = markdown(read_kept(tmp_path)).splitlines()
        assert f"| {first.words} | ≤ {limit:g} | {number(value)} | one round | {verdict} |" in lines
        assert sum(line.startswith("| ") for line in lines) == len(PROMISES) + 1
        assert "Measured on 2 cores, some, Linux, Python 3, CLI 1." in lines


def test_a_target_that_is_no_promise_has_its_row_too(tmp_path: Path) -> None:
    """Whatever a scenario was held against is shown; only the crash tests' many promises become one line."""
    target = Target("lost messages", "<=", 0)
    counts = {"kills": 5, "messages": 30, "answered": 30}
    about = {"cores": 2, "processor": "some", "system": "Linux", "python": "3", "cli": "1"}
    for scenario in ("another", "crash scripted"):
        checks = [Check(target, summarize([0.0]))]
        save(
            Result(scenario=scenario, parameters={}, full=True, rounds={"engine": [counts]}, checks=checks),
            about,
            tmp_path,
        )
    lines = markdown(read_kept(tmp_path)).splitlines()
    assert "| another: lost messages | ≤ 0 | 0 | one round | met |" in lines
    assert not [line for line in lines if line.startswith("| crash")]
    assert lines[-1].startswith("Killed with SIGKILL under load 5 times on the scripted CLI: of 30 messages")
    assert lines[-1].endswith("30 were answered; 0 broken promises.")


def test_a_picture_of_targets_can_be_read_whatever_was_measured() -> None:
    """Far better, far worse, nothing at all where nothing may be, or nothing measured."""
    ends = [Target("a", ">=", 1.0), Target("b", "<=", 1.0), Target("c", "<=", 0.0)]
    values = [0.0, 0.001, 1.0, 1e9]
    found = [Row(f"<{each.figure}>", each, summarize([value]), judged=True) for each in ends for value in values]
    picture = ET.fromstring(draw_targets([*found, Row("unknown", ends[0])]))  # noqa: S314 - made above
    bars = [each for each in picture.iter() if each.tag.endswith("rect") and each.get("class") != "page"]
    assert [each.get("class") for each in bars] == [
        *("bad", "bad", "good", "good"),
        *("good", "good", "good", "bad"),
        *("good", "bad", "bad", "bad"),
    ]
    assert all(float(each.get("x", "-1")) >= 0 and float(each.get("width", "-1")) > 0 for each in bars)


@pytest.mark.parametrize(
    ("value", "words"), [(1494.2, "1,494"), (200_000, "200,000"), (0.94712, "0.947"), (0, "0"), (12.0, "12")]
)
def test_a_figure_is_shown_with_three_digits_or_all_of_a_large_one(value: float, words: str) -> None:
    """More would say more than is known."""
    assert number(value) == words


def write_cli(directory: Path) -> Path:
    """The scripted CLI, which also takes a message as an argument, as the bridge in Echo-Core's style gives it."""
    scripted = shlex.quote(str(write_scripted_cli(directory)))
    frame: dict[str, Any] = {"type": "user", "message": {"role": "user", "content": "%s"}}
    path = directory / "claude-with-arguments"
    path.write_text(
        f"""#!/bin/sh
case "$*" in
    *--input-format*|--version) exec {scripted} "$@" ;;
    *) printf '{orjson.dumps(frame).decode()}\\n' "$2" | {scripted} "$@" ;;
esac
""",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("options", [["--update"], ["--drag", "1"], ["--quick", "--full"], ["--full", "--check"]])
def test_options_that_do_not_go_together_are_a_usage_error(options: list[str]) -> None:
    """None of them is silently ignored."""
    with pytest.raises(SystemExit, match="2"):
        main(options)


def _shown(result: Result) -> str:
    shown = io.StringIO()
    show(result, Console(file=shown, width=200))
    return shown.getvalue()
