"""Parts of a text that should stay whole."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator


class Spans:
    """Disjoint parts of a text, in order, each from its start to before its end."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Add a part that ends after all others; those inside of it are taken up in it.

        Whoever adds sees to it that parts do not cross.
        """
        while self._starts and self._starts[-1] >= start:
            self._starts.pop()
            self._ends.pop()
        self._starts.append(start)
        self._ends.append(end)

    def crossed(self, start: int, end: int) -> bool:
        """Say whether a part crosses the borders of one that is here."""
        return self.around(start) is not None or self.around(end) is not None

    def around(self, place: int) -> tuple[int, int] | None:
        """Give the part that a break at a place would break."""
        index = bisect_left(self._starts, place) - 1
        if index >= 0 and self._ends[index] > place:
            return self._starts[index], self._ends[index]
        return None

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._ends, strict=True)
