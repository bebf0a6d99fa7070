"""The benchmarks: their arithmetic, and that a quick run of every scenario goes through. No figure is asserted."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Literal

import attrs
import orjson
import psutil
import pytest
import trio
from rich.console import Console

from bench.__main__ import main, run, scenario_names
from bench.harness import Harness, Size
from bench.report import Check, Result, Round, Target, show
from bench.statistics import Summary, paired_ratio, percentile, summarize
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
    with trio.fail_after(120):
        found = await run(
            scenario_names(),
            size=Size(quick=True),
            cli=write_scripted_cli(tmp_path),
            results=results,
            console=Console(file=shown, width=200),
        )
    kept = [orjson.loads(path.read_bytes()) for path in sorted(results.iterdir())]
    assert {each["scenario"] for each in kept} == {result.scenario for result in found}
    assert len(kept) == len(scenario_names())
    for each in kept:
        assert not each["full"]
        assert each["machine"]["cores"] >= 1
        assert each["scenario"] in shown.getvalue()
        assert all(figure["median"] > 0 for rounds in each["medians"].values() for figure in rounds.values())
    assert psutil.Process().children(recursive=True) == []


def test_an_unknown_scenario_is_a_usage_error_that_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started for it."""
    with pytest.raises(SystemExit, match="2"):
        main(["chanels"])
    said = capsys.readouterr().err
    assert "no such scenario: chanels" in said
    assert {"added-latency", "channels", "engine-alone"} <= set(scenario_names())
    assert all(name in said for name in scenario_names())


def _shown(result: Result) -> str:
    shown = io.StringIO()
    show(result, Console(file=shown, width=200))
    return shown.getvalue()
