"""What may come in: each check refuses with a reason, and everything else passes unchanged."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo_actors import Author, BusyPolicy, InvalidMessage, Trust
from echo_actors.engine.intake import IDS_AT_A_TIME, MAX_CHANNEL_BYTES, check_channel, id_source, new_message
from echo_actors.models import Message

DAY = datetime(2030, 1, 1, tzinfo=UTC)


def make(text: Any = "hello", channel: Any = "c", **changed: Any) -> Message:
    """A message with nothing special about it, but for what is given."""
    limits = {
        "now": changed.pop("now", DAY),
        "max_bytes": changed.pop("max_bytes", 1000),
        "new_id": id_source(),
    }
    options: Any = changed
    return new_message(channel, text, options, **limits)


def test_a_good_message_keeps_all_it_was_given() -> None:
    """Nothing is trimmed or rewritten."""
    author = Author("ana", "42")
    made = make(" hi\n", "discord:42", author=author, deadline=DAY, trust=Trust.EXTERNAL, busy=BusyPolicy.STEER)
    assert (made.text, made.channel, made.author, made.deadline) == (" hi\n", "discord:42", author, DAY)
    assert (made.trust, made.busy, made.accepted_at) == (Trust.EXTERNAL, BusyPolicy.STEER, DAY)


def test_a_message_without_an_id_gets_a_fresh_uuid() -> None:
    """Two messages never share one."""
    first, second = make().message_id, make().message_id
    assert first != second
    assert str(uuid.UUID(first)) == first


def test_fresh_ids_are_random_uuids_of_version_4_also_beyond_one_batch_of_random_bytes() -> None:
    """Each is one that the standard library reads, with all bits used, and no two are equal."""
    new_id = id_source()
    ids = [uuid.UUID(new_id()) for _ in range(IDS_AT_A_TIME + 1)]
    assert all((each.version, each.variant) == (4, uuid.RFC_4122) for each in ids)
    assert len(set(ids)) == len(ids)
    assert str(uuid.UUID(bytes=bytes(range(16)), version=4)) == id_source(lambda size: bytes(range(16)) * size)()


@pytest.mark.parametrize("form", [str, uuid.UUID, lambda key: key.upper(), lambda key: "{" + key + "}"])
def test_every_form_of_a_uuid_becomes_the_one_that_the_cli_takes(form: Any) -> None:
    """So that the same key in another spelling is the same message."""
    key = "0b5d0f9e-8d5c-4c1a-9f66-2f8f3f3b8a10"
    assert make(message_id=form(key)).message_id == key


@pytest.mark.parametrize("key", ["", "42", "not-a-uuid", 7, "0b5d0f9e-8d5c-4c1a-9f66-2f8f3f3b8a1", "\ud800"])
def test_a_key_that_is_no_uuid_is_refused_with_a_hint(key: Any) -> None:
    """The text says how to make one."""
    with pytest.raises(InvalidMessage, match="uuid5"):
        make(message_id=key)


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u00a0"])
def test_an_empty_message_is_refused(text: str) -> None:
    """Blank counts as empty."""
    with pytest.raises(InvalidMessage, match="empty"):
        make(text)


@pytest.mark.parametrize("text", [None, b"hello", 7, ["hello"]])
def test_a_message_that_is_no_text_is_refused(text: Any) -> None:
    """The type is named."""
    with pytest.raises(InvalidMessage, match=type(text).__name__):
        make(text)


def test_the_longest_message_passes_and_one_byte_more_does_not() -> None:
    """Bytes of UTF-8 count, not characters."""
    assert make("é" * 500).text == "é" * 500
    with pytest.raises(InvalidMessage, match="1001 bytes, at most 1000"):
        make("é" * 500 + "x")


@pytest.mark.parametrize("half", ["\ud800", "a\udfffb"])
def test_half_a_surrogate_pair_is_refused(half: str) -> None:
    """No encoding can carry it, in a text as in a channel's name."""
    with pytest.raises(InvalidMessage, match="surrogate"):
        make(half)
    with pytest.raises(InvalidMessage, match="surrogate"):
        make(channel=half)


@pytest.mark.parametrize("channel", ["", "x" * (MAX_CHANNEL_BYTES + 1), "é" * MAX_CHANNEL_BYTES])
def test_a_channel_name_that_is_empty_or_too_long_is_refused(channel: str) -> None:
    """Names end up in every audit record."""
    with pytest.raises(InvalidMessage, match=str(MAX_CHANNEL_BYTES)):
        check_channel(channel)


@pytest.mark.parametrize("channel", [None, 42, b"c"])
def test_a_channel_name_that_is_no_text_is_refused(channel: Any) -> None:
    """Numbers are not made into names silently."""
    with pytest.raises(InvalidMessage, match="text"):
        make(channel=channel)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_any_other_text_is_a_channel_name(channel: str) -> None:
    """Slashes, line ends, NUL, anything."""
    assert check_channel(channel) == channel


def test_a_deadline_without_a_time_zone_is_refused() -> None:
    """It would mean another moment on another host."""
    with pytest.raises(InvalidMessage, match="time zone"):
        make(deadline=DAY.replace(tzinfo=None))
    assert make(deadline=DAY - timedelta(days=1)).deadline == DAY - timedelta(days=1)


@pytest.mark.parametrize(("field", "value"), [("trust", "stranger"), ("busy", "panic")])
def test_an_unknown_trust_or_policy_is_refused_as_an_invalid_message(field: str, value: str) -> None:
    """Callers in other languages pass plain strings."""
    with pytest.raises(InvalidMessage, match=value):
        make(**{field: value})


def test_trust_and_policy_may_be_plain_strings() -> None:
    """They are the values of the enumerations."""
    made = make(trust="owner", busy="collect")
    assert (made.trust, made.busy) == (Trust.OWNER, BusyPolicy.COLLECT)


@pytest.mark.parametrize("author", [Author("\ud800"), Author("ana", "\udfff"), Author(5), Author("ana", 42)])  # type: ignore[arg-type]  # the point
def test_an_author_that_nothing_can_carry_is_refused(author: Author) -> None:
    """At the door, not when the turn is made."""
    with pytest.raises(InvalidMessage, match="author"):
        make(author=author)
