"""What a Messages API request says, apart from what the CLI adds to it.

The rules on which text is the user's were measured with requests of CLI 2.1.330:

* Its own text blocks in a user message start with one of a few markers.
* Messages that got no answer (an API error, an interrupt) are merged into the next user message as blocks that
  end with a newline; an interrupt leaves a marker block between them.
* A message sent while a tool runs comes after the tool's result, in a message of role "system".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs
import orjson

_CLI_MARKERS: Final = (
    "<system-reminder>",
    "<local-command-caveat>",
    "<command-name>",
    "<local-command-stdout>",
    "<local-command-stderr>",
    "[Request interrupted by user",
)
_STEERED: Final = re.compile(
    r"The user sent a new message while you were working:\n(.*?)\n\nThis is how Claude Code surfaces messages",
    re.DOTALL,
)


@attrs.frozen
class Conversation:
    """One request, read.

    Attributes:
        user_text: The newest words of the user.
        history: The user's earlier words, in order.
        asked: Whether the words came with this request; False for one that only brings a tool's result.
        tool_results: What the tools that this request brings results of have printed.
        tools_used: How many tools the model has used since the newest words.
        length: How many messages the request holds.
        model: The model id asked for.
        tools: The names of the tools offered.
        system: The system prompt and every message of role "system", joined by newlines.
        session_id: The CLI's session, if the request names one.
        stream: Whether the answer is wanted as server-sent events.
    """

    user_text: str
    history: tuple[str, ...]
    asked: bool
    tool_results: tuple[str, ...]
    tools_used: int
    length: int
    model: str
    tools: tuple[str, ...]
    system: str
    session_id: str | None
    stream: bool


def read_conversation(body: bytes) -> Conversation:
    """Read the body of a request.

    Raises:
        ValueError: The body is no JSON, or not a Messages API request.
    """
    try:
        return _read(orjson.loads(body))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a Messages API request: {error!r}") from error


def _read(request: Mapping[str, Any]) -> Conversation:
    messages = request["messages"]
    said = [(at, text) for at, message in enumerate(messages) for text in _words(message)]
    answered = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    results = tuple(_of_type(messages[answered + 1 :], "tool_result"))
    fresh = sum(at > answered for at, _ in said)
    # Steered messages are answered together; after anything else, only the last message is still waiting.
    newest = max(1, fresh) if results else 1
    since = said[-1][0] if said else -1
    system = [_text(request.get("system", ""))]
    system += [_text(message["content"]) for message in messages if message["role"] == "system"]
    return Conversation(
        user_text="\n".join(text for _, text in said[-newest:]),
        history=tuple(text for _, text in said[:-newest]),
        asked=fresh > 0,
        tool_results=tuple(_text(result.get("content", "")) for result in results),
        tools_used=sum(1 for _ in _of_type(messages[since + 1 :], "tool_use")),
        length=len(messages),
        model=request["model"],
        tools=tuple(tool["name"] for tool in request.get("tools", ())),
        system="\n".join(filter(None, system)),
        session_id=_session_id(request.get("metadata") or {}),
        stream=bool(request.get("stream", False)),
    )


def _blocks(content: Any) -> list[Mapping[str, Any]]:
    """Return content as blocks; a string is one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _text(content: Any) -> str:
    return "\n".join(block["text"] for block in _blocks(content) if block["type"] == "text")


def _of_type(messages: list[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    return (block for message in messages for block in _blocks(message["content"]) if block["type"] == kind)


def _words(message: Mapping[str, Any]) -> list[str]:
    """Return the user's own messages that this message of the request holds."""
    if message["role"] == "system":
        return _STEERED.findall(_text(message["content"]))
    if message["role"] != "user":
        return []
    groups: list[list[str]] = [[]]
    for block in _blocks(message["content"]):
        if block["type"] != "text":
            continue
        if block["text"].startswith(_CLI_MARKERS):
            groups.append([])
            continue
        groups[-1].append(block["text"].rstrip("\n"))
        if block["text"].endswith("\n"):
            groups.append([])
    return ["\n".join(group) for group in groups if any(group)]


def _session_id(metadata: Mapping[str, Any]) -> str | None:
    """Return the session id; the CLI writes it as JSON inside `user_id`, other clients write what they like."""
    try:
        user_id = orjson.loads(metadata.get("user_id", ""))
    except orjson.JSONDecodeError:
        return None
    session_id = user_id.get("session_id") if isinstance(user_id, dict) else None
    return session_id if isinstance(session_id, str) else None
