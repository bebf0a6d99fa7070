"""Why a message is not taken now. None of it was stored."""

from __future__ import annotations

import attrs

from echo_actors.errors.root import EchoActorsError, Reasoned
from echo_actors.models import Budget


@attrs.define(slots=False, eq=False)
class MailboxFull(EchoActorsError, RuntimeError):
    """The channel has as many messages waiting as it may. Nothing was stored; try again later.

    Attributes:
        depth: How many are waiting.
        limit: How many may, the setting ``mailbox_size``.
    """

    channel: str
    depth: int
    limit: int

    def __str__(self) -> str:
        return f"channel {self.channel!r} has {self.depth} of at most {self.limit} messages waiting; try again later"


@attrs.define(slots=False, eq=False)
class EngineClosed(Reasoned, EchoActorsError, RuntimeError):
    """The engine is draining or closed and takes no new work."""

    reason: str = "the engine is closing and takes no new messages"


@attrs.define(slots=False, eq=False)
class GateClosed(EchoActorsError, RuntimeError):
    """The account cannot be used: several turns in a row failed for authentication or billing. Nothing was stored.

    Attributes:
        retry_after: Seconds until the engine tries again by itself.
    """

    reason: str
    retry_after: float

    def __str__(self) -> str:
        return f"no messages are taken for {self.retry_after:.0f} s: {self.reason}; mend the account"


@attrs.define(slots=False, eq=False)
class BudgetExceeded(EchoActorsError, RuntimeError):
    """No turn may begin: what may be spent in the day or the month was spent.

    Raised as such when a message is refused for it; nothing was stored then. For one that had been accepted before,
    ``ask`` raises the subclass ``TurnOverBudget``.

    Attributes:
        budget: Whose it is, its limit, what was spent, and when the next one begins.
    """

    budget: Budget

    def __str__(self) -> str:
        return str(self.budget)


@attrs.define(slots=False, eq=False)
class ChannelSuspended(EchoActorsError, RuntimeError):
    """The channel takes nothing until it is resumed: its actor failed too often, or an operator wants it so."""

    channel: str
    reason: str = ""

    def __str__(self) -> str:
        return f"channel {self.channel!r} is suspended: {self.reason}; resume it with engine.resume()"
