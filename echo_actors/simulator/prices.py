"""What a request to the scripted model costs, at the prices the CLI itself reckons with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import attrs

INPUT_TOKENS: Final = 100
"""Input tokens that every answered request reports, so that a cost is a count times a price."""

OUTPUT_TOKENS: Final = 20
"""Output tokens that every answered request reports."""


@attrs.frozen
class Price:
    """A model's list price, in USD per million tokens."""

    input: float
    output: float


PRICES: Final[Mapping[str, Price]] = MappingProxyType(
    {
        "haiku": Price(input=0.1, output=0.5),
        "sonnet": Price(input=2.0, output=10.0),
        "opus": Price(input=4.0, output=20.0),
    }
)
"""By the family named in the model id. Measured: the `total_cost_usd` of CLI 2.1.330 for requests of 10,000 input
or 10,000 output tokens to `claude-haiku-5-5` and `claude-opus-5-5`, and of 100 input and 20 output tokens to all three
(a request of a million input tokens to haiku is reckoned at 0.5)."""


def cost_usd(model: str, requests: int = 1) -> float:
    """Return what `requests` answered requests to `model` cost, in USD; 0 for a model without a known price."""
    price = next((price for family, price in PRICES.items() if family in model), None)
    if price is None:
        return 0.0
    return requests * (INPUT_TOKENS * price.input + OUTPUT_TOKENS * price.output) / 1_000_000
