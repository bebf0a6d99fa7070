"""Why a result is no answer, in words that programs can rely on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from echo_actors.claude.meter import number

ERRORS = {
    400: "invalid_request",
    401: "authentication_failed",
    402: "billing_error",
    403: "authentication_failed",
    413: "request_too_large",
    429: "rate_limit",
    529: "overloaded",
}
"""Kinds of failure by the API's status; https://docs.claude.com/en/api/errors lists them."""

EMPTY = "empty_reply"
OVER_TURN_BUDGET = "error_max_budget_usd"


def failure(result: Mapping[str, Any], text: str, api_error: str) -> tuple[str | None, str]:
    """Why a result is no answer; a result may call itself a success and be an error all the same."""
    subtype = str(result.get("subtype"))
    errors = result.get("errors")
    said = "; ".join(str(error) for error in errors) if isinstance(errors, list) and errors else text[-500:]
    if subtype == OVER_TURN_BUDGET and not api_error:
        # Its last request went over the limit; an answer that was whole by then is no worse for it.
        if text and result.get("stop_reason") == "end_turn":
            return None, ""
        return subtype, f"{said}: the setting turn_budget_usd"
    if result.get("is_error") or api_error:
        status = int(number(result.get("api_error_status")))
        kind = ERRORS.get(status) or api_error or (subtype if subtype != "success" else "api_error")
        return kind, said or subtype
    if subtype != "success":
        return subtype, said or subtype
    if not text:
        return EMPTY, "the CLI reported success with an empty answer"
    return None, ""
