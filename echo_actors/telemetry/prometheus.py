"""Metrics in the text that Prometheus reads: its exposition format, version 0.0.4.

Names follow OpenTelemetry's rules for Prometheus: dots become underscores, the unit is appended, and ``_total`` to
counters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from echo_actors.telemetry.metric import SECONDS, Definition, Distribution, Kind, Labels, Metric, Point

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The media type to answer with."""

_UNITS = {"s": "seconds", "By": "bytes"}


class Measured(Protocol):
    """What has metrics: an engine."""

    def metrics(self) -> tuple[Metric, ...]:
        """All of them, as they are now."""


def prometheus_text(engine: Measured) -> str:
    """The engine's metrics, to be given to Prometheus with ``CONTENT_TYPE``.

    No label has a channel, a message or a person in it, so the number of series is bounded.
    """
    return "".join(line + "\n" for metric in engine.metrics() for line in _lines(metric))


def prometheus_name(definition: Definition) -> str:
    """The name of a metric as Prometheus has it."""
    name = definition.name.replace(".", "_")
    unit = _UNITS.get(definition.unit, "")
    if unit and not name.endswith(f"_{unit}"):
        name = f"{name}_{unit}"
    return f"{name}_total" if definition.kind is Kind.COUNTER else name


def _lines(metric: Metric) -> Iterator[str]:
    definition, name = metric.definition, prometheus_name(metric.definition)
    yield f"# HELP {name} {_escaped(definition.help)}"
    yield f"# TYPE {name} {definition.kind.value}"
    for point in metric.points:
        yield from _samples(name, point)


def _samples(name: str, point: Point) -> Iterator[str]:
    value = point.value
    if not isinstance(value, Distribution):
        yield f"{name}{_labels(point.labels)} {_number(value)}"
        return
    total = 0
    for bound, count in zip((*SECONDS, math.inf), value.counts, strict=True):
        total += count
        yield f"{name}_bucket{_labels((*point.labels, ('le', _number(bound))))} {total}"
    yield f"{name}_sum{_labels(point.labels)} {_number(value.sum)}"
    yield f"{name}_count{_labels(point.labels)} {total}"


def _labels(labels: Labels | Iterable[tuple[str, str]]) -> str:
    shown = ",".join(f'{name}="{_quoted(value)}"' for name, value in labels)
    return f"{{{shown}}}" if shown else ""


def _quoted(value: str) -> str:
    # Half of a surrogate pair is text for Python, and nothing that UTF-8 could carry.
    return _escaped(value).replace('"', r"\"").encode("utf-8", "backslashreplace").decode()


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value)) if isinstance(value, bool) else repr(value)
