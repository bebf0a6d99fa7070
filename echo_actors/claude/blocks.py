"""The blocks of a running turn, as far as its reply will have them."""

from __future__ import annotations

from collections import deque

import attrs

from echo_actors.claude.content import size
from echo_actors.models import Block

KEPT = 16 * 2**20
"""How much of a turn is kept, in characters: a CLI that never stops must not fill the memory, nor the store."""

_OVERHEAD = 100
"""What a block takes besides its text, in characters."""


@attrs.define(eq=False)
class Blocks:
    """The blocks in the order of their coming. When they hold too much the oldest go; events carry all of them.

    Attributes:
        limit: How many characters are kept; the newest block is, whatever it holds.
    """

    limit: int = KEPT
    _kept: deque[tuple[str, Block, int]] = attrs.Factory(deque)
    _chars: int = 0

    def add(self, uuid: str, block: Block) -> None:
        """Keep a block of the entry of the conversation that has this uuid."""
        chars = len(block.text) + size(block.data) + _OVERHEAD
        self._kept.append((uuid, block, chars))
        self._chars += chars
        while self._chars > self.limit and len(self._kept) > 1:
            self._chars -= self._kept.popleft()[2]

    def drop(self, uuid: str) -> None:
        """Forget the blocks of an entry, which another one replaces."""
        self._kept = deque(each for each in self._kept if each[0] != uuid)
        self._chars = sum(chars for _, _, chars in self._kept)

    def all(self) -> tuple[Block, ...]:
        """Those that are kept."""
        return tuple(block for _, block, _ in self._kept)
