"""One channel alone: all that is known of it, and its events."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from echo_actors.commands.cells import cut, padded, width_of
from echo_actors.commands.event_lines import on_screen
from echo_actors.commands.terminal import visible
from echo_actors.commands.top import figures
from echo_actors.commands.top.rows import Row
from echo_actors.commands.top.scene import Scene

_COLUMN = 40
"""The width of a column of facts, label and all."""

_LABEL = 10


def detail(scene: Scene, room: int) -> list[Text]:
    """The lines; of the events, the newest."""
    channel = scene.choices.opened or ""
    row = next((row for row in scene.rows if row.channel == channel), None)
    lines = [Text(padded(cut(f" {visible(channel)}", scene.width, middle=True), scene.width), "reverse bold")]
    if row is None:
        lines.append(Text(cut(" The channel is not live, or not among those that are shown.", scene.width), "dim"))
    else:
        lines += _in_columns(list(_facts(row, scene)), scene.width)
        if row.suspended:
            lines.append(Text(cut(f" suspended: {visible(row.suspended)}", scene.width), "bold red"))
    lines.append(Text(padded(" events", scene.width), "reverse"))
    left = max(0, room - len(lines))
    events = list(scene.events)[-left:] if left else []
    if not events:
        return [*lines, Text(cut(" None that the engine remembers.", scene.width), "dim")]
    return lines + [on_screen(each, scene.width, channel=False) for each in events]


def _facts(row: Row, scene: Scene) -> Iterator[tuple[str, str]]:
    yield "state", row.state
    yield "queue", str(row.queued)
    yield "model", row.model or "-"
    yield "cost", f"{figures.money(row.cost_usd)} USD" if row.cost_usd else "-"
    status = row.status
    if status is None:
        return
    used = status.usage
    yield "messages", f"{status.messages} answered"
    yield "context", f"{figures.amount(status.context_tokens)} tokens"
    yield "tokens", f"{figures.amount(used.input_tokens)} in, {figures.amount(used.output_tokens)} out"
    yield (
        "cache",
        f"{figures.amount(used.cache_read_tokens)} read, {figures.amount(used.cache_creation_tokens)} written",
    )
    yield "process", f"{status.pid}, {figures.memory(status.memory)}" if status.pid else "none"
    yield "turn", f"for {figures.age(status.turn_started, scene.now)}" if status.turn_started else "none"
    yield "last", f"{row.last_event or '-'} {figures.age(row.last_event_at, scene.now)}"
    yield "session", status.session_id or "none yet"


def _in_columns(facts: list[tuple[str, str]], width: int) -> list[Text]:
    """Facts side by side, as many as there is room for; one that is wider than a column has more of them."""
    across = max(1, width // _COLUMN)
    lines: list[Text] = []
    taken = across
    for label, value in facts:
        size = min(across, 1 + (_LABEL + 2 + width_of(value)) // _COLUMN)
        if taken + size > across:
            lines.append(Text())
            taken = 0
        cell = min(size * _COLUMN, width)
        room = cell - _LABEL - 2
        lines[-1].append(f" {label:<{_LABEL}}", "dim").append(padded(cut(value, room), room + 1), "not dim")
        taken += size
    return lines
