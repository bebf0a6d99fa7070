"""What readers see as one character."""

from __future__ import annotations

from wcwidth import iter_graphemes

from echo_actors.rendering.spans import Spans


def clusters(text: str) -> Spans:
    """Find the extended grapheme clusters (Unicode's annex 29) of more than one code point."""
    found = Spans()
    if text.isascii():
        return found
    place = 0
    for cluster in iter_graphemes(text):
        end = place + len(cluster)
        if end - place > 1:
            found.add(place, end)
        place = end
    return found
