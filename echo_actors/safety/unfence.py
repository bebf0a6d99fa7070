"""The fence taken off again: what a person wrote, for people to read.

Only whole fences are taken off, as ``fence`` writes them. Text that came without one cannot imitate one, because the
engine fences every text that has a marker in it (``fence.needs_fence``), and inside a fence no line can begin one.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from echo_actors.models import Author, Trust
from echo_actors.safety.fence import HEADER, PREFIX, parse


@attrs.frozen
class Said:
    """A part of a message.

    Attributes:
        text: As it was shown to the model: what was invisible is visible.
        author: None when there was no fence, or it named nobody.
        trust: None when there was no fence.
    """

    text: str
    author: Author | None = None
    trust: Trust | None = None


def unfence(content: str) -> list[Said]:
    """What the people said whose messages were put into one content, joined by a blank line.

    Messages that came without a fence and stand side by side are one part: nothing tells where the second begins.
    """
    return list(_parts(content.split("\n")))


def _parts(lines: list[str]) -> Iterator[Said]:
    place = begin = 0
    while place < len(lines):
        end, said = _fence_at(lines, place)
        if said is None:
            place += 1
            continue
        yield from _plain(lines[begin:place], after=begin > 0, before=True)
        yield said
        place = begin = end
    yield from _plain(lines[begin:], after=begin > 0, before=False)


def _fence_at(lines: list[str], place: int) -> tuple[int, Said | None]:
    """The fence that begins at this line, and where it ends."""
    header = HEADER.fullmatch(lines[place])
    if header is None:
        return place, None
    end = place + 1
    while end < len(lines) and lines[end].startswith(PREFIX):
        end += 1
    found = parse("\n".join(lines[place : end + 1]), header["nonce"])
    if found is None:
        return place, None
    named = found.author_name is not None or found.author_id is not None
    author = Author(found.author_name or "", found.author_id) if named else None
    return end + 1, Said("\n".join(found.lines), author, found.trust)


def _plain(lines: list[str], *, after: bool, before: bool) -> Iterator[Said]:
    """The text beside fences, without the blank lines that join it to them."""
    lines = lines[1:] if after and lines[:1] == [""] else lines
    lines = lines[:-1] if before and lines[-1:] == [""] else lines
    if any(lines):
        yield Said("\n".join(lines))
