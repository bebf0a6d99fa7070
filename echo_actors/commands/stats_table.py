"""The table of ``echo-actors stats`` for people, in the width that their terminal has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from echo_actors.commands.stats_rows import QUANTILES, Row
from echo_actors.commands.terminal import visible
from echo_actors.statistics.figures import ERRORS, TOKENS, Figures, Quantiles

_DROPPED: Final = (
    *("tokens\ncached", "tokens\nin", "tokens\nout", "retried", "first\np95", "wait\np95", "first\np99"),
    *("wait\np99", "messages", "turn\np95", "tokens\nall", "turn\np99", "wait\nmedian", "first\nmedian"),
)
"""The columns that can be done without, the first to go first."""

_NAME: Final = 14
"""Columns of a terminal that a channel's name has at least, if anything can be left out."""

_GAP: Final = 2
"""Columns of a terminal between two columns."""

_LARGE: Final = 10_000
"""From here on numbers are rounded to three digits."""

_SECOND, _MINUTE, _HOUR = 1000, 600, 60
"""In thousandths, in tenths of a second, and in minutes: where the next unit begins."""


def table(rows: Sequence[Row], whole: Row, names: Sequence[str], width: int) -> Table:
    """The rows, and below them their sum, with the errors by kind.

    Args:
        rows: What is shown.
        whole: Their sum.
        names: What names a row.
        width: How many columns the terminal has. Where they are few, some figures are left out.
    """
    shown = Table(box=None, pad_edge=False, header_style="bold", show_footer=True, footer_style="bold")
    cells, footer = [_cells(row) for row in rows], _cells(whole)
    for place, name in enumerate(names):
        shown.add_column(name, footer="" if place else "total", overflow="fold", no_wrap=name == "day")
    taken = sum(len("2026-01-02") if name == "day" else _NAME for name in names) + _GAP * (len(names) - 1)
    titles = _that_fit([*cells, footer], width - taken)
    for title in titles:
        shown.add_column(title, footer=Text(footer[title]), justify="right", no_wrap=True)
    for row, each in zip(rows, cells, strict=True):
        shown.add_row(*(Text(visible(name)) for name in row.names), *(Text(each[title]) for title in titles))
    if whole.figures.errors:
        shown.caption = Text(f"errors: {_by_kind(whole.figures)}")
        shown.caption_justify = "left"
    return shown


def _that_fit(lines: Sequence[dict[str, str]], width: int) -> list[str]:
    """The titles of the columns that there is room for."""
    titles = list(lines[0])
    sizes = {title: max(*map(len, title.split("\n")), *(len(line[title]) for line in lines)) for title in titles}
    for dropped in _DROPPED:
        if sum(_GAP + sizes[title] for title in titles) <= width:
            break
        titles.remove(dropped)
    return titles


def _cells(row: Row) -> dict[str, str]:
    """All the figures of a row, by the titles of their columns."""
    figures = row.figures
    given, made, *cached = (figures.tokens[kind] for kind in TOKENS)
    counts = {
        "messages": figures.messages,
        "turns": figures.turns,
        "retried": figures.retried,
        "errors": figures.errors.total(),
    }
    tokens = {"in": given, "out": made, "cached": sum(cached), "all": figures.tokens.total()}
    return {
        **{title: _number(number) for title, number in counts.items()},
        **{title: cell for name, times in row.times().items() for title, cell in _spread(name, times)},
        **{f"tokens\n{kind}": _number(number) for kind, number in tokens.items()},
        "cost\nUSD": f"{figures.cost_usd:.4f}" if figures.cost_usd < 1 else f"{figures.cost_usd:,.2f}",
    }


def _spread(name: str, times: Quantiles | None) -> Iterator[tuple[str, str]]:
    for quantile in QUANTILES:
        title = f"{name.removesuffix('_output')}\n{quantile}"
        yield title, "-" if times is None else _time(getattr(times, quantile))


def _by_kind(figures: Figures) -> str:
    return ", ".join(f"{figures.errors[kind]:,} {kind.replace('_', ' ')}" for kind in ERRORS if figures.errors[kind])


def _number(number: int) -> str:
    """A number in at most six characters."""
    if number < _LARGE:
        return f"{number:,}"
    digits = len(str(number))
    unit = "kMGTPE"[min((digits - 1) // 3, 6) - 1]
    return f"{number / 1000 ** ((digits - 1) // 3):.{2 - (digits - 1) % 3}f}{unit}"


def _time(seconds: float) -> str:
    """A time in at most six characters, unless it is weeks."""
    thousandths = round(seconds * 1000)
    if thousandths < _SECOND:
        return f"{thousandths}ms"
    tenths = round(seconds * 10)
    if tenths < _MINUTE:
        return f"{tenths / 10:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < _HOUR:
        return f"{minutes}m{rest:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m"
