"""``echo-actors sessions``: what the store knows of every channel."""

from __future__ import annotations

from typing import Annotated, Literal

import attrs
import orjson
from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from echo_actors.commands.exits import Exit
from echo_actors.commands.options import Running, StoreOptions
from echo_actors.commands.reaching import running_engine
from echo_actors.commands.stored import opened_store
from echo_actors.commands.terminal import console, on_terminal, visible, write
from echo_actors.engine.remote_engine import RemoteEngine
from echo_actors.settings import Settings
from echo_actors.state.exchange import all_sessions
from echo_actors.state.records import SessionSnapshot

_COLUMNS = ("channel", "model", "messages", "tokens in", "tokens out", "context", "cost USD", "last message")
_PAGE = 500
_TEXT_COLUMNS = ("channel", "model", "last message")


async def sessions(
    *, json: Annotated[bool, Parameter(negative=())] = False, options: StoreOptions | None = None, ending: Running
) -> int:
    """List the sessions, of the engine that runs on the state directory, or else in its store.

    Args:
        json: Print every field, as a JSON list.
        options: Where the store is.
        ending: How the command may be ended before its time.
    """
    del ending
    settings = (options or StoreOptions()).settings()
    async with running_engine(settings.state_dir) as engine:
        found = await _of_store(settings) if engine is None else await _of_engine(engine)
    if json:
        write(orjson.dumps(list(map(attrs.asdict, found)), option=orjson.OPT_INDENT_2).decode() + "\n")
    elif on_terminal():
        console().print(_table(found) if found else f"No sessions in {visible(str(settings.state_dir))}.")
    else:
        write("".join("\t".join(row) + "\n" for row in (_COLUMNS, *map(_row, found))))
    return Exit.DONE


async def _of_engine(engine: RemoteEngine) -> list[SessionSnapshot]:
    found: list[SessionSnapshot] = []
    while page := await engine.sessions(after=found[-1].channel if found else "", limit=_PAGE):
        found += page
    return found


async def _of_store(settings: Settings) -> list[SessionSnapshot]:
    async with opened_store(settings, owner="sessions", instead=True) as store:
        return [] if store is None else [each async for each in all_sessions(store)]


def _row(snapshot: SessionSnapshot) -> tuple[str, ...]:
    return (
        visible(snapshot.channel),
        visible(snapshot.model),
        str(snapshot.message_count),
        str(snapshot.total_input_tokens),
        str(snapshot.total_output_tokens),
        str(snapshot.context_tokens),
        f"{snapshot.total_cost_usd:.4f}",
        f"{snapshot.last_message_at:%Y-%m-%d %H:%M}Z",
    )


def _table(found: list[SessionSnapshot]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in filter(_is_in_table, _COLUMNS):
        justify: Literal["left", "right"] = "left" if name in _TEXT_COLUMNS else "right"
        table.add_column(name.replace(" ", "\n"), justify=justify, overflow="fold", no_wrap=name != "channel")
    for snapshot in found:
        cells = zip(_COLUMNS, _row(snapshot), strict=True)
        table.add_row(*(Text(cell) for name, cell in cells if _is_in_table(name)))
    return table


def _is_in_table(column: str) -> bool:
    # In 80 characters, a channel's name needs the room.
    return column != "context"
