"""The command: live on a terminal, once elsewhere; from the store where no engine runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import Parameter, validators

from echo_actors.commands.exits import Exit
from echo_actors.commands.options import Json, Running, StoreOptions
from echo_actors.commands.reaching import running_engine
from echo_actors.commands.stored import opened_store
from echo_actors.commands.terminal import on_terminal
from echo_actors.commands.top.choices import Choices
from echo_actors.commands.top.live import Live
from echo_actors.commands.top.plain import write_once
from echo_actors.commands.top.rows import Column, Row, in_order, matching, of_engine, of_store
from echo_actors.commands.top.screen import Screen
from echo_actors.commands.top.sight import Sight, look
from echo_actors.errors import EngineNotRunning
from echo_actors.settings import Settings
from echo_actors.state.exchange import all_sessions


async def top(
    *,
    sort: Column = Column.STATE,
    reverse: Annotated[bool, Parameter(negative=())] = False,
    words: Annotated[str, Parameter(name="--filter")] = "",
    interval: Annotated[float, Parameter(validator=validators.Number(gte=0.1, lte=3600))] = 1.0,
    once: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
    options: StoreOptions | None = None,
    ending: Running,
) -> int:
    """Show all channels of the engine that runs on the state directory, live; `?` says what the keys do.

    Where standard output is no terminal, and where no engine runs, the table is printed once; without an engine, it is
    what the store knows.

    Args:
        sort: The column to sort by.
        reverse: Sort the other way round.
        words: Show only channels that have all these words in their name, state or model.
        interval: Seconds between two looks at the engine.
        once: Print the table once.
        json: Print it once, as JSON.
        options: Where the engine is.
        ending: How the command may be ended before its time.
    """
    del ending
    settings = (options or StoreOptions()).settings()
    choices = Choices(sort=sort, reverse=reverse, filter=words)
    live = not (once or json) and _can_draw()
    async with running_engine(settings.state_dir) as engine:
        sight: Sight | None = None
        if engine is None:
            live, rows = False, await _stored(settings)
        elif not live:
            sight = await look(engine)
            rows = of_engine(sight.channels, sight.status.suspended)
    if live:
        with Screen() as screen:
            return await Live(settings.state_dir, interval, choices, screen).run()
    rows = in_order(matching(rows, words), sort, reverse=reverse)
    write_once(rows, choices, sight, json=json)
    return Exit.DONE


def _can_draw() -> bool:
    """Whether there is a terminal with keys, on which the cursor can be moved."""
    return on_terminal() and sys.stdin.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


async def _stored(settings: Settings) -> list[Row]:
    async with opened_store(settings, owner="top", instead=True) as store:
        if store is None:
            raise EngineNotRunning(f"no engine is running on {settings.state_dir}, and no store is there")
        return of_store([each async for each in all_sessions(store)])
