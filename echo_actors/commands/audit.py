"""``echo-actors audit``: the records of the audit log, and the proof that none was changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Annotated, Final, TypeAlias, TypeVar

import trio
from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from echo_actors.audit.reading import Found, LogReader, Wanted
from echo_actors.commands.audit_verify import verify_log
from echo_actors.commands.exits import Exit
from echo_actors.commands.options import Running, StoreOptions
from echo_actors.commands.terminal import check_reader, console, on_terminal, visible, write
from echo_actors.commands.times import When, time_from
from echo_actors.errors import SettingsError, StoreError

T = TypeVar("T")

_LOOK_EVERY: Final = 0.2
_ABOUT: Final = ("seq", "time", "event", "run", "prev", "channel")
"""What a line for people has in front, or leaves out."""

_STYLES: Final = {
    "failed": "red",
    "crashed": "red",
    "lost": "red",
    "cut": "red",
    "suspended": "red",
    "refused": "yellow",
}

Json: TypeAlias = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON.")]

audit = App(name="audit", help="Look at the audit log, also while an engine writes it; prove that it was not changed.")


@audit.default
async def show(
    *,
    since: When = None,
    until: When = None,
    channel: Annotated[str | None, Parameter(help="Records of this channel only.")] = None,
    event: Annotated[str | None, Parameter(help="Records of this kind only; a pattern such as 'turn.*'.")] = None,
    run: Annotated[str | None, Parameter(help="Records of this run of the engine only.")] = None,
    limit: Annotated[int, Parameter(help="The last so many; 0 for all.")] = 100,
    follow: Annotated[bool, Parameter(negative=(), help="Then print new ones as they come.")] = False,
    json: Annotated[
        bool, Parameter(name="--json", negative=(), help="Print the lines as they are in the log.")
    ] = False,
    options: StoreOptions | None = None,
    ending: Running,
) -> int:
    """Print records, oldest first."""
    del ending
    if limit < 0:
        raise SettingsError(f"--limit must be 0 or more, not {limit}.", "limit")
    wanted = Wanted(since=time_from(since), until=time_from(until), channel=channel, event=event, run=run)
    settings = (options or StoreOptions()).settings()
    reader = LogReader(settings.audit_file, wanted)
    printer = _printer(json=json)
    try:
        kept: deque[Found] = deque(maxlen=limit)
        while (page := await _in_thread(reader.page)) is not None:
            if limit:
                kept.extend(page)
            else:
                printer(page)
        printer(kept)
        while follow:
            while (page := await _in_thread(reader.page)) is not None:
                printer(page)
            check_reader()
            await trio.sleep(_LOOK_EVERY)
    finally:
        reader.close()
    return Exit.DONE


@audit.command
async def verify(*, json: Json = False, options: StoreOptions | None = None, ending: Running) -> int:
    """Prove that the log is whole, in all its files; name the first line that is not as it was written.

    The store keeps a copy of the log's head, which shows whether lines at the end were cut off. Exit code 1 says that
    the log is broken.
    """
    del ending
    return await verify_log((options or StoreOptions()).settings(), json=json)


async def _in_thread(read: Callable[[], T]) -> T:
    try:
        return await trio.to_thread.run_sync(read)
    except OSError as problem:
        raise StoreError(f"the audit log cannot be read: {problem}") from problem


def _printer(*, json: bool) -> Callable[[Iterable[Found]], None]:
    if json:
        return lambda found: write("".join(each.line.decode() + "\n" for each in found))
    if not on_terminal():
        return lambda found: write("".join("\t".join(_cells(each)) + "\n" for each in found))
    screen = console()
    return lambda found: _print(screen, found)


def _print(screen: Console, found: Iterable[Found]) -> None:
    for each in found:
        time, event, channel, rest = _cells(each)
        words = {*event.split("."), each.record.get("outcome", "")}
        style = next((style for word, style in _STYLES.items() if word in words), "cyan")
        line = Text.assemble((time, "dim"), " ", (event, style), " ", (channel, "bold"), " " if channel else "", rest)
        screen.print(line)


def _cells(found: Found) -> tuple[str, str, str, str]:
    """Time, kind, channel, and all other fields of a record, each in one line of characters that can all be seen."""
    record = found.record
    rest = " ".join(f"{visible(str(name))}={_value(value)}" for name, value in record.items() if name not in _ABOUT)
    shown = str(record.get("time", "")).replace("T", " ")[:23]
    return visible(shown), visible(str(record.get("event", ""))), visible(str(record.get("channel") or "")), rest


def _value(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case _:
            text = visible(str(value))
            return f'"{text}"' if " " in text or not text else text
