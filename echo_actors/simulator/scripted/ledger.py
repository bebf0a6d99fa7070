"""Tokens and dollars: every answered turn costs the same, and the totals grow over the session."""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the time its import takes
if TYPE_CHECKING:
    from typing import Any


INPUT_TOKENS = 100
OUTPUT_TOKENS = 20
COST_USD = 0.0004


class Ledger:
    """Counts answered turns per model.

    The reported totals are cumulative over the process and continue on resume from the last saved state; a killed
    process saves nothing, and so its successor counts from the state before it.
    """

    def __init__(self, saved: dict[str, Any] | None = None) -> None:
        usage = (saved or {}).get("modelUsage", {})
        self._turns: dict[str, int] = {model: entry["inputTokens"] // INPUT_TOKENS for model, entry in usage.items()}
        self._fresh: dict[str, int] = {}

    def charge(self, model: str) -> None:
        """Count one answered turn."""
        self._turns[model] = self._turns.get(model, 0) + 1
        self._fresh[model] = self._fresh.get(model, 0) + 1

    @property
    def total_usd(self) -> float:
        """Everything since the session began, as far as it was saved."""
        return round(sum(self._turns.values()) * COST_USD, 10)

    def model_usage(self) -> dict[str, Any]:
        """The cumulative `modelUsage`."""
        return {model: _usage(model, turns) for model, turns in self._turns.items()}

    def since_last_result(self) -> dict[str, Any]:
        """What was charged since this was last asked."""
        fresh, self._fresh = self._fresh, {}
        return {model: _usage(model, turns) for model, turns in fresh.items()}


def turn_usage(turns: int) -> dict[str, Any]:
    """The `usage` of one result: of one turn, or zeros."""
    return {
        "input_tokens": turns * INPUT_TOKENS,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": turns * OUTPUT_TOKENS,
        "service_tier": "standard",
    }


def _usage(model: str, turns: int) -> dict[str, Any]:
    return {
        "inputTokens": turns * INPUT_TOKENS,
        "outputTokens": turns * OUTPUT_TOKENS,
        "cacheReadInputTokens": 0,
        "cacheCreationInputTokens": 0,
        "webSearchRequests": 0,
        "costUSD": round(turns * COST_USD, 10),
        "contextWindow": 1000000,
        "maxOutputTokens": 128000,
        "canonicalModel": model,
    }
