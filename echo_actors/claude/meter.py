"""What a turn cost, from counts that never go back to zero.

The CLI's ``total_cost_usd`` is cumulative over a process and continues over a clean exit and ``--resume``; after a
kill it restarts from the last saved total (measured with CLI 2.1.330). Newer CLIs also say what was used since the
last result; older ones leave the difference to the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from echo_actors.models import Usage

MOST = 1e12
"""The largest count or amount that is believed. Sums of larger ones could not be stored, nor their outcomes."""

SPENT_SHARE = 0.25
"""The share of a turn's budget above which a process takes no further turn: the CLI's limit is one on the process, so
that a turn has between three quarters and the whole of its budget."""

_MODEL_USAGE = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cache_read_tokens": "cacheReadInputTokens",
    "cache_creation_tokens": "cacheCreationInputTokens",
}
_TURN_USAGE = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_creation_tokens": "cache_creation_input_tokens",
}


def _count(source: Mapping[str, Any], names: Mapping[str, str]) -> Usage:
    return Usage(**{ours: int(number(source.get(theirs))) for ours, theirs in names.items()})


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(*map(sum, zip(attrs.astuple(one), attrs.astuple(other), strict=True)))


def number(value: object) -> float:
    """A count or an amount from the wire; what is no number from 0 to ``MOST`` counts as nothing."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST:
        return float(value)
    return 0.0


def request_usage(usage: Mapping[str, Any]) -> Usage:
    """What one request to the model took."""
    return _count(usage, _TURN_USAGE)


def context_size(usage: Mapping[str, Any]) -> int:
    """The size of the conversation after a request: everything that went in, and what came out."""
    counted = request_usage(usage)
    return counted.input_tokens + counted.output_tokens + counted.cache_read_tokens + counted.cache_creation_tokens


@attrs.define(eq=False)
class Meter:
    """Turns the counts in results into the cost and usage of single turns.

    Attributes:
        baseline: Gives the total that the session had before this process; asked at most once, and only for a CLI
            that does not say what was used since the last result.
        spent: What the process has cost, for turns of ours or not.
    """

    baseline: Callable[[], float]
    spent: float = 0.0
    _last_total: float | None = None
    _unclaimed_cost: float = 0.0
    _unclaimed: Usage = Usage()

    def read(self, result: Mapping[str, Any], *, claimed: bool) -> tuple[Usage, float]:
        """The usage and cost since the last result that was claimed by a turn.

        A result that answers no message of ours was paid for all the same; the next turn carries it.
        """
        usage, cost = self._since_last(result)
        self._unclaimed = _sum(self._unclaimed, usage)
        self._unclaimed_cost += cost
        self.spent += cost
        if not claimed:
            return Usage(), 0.0
        usage, cost = self._unclaimed, self._unclaimed_cost
        self._unclaimed, self._unclaimed_cost = Usage(), 0.0
        return usage, cost

    @property
    def owes(self) -> bool:
        """Whether it has read what no turn has carried yet."""
        return self._unclaimed_cost > 0 or self._unclaimed != Usage()

    def take_over(self, other: Meter) -> None:
        """Let the next turn here carry what no turn there has carried: its process is gone."""
        self._unclaimed, other._unclaimed = _sum(self._unclaimed, other._unclaimed), Usage()
        self._unclaimed_cost, other._unclaimed_cost = self._unclaimed_cost + other._unclaimed_cost, 0.0

    def affords(self, turn_budget: float | None) -> bool:
        """Whether enough of a turn's budget is left for one more turn of the process."""
        return turn_budget is None or self.spent <= SPENT_SHARE * turn_budget

    def _since_last(self, result: Mapping[str, Any]) -> tuple[Usage, float]:
        total = number(result.get("total_cost_usd"))
        since = result.get("model_usage_since_last_result")
        if isinstance(since, dict):
            self._last_total = total
            per_model = [entry for entry in since.values() if isinstance(entry, dict)]
            counts = [attrs.astuple(_count(entry, _MODEL_USAGE)) for entry in per_model]
            return Usage(*map(sum, zip(*counts, strict=True))), sum(number(e.get("costUSD")) for e in per_model)
        before = self._last_total if self._last_total is not None else min(self.baseline(), total)
        self._last_total = total
        usage = result.get("usage")
        return request_usage(usage if isinstance(usage, dict) else {}), max(0.0, total - before)
