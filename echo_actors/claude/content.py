"""Messages of the Messages API, as the CLI's frames and transcript carry them; no type on the wire is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from echo_actors.models import Block

SHOWN = 64 * 2**10
"""The longest unknown frame, in characters, that is shown as it came."""

DEEPEST = 200
"""How deep a tool's input may be nested: what is deeper can be read (up to 1,024) but not written again (254)."""


def reply_text(blocks: Iterable[Block]) -> str:
    """The text of an answer: its text blocks, stripped, the empty ones dropped, joined by a blank line."""
    texts = (block.text.strip() for block in blocks if block.kind == "text")
    return "\n\n".join(text for text in texts if text)


def table(source: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object under a key, or an empty one."""
    value = source.get(key)
    return value if isinstance(value, dict) else {}


def items(source: Mapping[str, Any], key: str) -> list[Any]:
    """The list under a key, or an empty one."""
    value = source.get(key)
    return value if isinstance(value, list) else []


def contents(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content blocks of a message; none when its content is a plain string."""
    content = message.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def block_of(raw: dict[str, Any]) -> Block:
    """A content block as a value."""
    kind = str(raw.get("type"))
    match kind:
        case "text":
            return Block(kind, str(raw.get("text", "")))
        case "thinking":
            return Block(kind, str(raw.get("thinking", "")))
        case "tool_use":
            return Block(kind, name=str(raw.get("name", "")), data=_storable(table(raw, "input")))
        case _:
            return Block(kind, data=_storable(raw))


def _storable(data: dict[str, Any]) -> dict[str, Any]:
    """The data, or a word about it when it is nested too deep to be kept."""
    return {"left_out": f"nested deeper than {DEEPEST} levels"} if too_deep(data) else data


def too_deep(data: dict[str, Any]) -> bool:
    """Whether data is nested deeper than ``DEEPEST``."""
    level: list[Any] = [data]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def size(data: object) -> int:
    """Roughly how many characters there are in JSON: those of its texts and keys, and one for each value."""
    chars, left = 0, [data]
    while left:
        value = left.pop()
        chars += len(value) if isinstance(value, str) else 1
        if isinstance(value, dict):
            left += (*value, *value.values())
        elif isinstance(value, list):
            left += value
    return chars


def shown(frame: Mapping[str, Any]) -> dict[str, Any]:
    """A frame that nobody reads, or a word about it when it is too long to be shown."""
    return dict(frame) if size(frame) <= SHOWN else {"left_out": f"more than {SHOWN} characters"}


def named_in(result: Mapping[str, Any]) -> tuple[str, ...]:
    """The messages that a result names."""
    many, one = result.get("user_message_uuids"), result.get("user_message_uuid")
    if isinstance(many, list) and many:
        return tuple(str(uuid) for uuid in many)
    return (str(one),) if one else ()


def flat_text(content: object) -> str:
    """The text of a content that may be a string or a list of blocks."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""
