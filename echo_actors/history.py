"""A conversation as people may read it again: who said what, and what the assistant did meanwhile.

Like the values in ``models``, all are immutable; times are in UTC.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any

import attrs

from echo_actors.models import Author, Block, Trust, Usage


class HistoryRole(enum.StrEnum):
    """Whose words an entry has.

    A summary stands where the CLI began to carry a long conversation on from one; a note is the CLI's own word about
    the conversation, such as an interruption, an error of the API or the end of work in the background.
    """

    USER = "user"
    ASSISTANT = "assistant"
    SUMMARY = "summary"
    NOTE = "note"


@attrs.frozen(kw_only=True)
class ToolCall:
    """One use of a tool.

    Attributes:
        result: The text of what it gave; None when the conversation has no result of it.
    """

    tool_use_id: str
    name: str
    input: dict[str, Any]
    result: str | None = None
    is_error: bool = False


@attrs.frozen(kw_only=True)
class HistoryEntry:
    """What one person said in one message, or what the assistant said and did until the next one.

    Attributes:
        entry_id: Names the entry within its conversation, for ``before``.
        time: When it was written, or begun; None when that is not known.
        text: Of a person, as written, without the fence around it; what was invisible in it was made visible. Of the
            assistant, its text blocks as in a ``Reply``.
        author: Who spoke, as the fence named them; None without a fence.
        trust: How far the author was trusted, if the fence said.
        blocks: Of the assistant, all in order; of a person, what was sent besides text, without the bytes of images.
        tool_calls: One for each block of the kind ``tool_use``, in their order.
        usage: What the requests to the model took that made the entry.
        uuids: Of the lines in the CLI's transcript that have it.
        message_id: The engine's message, where the store still knows it and it was not run under another id. In a
            fork, a message of the original is that of the original's channel.
    """

    entry_id: str
    role: HistoryRole
    text: str
    time: datetime | None = None
    author: Author | None = None
    trust: Trust | None = None
    blocks: tuple[Block, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    model: str = ""
    usage: Usage = Usage()
    uuids: tuple[str, ...] = ()
    message_id: str | None = None


@attrs.frozen(kw_only=True)
class History:
    """A page of a channel's conversation.

    Attributes:
        session_id: None for a channel without a conversation.
        entries: Newest last.
        earlier: To be given as ``before`` for the page before this one; None when the conversation begins here.
        damaged: How many lines of the transcript could not be read and are missing; the last one may be half written.
    """

    channel: str
    session_id: str | None
    entries: tuple[HistoryEntry, ...] = ()
    earlier: str | None = None
    damaged: int = 0
