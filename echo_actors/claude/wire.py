"""Bytes to frames and back, without any I/O.

The CLI speaks NDJSON: one JSON object per line. What really arrives also holds lines that are not JSON, broken
UTF-8, halves of surrogate pairs, lines of many megabytes, and frames written inside another frame's line. None of
that may silence a channel: a line that yields no frame is reported as a ``BadLine``, and reading goes on.

Whatever the chunks in which bytes arrive, the same items come out in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import attrs
import orjson

from echo_actors.claude.resync import interleaved

Frame: TypeAlias = dict[str, Any]

_HEAD_CHARACTERS = 200
_HEAD_BYTES = 4 * _HEAD_CHARACTERS  # no UTF-8 character is longer than four bytes


@attrs.frozen
class BadLine:
    """A line, or a part of one, that holds no frame.

    Attributes:
        reason: ``not JSON`` (does not begin as an object), ``broken JSON``, ``too long`` or ``torn`` (no line end).
        size: Its length in bytes, without the line end.
        head: Its first 200 characters.
    """

    reason: str
    size: int
    head: str


@attrs.define(eq=False)
class FrameDecoder:
    """Turns the CLI's stdout into frames; keeps at most two lines in memory."""

    max_line_bytes: int
    _line: bytearray = attrs.field(factory=bytearray, init=False)
    _size: int = attrs.field(default=0, init=False)
    _head: str = attrs.field(default="", init=False)

    def feed(self, data: bytes | bytearray) -> list[Frame | BadLine]:
        """Take the next bytes; return what they completed."""
        items: list[Frame | BadLine] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._keep(data[start:end])
            items += self._take_line()
            start = end + 1
        self._keep(data[start:])
        return items

    def finish(self) -> list[Frame | BadLine]:
        """Say that no more bytes come. A last line without its end still counts if it is a whole object."""
        items = list(self._take_line(torn=True)) if self._size else []
        items += self._give_up_head()
        return items

    def _keep(self, part: bytes | bytearray) -> None:
        self._size += len(part)
        if self._size <= self.max_line_bytes:
            self._line += part
            return
        self._line += part[:_HEAD_BYTES]
        del self._line[_HEAD_BYTES:]

    def _take_line(self, *, torn: bool = False) -> Iterator[Frame | BadLine]:
        line, size = self._line, self._size
        self._line, self._size = bytearray(), 0
        if size > self.max_line_bytes:
            yield from self._give_up_head()
            yield BadLine("too long", size, _text(line)[:_HEAD_CHARACTERS])
            return
        if self._head:
            whole = _parse(self._head + _text(line))
            if whole is not None:
                self._head = ""
                yield whole
                return
            yield from self._give_up_head()
        yield from self._decode(line, torn=torn)

    def _decode(self, line: bytearray, *, torn: bool) -> Iterator[Frame | BadLine]:
        if not line.startswith(b"{"):
            yield BadLine("torn" if torn else "not JSON", len(line), _text(line)[:_HEAD_CHARACTERS])
            return
        try:
            yield orjson.loads(line)
        except orjson.JSONDecodeError:
            yield from self._repair(_text(line), len(line), torn=torn)

    def _repair(self, text: str, size: int, *, torn: bool) -> Iterator[Frame | BadLine]:
        frame = _parse(text)
        if frame is not None:
            yield frame
            return
        found = interleaved(text, _parse)
        yield from found.frames
        if found.open_head and not torn:
            self._head = found.rest
        elif found.rest:
            left = len(found.rest.encode()) if found.frames else size
            yield BadLine("torn" if torn else "broken JSON", left, found.rest[:_HEAD_CHARACTERS])

    def _give_up_head(self) -> Iterator[BadLine]:
        head, self._head = self._head, ""
        if head:
            yield BadLine("broken JSON", len(head.encode()), head[:_HEAD_CHARACTERS])


def encode(frame: Frame) -> bytes:
    """Return the frame as one line. Halves of surrogate pairs, which UTF-8 cannot carry, become U+FFFD.

    Raises:
        TypeError: The frame holds something that JSON cannot.
    """
    try:
        return orjson.dumps(frame, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # said of surrogates and of foreign objects alike; the latter fail again here
        return _without_surrogates(frame) + b"\n"


def _parse(text: str) -> Frame | None:
    """Parse one object; halves of surrogate pairs, which JavaScript escapes and orjson refuses, become U+FFFD."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        if "\\ud" not in text and "\\uD" not in text:
            return None
        try:
            value = orjson.loads(_without_surrogates(json.loads(text)))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _without_surrogates(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _text(line: bytearray) -> str:
    return line.decode("utf-8", "replace")
