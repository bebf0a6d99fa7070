"""Files of sessions as Echo-Core wrote them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def record(**changes: Any) -> Record:
    """A channel's record."""
    return {
        "session_id": str(uuid.uuid4()),
        "model": "sonnet",
        "created_at": "2025-03-01T08:30:00.123456+00:00",
        "last_message_at": "2025-03-02T09:00:00+00:00",
        "message_count": 3,
        "total_input_tokens": 1200,
        "total_output_tokens": 340,
        "total_cost_usd": 0.0123,
        "duration_ms": 4567,
        "context_tokens": 900,
        **changes,
    }


def records(count: int) -> dict[str, Record]:
    """So many channels, no two alike: every model, every way to write a time, and now and then more than is needed."""
    return {f"discord:{number}": _numbered(number) for number in range(count)}


def _numbered(number: int) -> Record:
    times = (
        "2025-03-01T08:30:00.123456+00:00",
        "2025-03-01T08:30:00Z",
        "2025-03-01T08:30:00",
        "2025-03-01T10:30:00+02:00",
    )
    more: Record = {"title": f"Büro {number} \U0001f600", "tags": [{"a": None}, 1.5, True]} if number % 7 == 0 else {}
    return record(
        model=("haiku", "sonnet", "opus")[number % 3],
        created_at=times[number % 4],
        message_count=number,
        total_input_tokens=number * 100,
        total_cost_usd=number * 0.1 if number % 5 else number,
        **more,
    )


def write(path: Path, found: object) -> Path:
    """Write a file as Python's json does by default, NaN and halves of surrogate pairs included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return path
