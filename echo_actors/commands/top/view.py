"""A frame: the lines that fill the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.text import Text

from echo_actors.commands.cells import cut, padded, within
from echo_actors.commands.top.choices import Mode, Verb
from echo_actors.commands.top.columns import Layout, cells, heads, layout
from echo_actors.commands.top.detail import detail
from echo_actors.commands.top.header import header
from echo_actors.commands.top.rows import STORED, Column, Row
from echo_actors.commands.top.scene import Scene
from echo_actors.engine.channels import ChannelState

STATE_STYLES: Final[Mapping[str, str]] = {
    ChannelState.RUNNING: "bold green",
    ChannelState.STARTING: "cyan",
    ChannelState.QUEUED: "yellow",
    ChannelState.SUSPENDED: "bold red",
    ChannelState.IDLE: "dim",
    STORED: "dim",
}

_HELP: Final = """\
Keys
  up down j k        mark another channel       Enter  open the channel
  PgUp PgDn          a screen further           Esc    back; show all again
  Home End g G       the first, the last        /      show only some, by words in
  < > left right     sort by another column            channel, state and model
  o                  the other way round        ?      this help
  i   interrupt the channel's turn: its message is cancelled (asks first)
  s   suspend the channel: it takes nothing until it is resumed (asks first)
  r   resume the channel
  q   leave, as Ctrl-C does; the engine runs on

Columns
  state    running, starting (waits for its CLI), queued (waits for its turn),
           suspended (takes nothing), idle
  queue    messages that wait                   mem    of its CLI and tools
  tokens   of its session, cached ones as well  USD    what its session cost
  last     the newest event, and how long ago it was

Any key goes back.
"""

_CONSEQUENCE: Final = {
    Verb.INTERRUPT: "Its running message is cancelled.",
    Verb.SUSPEND: "It takes no messages until it is resumed.",
}
_KEYS: Final = "q quit  ? help  Enter open  / filter  < > sort  i interrupt  s suspend  r resume"
_KEYS_OPENED: Final = "q quit  ? help  Esc back  up down another  i interrupt  s suspend  r resume"


def frame(scene: Scene) -> list[Text]:
    """As many lines as the screen has, none wider than it is."""
    lines = _head(scene, _place(scene))
    foot = _foot(scene)
    room = max(0, scene.height - len(lines) - 1)
    lines += _body(scene, room)[:room]
    lines += [Text()] * (scene.height - 1 - len(lines))
    return [within(line, scene.width) for line in (*lines[: max(0, scene.height - 1)], foot)]


def page(scene: Scene) -> int:
    """How many rows of the table fit on the screen."""
    return max(1, scene.height - len(_head(scene)) - 2)


def _head(scene: Scene, place: str = "") -> list[Text]:
    """The header; where the screen is low, no more of it than leaves room for titles, two rows and the foot."""
    return header(scene, place)[: max(1, scene.height - 4)]


def _place(scene: Scene) -> str:
    """Which rows of the table are on the screen."""
    choices, count = scene.choices, len(scene.rows)
    if choices.opened is not None or choices.mode is Mode.HELP or not count:
        return ""
    return f"{choices.first + 1}-{min(count, choices.first + page(scene))} of {count}"


def _body(scene: Scene, room: int) -> list[Text]:
    if scene.choices.mode is Mode.HELP:
        return [Text(), *(Text(cut(line, scene.width)) for line in _HELP.splitlines())]
    if scene.choices.opened is not None:
        return detail(scene, room)
    return _table(scene, room)


def _table(scene: Scene, room: int) -> list[Text]:
    choices = scene.choices
    shown = layout(scene.rows, scene.width - 2, scene.now)
    lines = [titles(shown, scene)]
    if not scene.rows:
        return [*lines, Text(cut(_nothing(scene), scene.width), "dim")]
    places = range(choices.first, min(len(scene.rows), choices.first + room - 1))
    return lines + [table_line(scene.rows[place], shown, scene, marked=place == choices.index) for place in places]


def _nothing(scene: Scene) -> str:
    if scene.total:
        return f"  None of {scene.total} channels has {scene.choices.filter!r} in it; Esc shows all."
    return "  No channel is live." if scene.sight is not None else "  Looking at the engine."


def titles(shown: Layout, scene: Scene) -> Text:
    """The line above the table."""
    line = heads(shown, scene.choices.sort, reverse=scene.choices.reverse)
    return Text(padded(cut(f"  {line}", scene.width), scene.width), "reverse")


def table_line(row: Row, shown: Layout, scene: Scene, *, marked: bool) -> Text:
    """A row of the table."""
    line = Text("> " if marked else "  ")
    for column, text in shown.line(cells(row, shown, scene.now)):
        line.append(text, STATE_STYLES[row.state] if column is Column.STATE else "")
    if scene.trouble:
        line.stylize("dim")
    if marked:
        line.append(" " * (scene.width - line.cell_len))
        line.stylize("bold reverse")
    return line


def _foot(scene: Scene) -> Text:
    choices = scene.choices
    if choices.mode is Mode.CONFIRM and choices.order is not None:
        question = f"  {_CONSEQUENCE[choices.order.verb]} y/n"
        return Text(_asked(choices.order.verb, _name(scene, choices.order.channel), question, scene.width), "bold")
    if choices.mode is Mode.FILTER:
        return Text(
            cut(f"/{choices.filter}_  ({len(scene.rows)} of {scene.total}; Enter keeps, Esc drops)", scene.width)
        )
    if scene.notice:
        return Text(cut(scene.notice, scene.width), "bold")
    keys = _KEYS if choices.opened is None else _KEYS_OPENED
    found = f"{len(scene.rows)} of {scene.total} with {choices.filter!r}  " if choices.filter else ""
    return Text(cut(found, scene.width), "bold").append(cut(keys, scene.width - len(found)), "not bold dim")


def _asked(verb: Verb, name: str, question: str, width: int) -> str:
    """A question, in which rather the channel's name is cut than what is asked."""
    verb_text = verb.value.capitalize()
    return cut(
        f"{verb_text} {cut(name, max(8, width - len(verb_text) - len(question) - 2), middle=True)}?{question}", width
    )


def _name(scene: Scene, channel: str) -> str:
    return next((row.name for row in scene.rows if row.channel == channel), channel)
