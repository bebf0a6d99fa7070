"""``echo-actors watch``: events as they come."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final

import attrs
import orjson
import trio
from cyclopts import Parameter

from echo_actors import events as vocabulary
from echo_actors.commands.event_lines import line_of, on_screen
from echo_actors.commands.exits import Exit, complain
from echo_actors.commands.options import Json, Running, StoreOptions
from echo_actors.commands.terminal import check_reader, console, on_terminal, write
from echo_actors.control.values import Values
from echo_actors.engine.intake import check_channel
from echo_actors.engine.remote import connect
from echo_actors.errors import EchoActorsError, EngineClosed, EngineNotRunning, SettingsError
from echo_actors.events import BEGIN, Event, Lagged

_TRY_EVERY: Final = 1.0
_LOOK_EVERY: Final = 0.2

BUFFER: Final = 10_000
"""Events that may wait for a watcher: as many as an engine remembers by default, so that those fit that come first."""


async def watch(
    channel: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    since: str | None = None,
    kind: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    json: Json = False,
    options: StoreOptions | None = None,
    ending: Running,
) -> int:
    """Print the events of the engine that runs on the state directory, a line each, until Ctrl-C.

    When the engine ends, this waits for the next one.

    Args:
        channel: The conversation; that of all by default.
        since: The cursor of the last event seen, which is in the JSON; those after it that the engine remembers come
            first. 0 for all of them.
        kind: Events of this kind only, such as TurnEnded or 'Turn*'; may be given again. What was lost is told anyway.
        json: Print an event as JSON, one a line.
        options: Where the engine is.
        ending: How the command may be ended before its time.
    """
    del ending
    if channel is not None:
        check_channel(channel)
    state_dir, show = (options or StoreOptions()).settings().state_dir, _printer(json=json, channel=channel is None)
    watching = _Watching(state_dir, channel, show, _kinds(kind), since)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_while_read)
        await watching.run()
    return Exit.DONE


@attrs.define(eq=False)
class _Watching:
    """One watch, over as many runs of the engine as it takes.

    Attributes:
        since: The cursor to go on from.
    """

    state_dir: Path
    channel: str | None
    show: Callable[[Event], None]
    kinds: frozenset[str]
    since: str | None

    async def run(self) -> None:
        """Show events until cancelled.

        Raises:
            EngineNotRunning: No engine is running at the begin.
        """
        reached = gone = False
        while True:
            # The next run's events are wanted from its begin on.
            since = (self.since or BEGIN) if gone else self.since
            try:
                async with (
                    connect(self.state_dir) as engine,
                    engine.subscribe(self.channel, since=since, buffer_size=BUFFER) as events,
                ):
                    if gone:
                        complain("an engine is running again")
                    reached, gone = True, False
                    async for event in events:
                        self._see(event)
            except EchoActorsError as problem:
                if not reached:
                    raise
                if not isinstance(problem, EngineNotRunning | EngineClosed):
                    complain(str(problem))
            if not gone:
                complain("the engine has gone; waiting for the next one")
            gone = True
            await trio.sleep(_TRY_EVERY)

    def _see(self, event: Event) -> None:
        self.since = event.cursor or self.since
        if type(event).__name__ in self.kinds or isinstance(event, Lagged):
            self.show(event)


async def _while_read() -> None:
    """Raise the error of a closed pipe also while there is nothing to write."""
    while True:
        check_reader()
        await trio.sleep(_LOOK_EVERY)


def _kinds(patterns: tuple[str, ...]) -> frozenset[str]:
    """The kinds of events that are wanted, all by default.

    Raises:
        SettingsError: There is none such.
    """
    known = {
        name
        for name, each in vars(vocabulary).items()
        if isinstance(each, type) and issubclass(each, Event) and each is not Event
    }
    if not patterns:
        return frozenset(known)
    found: set[str] = set()
    for pattern in patterns:
        fitting = {name for name in known if fnmatchcase(name.casefold(), pattern.casefold())}
        if not fitting:
            near = difflib.get_close_matches(pattern, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(sorted(known))}."
            raise SettingsError(f"There is no kind of event {pattern}.{hint}", "kind")
        found |= fitting
    return frozenset(found)


def _printer(*, json: bool, channel: bool) -> Callable[[Event], None]:
    if json:
        values = Values()
        return lambda event: write(orjson.dumps(values.write_event(event), option=orjson.OPT_APPEND_NEWLINE).decode())
    if not on_terminal():
        return lambda event: write("\t".join(attrs.astuple(line_of(event))[:4]) + "\n")
    screen = console()
    return lambda event: screen.print(on_screen(event, screen.width, channel=channel), no_wrap=True, crop=False)
