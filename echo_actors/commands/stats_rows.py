"""What ``echo-actors stats`` tells: a row for each channel, day or both; as JSON and as lines of columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import attrs
import orjson

from echo_actors.commands.terminal import visible
from echo_actors.statistics.figures import ERRORS, TOKENS, Figures, Quantiles, quantiles
from echo_actors.statistics.gathering import Gathered
from echo_actors.statistics.ledger import Ledger

GROUPINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "channel": ("channel",),
    "day": ("day",),
    "channel,day": ("channel", "day"),
}
"""What names a row, by the option ``--by``."""

TIMES: Final = ("wait", "first_output", "turn")
"""What was measured, in seconds: a message's wait, a turn's first output, a whole turn."""

QUANTILES: Final = ("median", "p95", "p99")
"""What is told of times."""

_COUNTS: Final = ("messages", "answered", "turns", "retried", "cut")


@attrs.frozen
class Row:
    """A row.

    Attributes:
        names: What it is of: a channel's name as it is, a day, or both. Empty for the sum of all.
    """

    names: tuple[str, ...]
    figures: Figures

    def times(self) -> dict[str, Quantiles | None]:
        """How long things took, by ``TIMES``."""
        figures = self.figures
        measured = (figures.waits, figures.first_outputs, figures.durations)
        return {name: quantiles(times) for name, times in zip(TIMES, measured, strict=True)}


def rows_of(ledger: Ledger, by: str) -> list[Row]:
    """The rows of a ledger, in the order of their names."""
    chosen = GROUPINGS[by]

    def names(channel: str, day: date) -> tuple[str, ...]:
        named = {"channel": channel, "day": day.isoformat()}
        return tuple(named[each] for each in chosen)

    return [Row(key, figures) for key, figures in sorted(ledger.by(names).items(), key=lambda item: item[0])]


def as_json(rows: Sequence[Row], whole: Row, found: Gathered, names: Sequence[str]) -> str:
    """All that there is to tell, as a JSON object; channels have their names as they are."""
    value = {
        "by": names,
        "rows": [{**dict(zip(names, row.names, strict=True)), **_values(row)} for row in rows],
        "total": _values(whole),
        "unended_messages": found.ledger.unended,
        "broken_lines": found.broken,
    }
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"


def as_lines(rows: Sequence[Row], names: Sequence[str]) -> str:
    """The rows for a program that reads columns: tabs between them, a head, no sum. Times are in seconds."""
    measured = [f"{name}_{quantile}_s" for name in TIMES for quantile in QUANTILES]
    head = (*names, *_COUNTS, *ERRORS, *TOKENS, "cost_usd", *measured)
    return "".join("\t".join(line) + "\n" for line in (head, *map(_cells, rows)))


def remarks(found: Gathered, path: Path) -> Iterator[str]:
    """What is to be said besides the figures."""
    if not found.ledger.days:
        yield f"no message that is asked for has ended, by {path}"
    if found.ledger.unended:
        yield f"without an end in the log so far: {_count(found.ledger.unended, 'message')}"
    if found.broken:
        are = "is no record" if found.broken == 1 else "are no records"
        yield f"{_count(found.broken, 'line')} of the log {are}; see echo-actors audit verify"


def _values(row: Row) -> dict[str, Any]:
    figures = row.figures
    return {
        **{name: getattr(figures, name) for name in _COUNTS},
        "errors": {kind: figures.errors[kind] for kind in ERRORS},
        "cost_usd": figures.cost_usd,
        **{kind: figures.tokens[kind] for kind in TOKENS},
        **{f"{name}_s": None if each is None else attrs.asdict(each) for name, each in row.times().items()},
    }


def _cells(row: Row) -> Iterator[str]:
    figures = row.figures
    yield from map(visible, row.names)
    yield from (str(getattr(figures, name)) for name in _COUNTS)
    yield from (str(figures.errors[kind]) for kind in ERRORS)
    yield from (str(figures.tokens[kind]) for kind in TOKENS)
    yield f"{figures.cost_usd:.6f}"
    for each in row.times().values():
        for quantile in QUANTILES:
            yield "" if each is None else f"{getattr(each, quantile):.3f}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
