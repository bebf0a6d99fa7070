"""Records survive the way to bytes and back."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_actors.errors import StoreError
from echo_actors.models import Author, Block, BusyPolicy, Clock, Message, Outcome, OutcomeKind, Reply, Trust, Usage
from echo_actors.state.codec import Format, make_codec
from echo_actors.state.records import SessionSnapshot
from echo_actors.testing.store_kit import NOON, make_message

CODEC = make_codec()
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
COUNTS = st.integers(0, 2**53)
MONEY = st.floats(0, 1e9)
ZONES = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES)  # noqa: DTZ001 - hypothesis adds zones
JSON = st.recursive(st.none() | st.booleans() | TEXTS | COUNTS, lambda x: st.lists(x) | st.dictionaries(TEXTS, x))
DATA = st.none() | st.dictionaries(TEXTS, JSON, max_size=3)
BLOCKS = st.builds(Block, kind=TEXTS, text=TEXTS, name=st.none() | TEXTS, data=DATA)
REPLIES = st.builds(
    Reply,
    text=TEXTS,
    blocks=st.lists(BLOCKS, max_size=3).map(tuple),
    session_id=TEXTS,
    turn_id=TEXTS,
    model=TEXTS,
    usage=st.builds(Usage, COUNTS, COUNTS),
    cost_usd=MONEY,
    structured_output=DATA,
)
OUTCOMES = st.builds(
    Outcome,
    kind=st.sampled_from(OutcomeKind),
    reason=TEXTS,
    clock=st.none() | st.sampled_from(Clock),
    reply=st.none() | REPLIES,
    error=st.none() | TEXTS,
    attempts=COUNTS,
)
MESSAGES = st.builds(
    Message,
    message_id=TEXTS,
    channel=TEXTS,
    text=TEXTS,
    sequence=COUNTS,
    accepted_at=TIMES,
    author=st.none() | st.builds(Author, TEXTS, st.none() | TEXTS),
    trust=st.sampled_from(Trust),
    busy=st.sampled_from(BusyPolicy),
    deadline=st.none() | TIMES,
)
SNAPSHOTS = st.builds(
    SessionSnapshot,
    channel=TEXTS,
    session_id=st.none() | TEXTS,
    model=TEXTS,
    created_at=TIMES,
    last_message_at=TIMES,
    message_count=COUNTS,
    total_cost_usd=MONEY,
    revision=COUNTS,
)


@given(message=MESSAGES, outcome=OUTCOMES, snapshot=SNAPSHOTS)
def test_every_record_comes_back_as_it_was(message: Message, outcome: Outcome, snapshot: SessionSnapshot) -> None:
    """Whatever the values are."""
    assert CODEC.message.decode(CODEC.message.encode(message)) == message
    assert CODEC.outcome.decode(CODEC.outcome.encode(outcome)) == outcome
    assert CODEC.snapshot.decode(CODEC.snapshot.encode(snapshot)) == snapshot


def test_the_form_is_versioned_small_and_in_utc() -> None:
    """Defaults are left out and another zone's time is written in UTC."""
    early = attrs.evolve(make_message(1), accepted_at=NOON.astimezone(timezone(timedelta(hours=5))), author=None)
    assert orjson.loads(CODEC.message.encode(early)) == {
        "v": 1,
        "message_id": early.message_id,
        "channel": "chat:1",
        "text": "text 1",
        "sequence": 1,
        "accepted_at": "2026-01-02T12:00:00Z",
    }


def test_a_newer_format_is_refused_and_unknown_fields_are_not() -> None:
    """A newer version says which program to run; a further field is dropped."""
    fields = orjson.loads(CODEC.message.encode(make_message(1)))
    assert CODEC.message.decode(orjson.dumps({**fields, "further": 1})) == make_message(1)
    with pytest.raises(StoreError, match="run the newer version"):
        CODEC.message.decode(orjson.dumps({**fields, "v": 2}))


def test_an_older_format_is_upgraded_step_by_step() -> None:
    """Each step's function is applied in order."""
    newer: Format[Author] = Format(
        "author",
        Author,
        CODEC.message.converter,
        3,
        {1: lambda old: {"nick": old["n"]}, 2: lambda old: {"name": old["nick"]}},
    )
    assert newer.decode(b'{"v":1,"n":"ana"}') == Author("ana")


@pytest.mark.parametrize(
    "change", [{"text": "\ud800"}, {"sequence": 2**70}, {"accepted_at": NOON.replace(tzinfo=None)}]
)
def test_what_cannot_be_written_is_a_store_error(change: dict[str, Any]) -> None:
    """Lone surrogates, numbers beyond 64 bits, and times without a zone."""
    with pytest.raises(StoreError, match="cannot be stored"):
        CODEC.message.encode(attrs.evolve(make_message(1), **change))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"v":1}', b'{"v":0}', b'{"v":"x"}', b"{"])
def test_what_cannot_be_read_is_a_store_error(data: bytes) -> None:
    """Never another kind of error."""
    with pytest.raises(StoreError, match="cannot be read"):
        CODEC.message.decode(data)
