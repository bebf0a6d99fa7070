"""How an event becomes the bytes of an audit record: structlog processors, from fields to JSON.

The engine's thread only checks and keeps what is to be recorded; the bytes are made in the log's own thread, many at a
time, where they take a fraction of the time. The place in the chain, ``seq`` and ``prev``, is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import orjson
import structlog
from structlog.typing import EventDict, Processor

from echo_actors.audit.chain import sha256

_RESERVED = frozenset({"seq", "time", "event", "run", "prev"})
_SCALARS = frozenset({str, int, float, bool, type(None)})

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
"""The whole numbers that orjson can write."""

_OVERHEAD = 200
"""What a record has besides its texts, in bytes, more or less."""


@attrs.frozen
class Step:
    """What is to be recorded.

    Attributes:
        time: When it happened; aware.
    """

    time: datetime
    event: str
    fields: dict[str, Any]

    def check(self) -> None:
        """See that it can become a record.

        Raises:
            TypeError: A field is no scalar, or has a name that the log uses itself.
        """
        if not _RESERVED.isdisjoint(self.fields):
            raise TypeError(f"audit fields cannot be named {', '.join(sorted(_RESERVED & set(self.fields)))}")
        if not _SCALARS.issuperset(map(type, self.fields.values())):
            for name, value in self.fields.items():
                if not isinstance(value, str | int | float | None):
                    raise TypeError(f"audit field {name!r} must be a string, number, boolean or None, not {value!r}")

    @property
    def size(self) -> int:
        """Roughly how many bytes its record will have."""
        return _OVERHEAD + sum(map(len, map(str, self.fields.values())))


class Recorder(structlog.BoundLoggerBase):
    """Makes the bytes of records.

    It is built directly and not by structlog's functions, so that the host program's configuration of structlog is
    neither used nor changed.
    """

    def render(self, step: Step) -> bytes:
        """Run the processors over a step."""
        args, _ = self._process_event("record", step.event, {"time": step.time, **step.fields})
        return bytes(args[0])


def recorder(run_id: str, mask: Callable[[str], str] | None) -> Recorder:
    """Make a recorder of a run.

    Args:
        run_id: In every record.
        mask: Replaces secret values in a text.
    """

    def mask_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
        masked = {name: mask(value) for name, value in event.items() if isinstance(value, str)} if mask else {}
        return {**event, **masked}

    steps: list[Processor] = [*([mask_secrets] if mask else []), _in_order, _render]
    return Recorder(None, steps, {"run": run_id})


def _in_order(_logger: Any, _method: str, event: EventDict) -> EventDict:
    time = event.pop("time").astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    return {"time": time, "event": event.pop("event"), "run": event.pop("run"), **event}


def _render(_logger: Any, _method: str, event: EventDict) -> bytes:
    try:
        return orjson.dumps(event)
    except orjson.JSONEncodeError:
        # Python's strings can hold what UTF-8 cannot, half a surrogate pair, and its whole numbers what orjson cannot:
        # neither may stop the engine, nor end the log's thread.
        readable = {name: _readable(value) for name, value in event.items()}
        return orjson.dumps(readable)


def _readable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return float(value)  # of a subclass, which orjson does not know
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if _SMALLEST <= value <= _LARGEST else hex(value)
    return value


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
