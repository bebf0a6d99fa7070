"""Processors for the structlog of a program that embeds the engine, so that its log has the audit log's words.

The engine itself logs nothing; this is for what the program says::

    structlog.configure(processors=[tell_about, utc_time, structlog.processors.JSONRenderer()])
    log.info("shown", about=event)  # {"event": "shown", "channel": ..., "message": ..., "turn": ..., "time": ...}
    structlog.contextvars.bind_contextvars(run=engine.status().run_id, **fields_of(receipt))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from structlog.typing import EventDict, Processor, WrappedLogger

_NAMES: Final = {"channel": "channel", "message_id": "message", "turn_id": "turn", "session_id": "session"}
"""What the package's values call these, and what an audit record does."""


def fields_of(about: object) -> dict[str, str]:
    """What an event, a receipt, a reply, a stream or a snapshot is about, by the names of the audit log's fields."""
    values = ((field, getattr(about, name, None)) for name, field in _NAMES.items())
    return {field: value for field, value in values if isinstance(value, str) and value}


def tell_about(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put the fields of what was given as ``about`` in its place; a field that was given by itself stays."""
    if "about" not in event:
        return event
    about = event.pop("about")
    return {**fields_of(about), **event}


def utc_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the ``time`` in UTC, as the audit log writes it: ISO 8601, microseconds, Z."""
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    return {"time": f"{now.removesuffix('+00:00')}Z", **event}


def mask_texts(mask: Callable[[str], str]) -> Processor:
    """Make a processor that changes every text in a log entry, however deep in it.

    Args:
        mask: Replaces what must not be seen, such as the values of secrets.
    """

    def masked(value: object) -> Any:
        match value:
            case str():
                return mask(value)
            case Mapping():
                return {name: masked(each) for name, each in value.items()}
            case list() | tuple() | set() | frozenset():
                return [masked(each) for each in value]
            case _:
                return value

    def mask_all(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {name: masked(value) for name, value in event.items()}

    return mask_all
