"""Text in cells of a terminal, of which a wide character takes two."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

from rich.text import Text
from wcwidth import wcwidth

_MORE: Final = "…"
"""Stands for what was cut off; one cell wide."""


def width_of(text: str) -> int:
    """How many cells a text takes that ``visible`` has made."""
    return len(text) if text.isascii() else sum(map(_width, text))


def cut(text: str, width: int, *, middle: bool = False) -> str:
    """The text in so many cells at the most: without its end, or its middle, where both ends tell it from others."""
    if width_of(text) <= width:
        return text
    if width < 1:
        return ""
    tail = _first(text[::-1], (width - 1) // 2)[::-1] if middle else ""
    return f"{_first(text, width - 1 - width_of(tail))}{_MORE}{tail}"


def within(line: Text, width: int) -> Text:
    """The styled text in so many cells at the most."""
    if width_of(line.plain) > width:
        line.truncate(width, overflow="ellipsis")
    return line


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text with as many spaces as it takes to fill so many cells."""
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def _first(text: str, width: int) -> str:
    """As much of the text's begin as fits, with what combines with its last character."""
    return text[: sum(taken <= width for taken in accumulate(map(_width, text)))]


def _width(char: str) -> int:
    return max(0, wcwidth(char))
