"""The results that are kept, held against all that is promised: as rows, as a table, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import orjson
from rich.table import Table

from bench.promises import PROMISES
from bench.report import Target
from bench.statistics import Summary

Kept = Mapping[str, Mapping[str, Any]]
"""What ``report.save`` wrote, by the name of its file."""

_SIGNS: Final = {">=": "≥", "<=": "≤"}
_COLOURS: Final = {"met": "green", "missed": "red"}
_THOUSAND: Final = 1000
_CRASH: Final = "crash-"
"""How the names of results of ``bench.crash`` begin: promises of another kind, and many of them."""


@attrs.frozen
class Row:
    """A figure, what it must reach, and what was measured.

    Attributes:
        measured: None if nothing was.
        judged: Whether the run was as large as the target means.
    """

    words: str
    target: Target
    measured: Summary | None = None
    judged: bool = False

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.measured is None:
            return "not measured"
        if not self.judged:
            return "small run"
        return "met" if self.target.met_by(self.measured.median) else "missed"

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """The figure, the target, the median, the spread and the verdict, to be read."""
        wanted = f"{_SIGNS[self.target.sense]} {number(self.target.limit)}"
        if self.measured is None:
            return self.words, wanted, "", "", self.verdict
        spread = "one round"
        if self.measured.count > 1:
            spread = f"{number(self.measured.low)} to {number(self.measured.high)}, {self.measured.count} rounds"
        return self.words, wanted, number(self.measured.median), spread, self.verdict


def read_kept(directory: Path) -> Kept:
    """The results in a directory."""
    return {path.stem: orjson.loads(path.read_bytes()) for path in sorted(directory.glob("*.json"))}


def rows(kept: Kept) -> list[Row]:
    """A row for each promise, in their order, then one for each further target of a scenario."""
    promised = [
        Row(each.words, each.target, *_measured(kept.get(each.scenario), each.target.figure)) for each in PROMISES
    ]
    known = {(each.scenario, each.target.figure) for each in PROMISES}
    further = [
        Row(f"{document['scenario']}: {target.figure}", target, *_measured(document, target.figure))
        for name, document in kept.items()
        if not name.startswith(_CRASH)
        for target in (Target(**check["target"]) for check in document["checks"])
        if (name, target.figure) not in known
    ]
    return promised + further


def table(rows: Sequence[Row]) -> Table:
    """All rows for a terminal."""
    shown = Table("figure", "target", "median", "spread", "", title="targets", title_justify="left")
    for row in rows:
        *cells, verdict = row.cells
        shown.add_row(*cells, f"[{_COLOURS.get(verdict, 'dim')}]{verdict}[/]")
    return shown


def markdown(kept: Kept) -> str:
    """All rows as Markdown, with what they were measured on, and how the crash tests went."""
    lines = ["| figure | target | median | spread | |", "|---|---|---|---|---|"]
    for row in rows(kept):
        *cells, verdict = row.cells
        lines.append(f"| {' | '.join(cells)} | {f'**{verdict}**' if verdict == 'missed' else verdict} |")
    machines = dict.fromkeys(_machine(document) for name, document in kept.items() if not name.startswith(_CRASH))
    lines += ["", *(f"Measured on {each}." for each in machines)]
    for name, document in kept.items():
        if name.startswith(_CRASH):
            lines += ["", _crash(name.removeprefix(_CRASH), document)]
    return "\n".join(lines).rstrip() + "\n"


def number(value: float) -> str:
    """A figure to be read: three digits, or all of a large one's."""
    return f"{value:,.0f}" if abs(value) >= _THOUSAND else f"{value:.3g}"


def _measured(document: Mapping[str, Any] | None, figure: str) -> tuple[Summary | None, bool]:
    for check in document["checks"] if document else ():
        if check["target"]["figure"] == figure:
            return Summary(**check["measured"]), document is not None and document["full"]
    return None, False


def _machine(document: Mapping[str, Any]) -> str:
    about = document["machine"]
    parts = [f"{about['cores']} cores", about["processor"], f"{about['system']}", f"Python {about['python']}"]
    return ", ".join([*parts, f"CLI {about['cli']}"])


def _crash(cli: str, document: Mapping[str, Any]) -> str:
    """The figures of a run of ``bench.crash``."""
    (counts,) = document["rounds"]["engine"]
    broken = sum(check["measured"]["median"] for check in document["checks"])
    return (
        f"Killed with SIGKILL under load {counts['kills']:.0f} times on the {cli} CLI: of {counts['messages']:.0f} "
        f"messages, {counts['answered']:.0f} were answered; {broken:.0f} broken promises."
    )
