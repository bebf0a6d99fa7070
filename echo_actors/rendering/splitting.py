"""Markdown in pieces that a chat platform takes.

What holds for every text and platform:

* No piece is longer than the platform's limit, in its unit.
* A piece is ``opening + text[start:end] + closing``. The parts of the text follow each other; only white space is left
  out, before, between and behind them. ``opening`` and ``closing`` are what the splitter adds: the lines that close a
  code block and open it again, the head of a table, or ``GUARD`` before what would otherwise become a fence.
* A code block that is open at a piece's end is closed there, also if the text never closes it.
* Whole, as long as it fits into a piece: a row of a table, a line of code, a link, an image, an address, inline code,
  emphasis, a grapheme cluster. What does not fit is broken at what it is made of, in the end between code points.

Where there is a choice, a piece ends at a blank line, a line's end, a sentence's end or a space, the first of these at
which it is at least half full; a code block or table that fits into a piece is not begun before the break.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import attrs

from echo_actors.rendering.fences import GUARD, opened_by
from echo_actors.rendering.layout import Layout, lay_out
from echo_actors.rendering.platform import Platform
from echo_actors.rendering.spans import Spans

_SENTENCE = re.compile(r"[.!?…][\"'”’)\]*_]*+[ \t]++|[。！？]++")  # noqa: RUF001 - they end sentences
_SPACE = re.compile(r"[ \t]++")
_WHITE = re.compile(r"\s*+")
_ONE_LINE_END = re.compile(r"(?:\r\n|\r|\n)?")


@attrs.frozen
class Piece:
    """A part of a text that fits into a message.

    Attributes:
        start: Where the part begins in the text.
        end: Where it ends.
        text: What to send: the part, with what was added before and behind it.
        opening: What was added before it.
        closing: What was added behind it.
    """

    start: int
    end: int
    text: str
    opening: str = ""
    closing: str = ""


def split(text: str, platform: Platform) -> list[str]:
    """Split a text into messages; a blank text gives none."""
    return [piece.text for piece in pieces(text, platform)]


def pieces(text: str, platform: Platform) -> Iterator[Piece]:
    """Split a text into pieces that say where they are from."""
    length = len(text.rstrip())
    layout = lay_out(text[:length], platform)
    cutter = _Cutter(layout)
    start = cutter.resume(0)
    while start < length:
        piece, start = cutter.piece(start)
        yield piece


@attrs.frozen
class _Cutter:
    """Cuts one piece after another."""

    layout: Layout

    def piece(self, start: int) -> tuple[Piece, int]:
        """Cut the longest piece that begins at a place; give also where the next one begins."""
        text, platform = self.layout.text, self.layout.platform
        opening = self._opening(start)
        taken = platform.count(opening)
        place, reserve = len(text), 0
        while True:
            end, closing = self._end(start, place), self._closing(start, place, opening)
            added = taken + platform.count(closing)
            if platform.takes(text[start : min(end, start + platform.limit + 1)], beside=added):
                return Piece(start, end, opening + text[start:end] + closing, opening, closing), self.resume(place)
            # What closes the piece depends on where it ends, so room is made for it once that is known.
            furthest = platform.unit.reach(text, start, platform.limit - taken - reserve)
            place = self._choose(start, furthest)
            reserve = max(reserve + 1, platform.count(self._closing(start, place, opening)))

    def resume(self, place: int) -> int:
        """Give where the text goes on behind a break: with its next visible line, or its next word.

        A line keeps its indentation if that is no longer than an eighth of the limit.
        """
        if self.layout.fence_at(place):
            return place
        text = self.layout.text
        following = _match_end(_WHITE, text, place)
        line = self.layout.line_start(following, place)
        begins = line > place or self.layout.begins_line(place)
        if begins and following - line <= self.layout.platform.limit // 8:
            return line
        cluster = self.layout.clusters.around(following)
        return max(cluster[0], place) if cluster else following

    def _end(self, start: int, place: int) -> int:
        """Give where the part before a break ends, without the white space there."""
        part = self.layout.text[start:place]
        if self.layout.fence_at(place):
            if not self.layout.begins_line(place) or place == len(self.layout.text):
                return place
            return place - (2 if part.endswith("\r\n") else 1)
        end = start + len(part.rstrip())
        cluster = self.layout.clusters.around(end)
        return min(cluster[1], place) if cluster else end

    def _opening(self, start: int) -> str:
        """Give what a piece must begin with to mean what the text means there."""
        layout, platform = self.layout, self.layout.platform
        within_line, line_end = not layout.begins_line(start), layout.line_end(start)
        if fence := layout.fence_at(start):
            opening = fence.opening(platform, within_line=within_line)
            closes = within_line and fence.closed_by(layout.text, start, line_end)
            return opening + GUARD if closes else opening
        if within_line:
            return GUARD if opened_by(layout.text, start, line_end, platform) else ""
        table = layout.table_at(start)
        if table and platform.takes(table.head, beside=platform.limit * 3 // 4):
            fits = platform.takes(table.head + layout.text[start:line_end])
            return table.head if fits else ""
        return ""

    def _closing(self, start: int, place: int, opening: str) -> str:
        """Give what a piece must end with so that no code block is left open."""
        layout = self.layout
        line = layout.line_start(place, start)
        fence = layout.fence_at(place)
        if fence:
            closed = line > fence.start and fence.closed_by(layout.text, line, place)
            return "" if closed and place < len(layout.text) else fence.closing
        whole_line = place == len(layout.text) or layout.text[place] in "\r\n"
        if whole_line or (line == start and opening):
            return ""
        # A line that is no fence as a whole can be one up to the break.
        made = opened_by(layout.text, line, place, layout.platform)
        return made.closing if made else ""

    def _choose(self, start: int, furthest: int) -> int:
        """Choose a place for the break that is behind the start and not further than a place."""
        layout = self.layout
        behind = _match_end(_ONE_LINE_END if layout.fence_at(furthest) else _WHITE, layout.text, furthest)
        inner = (layout.whole, layout.clusters)
        if not layout.fence_at(start):
            # A piece is more than the indentation of its first line.
            start = _match_end(_WHITE, layout.text, start)
        for whole in ((layout.blocks, *inner), inner):
            for low in ((start + furthest) // 2, start):
                for places in self._places(low, behind):
                    if place := _last(places, low, behind, whole):
                        return place
        for finer in range(len(inner) + 1):
            place = _before(furthest, inner[finer:])
            if place > start:
                return place
        return max(furthest, start + 1)

    def _places(self, low: int, high: int) -> Iterator[Sequence[int]]:
        """Give the places for a break, those that are better first."""
        yield self.layout.paragraphs
        yield self.layout.lines
        for pattern in (_SENTENCE, _SPACE):
            yield [match.end() for match in pattern.finditer(self.layout.text, low, high)]


def _last(places: Sequence[int], low: int, high: int, kept: Sequence[Spans]) -> int | None:
    """Give the last of the places between two others that breaks nothing that is kept."""
    index = bisect_right(places, high) - 1
    while index >= 0 and places[index] > low:
        free = _before(places[index], kept)
        if free == places[index]:
            return free
        index = bisect_right(places, free) - 1
    return None


def _before(place: int, kept: Sequence[Spans]) -> int:
    """Go back from a place until it breaks nothing that is kept."""
    moved = True
    while moved:
        moved = False
        for spans in kept:
            span = spans.around(place)
            if span:
                place, moved = span[0], True
    return place


def _match_end(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    return match.end() if match else place
