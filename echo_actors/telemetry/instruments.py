"""Instruments: what is counted while the engine runs, with a bound on how many sets of labels there may be."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import attrs

from echo_actors.telemetry.metric import SECONDS, Definition, Distribution, Labels, Metric, Point

MOST_SERIES = 200
"""How many sets of labels one instrument may have. A model can name tools that there are not, and each set stays in
memory for ever, here and in whatever collects it."""

OVERFLOW = "_OTHER"
"""The value of every label in the set that takes what has no set of its own any more."""

Forward = Callable[[float, dict[str, str]], None]
"""Takes each value with its labels as well; how OpenTelemetry gets them."""


@attrs.define(eq=False)
class Counter:
    """A sum for each set of labels."""

    definition: Definition
    forward: Forward | None = None
    _sums: dict[Labels, float] = attrs.field(factory=dict, init=False)

    def add(self, value: float, **labels: str) -> None:
        """Add to the sum of these labels."""
        key = _bounded(self._sums, labels)
        self._sums[key] = self._sums.get(key, 0) + value
        if self.forward is not None:
            self.forward(value, dict(key))

    def read(self) -> Metric:
        """The sums as they are now."""
        return Metric(self.definition, tuple(Point(labels, value) for labels, value in self._sums.items()))


@attrs.define(eq=False)
class _Buckets:
    counts: list[int] = attrs.Factory(lambda: [0] * (len(SECONDS) + 1))
    sum: float = 0.0


@attrs.define(eq=False)
class Histogram:
    """How often values were of which size, for each set of labels; all values are seconds."""

    definition: Definition
    forward: Forward | None = None
    _series: dict[Labels, _Buckets] = attrs.field(factory=dict, init=False)

    def observe(self, value: float, **labels: str) -> None:
        """Count a value; one below zero, as a clock that was set back gives, counts as none."""
        value = max(0.0, value)
        key = _bounded(self._series, labels)
        buckets = self._series.setdefault(key, _Buckets())
        buckets.counts[bisect_left(SECONDS, value)] += 1
        buckets.sum += value
        if self.forward is not None:
            self.forward(value, dict(key))

    def read(self) -> Metric:
        """The counts as they are now."""
        points = (
            Point(labels, Distribution(tuple(buckets.counts), buckets.sum)) for labels, buckets in self._series.items()
        )
        return Metric(self.definition, tuple(points))


def _bounded(known: dict[Labels, float] | dict[Labels, _Buckets], labels: dict[str, str]) -> Labels:
    key = tuple(labels.items())
    if key in known or len(known) < MOST_SERIES:
        return key
    return tuple((name, OVERFLOW) for name in labels)
