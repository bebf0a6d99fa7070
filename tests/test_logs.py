"""The processors for structlog that a program may use: what they add, and what they change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture
from support import audit_records, opened, plain_settings

from echo_actors import Accepted
from echo_actors.telemetry import fields_of, mask_texts, tell_about, utc_time
from echo_actors.testing.instant_driver import InstantDriver


def logged(*processors: Any, **fields: Any) -> dict[str, Any]:
    """What a logger with these processors makes of an entry."""
    capture = LogCapture()
    logger = structlog.wrap_logger(None, [*processors, capture], wrapper_class=structlog.BoundLogger)
    logger.info("shown", **fields)
    return dict(capture.entries[0])


async def test_an_entry_about_an_event_has_the_audit_logs_fields(tmp_path: Path) -> None:
    """By the same names, so that both can be searched for one message."""
    settings = plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver()) as engine, engine.stream("c", "hello") as turn:
        entries = [logged(tell_about, about=event) async for event in turn]
        reply = logged(tell_about, about=turn.reply)
    (started,) = audit_records(settings, "turn.started")
    of_turn = {name: started[name] for name in ("channel", "message", "turn")}
    assert of_turn in [{name: entry.get(name) for name in of_turn} for entry in entries]
    assert all({"channel", "message"} <= entry.keys() and "about" not in entry for entry in entries)
    assert (reply["turn"], reply["session"]) == (started["turn"], started["session"])


def test_what_is_said_by_hand_stays() -> None:
    """And an entry about nothing is left as it is."""
    event = Accepted(channel="c", message_id="m", sequence=1, position=0)
    assert fields_of(event) == {"channel": "c", "message": "m"}
    assert logged(tell_about, about=event, channel="mine")["channel"] == "mine"
    assert logged(tell_about, about=None) == {"event": "shown", "log_level": "info"}
    assert logged(tell_about, x=1) == {"event": "shown", "x": 1, "log_level": "info"}


def test_the_time_is_written_as_in_the_audit_log() -> None:
    """In UTC, to the microsecond."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", logged(utc_time)["time"])


def test_every_text_is_masked_however_deep() -> None:
    """In the event itself, in tables and in rows; what is no text stays."""
    mask = mask_texts(lambda text: text.replace("secret", "***"))
    entry = logged(mask, a="a secret", b={"c": ["secret", ("secret", 1)]}, d=2, e=None, f=b"secret")
    assert entry == {
        "event": "shown",
        "a": "a ***",
        "b": {"c": ["***", ["***", 1]]},
        "d": 2,
        "e": None,
        "f": b"secret",
        "log_level": "info",
    }
