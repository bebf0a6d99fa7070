"""The lines of a transcript, one at a time: what each is, and what it says.

What the kinds look like was measured with CLI 2.1.330. A message that the CLI gave the model while a turn ran is kept
as an attachment, everything else that was said as an entry of the type ``user`` or ``assistant``. An assistant's entry
has one block; entries of one answer of the API share its id.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson

from echo_actors.claude.content import contents, items, table

Entry = Mapping[str, Any]

SYNTHETIC = "<synthetic>"
"""The model of what the CLI itself put in the assistant's mouth: an API error, or "No response requested." when it
resumes a session whose last message has no answer. None of it is an answer."""

CHAINED = frozenset({"user", "assistant", "attachment", "system", "progress"})
"""The types that make the conversation: each names the one before it."""

LONGEST_LINE = 64 * 2**20
"""The longest line that is read, in bytes. A file that somebody else has damaged may be one line."""

_INTERRUPTED = frozenset({"[Request interrupted by user]", "[Request interrupted by user for tool use]"})
_COMMAND = ("<command-name>", "<local-command-stdout>", "<local-command-stderr>", "<bash-")
_SUMMARY = re.compile(r"<summary>(.*?)</summary>", re.DOTALL)


class Kind(enum.Enum):
    """What an entry is in the conversation; a link only joins others to each other."""

    PERSON = enum.auto()
    ASSISTANT = enum.auto()
    SUMMARY = enum.auto()
    NOTE = enum.auto()
    LINK = enum.auto()


def lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines of a transcript, each with where it begins; of one that is too long only the beginning."""
    offset = 0
    while line := file.readline(LONGEST_LINE):
        yield offset, line
        offset += len(line)
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)
            offset += len(line)


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line as an object; None when it is none.

    The CLI writes half surrogates where it cuts a text, and reads lines with invalid UTF-8: so do we, with a mark in
    their place.
    """
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            again = json.dumps(json.loads(line.decode(errors="replace")), ensure_ascii=False)
            entry = orjson.loads(again.encode(errors="replace"))
        except (ValueError, RecursionError):
            return None
    return entry if isinstance(entry, dict) else None


def may_be_chained(line: bytes) -> bool:
    """Whether a line is worth parsing for the conversation: two thirds of a transcript (bytes) are not."""
    return b'"uuid"' in line


def looks_whole(line: bytes) -> bool:
    """Whether a line is blank or begins and ends as an object does; what is seen of it without parsing."""
    inner = line.strip()
    return not inner or (inner.startswith(b"{") and inner.endswith(b"}"))


def is_chained(entry: Entry) -> bool:
    """Whether an entry is a part of the conversation, and not of a sub-agent's."""
    named = isinstance(entry.get("uuid"), str) and not entry.get("isSidechain")
    return named and entry.get("type") in CHAINED


def parent_of(entry: Entry) -> str | None:
    """The uuid of the entry before this one; None at the beginning, "" when there is one and it is not named.

    What came before a summary is named apart, because the model is not shown it any more.
    """
    parent = entry.get("parentUuid") or entry.get("logicalParentUuid")
    if isinstance(parent, str):
        return parent
    return "" if entry.get("subtype") == "compact_boundary" else None


def kind_of(entry: Entry) -> Kind:
    """What an entry is."""
    match entry.get("type"):
        case "assistant":
            return _kind_of_assistant(entry)
        case "user":
            return _kind_of_user(entry)
        case "attachment":
            return _kind_of_attachment(table(entry, "attachment"))
        case _:
            return Kind.LINK


def answer_id(entry: Entry) -> str | None:
    """The id of the API's answer that an assistant's entry is a part of."""
    found = table(entry, "message").get("id")
    return found if entry.get("type") == "assistant" and isinstance(found, str) else None


def results_in(entry: Entry) -> list[dict[str, Any]]:
    """The blocks with results of tools in an entry."""
    if entry.get("type") != "user":
        return []
    return [block for block in contents(table(entry, "message")) if block.get("type") == "tool_result"]


def said(entry: Entry) -> tuple[str, list[dict[str, Any]]]:
    """What a person's entry says: its text, and the blocks that are no text."""
    attached = entry.get("type") == "attachment"
    source, key = (table(entry, "attachment"), "prompt") if attached else (table(entry, "message"), "content")
    content = source.get(key)
    if isinstance(content, str):
        return content, []
    blocks = [block for block in items(source, key) if isinstance(block, dict)]
    texts = [str(block.get("text", "")) for block in blocks if block.get("type") == "text"]
    return "\n".join(texts), [block for block in blocks if block.get("type") != "text"]


def noted(entry: Entry) -> str:
    """What a note says."""
    text, _ = said(entry)
    if text in _INTERRUPTED:
        return text[1:-1]
    summary = _SUMMARY.search(text) if text.startswith("<task-notification>") else None
    return summary[1].strip() if summary else text


def uuids_of(entry: Entry) -> tuple[str, ...]:
    """An entry's uuid, and last the one that its message was sent under."""
    source = table(entry, "attachment").get("source_uuid")
    return (str(entry.get("uuid")), source) if isinstance(source, str) else (str(entry.get("uuid")),)


def time_of(entry: Entry) -> datetime | None:
    """When an entry was written."""
    try:
        found = datetime.fromisoformat(str(entry.get("timestamp")))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


def _kind_of_assistant(entry: Entry) -> Kind:
    if table(entry, "message").get("model") != SYNTHETIC:
        return Kind.ASSISTANT
    return Kind.NOTE if entry.get("isApiErrorMessage") else Kind.LINK


def _kind_of_user(entry: Entry) -> Kind:
    if entry.get("isCompactSummary"):
        return Kind.SUMMARY
    if entry.get("isMeta") or results_in(entry):
        return Kind.LINK
    text, _ = said(entry)
    # A message of the engine's is sent as a plain text, so that nobody can write one that passes for an interruption.
    by_the_cli = isinstance(table(entry, "message").get("content"), list) and text in _INTERRUPTED
    by_a_command = text.startswith(_COMMAND) and "promptSource" not in entry
    if by_the_cli or by_a_command or table(entry, "origin").get("kind") == "task-notification":
        return Kind.NOTE
    return Kind.PERSON


def _kind_of_attachment(attachment: Mapping[str, Any]) -> Kind:
    if attachment.get("type") != "queued_command":
        return Kind.LINK
    return Kind.PERSON if attachment.get("commandMode", "prompt") == "prompt" else Kind.NOTE
