"""Failures of the scripted model: for everybody, or asked for by a message."""

from __future__ import annotations

from typing import Final

import attrs
from attrs.validators import ge, instance_of, lt, optional

from echo_actors.simulator.conversation import Conversation
from echo_actors.simulator.script import Script

RETRY_AFTER: Final = 1.0
"""Seconds a rate-limited client is told to wait, unless a fault says otherwise."""


@attrs.frozen
class Fault:
    """A failure for everybody.

    Attributes:
        status: The HTTP status, 400 to 599.
        count: How many requests it still hits; None for all until it is lifted.
        retry_after: Seconds a client is told to wait (only a 429 and a 529 tell).
    """

    status: int = attrs.field(validator=[instance_of(int), ge(400), lt(600)])
    count: int | None = attrs.field(default=None, validator=optional([instance_of(int), ge(1)]))
    retry_after: float = attrs.field(default=RETRY_AFTER, validator=[instance_of((int, float)), ge(0)])


def scripted_fault(script: Script, conversation: Conversation, earlier: int) -> Fault | None:
    """Return the failure the message asks for, if its text was asked `earlier` times before."""
    if script.status is None or not conversation.asked or earlier >= script.status_times:
        return None
    return Fault(script.status)
