"""The root of all errors."""

from __future__ import annotations

import attrs


class EchoActorsError(Exception):
    """The root of all errors of this package."""


@attrs.define(slots=False, eq=False)
class Reasoned:
    """What errors are whose text is all that there is to say."""

    reason: str

    def __str__(self) -> str:
        return self.reason
