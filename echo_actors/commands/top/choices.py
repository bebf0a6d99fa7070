"""What the person at the keyboard has chosen, and what each key does to that. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

import attrs

from echo_actors.commands.top.keys import Key
from echo_actors.commands.top.rows import Column

_LONGEST_FILTER: Final = 100


class Mode(enum.StrEnum):
    """What is on the screen, and what keys mean."""

    LIST = "list"
    FILTER = "filter"
    CONFIRM = "confirm"
    HELP = "help"


class Verb(enum.StrEnum):
    """What is to be done; but for the first one, to a channel."""

    QUIT = "quit"
    INTERRUPT = "interrupt"
    SUSPEND = "suspend"
    RESUME = "resume"


_STEERING: Final = {"i": Verb.INTERRUPT, "s": Verb.SUSPEND, "r": Verb.RESUME}
_HARMLESS: Final = (Verb.RESUME,)
"""What is done without asking again."""


@attrs.frozen
class Order:
    """Something to do."""

    verb: Verb
    channel: str = ""


@attrs.frozen(kw_only=True)
class Choices:
    """What was chosen.

    Attributes:
        filter: Words that the channels shown have in them.
        selected: The channel that the mark is on and stays on; None while it is on the first one, whichever that is.
        index: The place of the mark in the table.
        first: The row at the top of the screen.
        opened: The channel that is shown alone.
        order: What waits to be confirmed.
    """

    mode: Mode = Mode.LIST
    sort: Column = Column.STATE
    reverse: bool = False
    filter: str = ""
    selected: str | None = None
    index: int = 0
    first: int = 0
    opened: str | None = None
    order: Order | None = None


def settled(choices: Choices, names: Sequence[str], page: int) -> Choices:
    """The choices for a table of these channels, of which so many fit on the screen: the mark is within both."""
    index, selected = min(choices.index, max(0, len(names) - 1)), choices.selected
    if selected in names:
        index = names.index(selected)
    elif selected is not None:
        selected = names[index] if names else None
    first = min(max(choices.first, index - page + 1), index, max(0, len(names) - page))
    return attrs.evolve(choices, index=index, selected=selected, first=first)


def press(choices: Choices, key: str, names: Sequence[str], page: int) -> tuple[Choices, Order | None]:
    """The choices after a key, and what it asks for.

    Args:
        choices: Those before, settled.
        key: A character or a ``Key``.
        names: The channels of the table, in its order.
        page: How many of them fit on the screen.
    """
    match choices.mode:
        case Mode.FILTER:
            return _filtering(choices, key), None
        case Mode.CONFIRM:
            order = choices.order if key in ("y", "Y") else None
            return attrs.evolve(choices, mode=Mode.LIST, order=None), order
        case Mode.HELP:
            return attrs.evolve(choices, mode=Mode.LIST), Order(Verb.QUIT) if key == "q" else None
        case Mode.LIST:
            return _browsing(choices, key, names, page)


def _browsing(choices: Choices, key: str, names: Sequence[str], page: int) -> tuple[Choices, Order | None]:
    marked = names[choices.index] if names else None
    channel = choices.opened if choices.opened is not None else marked
    if key == "q":
        return choices, Order(Verb.QUIT)
    if key in _STEERING and channel is not None:
        order = Order(_STEERING[key], channel)
        if order.verb in _HARMLESS:
            return choices, order
        return attrs.evolve(choices, mode=Mode.CONFIRM, order=order), None
    if choices.opened is not None and key in (Key.ESCAPE, Key.ENTER, Key.BACKSPACE, Key.LEFT):
        return attrs.evolve(choices, opened=None), None
    return _moved(choices, key, names, page) or _chosen(choices, key, marked), None


def _moved(choices: Choices, key: str, names: Sequence[str], page: int) -> Choices | None:
    """The choices with the mark elsewhere; None when the key is for something else. An open channel goes with it."""
    last = max(0, len(names) - 1)
    targets = {
        Key.UP: choices.index - 1,
        "k": choices.index - 1,
        Key.DOWN: choices.index + 1,
        "j": choices.index + 1,
        Key.PAGE_UP: choices.index - page,
        Key.PAGE_DOWN: choices.index + page,
        Key.HOME: 0,
        "g": 0,
        Key.END: last,
        "G": last,
    }
    if key not in targets:
        return None
    index = min(max(targets[key], 0), last)
    # At the top, the mark stays at the top; elsewhere it follows its channel.
    selected = names[index] if names and (index or choices.opened is not None) else None
    opened = selected if choices.opened is not None else None
    return settled(attrs.evolve(choices, index=index, selected=selected, opened=opened), names, page)


def _chosen(choices: Choices, key: str, marked: str | None) -> Choices:  # noqa: PLR0911 - one for each key
    columns = list(Column)
    place = columns.index(choices.sort)
    match key:
        case Key.ENTER if marked is not None:
            return attrs.evolve(choices, opened=marked, selected=marked)
        case "<" | Key.LEFT:
            return attrs.evolve(choices, sort=columns[(place - 1) % len(columns)], reverse=False)
        case ">" | Key.RIGHT if choices.opened is None:
            return attrs.evolve(choices, sort=columns[(place + 1) % len(columns)], reverse=False)
        case "o":
            return attrs.evolve(choices, reverse=not choices.reverse)
        case "/" if choices.opened is None:
            return attrs.evolve(choices, mode=Mode.FILTER)
        case "?":
            return attrs.evolve(choices, mode=Mode.HELP)
        case Key.ESCAPE:
            return attrs.evolve(choices, filter="")
        case _:
            return choices


def _filtering(choices: Choices, key: str) -> Choices:
    match key:
        case Key.ENTER:
            return attrs.evolve(choices, mode=Mode.LIST)
        case Key.ESCAPE:
            return attrs.evolve(choices, mode=Mode.LIST, filter="")
        case Key.BACKSPACE:
            return attrs.evolve(choices, filter=choices.filter[:-1])
        case Key.ERASE_LINE:
            return attrs.evolve(choices, filter="")
        case _ if isinstance(key, Key):
            return choices
        case _:
            return attrs.evolve(choices, filter=(choices.filter + key)[:_LONGEST_FILTER])
