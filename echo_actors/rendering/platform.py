"""How much a chat platform takes in one message, and in which unit it counts."""

from __future__ import annotations

from enum import StrEnum

import attrs

LEAST_LIMIT = 64
"""The lowest limit of a platform: with less, a code fence's own lines leave no room for the code."""


class Unit(StrEnum):
    """What a platform counts when it says "characters"."""

    CODE_POINTS = "code_points"
    UTF16 = "utf16"
    UTF8 = "utf8"

    def length(self, text: str) -> int:
        """Say how long a text is. A lone surrogate, which no platform takes, counts like other characters."""
        if self is Unit.CODE_POINTS or text.isascii():
            return len(text)
        if self is Unit.UTF16:
            return len(text.encode("utf-16-le", "surrogatepass")) // 2
        return len(text.encode("utf-8", "surrogatepass"))

    def reach(self, text: str, start: int, room: int) -> int:
        """Give the furthest end of a part of the text, from ``start`` on, that is not longer than ``room``."""
        # No unit counts a character as less than one, so the end cannot be further than this.
        low, high = start, min(len(text), start + max(room, 0))
        if self.length(text[start:high]) <= room:
            return high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.length(text[start:middle]) <= room else (low, middle)
        return low


def _large_enough(_: object, __: object, limit: int) -> None:
    if limit < LEAST_LIMIT:
        raise ValueError(f"A platform's limit is at least {LEAST_LIMIT}, not {limit}.")


@attrs.frozen
class Platform:
    """A place that text is sent to.

    Attributes:
        name: For people.
        limit: The length of the longest message, ``LEAST_LIMIT`` or more.
        unit: What the limit counts.

    Raises:
        ValueError: The limit is too low.
    """

    name: str
    limit: int = attrs.field(validator=_large_enough)
    unit: Unit = Unit.UTF16

    def count(self, text: str) -> int:
        """Say how long a text is in the platform's unit."""
        return self.unit.length(text)

    def takes(self, text: str, *, beside: int = 0) -> bool:
        """Say whether a text fits into one message, beside so many units of something else."""
        return len(text) + beside <= self.limit and self.count(text) + beside <= self.limit


DISCORD = Platform("Discord", 2000, Unit.CODE_POINTS)
"""The limit is in Discord's documentation of "Create Message". The unit is the code point, since the API is written in
Python, as its staff say: https://github.com/discord/discord-api-docs/issues/1315."""

TELEGRAM = Platform("Telegram", 4096, Unit.UTF16)
"""https://core.telegram.org/bots/api#sendmessage: "1-4096 characters after entities parsing". Offsets of entities
count UTF-16 code units. Whether the limit does too is not documented, and reports differ; this is the stricter
reading, which is never refused. What the markup of a parse mode takes is counted here, though not by Telegram."""

SLACK = Platform("Slack", 3000, Unit.UTF16)
"""The text of a section block, https://docs.slack.dev/reference/block-kit/blocks/section-block: "maximum length is
3000 characters". Which characters is not documented; most reports speak of code points, and this is stricter. Escape
``&``, ``<`` and ``>`` before you split: Slack counts what it is sent."""
