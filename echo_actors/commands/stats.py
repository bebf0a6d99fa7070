"""``echo-actors stats``: turns, times, cost and errors by channel and day, out of the audit log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import trio
from cyclopts import Parameter

from echo_actors.commands.exits import Exit, complain
from echo_actors.commands.options import Json, Running, StoreOptions
from echo_actors.commands.stats_picture import Plot
from echo_actors.commands.stats_rows import GROUPINGS, Row, as_json, as_lines, remarks, rows_of
from echo_actors.commands.stats_table import table
from echo_actors.commands.terminal import console, on_terminal, write
from echo_actors.commands.times import When, time_from
from echo_actors.commands.working import ShownProgress, work
from echo_actors.errors import StoreError
from echo_actors.statistics.figures import total
from echo_actors.statistics.gathering import Gathered, gather, size_of


async def stats(
    *,
    since: When = None,
    until: When = None,
    channel: Annotated[
        tuple[str, ...], Parameter(negative=(), help="Of this channel, or of all like 'discord:*'; may be repeated.")
    ] = (),
    by: Annotated[
        Literal["channel", "day", "channel,day"], Parameter(help="What has a line of its own. Days are those of UTC.")
    ] = "channel",
    json: Json = False,
    plot: Annotated[
        Path | None, Parameter(help="Draw a picture as well: a .png or .svg file. Needs 'echo-actors[plot]'.")
    ] = None,
    options: StoreOptions | None = None,
    ending: Running,
) -> int:
    """Sum the audit log up: turns, how long they took, what they cost, and how messages failed.

    A message or turn counts at the time at which it ended. The engine may run meanwhile.
    """
    del ending
    picture = None if plot is None else Plot.at(plot)
    begin, end = time_from(since), time_from(until)
    path = (options or StoreOptions()).settings().audit_file

    def read(progress: ShownProgress) -> Gathered:
        progress.begin("reading the audit log", size_of(path))
        return gather(path, since=begin, until=end, channels=channel, advance=progress.advance)

    try:
        found = await work(read)
    except OSError as problem:
        raise StoreError(f"the audit log cannot be read: {problem}") from problem
    rows = rows_of(found.ledger, by)
    whole = Row((), total(found.ledger.days.values()))
    if picture is not None:
        await trio.to_thread.run_sync(picture.draw, found.ledger)
    if json:
        write(as_json(rows, whole, found, GROUPINGS[by]))
    elif not on_terminal():
        write(as_lines(rows, GROUPINGS[by]))
    elif rows:
        screen = console()
        screen.print(table(rows, whole, GROUPINGS[by], screen.width))
    for remark in () if json else remarks(found, path):
        complain(remark)
    return Exit.DONE
