"""What should stay whole within a paragraph: links, addresses, code and emphasis.

One pass over the text, and no pattern can look at a character more often than a fixed number of times: strangers may
write the text. Every decision depends on what comes before and on no more than a message's length of what comes after,
so that the pieces of a text that grows become stable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from echo_actors.rendering.platform import Platform
from echo_actors.rendering.spans import Spans

_TOKEN = re.compile(
    r"""
    (?P<escape> \\[!-/:-@\[-`{-~] )
  | (?P<code> `++ )
  | (?P<angle> < [A-Za-z/@\#:!] [^<>\n]*+ > )
  | (?P<url> \b (?:https?://|ftp://|mailto:|www\.) [^\s<>\[\]`]++ )
  | (?P<open> !?\[ )
  | (?P<close> \] )
  | (?P<mark> \*++ | _++ | ~++ | \|\|++ )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_DESTINATION = re.compile(
    r"""
    \( \s*+
    (?: < [^<>\n]*+ > | [^\s()<] [^\s()]*+ (?: \( [^\s()]*+ \) [^\s()]*+ )*+ )?+
    (?: \s++ (?: "[^"]*+" | '[^']*+' ) )?+
    \s*+ \)
    """,
    re.VERBOSE,
)
_BEHIND_AN_ADDRESS = "*_~|.,;:!?)'\""
"""What belongs to the sentence when an address ends with it."""


def keep_inline(text: str, start: int, end: int, platform: Platform, kept: Spans) -> None:
    """Add all that should stay whole in a paragraph, and fits into a message, to what is kept."""
    scan = _Scan(text, end, platform, dict(_closers(text, start, end)))
    scan.run(start)
    # Links and code bind tighter than emphasis, which gives way where they cross.
    outer = [span for span in scan.emphasis if not scan.hard.crossed(*span)]
    for part in _merged(outer, list(scan.hard)):
        kept.add(*part)


def _merged(outer: list[tuple[int, int]], inner: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted([*outer, *inner], key=lambda span: (span[1], -span[0]))


def _closers(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """For every run of backticks, the next one of the same length, which ends the code."""
    following: dict[int, int] = {}
    runs = [match.span() for match in re.compile("`+").finditer(text, start, end)]
    for left, right in reversed(runs):
        if (closer := following.get(right - left)) is not None:
            yield left, closer
        following[right - left] = left


@attrs.define
class _Scan:
    """One pass over a paragraph."""

    text: str
    end: int
    platform: Platform
    closers: dict[int, int]
    hard: Spans = attrs.Factory(Spans)
    emphasis: Spans = attrs.Factory(Spans)
    brackets: list[int] = attrs.Factory(list)
    marks: dict[str, int] = attrs.Factory(dict)

    def run(self, place: int) -> None:
        """Look at one token after another."""
        while match := _TOKEN.search(self.text, place, self.end):
            start, place = match.span()
            match match.lastgroup:
                case "code":
                    place = self._code(start, place)
                case "angle":
                    place = place if self._keep(start, place) else start + 1
                case "url":
                    place = start + len(match.group().rstrip(_BEHIND_AN_ADDRESS))
                    self._keep(start, place)
                case "open":
                    self.brackets.append(start)
                case "close":
                    place = self._link(place)
                case "mark":
                    self._mark(match.group(), start, place)
                case _:
                    self._keep(start, place)

    def _keep(self, start: int, end: int) -> bool:
        if end - start > self.platform.limit or not self.platform.takes(self.text[start:end]):
            return False
        self.hard.add(start, end)
        return True

    def _code(self, start: int, place: int) -> int:
        """Skip code, in which nothing else counts; a run of backticks without an end is text."""
        closer = self.closers.get(start)
        if closer is not None:
            end = closer + place - start
            if self._keep(start, end):
                return end
        self._keep(start, place)
        return place

    def _link(self, place: int) -> int:
        """Close a bracket: a link, if a destination follows."""
        if not self.brackets:
            return place
        start = self.brackets.pop()
        destination = _DESTINATION.match(self.text, place, self.end)
        if destination and self._keep(start, destination.end()):
            return destination.end()
        return place

    def _mark(self, mark: str, start: int, end: int) -> None:
        """Pair markers of emphasis by what stands beside them, as Markdown does."""
        if end - start > 1:
            self._keep(start, end)
        before = self.text[start - 1 : start] or " "
        after = self.text[end : min(end + 1, self.end)] or " "
        within_word = mark[0] == "_" and before.isalnum() and after.isalnum()
        opened = self.marks.get(mark)
        if opened is not None and not before.isspace() and not within_word:
            del self.marks[mark]
            fits = end - opened <= self.platform.limit and self.platform.takes(self.text[opened:end])
            if fits and not self.emphasis.crossed(opened, end):
                self.emphasis.add(opened, end)
        elif not after.isspace() and not within_word:
            self.marks[mark] = start
