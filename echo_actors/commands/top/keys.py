"""Keys out of what a terminal sends for them. No I/O."""

from __future__ import annotations

import codecs
import enum
from typing import Final

import attrs


class Key(enum.StrEnum):
    """The keys that are no characters."""

    UP = "<up>"
    DOWN = "<down>"
    LEFT = "<left>"
    RIGHT = "<right>"
    PAGE_UP = "<page up>"
    PAGE_DOWN = "<page down>"
    HOME = "<home>"
    END = "<end>"
    ENTER = "<enter>"
    ESCAPE = "<escape>"
    BACKSPACE = "<backspace>"
    ERASE_LINE = "<erase line>"
    OTHER = "<other>"


_ESC: Final = "\x1b"
_FINAL: Final = {"A": Key.UP, "B": Key.DOWN, "C": Key.RIGHT, "D": Key.LEFT, "H": Key.HOME, "F": Key.END}
_NUMBERED: Final = {
    "1": Key.HOME,
    "4": Key.END,
    "5": Key.PAGE_UP,
    "6": Key.PAGE_DOWN,
    "7": Key.HOME,
    "8": Key.END,
}
_PLAIN: Final = {
    "\r": Key.ENTER,
    "\n": Key.ENTER,
    "\x7f": Key.BACKSPACE,
    "\x08": Key.BACKSPACE,
    "\x15": Key.ERASE_LINE,
}
_LONGEST: Final = 16
"""Characters after which a sequence without an end is none."""


@attrs.define
class Keyboard:
    """Puts together what belongs together, also where it comes in pieces."""

    _text: str = ""
    _decoder: codecs.IncrementalDecoder = attrs.Factory(
        lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )

    @property
    def waits(self) -> bool:
        """Whether there is the begin of a sequence, which may be the escape key too: time will tell."""
        return bool(self._text)

    def feed(self, data: bytes) -> list[str]:
        """The keys that are complete with this: a character each, or a ``Key``."""
        self._text += self._decoder.decode(data)
        keys = []
        while self._text and (length := _length(self._text)):
            keys.append(_key(self._text[:length]))
            self._text = self._text[length:]
        return keys

    def settle(self) -> list[str]:
        """Nothing more has come: what was the begin of a sequence was the escape key."""
        begun, self._text = self._text, ""
        return [Key.ESCAPE] if begun else []


def _length(text: str) -> int:
    """How many characters the first key has; 0 when more must come to tell."""
    if text[0] != _ESC:
        return 1
    if text[1:2] == _ESC:
        return 1
    if text[1:2] == "O":
        return 3 if len(text) > 2 else 0  # noqa: PLR2004 - ESC O and the key
    if text[1:2] != "[":
        # A key with Alt.
        return min(len(text), 2) if len(text) > 1 else 0
    for place, char in enumerate(text[2:_LONGEST], start=3):
        if "@" <= char <= "~":
            return place
    return _LONGEST if len(text) >= _LONGEST else 0


def _key(text: str) -> str:
    if text == _ESC:
        return Key.ESCAPE
    if text[0] != _ESC:
        return _PLAIN.get(text, text if text.isprintable() else Key.OTHER)
    if text[-1] == "~":
        return _NUMBERED.get(text[2:-1].partition(";")[0], Key.OTHER)
    return _FINAL.get(text[-1], Key.OTHER) if text[1] in "[O" else Key.OTHER
