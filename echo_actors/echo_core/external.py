"""Strangers' text between Echo-Core's two markers, in a form in which it cannot write either of them."""

from __future__ import annotations

from echo_actors.models import Trust
from echo_actors.safety.fence import fence, new_nonce

OPENING = "[EXTERNAL CONTENT]"
CLOSING = "[END EXTERNAL CONTENT]"


def wrap_external(text: str, source: str | None = None) -> str:
    """Put external text between the markers, to be a message or a part of one.

    Within them the text is in a fence: a fresh nonce says where it ends, and every line of it starts with a bar. A
    closing marker that somebody typed is a line with a bar like any other.

    Args:
        text: What came from outside, of any content.
        source: Where it came from, for the model to see: an author, a page. A stranger may have chosen it.
    """
    fenced = fence(text, author_name=source, author_id=None, trust=Trust.EXTERNAL, nonce=new_nonce())
    return f"{OPENING}\n{fenced}\n{CLOSING}"
