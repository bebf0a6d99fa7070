"""What a demo shows while it runs: a live table on a terminal, a line a second elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs
import trio
from rich.live import Live
from rich.table import Table

from echo_actors.actors.topic import Subscription
from echo_actors.commands.terminal import console, on_terminal, write
from echo_actors.events import Accepted, Event, TurnEnded, TurnStarted

_TABLE_SECONDS: Final = 0.1
_LINE_SECONDS: Final = 1.0


@attrs.define
class _Row:
    """A channel as the events so far tell of it. Times are the events'."""

    state: str = "idle"
    waiting: int = 0
    ended: int = 0
    began: float = 0.0
    last: float | None = None

    def see(self, event: Event) -> None:
        match event:
            case Accepted():
                self.waiting += 1
                self.state = "waiting" if self.state == "idle" else self.state
            case TurnStarted():
                self.waiting -= 1
                self.state, self.began = "running", event.time.timestamp()
            case TurnEnded():
                self.ended += 1
                self.last = event.time.timestamp() - self.began
                self.state = "waiting" if self.waiting else "done"


class Board:
    """All channels, and every event seen."""

    def __init__(self, channels: Sequence[str], *, messages: int) -> None:
        self.events: list[Event] = []
        self._messages = messages
        self._rows = {channel: _Row() for channel in channels}

    def see(self, event: Event) -> None:
        """Take an event in."""
        self.events.append(event)
        if event.channel in self._rows:
            self._rows[event.channel].see(event)

    def line(self) -> str:
        """How far it is, in a line."""
        states = [row.state for row in self._rows.values()]
        ended = sum(row.ended for row in self._rows.values())
        return f"{ended} of {self._messages} messages ended, {states.count('running')} channels running"

    def table(self) -> Table:
        """How far every channel is."""
        table = Table(caption=self.line(), caption_justify="left")
        table.add_column("channel", min_width=10)
        table.add_column("state", min_width=8)
        for name in ("waiting", "ended", "last turn"):
            table.add_column(name, justify="right", min_width=9)
        for channel, row in self._rows.items():
            last = "" if row.last is None else f"{row.last:.3f} s"
            table.add_row(channel, row.state, str(row.waiting), str(row.ended), last)
        return table


async def show(board: Board, subscription: Subscription) -> None:
    """Let the board see the subscription's events and show it, until the subscription ends."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_show_table if on_terminal() else _show_lines, board)
        async for event in subscription:
            board.see(event)
        nursery.cancel_scope.cancel()


async def _show_table(board: Board) -> None:
    # Refreshed by this task: rich's own thread could write after the terminal was given back.
    with Live(board.table(), console=console(), auto_refresh=False) as live:
        try:
            while True:
                live.update(board.table(), refresh=True)
                await trio.sleep(_TABLE_SECONDS)
        finally:
            live.update(board.table(), refresh=True)


async def _show_lines(board: Board) -> None:
    try:
        while True:
            await trio.sleep(_LINE_SECONDS)
            write(f"{board.line()}\n")
    finally:
        write(f"{board.line()}\n")
