"""What may come in: checks on channels, messages and what is asked of them, before anything is done."""

from __future__ import annotations

import enum
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TypedDict, TypeVar

from echo_actors.errors import InvalidMessage
from echo_actors.models import Author, BusyPolicy, Message, Trust

E = TypeVar("E", bound=enum.StrEnum)

MAX_CHANNEL_BYTES = 1024
"""The longest name of a channel, in bytes of UTF-8. Names end up in every audit record."""


def check_channel(channel: str) -> str:
    """Give the channel's name back if it is usable: any text, of reasonable length.

    Raises:
        InvalidMessage: It is not.
    """
    size = _size(channel, "a channel's name")
    if not channel or size > MAX_CHANNEL_BYTES:
        raise InvalidMessage(f"a channel's name has 1 to {MAX_CHANNEL_BYTES} bytes; this one has {size}")
    return channel


def check_session(session_id: str) -> str:
    """Give a session's id back if the CLI could have one like it.

    Raises:
        InvalidMessage: It is no UUID as the CLI writes them: it becomes an argument, and the name of a file.
    """
    try:
        usual = str(uuid.UUID(session_id)) == session_id
    except (ValueError, AttributeError, TypeError):
        usual = False
    if not usual:
        raise InvalidMessage(f"a session's id is a UUID in small letters, not {session_id!r}")
    return session_id


def check_limit(limit: int | None) -> None:
    """Refuse a page of nothing.

    Raises:
        InvalidMessage: The limit is below 1.
    """
    if limit is not None and limit < 1:
        raise InvalidMessage(f"a page has at least 1 entry, not {limit}; None gives all of them")


IDS_AT_A_TIME = 256


class MessageOptions(TypedDict, total=False):
    """What can be said of a message besides its text.

    Attributes:
        message_id: The idempotency key, a UUID; the same one again changes nothing, also after a restart.
        author: Who said it. Text of a named author is fenced, so that nobody can speak in another's name.
        trust: How far the author is trusted, ``member`` by default; external text is always fenced.
        busy: What to do when the channel is busy with another turn, ``queue`` by default.
        deadline: When the message expires if its turn has not begun; an aware time.
    """

    message_id: str | uuid.UUID | None
    author: Author | None
    trust: Trust
    busy: BusyPolicy
    deadline: datetime | None


def new_message(
    channel: str,
    text: str,
    options: MessageOptions,
    *,
    now: datetime,
    max_bytes: int,
    new_id: Callable[[], str],
) -> Message:
    """A message that may be accepted; its sequence is not yet given.

    Args:
        channel: The conversation's key.
        text: What was said.
        options: What else was said of it.
        now: When that is.
        max_bytes: The longest text, in bytes of UTF-8.
        new_id: Gives the id of a message that comes without one.

    Raises:
        InvalidMessage: Something about it cannot be accepted; the text says what.
    """
    unknown = options.keys() - MessageOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown options of a message: {', '.join(sorted(unknown))}")
    deadline = options.get("deadline")
    size = _size(text, "a message")
    if not text.strip():
        raise InvalidMessage("the message is empty")
    if size > max_bytes:
        raise InvalidMessage(
            f"the message has {size} bytes, at most {max_bytes} are accepted (setting max_message_bytes)"
        )
    if deadline is not None and deadline.tzinfo is None:
        raise InvalidMessage("the deadline has no time zone; give an aware datetime")
    author, message_id = options.get("author"), options.get("message_id")
    if author is not None:
        _size(author.name, "an author's name")
        _size(author.id or "", "an author's id")
    return Message(
        message_id=new_id() if message_id is None else canonical_id(message_id),
        channel=check_channel(channel),
        text=text,
        sequence=0,
        accepted_at=now,
        author=author,
        trust=choice(Trust, options.get("trust", Trust.MEMBER)),
        busy=choice(BusyPolicy, options.get("busy", BusyPolicy.QUEUE)),
        deadline=deadline,
    )


def canonical_id(message_id: str | uuid.UUID) -> str:
    """The one way to write a message's id.

    Raises:
        InvalidMessage: It is no UUID.
    """
    try:
        # The CLI takes a message's key only in this form.
        return str(uuid.UUID(str(message_id)))
    except ValueError:
        raise InvalidMessage(
            f"message_id must be a UUID, not {message_id!r}; uuid.uuid5 makes one of any key"
        ) from None


def id_source(random_bytes: Callable[[int], bytes] = os.urandom) -> Callable[[], str]:
    """Make a function that gives a new UUID (version 4, as text) at each call.

    Args:
        random_bytes: Gives so many random bytes. It is asked for many at a time: each time is a system call, in which
            the other threads of the program take over.
    """
    return _ids(random_bytes).__next__


def _ids(random_bytes: Callable[[int], bytes]) -> Iterator[str]:
    while True:
        data = random_bytes(16 * IDS_AT_A_TIME).hex()
        for start in range(0, len(data), 32):
            digits = data[start : start + 32]
            # RFC 9562: the 13th digit is the version; of the 17th, the two highest bits are 10.
            variant = "89ab"[int(digits[16], 16) & 3]
            yield f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def choice(kind: type[E], value: str) -> E:
    """The word of an enumeration that a text is.

    Raises:
        InvalidMessage: It is none; the text lists those that there are.
    """
    try:
        return kind(value)
    except ValueError:
        valid = ", ".join(each.value for each in kind)
        raise InvalidMessage(f"{value!r} is no {kind.__name__}; valid ones are {valid}") from None


def _size(text: object, what: str) -> int:
    if not isinstance(text, str):
        raise InvalidMessage(f"{what} is text, not {type(text).__name__}")
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise InvalidMessage(f"{what} has half of a surrogate pair in it, which no encoding can carry") from None
