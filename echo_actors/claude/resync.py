"""Finds frames that were written inside another frame's line.

Two writers of one pipe can interleave: a small frame, such as a rate limit event, then stands in the middle of a long
one, with or without a line end of its own. The small one is cut out, and what is left is the long one again.

Only an object at a place where the outer JSON breaks is taken for a frame. A nested object at a legal place never is:
tool inputs are objects that a model writes, and a torn line must not turn one of them into a frame.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import attrs

_Object: TypeAlias = dict[str, Any]
_SLACK = 6  # an escape cut in two, "\u12{", is reported at its backslash, a key or a string some characters late
_WINDOW = 64 * 1024  # frames that get inside others are small; this keeps the search linear
_CANDIDATES = 64  # an inner frame nests fewer objects than this
_ROUNDS = 4  # more frames than this inside one line have not been seen
_DECODER = json.JSONDecoder()


@attrs.frozen
class Interleaved:
    """What one broken line held.

    Attributes:
        frames: In order: those that stood whole before the break, the inner ones, then the outer one.
        rest: What is left and parses as nothing.
        open_head: The rest is the beginning of a frame that may go on in the next line.
    """

    frames: tuple[_Object, ...]
    rest: str
    open_head: bool = False


@attrs.frozen
class _Cut:
    inner: _Object
    rest: str
    outer: _Object | None
    at_end: bool


def interleaved(text: str, parse: Callable[[str], _Object | None]) -> Interleaved:
    """Take a line that does not parse apart; ``parse`` turns a text that is exactly one object into it."""
    frames: list[_Object] = []
    open_head = False
    for _ in range(_ROUNDS):
        leading, text, broken_at = _leading(text, parse)
        frames += leading
        cuts = list(_cuts(text, broken_at, parse))
        if not cuts:
            break
        # Where two places fit, the frame is the one that names its session: content blocks do not.
        cut = max(cuts, key=lambda cut: (cut.outer is not None, "session_id" in cut.inner))
        frames.append(cut.inner)
        if cut.outer is not None:
            return Interleaved((*frames, cut.outer), "")
        text, open_head = cut.rest, cut.at_end
    return Interleaved(tuple(frames), text, open_head)


def _leading(text: str, parse: Callable[[str], _Object | None]) -> tuple[list[_Object], str, int]:
    """Split off the objects that stand whole at the beginning; say where the remaining text breaks."""
    found: list[_Object] = []
    position = 0
    while text.startswith("{", position):
        try:
            _, stop = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            return found, text[position:], error.pos - position
        except (ValueError, RecursionError):
            break
        value = parse(text[position:stop])
        if value is None:
            break
        found.append(value)
        position = stop
    return found, text[position:], 0


def _cuts(text: str, broken_at: int, parse: Callable[[str], _Object | None]) -> Iterator[_Cut]:
    """Yield the objects that begin at the break, or that end there and leave an outer object which parses."""
    end = min(len(text), broken_at + _SLACK)
    for _ in range(_CANDIDATES):
        start = end = text.rfind('{"', max(1, broken_at - _WINDOW), end + 1)
        if start < 0:
            return
        try:
            _, stop = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        begins_here = start >= broken_at - _SLACK
        inner = parse(text[start:stop])
        if inner is None or "type" not in inner or not (begins_here or abs(stop - broken_at) <= _SLACK):
            continue
        rest = text[:start] + text[stop:]
        outer = parse(rest)
        if begins_here or outer is not None:
            yield _Cut(inner, rest, outer, stop == len(text))
