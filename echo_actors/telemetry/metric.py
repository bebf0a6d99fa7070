"""What a metric is: its name, its kind, and its values at one moment. No I/O, and no client library."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

import attrs

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Names and values of labels, in the order in which they are shown."""

SECONDS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
)
"""The upper bounds of every histogram: a warm turn of a fast model takes a second, and a turn at most an hour."""


class Kind(enum.StrEnum):
    """What may become of a value: a counter only grows, a gauge goes up and down."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@attrs.frozen
class Definition:
    """What is measured.

    Attributes:
        name: By OpenTelemetry's rules: dotted, without the unit.
        unit: In UCUM, such as ``s`` or ``By``; in braces where it is only a word.
        help: What the values mean.
    """

    name: str
    kind: Kind
    unit: str
    help: str


@attrs.frozen
class Distribution:
    """The values of a histogram.

    Attributes:
        counts: How many values were in each bucket of ``SECONDS``, and last, how many were above all of them.
    """

    counts: tuple[int, ...]
    sum: float


@attrs.frozen
class Point:
    """One value of a metric."""

    labels: Labels
    value: float | Distribution


@attrs.frozen
class Metric:
    """A metric with all its values at one moment."""

    definition: Definition
    points: tuple[Point, ...]


def single(definition: Definition, value: float, labels: Mapping[str, str] | None = None) -> Metric:
    """A metric with one value."""
    return Metric(definition, (Point(tuple((labels or {}).items()), value),))
