"""How an event becomes the bytes of an audit record: structlog processors, from fields to JSON.

The record's place in the chain, ``seq`` and ``prev``, is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

from echo_actors.audit.chain import sha256

_RESERVED = frozenset({"seq", "time", "event", "run", "prev"})
_SCALARS = frozenset({str, int, float, bool, type(None)})


class Recorder(structlog.BoundLoggerBase):
    """Runs the processors over an event, and calls what it wraps, the sink, with the finished bytes.

    It is built directly and not by structlog's functions, so that the host program's configuration of structlog is
    neither used nor changed.
    """

    def record(self, event: str, fields: dict[str, Any]) -> Any:
        """Give what the sink gives.

        Raises:
            TypeError: A field is no scalar, or has a name that the log uses itself.
        """
        if not _RESERVED.isdisjoint(fields):
            raise TypeError(f"audit fields cannot be named {', '.join(sorted(_RESERVED & set(fields)))}")
        args, _ = self._process_event("record", event, fields)
        return self._logger(*args)


def processors(clock: Callable[[], datetime], mask: Callable[[str], str] | None) -> list[Processor]:
    """The steps from an event to the bytes of a record, all but its place in the chain."""

    def check_fields(_logger: Any, _method: str, event: EventDict) -> EventDict:
        for name, value in event.items():
            if type(value) not in _SCALARS:
                raise TypeError(f"audit field {name!r} must be a string, number, boolean or None, not {value!r}")
        return event

    def mask_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
        masked = {name: mask(value) for name, value in event.items() if isinstance(value, str)} if mask else {}
        return {**event, **masked}

    def stamp(_logger: Any, _method: str, event: EventDict) -> EventDict:
        time = clock().astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
        return {"time": time, "event": event.pop("event"), "run": event.pop("run"), **event}

    return [check_fields, *([mask_secrets] if mask else []), stamp, _render]


def _render(_logger: Any, _method: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:
        # Python's strings can hold what UTF-8 cannot, half a surrogate pair: such text must not stop the engine.
        readable = {
            name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
            for name, value in event.items()
        }
        return orjson.dumps(readable)


def text_fields(text: str, content: bool, name: str = "text") -> dict[str, str | int]:
    """Describe a text for a record: its length in characters and its SHA-256, and itself only if wanted.

    Args:
        text: The text.
        content: Whether the text itself may be written; ``AuditLog.content``.
        name: What the fields' names begin with.
    """
    fields: dict[str, str | int] = {
        f"{name}_chars": len(text),
        f"{name}_sha256": sha256(text.encode("utf-8", "surrogatepass")),
    }
    return {**fields, name: text} if content else fields
