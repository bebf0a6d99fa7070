"""Times as people write them on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeAlias

from cyclopts import Parameter

from echo_actors.errors import SettingsError

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

When: TypeAlias = Annotated[
    str | None, Parameter(help="An ISO time (UTC unless it says so), or how long ago: 90s, 2h.")
]


def time_from(text: str | None) -> datetime | None:
    """The time that is meant; None for none.

    Raises:
        SettingsError: It is no time.
    """
    if text is None:
        return None
    try:
        if text[-1:] in _UNITS and text[:-1].replace(".", "", 1).isdigit():
            return datetime.now(UTC) - timedelta(seconds=float(text[:-1]) * _UNITS[text[-1]])
        time = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{text!r} is no time; write 2026-01-31T14:00, or how long ago: 90s, 15m, 2h, 7d."
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
