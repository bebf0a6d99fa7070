"""The gate before all turns: what one turn learns of the API holds for every other.

A rate limit closes it until the limit resets; overload closes it for a while that doubles. Authentication and billing
errors do not mend by waiting a little: several in a row open a breaker, which then lets one turn through at a time,
at growing intervals, until one succeeds.

``GateState`` decides, as a function of (what happened, now); ``Gate`` lets tasks wait for it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

OVERLOAD = frozenset({"overloaded", "overloaded_error", "server_error"})
RATE_LIMIT = frozenset({"rate_limit", "rate_limit_error"})
BREAKING = frozenset({"authentication_failed", "billing_error", "oauth_org_not_allowed"})
PASSING = OVERLOAD | RATE_LIMIT
"""Failures that pass by themselves: the message is worth another attempt."""

BREAKER_THRESHOLD = 3
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
FIRST_COOLDOWN = 30.0
LONGEST_COOLDOWN = 600.0
LONGEST_LIMIT = 8 * 86400.0
"""Seconds that a rate limit is believed to last at most: a day more than the longest window of a subscription."""

UNKNOWN_RESET = 60.0
"""Seconds to wait for a rate limit that does not say when it resets."""


@attrs.define(eq=False)
class GateState:
    """Open or closed, why and until when. Times are seconds since the epoch.

    Attributes:
        broken: Whether the breaker is open.
        closures: How often it was closed.
    """

    reason: str = ""
    closed_until: float = 0.0
    broken: bool = False
    closures: int = 0
    _span: float = 0.0
    _pause: float = FIRST_PAUSE
    _cooldown: float = FIRST_COOLDOWN
    _in_a_row: int = 0

    def admit(self, now: float) -> float:
        """Ask to pass: 0.0 for yes, else the seconds after which to ask again."""
        # A wall clock that was set back must not make a pause longer than it was meant to be.
        self.closed_until = min(self.closed_until, now + self._span)
        if now < self.closed_until:
            return self.closed_until - now
        if self.broken:
            # This one probes; the next may when the cooldown has passed again and the probe has not succeeded.
            self._close(now, self._cooldown)
        return 0.0

    def on_success(self) -> None:
        """A turn was answered: all is well."""
        self.reason, self.closed_until, self.broken = "", 0.0, False
        self._pause, self._cooldown, self._in_a_row = FIRST_PAUSE, FIRST_COOLDOWN, 0

    def on_failure(self, error: str, reason: str, resets_at: float | None, now: float) -> bool:
        """A turn failed; tell whether that changed the gate."""
        if error in RATE_LIMIT:
            self.reason = reason
            self._close(now, min(LONGEST_LIMIT, (resets_at or now + UNKNOWN_RESET) - now))
        elif error in OVERLOAD:
            self.reason = reason
            self._close(now, self._pause)
            self._pause = min(LONGEST_PAUSE, self._pause * 2)
        elif error in BREAKING:
            self._in_a_row += 1
            if self._in_a_row < BREAKER_THRESHOLD:
                return False
            if self.broken:
                self._cooldown = min(LONGEST_COOLDOWN, self._cooldown * 2)
            self.reason, self.broken = reason, True
            self._close(now, self._cooldown)
        else:
            return False
        self.closures += 1
        return True

    def _close(self, now: float, seconds: float) -> None:
        """Stay closed for so long at least."""
        self.closed_until = max(self.closed_until, now + seconds)
        self._span = self.closed_until - now


@attrs.define(eq=False)
class Gate:
    """Lets turns wait until the gate is open.

    Attributes:
        now: The time of day, in seconds since the epoch.
    """

    now: Callable[[], float]
    state: GateState = attrs.Factory(GateState)
    _changed: trio.Event = attrs.Factory(trio.Event)

    @property
    def closed_for(self) -> float:
        """Seconds until a turn may start; 0 when it may."""
        return max(0.0, self.state.closed_until - self.now())

    def try_to_enter(self) -> int | None:
        """A ticket as ``enter`` gives it, or None when that would have to wait."""
        return None if self.state.admit(self.now()) else self.state.closures

    async def enter(self) -> int:
        """Wait until a turn may start; give a ticket, which holds until the gate closes again."""
        while delay := self.state.admit(self.now()):
            with trio.move_on_after(delay):
                await self._changed.wait()
        return self.state.closures

    def admits(self, ticket: int) -> bool:
        """Whether the gate has not closed since the ticket was given."""
        return ticket == self.state.closures

    def on_success(self, ticket: int) -> None:
        """A turn was answered; one that had begun before the gate closed says nothing of what closed it."""
        if not self.admits(ticket):
            return
        was_closed = bool(self.state.reason)
        self.state.on_success()
        if was_closed:
            self._tell()

    def on_failure(self, error: str, reason: str, resets_at: float | None) -> bool:
        """A turn failed; tell whether that changed the gate."""
        changed = self.state.on_failure(error, reason, resets_at, self.now())
        if changed:
            self._tell()
        return changed

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
