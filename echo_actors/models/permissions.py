"""Answers to the question whether a tool may be used."""

from __future__ import annotations

import enum
from typing import Any

import attrs


class AnsweredBy(enum.StrEnum):
    """Who, or what, answered a permission question."""

    CALLBACK = "callback"
    CALL = "call"
    DEADLINE = "deadline"
    LIMIT = "limit"
    WITHDRAWN = "withdrawn"


@attrs.frozen(kw_only=True)
class Allow:
    """A permission question's answer: the tool may be used, this once.

    Attributes:
        input: What the tool gets instead of the model's input; None for that as it is. It must be a table that can be
            written as JSON, and the CLI checks it against what the tool takes.
    """

    input: dict[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Deny:
    """A permission question's answer: the tool may not be used.

    Attributes:
        message: What the model is told, as the tool's result.
        interrupt: End the turn as well; its messages are then ``cancelled``, and the model is told nothing.
    """

    message: str = "The user does not allow this use of the tool."
    interrupt: bool = False


Answer = Allow | Deny
