"""Code fences: which line opens one, which line closes it.

As in CommonMark, with three differences. A fence may be indented as far as one likes, since chat platforms have no
code by indentation, and may stand behind the marks of a list or a quotation. Its marks, with what precedes them on
their line, are no longer than an eighth of the platform's limit; a longer run of backticks is text. And of a line that
begins with backticks, only a message's length is searched for the backtick that would make it ordinary text, since a
longer line is broken before that.
"""

from __future__ import annotations

import re

import attrs

from echo_actors.rendering.platform import Platform

_OPENER = re.compile(r"(?P<lead>[ \t>]*+(?:(?:[-*+]|\d{1,9}[.)])[ \t]++)?+)(?P<mark>`{3,}+|~{3,}+)")
_CLOSER = re.compile(r"(?P<lead>[ \t>]*+)(?P<mark>`{3,}+|~{3,}+)[ \t]*+")
_NO_QUOTE = re.compile(r"[^\s>]")

GUARD = "\u200b"
"""A zero-width space before what would otherwise become a fence at the beginning of a piece."""


@attrs.frozen
class Fence:
    """A code block in a text.

    Attributes:
        start: Where its first line begins.
        code: Where the fence's own characters on that line end.
        lead: What a line that opens it again begins with.
        mark: The fence's own characters.
        info: What follows them, such as the language.
        end: Where the line that closes it ends; behind the text's end if there is none.
    """

    start: int
    code: int
    lead: str
    mark: str
    info: str
    end: int = 0

    @property
    def closing(self) -> str:
        """What closes it at the end of a piece."""
        return f"\n{self.lead}{self.mark}"

    def opening(self, platform: Platform, *, within_line: bool) -> str:
        """Give what opens it again; without the info string if that takes more than a quarter of a message."""
        first = f"{self.lead}{self.mark}{self.info}\n"
        if not platform.takes(first, beside=platform.limit * 3 // 4):
            first = f"{self.lead}{self.mark}\n"
        return first + (self.lead if within_line and ">" in self.lead else "")

    def closed_by(self, text: str, start: int, end: int) -> bool:
        """Say whether a line closes it."""
        match = _CLOSER.fullmatch(text, start, end)
        return (
            match is not None
            and match["mark"].startswith(self.mark)
            and (">" in self.lead or ">" not in match["lead"])
        )


def opened_by(text: str, start: int, end: int, platform: Platform) -> Fence | None:
    """Give the fence that a line opens, its end still unknown."""
    match = _OPENER.match(text, start, end)
    if match is None or not platform.takes(match.group(), beside=platform.limit * 7 // 8):
        return None
    code, mark = match.end(), match["mark"]
    if mark[0] == "`" and text.find("`", code, min(end, code + platform.limit)) >= 0:
        return None
    lead = _NO_QUOTE.sub(" ", match["lead"])
    return Fence(start, code, lead, mark, text[code : min(end, code + platform.limit)].rstrip())
