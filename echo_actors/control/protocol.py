"""What both sides of the socket have to agree on."""

from __future__ import annotations

from typing import Final

import attrs

PROTOCOL: Final = 1
"""The version; it rises when a client of the one before would misunderstand the server."""

_ESCAPED: Final = 6
"""Bytes of JSON for one byte of text, at the most."""

_BESIDE: Final = 1 << 20
"""Bytes for all that a request has beside a message's text, such as a channel's options."""


@attrs.frozen(kw_only=True)
class Hello:
    """What a server says first.

    Attributes:
        version: Of the package.
        run_id: Of the run of the program.
    """

    protocol: int
    version: str
    run_id: str
    pid: int


def longest_request(message_bytes: int) -> int:
    """The bytes of a request's line in which a message of so many bytes fits, however it is written."""
    return _ESCAPED * message_bytes + _BESIDE
