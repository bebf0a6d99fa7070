"""The table of ``echo-actors stats`` for people, in the width that their terminal has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from echo_actors.commands.stats_rows import Row
from echo_actors.commands.terminal import visible
from echo_actors.statistics.figures import ERRORS, TOKENS, Figures, Quantiles

_WIDE: Final = 130
"""Columns of a terminal from which on there is room for everything."""

_LARGE: Final = 10_000
"""From here on numbers are rounded to three digits."""

_SECOND, _MINUTE, _HOUR = 1000, 600, 60
"""In thousandths, in tenths of a second, and in minutes: where the next unit begins."""

_NARROW_HEAD: Final = (
    *("turns", "errors", "wait\nmedian", "first\nmedian", "turn\nmedian", "turn\np95", "turn\np99"),
    *("tokens", "cost\nUSD"),
)
_WIDE_HEAD: Final = (
    *("messages", "turns", "retried", "errors"),
    *(f"{what}\n{quantile}" for what in ("wait", "first", "turn") for quantile in ("median", "p95", "p99")),
    *("tokens\nin", "tokens\nout", "tokens\ncached", "cost\nUSD"),
)


def table(rows: Sequence[Row], whole: Row, names: Sequence[str], width: int) -> Table:
    """The rows, and below them their sum, with the errors by kind.

    Args:
        rows: What is shown.
        whole: Their sum.
        names: What names a row.
        width: How many columns the terminal has.
    """
    wide = width >= _WIDE
    shown = Table(box=None, pad_edge=False, header_style="bold", show_footer=True, footer_style="bold")
    cells = list(_cells(whole, wide=wide))
    for place, name in enumerate(names):
        shown.add_column(name, footer="" if place else "total", overflow="fold", no_wrap=name == "day", min_width=7)
    for name, footer in zip(_WIDE_HEAD if wide else _NARROW_HEAD, cells, strict=True):
        shown.add_column(name, footer=Text(footer), justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(*(Text(visible(each)) for each in row.names), *map(Text, _cells(row, wide=wide)))
    if whole.figures.errors:
        shown.caption = Text(f"errors: {_by_kind(whole.figures)}")
        shown.caption_justify = "left"
    return shown


def _cells(row: Row, *, wide: bool) -> Iterator[str]:
    figures, times = row.figures, row.times()
    if wide:
        yield from map(_number, (figures.messages, figures.turns, figures.retried, figures.errors.total()))
        for each in times.values():
            yield from ("-", "-", "-") if each is None else map(_time, (each.median, each.p95, each.p99))
        given, made, *cached = (figures.tokens[kind] for kind in TOKENS)
        yield from map(_number, (given, made, sum(cached)))
    else:
        yield from map(_number, (figures.turns, figures.errors.total()))
        yield from (_median(times["wait"]), _median(times["first_output"]))
        turn = times["turn"]
        yield from ("-", "-", "-") if turn is None else map(_time, (turn.median, turn.p95, turn.p99))
        yield _number(figures.tokens.total())
    yield f"{figures.cost_usd:.4f}" if figures.cost_usd < 1 else f"{figures.cost_usd:,.2f}"


def _by_kind(figures: Figures) -> str:
    return ", ".join(f"{figures.errors[kind]:,} {kind.replace('_', ' ')}" for kind in ERRORS if figures.errors[kind])


def _median(times: Quantiles | None) -> str:
    return "-" if times is None else _time(times.median)


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
