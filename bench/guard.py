"""The guard: what a turn costs, compared with what it cost when that was stored; a loss over the tolerance fails.

The stored figures are in ``baseline.json``, each with its own tolerance: twice the spread of the few
measurements that were made when it was stored, and at least 30 %: over twenty checks in a row, beside other work, the
figures lay between 15 % below and 23 % above what was stored. A millisecond more per turn is 50 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import orjson
import trio
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.guard_figures import Extent, measure
from bench.report import machine
from bench.statistics import summarize

BASELINE: Final = Path(__file__).parent / "baseline.json"

_MEASUREMENTS: Final = 5
_ATTEMPTS: Final = 2
_LEAST_TOLERANCE: Final = 0.3
_SPREADS: Final = 2

Measure = Callable[[], Mapping[str, float]]
"""Gives each figure once; all are costs, so less is better."""


@attrs.frozen
class Stored:
    """A figure as it was stored.

    Attributes:
        median: Of several measurements.
        low: The smallest of them.
        high: The largest.
        tolerance: The part by which it may be exceeded.
    """

    median: float
    low: float
    high: float
    tolerance: float

    @property
    def limit(self) -> float:
        """The most that may be measured."""
        return self.median * (1 + self.tolerance)

    @classmethod
    def of(cls, measured: Sequence[float]) -> Stored:
        """What is stored of several measurements."""
        found = summarize(measured)
        tolerance = max(_LEAST_TOLERANCE, _SPREADS * (found.high - found.low) / found.median)
        median, low, high = (round(each, 4) for each in (found.median, found.low, found.high))
        return cls(median, low, high, round(tolerance, 2))


@attrs.frozen
class Comparison:
    """A figure, as it was stored and as it is; one of the two may be missing."""

    figure: str
    stored: Stored | None
    measured: float | None

    @property
    def problem(self) -> str:
        """What is wrong; empty if nothing is."""
        if self.stored is None:
            return "not stored: store it with --check --update"
        if self.measured is None:
            return "stored, but not measured"
        if self.measured > self.stored.limit:
            return f"{self.measured / self.stored.median - 1:.0%} more than stored"
        return ""

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The figure, what is stored, what was measured, the tolerance, and the verdict, to be read."""
        stored = f"{self.stored.median:.3g}" if self.stored else ""
        tolerance = f"{self.stored.tolerance:.0%}" if self.stored else ""
        measured = "" if self.measured is None else f"{self.measured:.3g}"
        return self.figure, stored, measured, tolerance, self.problem or "ok"


def compare(stored: Mapping[str, Stored], measured: Mapping[str, float]) -> list[Comparison]:
    """Compare all figures that there are on either side."""
    names = dict.fromkeys([*stored, *measured])
    return [Comparison(name, stored.get(name), measured.get(name)) for name in names]


def load(path: Path = BASELINE) -> dict[str, Stored]:
    """The stored figures.

    Raises:
        FileNotFoundError: None were stored.
    """
    return {name: Stored(**each) for name, each in orjson.loads(path.read_bytes())["figures"].items()}


def check(
    console: Console, *, measure_once: Measure | None = None, drag: float = 0.0, baseline: Path = BASELINE
) -> int:
    """Measure and compare; a loss is measured again before it counts. Gives the exit code."""
    measure_once = measure_once or partial(_measure, console, drag=drag)
    stored = load(baseline)
    for attempt in range(_ATTEMPTS):
        found = compare(stored, measure_once())
        _show(found, console)
        if not any(each.problem for each in found):
            return 0
        if attempt + 1 < _ATTEMPTS:
            console.print("measured once more, in case the machine was disturbed")
    for each in found:
        if each.problem:
            name, was, now, tolerance, problem = each.cells
            console.print(f"{name}: stored {was}, measured {now}, tolerance {tolerance}: {problem}", soft_wrap=True)
    return 1


def remember(console: Console, *, measure_once: Measure | None = None, baseline: Path = BASELINE) -> int:
    """Measure several times, and store what came out and how far it spread. Gives the exit code."""
    measure_once = measure_once or partial(_measure, console)
    measurements = [measure_once() for _ in range(_MEASUREMENTS)]
    figures = {name: Stored.of([each[name] for each in measurements]) for name in measurements[0]}
    document = {
        "about": (
            f"Ratios of processor time, each the median of {_MEASUREMENTS} measurements. The tolerance is {_SPREADS} "
            f"times their spread, at least {_LEAST_TOLERANCE}. Written by python -m bench --check --update."
        ),
        "machine": machine(),
        "figures": {name: attrs.asdict(each) for name, each in figures.items()},
    }
    baseline.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    _show(compare(figures, measurements[-1]), console)
    console.print(f"stored in {baseline}", soft_wrap=True)
    return 0


def _measure(console: Console, *, drag: float = 0.0) -> Mapping[str, float]:
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=None)

        def on_step(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total)

        found: Mapping[str, float] = trio.run(partial(measure, Extent(), drag=drag, on_step=on_step))
    return found


def _show(found: Sequence[Comparison], console: Console) -> None:
    table = Table("ratio of processor time", "stored", "measured", "tolerance", "")
    for each in found:
        *cells, verdict = each.cells
        table.add_row(*cells, f"[{'red' if each.problem else 'green'}]{verdict}[/]")
    console.print(table)
