"""Telemetry: an engine's events as spans and metrics, for OpenTelemetry and for Prometheus.

It is given each event at its publication and never waits, so it neither lags nor loses any. A fault of whatever takes
the spans stops at ``on_event``: it is counted, and the turn goes on.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from echo_actors.events import Event
from echo_actors.telemetry.counts import Counts
from echo_actors.telemetry.following import Follower
from echo_actors.telemetry.metric import Definition, Kind, Metric, single

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from echo_actors.telemetry.otel import Meters
    from echo_actors.telemetry.spans import Spans

FAULTS = Definition(
    "echo_actors.telemetry.faults", Kind.COUNTER, "{event}", "Events that telemetry could not take, by a fault in it."
)


@attrs.frozen(kw_only=True)
class Providers:
    """Where spans and metrics go, instead of to OpenTelemetry's global providers."""

    tracer: TracerProvider | None = None
    meter: MeterProvider | None = None


@attrs.define(eq=False)
class Telemetry:
    """What an engine with the setting ``telemetry`` tells its events to; made by ``open_telemetry``.

    Attributes:
        spans: None where the API of OpenTelemetry is not installed, and so the meters.
        on_fault: Told of the first fault.
        faults: How many events could not be taken.
    """

    counts: Counts
    spans: Spans | None
    meters: Meters | None
    on_fault: Callable[[str], None]
    faults: int = attrs.field(default=0, init=False)
    _follower: Follower = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Follow the events."""
        self._follower = Follower([self.counts] if self.spans is None else [self.counts, self.spans])

    def on_event(self, event: Event) -> None:
        """Take the next event."""
        try:
            self._follower.on_event(event)
        except Exception as error:  # noqa: BLE001 - what takes the spans is the user's, and no turn may fail for it
            self._note(error)

    def read(self) -> tuple[Metric, ...]:
        """What was counted so far."""
        return (*self.counts.read(), single(FAULTS, self.faults))

    def observe(self, metrics: tuple[Metric, ...]) -> None:
        """Keep what was measured just now, until OpenTelemetry asks for it."""
        if self.meters is not None:
            self.meters.observed = (*metrics, single(FAULTS, self.faults))

    def close(self, time: datetime) -> None:
        """End the spans that are open, and measure nothing any more."""
        try:
            if self.meters is not None:
                self.meters.observed = ()
            self._follower.close(time)
            if self.spans is not None:
                self.spans.close(time)
        except Exception as error:  # noqa: BLE001 - as above
            self._note(error)

    def _note(self, error: Exception) -> None:
        self.faults += 1
        if self.faults == 1:
            # Its text may hold what was said.
            self.on_fault(f"telemetry took an event wrongly: {type(error).__name__}")


def open_telemetry(
    providers: Providers,
    run_id: str,
    *,
    observed: Sequence[Definition],
    content: bool,
    on_fault: Callable[[str], None],
    mask: Callable[[str], str] = lambda text: text,
) -> Telemetry:
    """Make the telemetry of an engine. Without the API of OpenTelemetry, it only counts.

    Args:
        providers: Where spans and metrics go.
        run_id: Of the engine.
        observed: The metrics that the engine measures itself, and gives to ``observe``.
        content: Whether texts go into spans.
        on_fault: Told of the first fault.
        mask: Replaces secret values in a text that goes into a span.
    """
    if not _has_opentelemetry():
        return Telemetry(Counts(lambda _: None), None, None, on_fault)
    from echo_actors.telemetry.otel import Meters, open_spans  # noqa: PLC0415 - the API is an extra

    meters = Meters.of(providers)
    meters.observe([*observed, FAULTS])
    spans = open_spans(providers, run_id, content=content, mask=mask)
    return Telemetry(Counts(meters.forward), spans, meters, on_fault)


def _has_opentelemetry() -> bool:
    # The namespace is shared: it may be there without the API.
    return importlib.util.find_spec("opentelemetry") is not None and (
        importlib.util.find_spec("opentelemetry.metrics") is not None
    )
