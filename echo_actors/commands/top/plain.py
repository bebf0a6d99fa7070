"""The table once, for a person to scroll back to, for a pipe, or for a script."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import orjson
from rich.text import Text

from echo_actors.commands.terminal import console, on_terminal, write
from echo_actors.commands.top.choices import Choices
from echo_actors.commands.top.columns import layout
from echo_actors.commands.top.header import header
from echo_actors.commands.top.rows import Row
from echo_actors.commands.top.scene import Scene
from echo_actors.commands.top.sight import Sight
from echo_actors.commands.top.view import table_line, titles

_PIPED = ("channel", "state", "queue", "model", "memory", "tokens", "cost USD", "last event", "last event at")


def write_once(rows: Sequence[Row], choices: Choices, sight: Sight | None, *, json: bool) -> None:
    """Write the rows, which are in their order: as JSON, as a table in a terminal, with tabs elsewhere."""
    if json:
        content = {"engine": None if sight is None else _engine(sight), "channels": list(map(_channel, rows))}
        option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        write(orjson.dumps(content, option=option).decode())
    elif on_terminal():
        _write_table(rows, choices, sight)
    else:
        write("".join("\t".join(cells) + "\n" for cells in (_PIPED, *map(_cells, rows))))


def _write_table(rows: Sequence[Row], choices: Choices, sight: Sight | None) -> None:
    screen = console()
    scene = Scene(
        now=datetime.now(UTC),
        width=screen.width,
        height=len(rows),
        choices=choices,
        rows=rows,
        total=len(rows),
        sight=sight,
    )
    shown = layout(rows, scene.width - 2, scene.now)
    lines: list[Text] = header(scene) if sight is not None else []
    lines.append(titles(shown, scene))
    lines += [table_line(row, shown, scene, marked=False) for row in rows]
    for line in lines:
        line.rstrip()
        screen.print(line, no_wrap=True, overflow="ignore", crop=False)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        row.state,
        str(row.queued),
        row.model,
        str(row.memory),
        str(row.tokens),
        f"{row.cost_usd:.4f}",
        row.last_event or "",
        f"{row.last_event_at:%Y-%m-%dT%H:%M:%SZ}" if row.last_event_at else "",
    )


def _channel(row: Row) -> dict[str, Any]:
    """A row as a script wants it; all that the engine says of the channel is in there as well."""
    own = {name: getattr(row, name) for name in attrs.fields_dict(Row) if name not in {"name", "status"}}
    more = {} if row.status is None else attrs.asdict(row.status)
    return {**more, **own}


def _engine(sight: Sight) -> dict[str, Any]:
    return {
        **attrs.asdict(sight.hello),
        "began": sight.began,
        **attrs.asdict(sight.status),
        "live": bool(sight.health.live),
        "ready": bool(sight.health.ready),
        "reasons": sight.health.ready.reasons,
        "today_usd": sight.spending.today_usd,
        "month_usd": sight.spending.month_usd,
    }
