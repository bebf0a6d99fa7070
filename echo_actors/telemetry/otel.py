"""The ends in OpenTelemetry: a tracer for the spans, and its instruments for the metrics. Needs the extra ``otel``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import attrs
from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from echo_actors._version import __version__
from echo_actors.telemetry.instruments import Forward
from echo_actors.telemetry.metric import SECONDS, Definition, Distribution, Kind, Metric
from echo_actors.telemetry.spans import Spans
from echo_actors.telemetry.telemetry import Providers

NAME = "echo_actors"


def open_spans(providers: Providers, run_id: str, *, content: bool, mask: Callable[[str], str]) -> Spans:
    """What makes an engine's spans."""
    return Spans(trace.get_tracer(NAME, __version__, providers.tracer), run_id, content, mask)


@attrs.define(eq=False)
class Meters:
    """Gives OpenTelemetry the metrics: what is counted as it is counted, and the others when it asks for them.

    Attributes:
        observed: What the others were when they were last looked at; asked for in a thread of OpenTelemetry's.
    """

    _meter: Meter
    observed: tuple[Metric, ...] = ()

    @classmethod
    def of(cls, providers: Providers) -> Meters:
        """Those of a provider, or of the global one."""
        return cls(metrics.get_meter(NAME, __version__, providers.meter))

    def forward(self, definition: Definition) -> Forward:
        """What takes the values of a metric that is counted."""
        name, unit, text = definition.name, definition.unit, definition.help
        if definition.kind is Kind.COUNTER:
            return self._meter.create_counter(name, unit, text).add
        return self._meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=SECONDS).record

    def observe(self, definitions: Sequence[Definition]) -> None:
        """Let OpenTelemetry ask for these metrics."""
        for each in definitions:
            create = (
                self._meter.create_observable_counter
                if each.kind is Kind.COUNTER
                else self._meter.create_observable_gauge
            )
            create(each.name, [self._reader(each)], each.unit, each.help)

    def _reader(self, definition: Definition) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(point.value, dict(point.labels))
                for metric in self.observed
                if metric.definition == definition
                for point in metric.points
                if not isinstance(point.value, Distribution)
            ]

        return read
