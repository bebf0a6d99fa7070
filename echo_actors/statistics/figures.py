"""The figures of some messages and turns, which add up."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from echo_actors.models import OutcomeKind

BUDGET: Final = "over_budget"
"""The kind of error of a message that failed because a budget was used up: it had no turn."""

ERRORS: Final = (
    OutcomeKind.FAILED.value,
    OutcomeKind.TIMED_OUT.value,
    OutcomeKind.DEAD_LETTERED.value,
    BUDGET,
    OutcomeKind.EXPIRED.value,
    OutcomeKind.DROPPED.value,
    OutcomeKind.CANCELLED.value,
    OutcomeKind.SUPERSEDED.value,
)
"""The ways in which a message ends without an answer: its outcome, but for ``BUDGET``."""

TOKENS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens")
"""The kinds of token, by their names in the log."""


@attrs.frozen
class Quantiles:
    """How some times are spread, in seconds. Exact: each is one of the times, by the nearest-rank method.

    Attributes:
        count: How many times there are.
    """

    count: int
    median: float
    p95: float
    p99: float


def quantiles(times: Iterable[float]) -> Quantiles | None:
    """Say how times are spread; None without any."""
    ordered = sorted(times)
    if not ordered:
        return None
    return Quantiles(len(ordered), *(_ranked(ordered, percent) for percent in (50, 95, 99)))


def _ranked(ordered: Sequence[float], percent: int) -> float:
    """The smallest of the times that at least so many percent of all do not exceed."""
    return ordered[math.ceil(percent * len(ordered) / 100) - 1]


def _times() -> array[float]:
    return array("d")


@attrs.define(eq=False)
class Figures:
    """What is counted and measured of some messages and turns.

    All times are kept, 8 bytes each: that is exact, and about a fiftieth of what the log has of a turn.

    Attributes:
        messages: How many have ended.
        errors: How many of them without an answer, by kind; one of ``ERRORS``.
        turns: How many turns have ended; one may be for several messages.
        retried: How many turns came to no end, and their messages were started again.
        cut: How many were cut because the engine closed.
        cost_usd: What all of these turns cost.
        tokens: What they took, by kind; one of ``TOKENS``.
        waits: From the acceptance of a message to the start of its first turn, in seconds.
        first_outputs: From the start of a turn to the model's first output, in seconds.
        durations: From the start of a turn to its end, in seconds.
    """

    messages: int = 0
    errors: Counter[str] = attrs.Factory(Counter)
    turns: int = 0
    retried: int = 0
    cut: int = 0
    cost_usd: float = 0.0
    tokens: Counter[str] = attrs.Factory(Counter)
    waits: array[float] = attrs.Factory(_times)
    first_outputs: array[float] = attrs.Factory(_times)
    durations: array[float] = attrs.Factory(_times)

    @property
    def answered(self) -> int:
        """How many messages were answered."""
        return self.messages - self.errors.total()

    def add(self, other: Figures) -> None:
        """Take what others are as well."""
        self.messages += other.messages
        self.errors.update(other.errors)
        self.turns += other.turns
        self.retried += other.retried
        self.cut += other.cut
        self.cost_usd += other.cost_usd
        self.tokens.update(other.tokens)
        self.waits.extend(other.waits)
        self.first_outputs.extend(other.first_outputs)
        self.durations.extend(other.durations)


def total(parts: Iterable[Figures]) -> Figures:
    """All of them together."""
    whole = Figures()
    for part in parts:
        whole.add(part)
    return whole
