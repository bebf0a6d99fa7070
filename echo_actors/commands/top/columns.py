"""The table's columns: what is in their cells, and how wide they are in a terminal of some width."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from echo_actors.commands.cells import cut, padded, width_of
from echo_actors.commands.top import figures
from echo_actors.commands.top.rows import Column, Row

_TITLES: Final = {Column.QUEUE: "queue", Column.MEMORY: "mem", Column.COST: "USD", Column.LAST: "last event"}
"""Where they are not the column's name."""

_LEAST: Final = {
    Column.CHANNEL: 12,
    Column.STATE: 9,
    Column.QUEUE: 5,
    Column.MODEL: 6,
    Column.MEMORY: 5,
    Column.TOKENS: 6,
    Column.COST: 6,
    Column.LAST: 4,
}
"""Below that, a column says nothing."""

_GROWING: Final = (
    (Column.CHANNEL, 28),
    (Column.MODEL, 12),
    (Column.LAST, 24),
    (Column.CHANNEL, 80),
    (Column.MODEL, 32),
)
"""What gets the room that is left, up to which width, one after the other."""

_EXPENDABLE: Final = (
    Column.TOKENS,
    Column.MODEL,
    Column.MEMORY,
    Column.COST,
    Column.LAST,
    Column.QUEUE,
    Column.STATE,
)
"""What a narrow terminal does without, first one first."""

_LEFT: Final = (Column.CHANNEL, Column.STATE, Column.MODEL)
_ROOMY: Final = 100
"""Columns of a terminal from which on there are two between the table's."""

_WITH_NAME: Final = 10
"""The width from which on the last event has its name beside its age."""


@attrs.frozen
class Layout:
    """The columns that are shown, with their widths, and how many characters are between them."""

    widths: dict[Column, int]
    gap: int

    def line(self, cells: dict[Column, str]) -> list[tuple[Column, str]]:
        """A line's parts, each as wide as its column and the gap before it."""
        parts = []
        for number, (column, width) in enumerate(self.widths.items()):
            text = cut(cells[column], width, middle=column is Column.CHANNEL)
            space = " " * self.gap if number else ""
            parts.append((column, space + padded(text, width, right=column not in _LEFT)))
        return parts


def layout(rows: Sequence[Row], width: int, now: datetime) -> Layout:
    """How the rows fit into so many characters."""
    gap = 2 if width >= _ROOMY else 1
    shown = list(Column)
    for column in _EXPENDABLE:
        if sum(_LEAST[each] + gap for each in shown) - gap <= width:
            break
        shown.remove(column)
    widths = {column: _LEAST[column] for column in shown}
    room = width - sum(widths.values()) - gap * (len(shown) - 1)
    if room < 0:
        return Layout({Column.CHANNEL: max(1, width)}, gap)
    wanted = {
        column: max([len(title(column)), *(width_of(_CELLS[column](row, now)) for row in rows)])
        for column in dict(_GROWING)
    }
    for column, most in _GROWING:
        more = max(0, min(wanted[column], most) - widths.get(column, most))
        if more > room:
            # A part of the last event's name is no use to its age.
            more = 0 if column is Column.LAST else room
        if more:
            widths[column] += more
            room -= more
    return Layout(widths, gap)


def title(column: Column) -> str:
    """What is above a column."""
    return _TITLES.get(column, column.value)


def heads(shown: Layout, sort: Column, *, reverse: bool) -> str:
    """The titles in a line, with an arrow at the column by which the table is sorted."""
    arrow = "↑" if reverse else "↓"
    names = {column: title(column) for column in shown.widths}
    if shown.widths.get(Column.LAST, 0) < _WITH_NAME:
        names[Column.LAST] = "last"
    if sort in _LEFT:
        names[sort] = names.get(sort, "") + arrow
    parts = dict(shown.line(names))
    if sort in parts and sort not in _LEFT:
        # In the gap before the title, so that no column need be wider than its title for it.
        parts[sort] = padded(arrow + names[sort], len(parts[sort]), right=True)
    return "".join(parts.values())


def cells(row: Row, shown: Layout, now: datetime) -> dict[Column, str]:
    """What a row shows; of its last event, where there is little room, only the age."""
    found = {column: _CELLS[column](row, now) for column in shown.widths}
    if shown.widths.get(Column.LAST, 0) < _WITH_NAME:
        found[Column.LAST] = figures.age(row.last_event_at, now)
    return found


_CELLS: Final[Mapping[Column, Callable[[Row, datetime], str]]] = {
    Column.CHANNEL: lambda row, _: row.name,
    Column.STATE: lambda row, _: row.state,
    Column.QUEUE: lambda row, _: str(row.queued) if row.queued else "-",
    Column.MODEL: lambda row, _: row.model,
    Column.MEMORY: lambda row, _: figures.memory(row.memory),
    Column.TOKENS: lambda row, _: figures.amount(row.tokens) if row.tokens else "-",
    Column.COST: lambda row, _: figures.money(row.cost_usd),
    Column.LAST: lambda row, now: f"{row.last_event or ''} {figures.age(row.last_event_at, now):>4}".strip(),
}
