"""All that a frame on the screen is made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs

from echo_actors.commands.top.choices import Choices
from echo_actors.commands.top.rows import Row
from echo_actors.commands.top.sight import Sight
from echo_actors.events import Event


@attrs.frozen(kw_only=True)
class Scene:
    """A moment.

    Attributes:
        rows: Those that are wanted, in the order in which they are.
        total: How many there are, wanted or not.
        sight: The engine as it was seen last; None when it was not yet.
        trouble: Why it is not seen now; empty when it is.
        notice: What came of the last order.
        events: Of the opened channel, oldest first.
    """

    now: datetime
    width: int
    height: int
    choices: Choices
    rows: Sequence[Row]
    total: int
    sight: Sight | None
    trouble: str = ""
    notice: str = ""
    events: Sequence[Event] = ()
