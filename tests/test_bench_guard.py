"""The guard against losses of speed: what it compares, and that it sees one. No figure is asserted."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
import trio
from rich.console import Console

from bench.guard import Comparison, Stored, check, compare, load, remember
from bench.guard_figures import ALONE, MANY_KNOWN, ON_A_CLI, Extent, measure


def guarded(measurements: list[float], baseline: Path) -> tuple[int, str]:
    """The exit code of a check that measures these, one after the other, and what it says."""
    shown, left = io.StringIO(), iter(measurements)
    measure_once: Callable[[], Mapping[str, float]] = lambda: {"some : other": next(left)}  # noqa: E731 - named for its type
    code = check(Console(file=shown, width=200), measure_once=measure_once, baseline=baseline)
    return code, shown.getvalue()


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """Figures that were stored: 10, with a tolerance of twice a spread of 2."""
    left = iter([10.0, 9.0, 11.0, 10.0, 10.0])
    path = tmp_path / "baseline.json"
    shown = Console(file=io.StringIO())
    assert remember(shown, measure_once=lambda: {"some : other": next(left)}, baseline=path) == 0
    return path


def test_what_is_stored_has_a_tolerance_of_twice_its_spread_and_at_least_thirty_percent(baseline: Path) -> None:
    """So a figure that is measured exactly does not fail for a trifle, and one that is not does not fail by chance."""
    assert load(baseline) == {"some : other": Stored(10.0, 9.0, 11.0, 0.4)}
    assert Stored.of([10.0, 10.0]).tolerance == 0.3
    assert load(baseline)["some : other"].limit == 14.0


def test_a_figure_within_its_tolerance_passes(baseline: Path) -> None:
    """Also one that is better by far."""
    assert [guarded([value], baseline)[0] for value in (10.0, 14.0, 1.0)] == [0, 0, 0]


def test_a_loss_is_measured_once_more_before_it_counts(baseline: Path) -> None:
    """One disturbance does not fail it; two losses do, and are named with all that one needs to know."""
    assert guarded([14.1, 13.9], baseline)[0] == 0
    code, said = guarded([15.0, 15.0], baseline)
    assert code == 1
    assert "some : other: stored 10, measured 15, tolerance 40%: 50% more than stored" in said


def test_a_figure_that_is_missing_on_either_side_is_a_problem() -> None:
    """A guard that no longer looks does not pass."""
    stored = Stored(1.0, 1.0, 1.0, 0.2)
    assert [each.problem for each in compare({"gone": stored}, {"new": 1.0})] == [
        "stored, but not measured",
        "not stored: store it with --check --update",
    ]
    assert compare({"same": stored}, {"same": 1.2}) == [Comparison("same", stored, 1.2)]
    assert not Comparison("same", stored, 1.2).problem


def test_an_update_replaces_what_was_stored(baseline: Path) -> None:
    """And the check then goes by the new figures."""
    assert guarded([20.0, 20.0], baseline)[0] == 1
    remember(Console(file=io.StringIO()), measure_once=lambda: {"some : other": 20.0}, baseline=baseline)
    assert guarded([20.0], baseline)[0] == 0


def test_the_figures_that_are_stored_are_those_that_are_measured() -> None:
    """In the file that the project keeps."""
    assert set(load()) == {ALONE, ON_A_CLI, MANY_KNOWN}


async def test_the_guard_sees_an_engine_that_is_slower() -> None:
    """Milliseconds of work in each turn show in both figures of an engine, and not where both sides are slowed."""
    extent = Extent(rounds=3, turns=15, known=20)
    with trio.fail_after(60):
        before, slowed = await measure(extent), await measure(extent, drag=0.005)
    found = compare({name: Stored.of([each]) for name, each in before.items()}, slowed)
    assert {each.figure for each in found if each.problem} >= {ALONE, ON_A_CLI}
    assert psutil.Process().children(recursive=True) == []
