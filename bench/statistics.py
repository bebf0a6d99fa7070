"""What is said of a handful of measurements: a median, how far they spread, and a ratio to another's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import attrs


@attrs.frozen
class Summary:
    """Repeated measurements of one figure.

    Attributes:
        median: The figure that is quoted; one disturbed round does not move it.
        low: The smallest.
        high: The largest.
        count: How many there are.
    """

    median: float
    low: float
    high: float
    count: int


def summarize(values: Sequence[float]) -> Summary:
    """Say what a set of measurements amounts to.

    Raises:
        ValueError: There are none.
    """
    if not values:
        raise ValueError("nothing was measured")
    return Summary(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest measurement that at least so many percent of all do not exceed (the nearest-rank method).

    Raises:
        ValueError: There are no measurements, or the percentage is not above 0 and at most 100.
    """
    if not values:
        raise ValueError("nothing was measured")
    if not 0 < percent <= 100:  # noqa: PLR2004 - a percentage
        raise ValueError(f"no such percentile: {percent}")
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def paired_ratio(mine: Sequence[float], theirs: Sequence[float]) -> Summary:
    """Compare two contenders round by round, so that what disturbed a round as a whole cancels out.

    Raises:
        ValueError: The contenders did not run the same number of rounds.
    """
    return summarize([a / b for a, b in zip(mine, theirs, strict=True)])
