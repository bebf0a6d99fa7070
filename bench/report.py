"""What a scenario found: kept as JSON, shown as a table, judged against targets."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import attrs
import orjson
import psutil
from rich.console import Console
from rich.table import Table

from bench.statistics import Summary, paired_ratio, summarize

Round = Mapping[str, float]
"""One contender's figures in one round, by name; a name ends in its unit."""


@attrs.frozen
class Target:
    """What a figure must reach.

    Attributes:
        figure: A name from the rounds, or what is compared.
        sense: ``>=`` or ``<=``.
    """

    figure: str
    sense: Literal[">=", "<="]
    limit: float

    def met_by(self, value: float) -> bool:
        """Whether a value reaches the target."""
        return value >= self.limit if self.sense == ">=" else value <= self.limit


@attrs.frozen
class Check:
    """A figure held against its target."""

    target: Target
    measured: Summary

    @property
    def passed(self) -> bool:
        """Whether the median reaches the target."""
        return self.target.met_by(self.measured.median)


@attrs.frozen(kw_only=True)
class Result:
    """All that one scenario measured.

    Attributes:
        parameters: How large it was.
        full: Whether it was as large as its targets mean; if not, they are shown and not judged.
        rounds: Each contender's rounds, in the order they ran.
        checks: Figures held against their targets.
        series: What was noted again and again while it ran, for a picture.
    """

    scenario: str
    parameters: Mapping[str, Any]
    full: bool
    rounds: Mapping[str, Sequence[Round]]
    checks: Sequence[Check] = ()
    series: Sequence[Mapping[str, float]] = ()

    @property
    def file_name(self) -> str:
        """The name of the file that keeps it, without its suffix; that of the scenario's module, with hyphens."""
        return self.scenario.replace(" ", "-")

    def figures(self, contender: str, figure: str) -> list[float]:
        """One figure of one contender, round by round."""
        return [each[figure] for each in self.rounds[contender]]

    def ratio(self, target: Target, mine: str, theirs: str, figure: str) -> Check:
        """Hold the ratio of two contenders against a target."""
        return Check(target, paired_ratio(self.figures(mine, figure), self.figures(theirs, figure)))

    def difference(self, target: Target, mine: str, theirs: str, figure: str) -> Check:
        """Hold what one contender has more than another against a target."""
        pairs = zip(self.figures(mine, figure), self.figures(theirs, figure), strict=True)
        return Check(target, summarize([a - b for a, b in pairs]))

    def absolute(self, target: Target, contender: str) -> Check:
        """Hold a contender's figure against a target."""
        return Check(target, summarize(self.figures(contender, target.figure)))


def machine() -> dict[str, Any]:
    """What the figures depend on besides the code."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def save(result: Result, about: Mapping[str, Any], directory: Path) -> Path:
    """Keep a result as JSON, in place of the scenario's last one in the directory; give its path."""
    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    path = directory / f"{result.file_name}.json"
    document = {
        "scenario": result.scenario,
        "time": now.isoformat(timespec="seconds"),
        "machine": dict(about),
        "parameters": dict(result.parameters),
        "full": result.full,
        "medians": {name: _medians(rounds) for name, rounds in result.rounds.items()},
        "checks": [{**attrs.asdict(check), "passed": check.passed} for check in result.checks],
        "rounds": {name: [dict(each) for each in rounds] for name, rounds in result.rounds.items()},
        "series": [dict(each) for each in result.series],
    }
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return path


def show(result: Result, console: Console) -> None:
    """Print a result: a table of medians with their spread, then the targets."""
    sizes = ", ".join(f"{value} {name}" for name, value in result.parameters.items())
    table = Table("figure", *result.rounds, title=f"{result.scenario}: {sizes}", title_justify="left")
    summaries = {name: _summaries(rounds) for name, rounds in result.rounds.items()}
    for figure in dict.fromkeys(figure for each in summaries.values() for figure in each):
        table.add_row(figure, *(_cell(each.get(figure)) for each in summaries.values()))
    console.print(table)
    for check in result.checks:
        target, verdict = check.target, _verdict(check, full=result.full)
        console.print(f"{verdict}  {target.figure}: {_cell(check.measured)}, target {target.sense} {target.limit:g}")


def _summaries(rounds: Sequence[Round]) -> dict[str, Summary]:
    return {figure: summarize([each[figure] for each in rounds]) for figure in rounds[0]} if rounds else {}


def _medians(rounds: Sequence[Round]) -> dict[str, dict[str, float]]:
    return {figure: attrs.asdict(summary) for figure, summary in _summaries(rounds).items()}


def _verdict(check: Check, *, full: bool) -> str:
    if not full:
        return "[dim]not judged at this size[/]"
    return "[green]met[/]" if check.passed else "[red]missed[/]"


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return ""
    if summary.count == 1:
        return f"{summary.median:.4g}"
    return f"{summary.median:.4g} ({summary.low:.4g} to {summary.high:.4g})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
