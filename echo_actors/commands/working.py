"""Long work in a thread, which the command's end cuts, with its progress on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import attrs
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

T = TypeVar("T")


@attrs.define
class ShownProgress:
    """Shows how far the parts of the work are; it raises when the command is to end."""

    _bars: Progress
    _task: TaskID

    def begin(self, what: str, total: int) -> None:
        """Begin another part."""
        trio.from_thread.check_cancelled()
        self._bars.reset(self._task, total=total or None, description=what)

    def advance(self, done: int) -> None:
        """So much more is done."""
        trio.from_thread.check_cancelled()
        self._bars.advance(self._task, done)


async def work(function: Callable[[ShownProgress], T]) -> T:
    """Do work in a thread; where standard error is no terminal, nothing is shown of it."""
    screen = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    ) as bars:
        shown = ShownProgress(bars, bars.add_task("", total=None))
        return await trio.to_thread.run_sync(partial(function, shown))
