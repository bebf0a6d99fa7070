"""Health: whether the engine is alive, and whether it is ready for messages; if not, why."""

from __future__ import annotations

import attrs

from echo_actors.actors.services import Services
from echo_actors.engine.watch import Watch

WEDGED = 10.0
"""Seconds without a beat after which the loop counts as stuck. What blocks it for one is a fault, but passes."""

HANGING = 10.0
"""Seconds after which a disk that has not taken a write counts as one that takes none."""


@attrs.frozen
class Condition:
    """Whether something holds; it is true where it does.

    Attributes:
        reasons: Why it does not, in words for people; empty when it does.
    """

    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.reasons


@attrs.frozen
class Health:
    """What a supervisor of the program asks.

    Attributes:
        live: The engine's loop turns. If not, only a new start of the program helps.
        ready: A message that comes now would be taken, and have its turn.
    """

    live: Condition
    ready: Condition


def health_of(services: Services, watch: Watch, *, closing: bool, audit_problem: str | None) -> Health:
    """The health of an engine. It only reads, so any thread may ask."""
    stood_still = watch.stood_still
    live = (f"the event loop has stood still for {stood_still:.0f} s",) if stood_still > WEDGED else ()
    store, gate = services.store.health, services.gate
    reasons = [
        *live,
        "the engine is draining, or closed" if closing else "",
        f"no turn starts for {gate.closed_for:.0f} s: {gate.state.reason}" if gate.closed_for else "",
        f"the store cannot be written: {store.problem}" if store.problem else "",
        f"the store's disk has not taken a write for {store.waiting:.0f} s" if store.waiting > HANGING else "",
        f"the audit log cannot be written: {audit_problem}" if audit_problem else "",
        services.driver.problem(),
    ]
    return Health(Condition(live), Condition(tuple(filter(None, reasons))))
