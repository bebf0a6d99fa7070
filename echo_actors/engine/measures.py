"""The metrics that an engine's status is made into: what there is now, and what was counted all along."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from echo_actors.engine.status import EngineStatus
from echo_actors.telemetry.metric import Definition, Kind, Metric, single


@attrs.frozen
class _Measure:
    """A metric and where it comes from."""

    definition: Definition
    of: Callable[[EngineStatus], float]


def _gauge(name: str, unit: str, text: str, of: Callable[[EngineStatus], float]) -> _Measure:
    return _Measure(Definition(f"echo_actors.{name}", Kind.GAUGE, unit, text), of)


def _counter(name: str, unit: str, text: str, of: Callable[[EngineStatus], float]) -> _Measure:
    return _Measure(Definition(f"echo_actors.{name}", Kind.COUNTER, unit, text), of)


_MEASURES = (
    _gauge("channels.live", "{channel}", "Channels whose actor is in memory.", lambda status: status.live_channels),
    _gauge("channels.suspended", "{channel}", "Channels that take nothing.", lambda status: len(status.suspended)),
    _gauge("messages.queued", "{message}", "Messages that wait.", lambda status: status.queued_messages),
    _gauge("turns.running", "{turn}", "Turns that hold a slot.", lambda status: status.running_turns),
    _gauge("turns.waiting", "{turn}", "Channels that wait for a slot.", lambda status: status.waiting_for_slot),
    _gauge("turns.slots", "{turn}", "How many turns may run at once.", lambda status: status.turn_slots),
    _gauge("residents", "{process}", "CLI processes that belong to a channel.", lambda status: status.residents),
    _gauge("spares", "{process}", "CLI processes that wait for a channel.", lambda status: status.spares),
    _gauge("processes.starting", "{process}", "CLI processes not up yet.", lambda status: status.starting),
    _gauge("processes.ending", "{process}", "CLI processes on their way out.", lambda status: status.ending),
    _gauge("processes.memory", "By", "Private memory of CLIs and their tools.", lambda status: status.resident_memory),
    _gauge("gate.open", "", "1 when turns may start, else 0.", lambda status: not status.gate_closed_for),
    _gauge("gate.closed_for", "s", "Time until turns may start again.", lambda status: status.gate_closed_for),
    _gauge(
        "audit.problem",
        "",
        "1 when audit records are lost or wait, else 0.",
        lambda status: bool(status.audit_problem),
    ),
    _gauge("subscribers", "{subscriber}", "Open subscriptions to events.", lambda status: status.subscribers),
    _counter(
        "events.lost", "{event}", "Events that subscribers were too slow for.", lambda status: status.events_lost
    ),
    _counter("actor.restarts", "{crash}", "Crashes of channels' actors.", lambda status: status.actor_restarts),
    _counter("store.errors", "{request}", "Requests that the store failed to do.", lambda status: status.store_errors),
)

DEFINITIONS = tuple(measure.definition for measure in _MEASURES)


def metrics_of(status: EngineStatus) -> tuple[Metric, ...]:
    """What the status says, as metrics."""
    return tuple(single(measure.definition, measure.of(status)) for measure in _MEASURES)
