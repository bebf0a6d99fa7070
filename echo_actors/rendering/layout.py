"""Where a Markdown text may be broken: its lines, code blocks and tables, and what should stay whole."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import attrs

from echo_actors.rendering.fences import Fence, opened_by
from echo_actors.rendering.graphemes import clusters
from echo_actors.rendering.inline import keep_inline
from echo_actors.rendering.platform import Platform
from echo_actors.rendering.spans import Spans

_LINE_END = re.compile(r"\r\n|\r|\n")
_NEW_BLOCK = re.compile(r"[ \t]*+(?:[-*+>]|\d{1,9}[.)]|#{1,6})(?=[ \t])")


class Line(NamedTuple):
    """A line of a text, from its start to before its line end."""

    start: int
    end: int


@attrs.frozen
class Table:
    """A table of GitHub's kind.

    Attributes:
        rows: Where the first row behind the head begins.
        end: Where the last row ends.
        head: The two lines of the head, with their line ends.
    """

    rows: int
    end: int
    head: str


@attrs.define
class Layout:
    """What is known of a text before it is split.

    Attributes:
        lines: Where lines begin that a piece may begin with.
        paragraphs: Those of them that follow a blank line.
        blocks: Code blocks and tables that fit into a message.
        whole: Rows of tables, lines of code, links and the like that fit into a message.
        clusters: Characters of several code points.
    """

    text: str
    platform: Platform
    lines: list[int] = attrs.Factory(list)
    paragraphs: list[int] = attrs.Factory(list)
    blocks: Spans = attrs.Factory(Spans)
    whole: Spans = attrs.Factory(Spans)
    clusters: Spans = attrs.Factory(Spans)
    fences: list[Fence] = attrs.Factory(list)
    tables: list[Table] = attrs.Factory(list)

    def fence_at(self, place: int) -> Fence | None:
        """Give the fence that a break at a place would break."""
        index = bisect_left(self.fences, place, key=lambda fence: fence.start) - 1
        return self.fences[index] if index >= 0 and self.fences[index].end > place else None

    def table_at(self, place: int) -> Table | None:
        """Give the table of which a row begins at a place, or which has the place in a row."""
        index = bisect_left(self.tables, place + 1, key=lambda table: table.rows) - 1
        return self.tables[index] if index >= 0 and self.tables[index].end > place else None

    def begins_line(self, place: int) -> bool:
        """Say whether a place is at the beginning of a line."""
        return place == 0 or self.text[place - 1] in "\r\n"

    def line_start(self, place: int, first: int) -> int:
        """Give the beginning of a place's line, or ``first`` if that comes later."""
        return max(self.text.rfind("\n", first, place), self.text.rfind("\r", first, place), first - 1) + 1

    def line_end(self, place: int) -> int:
        """Give the end of a place's line, or a place a message's length further on if that comes earlier."""
        last = min(len(self.text), place + self.platform.limit)
        match = _LINE_END.search(self.text, place, last)
        return match.start() if match else last


def lay_out(text: str, platform: Platform) -> Layout:
    """Read a text once."""
    layout = Layout(text, platform, clusters=clusters(text))
    _Reader(layout, list(_lines(text))).read()
    return layout


def _lines(text: str) -> Iterator[Line]:
    start = 0
    for match in _LINE_END.finditer(text):
        yield Line(start, match.start())
        start = match.end()
    if start < len(text):
        yield Line(start, len(text))


@attrs.define
class _Reader:
    """Goes over the lines, a block at a time; every method takes a line's number and gives that of the next block."""

    layout: Layout
    all_lines: list[Line]

    def read(self) -> None:
        number, blank = 0, True
        while number < len(self.all_lines):
            line = self.all_lines[number]
            if self._is_blank(line):
                number, blank = number + 1, True
                continue
            self._may_begin(line, after_blank=blank)
            blank = False
            if fence := self._opened_by(line):
                number = self._fence(fence, number)
            elif self._is_head(number):
                number = self._table(number)
            else:
                number = self._paragraph(number)

    def _paragraph(self, first: int) -> int:
        number = first + 1
        while number < len(self.all_lines):
            line = self.all_lines[number]
            new = _NEW_BLOCK.match(self.layout.text, line.start, line.end)
            if new or self._is_blank(line) or self._opened_by(line) or self._is_head(number):
                break
            self._may_begin(line)
            number += 1
        self._inline(self.all_lines[first].start, self.all_lines[number - 1].end)
        return number

    def _table(self, first: int) -> int:
        number = first + 2
        while number < len(self.all_lines) and self._is_row(number):
            number += 1
        rows = self.all_lines[first + 2 : number]
        start, end = self.all_lines[first].start, self.all_lines[number - 1].end
        if rows:
            head = self.layout.text[start : rows[0].start]
            self.layout.tables.append(Table(rows[0].start, end, head))
        # The head goes with its first row.
        together = self._keep(start, rows[0].end if rows else end)
        if not together and not self._keep(start, self.all_lines[first + 1].end):
            self._inline(start, self.all_lines[first].end)
        for index, row in enumerate(rows):
            if index or not together:
                self._may_begin(row)
                self._row(row)
        self._block(start, end)
        return number

    def _row(self, row: Line) -> None:
        if not self._keep(*row):
            self._inline(*row)

    def _fence(self, fence: Fence, first: int) -> int:
        number, text = first + 1, self.layout.text
        while number < len(self.all_lines) and not fence.closed_by(text, *self.all_lines[number]):
            number += 1
        closed = number < len(self.all_lines)
        body = self.all_lines[first + 1 : number]
        end = len(text) + 1
        if closed:
            start, end = self.all_lines[number]
            end = start + len(text[start:end].rstrip())
        fence = attrs.evolve(fence, end=end)
        self.layout.fences.append(fence)
        if body:
            self._code(fence, body, closed=closed)
        elif not self._keep(fence.start, min(end, len(text))):
            self._keep(fence.start, fence.code)
        self._block(fence.start, min(end, len(text)), beside=0 if closed else len(fence.closing))
        return number + closed

    def _code(self, fence: Fence, body: list[Line], *, closed: bool) -> None:
        """Keep lines of code: the first one with the line that opens the fence, the last with that which closes it."""
        text, platform, last = self.layout.text, self.layout.platform, len(body) - 1
        opening = platform.count(fence.opening(platform, within_line=False))
        for index, line in enumerate(body):
            start = line.start if index else fence.start
            end = fence.end if closed and index == last else line.end
            beside = (opening if index else 0) + (0 if end > line.end else platform.count(fence.closing))
            if index and not self._is_blank(line):
                self._may_begin(line, after_blank=self._is_blank(body[index - 1]))
            if self._keep(start, end, beside=beside):
                continue
            # The line must be broken, but not where a fence without code would be left on one side.
            first = line.end - len(text[line.start : line.end].lstrip(" \t>"))
            if not index and not self._keep(start, min(first + 1, line.end)):
                self._keep(start, fence.code)
            if end > line.end:
                self._keep(max(line.end - 1, line.start if index else first + 1), end)

    def _inline(self, start: int, end: int) -> None:
        keep_inline(self.layout.text, start, end, self.layout.platform, self.layout.whole)

    def _keep(self, start: int, end: int, *, beside: int = 0) -> bool:
        """Keep a part whole if it fits; say whether."""
        fits = self._fits(start, end, beside)
        if fits and end > start:
            self.layout.whole.add(start, end)
        return fits

    def _block(self, start: int, end: int, *, beside: int = 0) -> None:
        if self._fits(start, end, beside):
            self.layout.blocks.add(start, end)

    def _fits(self, start: int, end: int, beside: int) -> bool:
        limit = self.layout.platform.limit
        return end - start <= limit and self.layout.platform.takes(self.layout.text[start:end], beside=beside)

    def _may_begin(self, line: Line, *, after_blank: bool = False) -> None:
        self.layout.lines.append(line.start)
        if after_blank:
            self.layout.paragraphs.append(line.start)

    def _is_blank(self, line: Line) -> bool:
        return not self.layout.text[line.start : line.end].strip()

    def _opened_by(self, line: Line) -> Fence | None:
        return opened_by(self.layout.text, line.start, line.end, self.layout.platform)

    def _is_head(self, number: int) -> bool:
        """Say whether a line and the next are the head of a table."""
        text = self.layout.text
        if number + 1 == len(self.all_lines) or text.find("|", *self.all_lines[number]) < 0:
            return False
        start, end = self.all_lines[number + 1]
        rule = text[start:end]
        return "|" in rule and "-" in rule and not rule.strip(" \t|:-")

    def _is_row(self, number: int) -> bool:
        line = self.all_lines[number]
        return self.layout.text.find("|", *line) >= 0 and not self._opened_by(line)
