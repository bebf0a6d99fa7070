"""The messages of a text that grows, as an answer does while it is written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import attrs

from echo_actors.rendering.platform import Platform
from echo_actors.rendering.splitting import Piece, pieces

_SETTLED = 3
"""How many limits behind its beginning the text must reach, so that nothing that follows can change a piece: one for
the piece, one for a part that begins in it and should stay whole, and one for what decides whether there is one."""


@attrs.frozen
class Change:
    """What to do for one message.

    Attributes:
        index: Its number, from 0.
        text: What it says now; None if it is to be deleted, since there is nothing left for it.
        new: Whether it was not there before.
    """

    index: int
    text: str | None
    new: bool


class GrowingMessages:
    """Turns each state of a text into what changes in the messages that show it.

    Together the messages always are ``split`` of the text. When text is added, a message stays as it is once the text
    goes on for three limits behind the message's beginning. Before that it can still change, when what was cut at its
    end turns out to be a link, or a code block too long to be kept whole. Any other text is taken too, and may change
    every message.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._text = ""
        self._shown: list[str] = []
        # Messages that cannot change any more, and where in the text the next one begins.
        self._settled: list[str] = []
        self._start = 0

    def update(self, text: str) -> Iterator[Change]:
        """Take the whole text as it is now; give the changes, in order.

        A change counts as made when the next one is asked for. One whose making raised an error, so that the loop was
        left, comes again with the next update.
        """
        if not text.startswith(self._text):
            self._settled, self._start = [], 0
        self._text = text
        found = list(pieces(text[self._start :], self._platform))
        messages = [*self._settled, *(piece.text for piece in found)]
        self._settle(found)
        for index, message in enumerate(messages):
            if index == len(self._shown):
                yield Change(index, message, new=True)
                self._shown.append(message)
            elif self._shown[index] != message:
                yield Change(index, message, new=False)
                self._shown[index] = message
        while len(self._shown) > len(messages):
            yield Change(len(self._shown) - 1, None, new=False)
            self._shown.pop()

    def _settle(self, found: list[Piece]) -> None:
        """Leave out, from the next update on, settled pieces without which the rest is split in the same way."""
        first, length = self._start, len(self._text.rstrip())
        settled = 0
        for index, (before, piece) in enumerate(pairwise(found), start=1):
            if first + before.start + _SETTLED * self._platform.limit > length:
                break
            gap = self._text[first + before.end : first + piece.start]
            # Behind a blank line outside of a code block, nothing depends on what came before.
            if not piece.opening and len(gap.splitlines()) > 1:
                settled = index
        if settled:
            self._settled.extend(piece.text for piece in found[:settled])
            self._start += found[settled].start
