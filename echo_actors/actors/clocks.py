"""A turn's clocks, as functions of what happened and when. Nothing here reads a clock or waits.

Waiting does not eat a turn's time: until a process may start it is on ``queue``. ``start`` runs while it starts,
``first_event`` until the CLI begins the message, ``idle`` between signs of life from then on, ``total`` over all.
While a permission question is open, ``idle`` does not run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs

from echo_actors.claude.driver import Phase
from echo_actors.models import Clock

_RUNS_IN = {Phase.STARTING: Clock.START, Phase.SENT: Clock.FIRST_EVENT, Phase.RUNNING: Clock.IDLE}

GRAIN = 0.01
"""The share of the idle clock's time by which it may run longer, so that not every sign of life has to move it."""


@attrs.define(eq=False)
class TurnClocks:
    """The running clocks of one turn.

    Attributes:
        timeouts: Seconds by clock; a clock that is not named never runs out.
    """

    timeouts: Mapping[Clock, float]
    _deadlines: dict[Clock, float] = attrs.Factory(dict)

    def wait(self, now: float) -> None:
        """The turn waits for a process to be allowed to start; that is still waiting, and on the queue clock."""
        self._deadlines = {Clock.QUEUE: now + self._timeout(Clock.QUEUE)}

    def on_phase(self, phase: Phase, now: float) -> None:
        """The turn has entered a phase; its clocks replace those of the phase before."""
        total = self._deadlines.get(Clock.TOTAL, now + self._timeout(Clock.TOTAL))
        clock = _RUNS_IN[phase]
        self._deadlines = {clock: now + self._timeout(clock), Clock.TOTAL: total}

    def on_life(self, now: float) -> bool:
        """There was a sign of life; the idle clock starts again. Tells whether that moved its end."""
        end, patience = self._deadlines.get(Clock.IDLE), self._timeout(Clock.IDLE)
        if end is None or now + patience <= end:
            return False
        self._deadlines[Clock.IDLE] = now + patience * (1 + GRAIN)
        return True

    def on_asking(self, now: float, *, asking: bool) -> None:
        """A first permission question is open, or none is any more: meanwhile the idle clock waits for people."""
        if Clock.IDLE in self._deadlines:
            self._deadlines[Clock.IDLE] = math.inf if asking else now + self._timeout(Clock.IDLE)

    def deadline(self) -> float:
        """When the next clock runs out."""
        return min(self._deadlines.values(), default=math.inf)

    def expired(self, now: float) -> Clock | None:
        """The clock that has run out, the earliest if several have."""
        clock = min(self._deadlines, key=self._deadlines.__getitem__, default=None)
        return clock if clock is not None and self._deadlines[clock] <= now else None

    def _timeout(self, clock: Clock) -> float:
        return self.timeouts.get(clock, math.inf)
