"""An event in a line for people."""

from __future__ import annotations

from typing import Any

import attrs
import orjson
from rich.text import Text

from echo_actors.commands.cells import cut, padded, within
from echo_actors.commands.terminal import visible
from echo_actors.events import (
    Accepted,
    AuditChanged,
    BlockFinished,
    BudgetWarning,
    Event,
    Lagged,
    PermissionAnswered,
    PermissionAsked,
    Retrying,
    SessionChanged,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    TurnStarted,
    UnknownFrame,
)
from echo_actors.models import OutcomeKind, Spent

_STYLES: dict[type[Event], str] = {
    Lagged: "bold yellow",
    Retrying: "yellow",
    BudgetWarning: "yellow",
    PermissionAsked: "magenta",
    AuditChanged: "bold yellow",
    UnknownFrame: "yellow",
    TurnStarted: "green",
}

_LONGEST = 400
"""Characters of a text that are looked at; a line shows fewer, and JSON all of them."""


_KIND = 15
"""As wide as the kinds that there are many of."""


_WIDEST_CHANNEL = 28


@attrs.frozen
class EventLine:
    """An event's parts, each of characters that can all be seen.

    Attributes:
        time: In UTC, as everywhere.
        style: For the kind, in rich's words.
    """

    time: str
    channel: str
    kind: str
    text: str
    style: str


def line_of(event: Event) -> EventLine:
    """The line for an event."""
    return EventLine(
        time=f"{event.time:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        channel=visible(event.channel),
        kind=type(event).__name__,
        text=visible(" ".join(_text(event)[:_LONGEST].split())),
        style=_style(event),
    )


def on_screen(event: Event, width: int, *, channel: bool) -> Text:
    """The line as a terminal of so many columns shows it: of the time, the hours and what is below.

    Args:
        event: What to show.
        width: Of the terminal.
        channel: Whether its channel is shown.
    """
    found = line_of(event)
    line = Text(f"{found.time[11:-1]} ", "dim")
    line.append(padded(found.kind, _KIND), f"not dim {found.style}")
    if channel:
        room = min(_WIDEST_CHANNEL, width // 4)
        line.append(f" {padded(cut(found.channel, room, middle=True), room)}", "not dim bold")
    line.append(f" {found.text}", "not dim not bold")
    return within(line, width)


def _style(event: Event) -> str:
    if isinstance(event, TurnEnded):
        return "cyan" if event.outcome.kind is OutcomeKind.ANSWERED else "red"
    return _STYLES.get(type(event), "cyan")


def _text(event: Event) -> str:  # noqa: PLR0911 - one for each kind of event
    match event:
        case Accepted():
            return f"#{event.sequence}" + (f", {event.position} before it" if event.position else "")
        case TurnStarted():
            return event.model + (f", attempt {event.attempt}" if event.attempt > 1 else "")
        case TextDelta():
            return event.text
        case BlockFinished():
            block = event.block
            return block.text if block.kind == "text" else f"[{block.kind}] {block.name or block.text}"
        case ToolStarted():
            return f"{event.tool} {_json(event.input)}"
        case ToolFinished():
            return ("failed: " if event.is_error else "") + event.text
        case PermissionAsked():
            until = f" until {event.deadline:%H:%M:%S}Z" if event.deadline else ""
            return f"{event.tool}{until}: {event.description or _json(event.input)}"
        case PermissionAnswered():
            said = "allowed" if event.allowed else "denied"
            return f"{event.tool} {said} by {event.by}" + (f": {event.message}" if event.message else "")
        case TurnEnded():
            return _end(event)
        case _:
            return _rare(event)


def _rare(event: Event) -> str:  # noqa: PLR0911 - one for each kind of event
    match event:
        case SessionChanged():
            return f"{event.reason}: {event.session_id or 'no session'}"
        case Retrying():
            return f"{event.reason}; attempt {event.attempt} in {event.delay:.1f} s"
        case BudgetWarning():
            used = event.budget
            return f"{used.spent_usd:.4f} of {used.limit_usd:.4f} USD are spent ({used.setting})"
        case Lagged():
            return (
                "events were lost, nobody knows how many" if event.missed < 0 else f"{event.missed} events were lost"
            )
        case AuditChanged():
            lost = f"; {event.lost} records are lost" if event.lost else ""
            return (event.problem or "the audit log can be written again") + lost
        case UnknownFrame():
            return event.kind
        case _:
            return ""


def _end(event: TurnEnded) -> str:
    outcome = event.outcome
    why = f": {outcome.reason}" if outcome.reason else ""
    return f"{outcome.kind.value}{why}{_took(event.spent)}"


def _took(spent: Spent | None) -> str:
    if spent is None:
        return ""
    tokens = attrs.astuple(spent.usage)
    return f" ({sum(tokens)} tokens, {spent.cost_usd:.4f} USD, {spent.duration_ms / 1000:.1f} s)"


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
