"""The bodies of the Messages API: a message as JSON or as server-sent events, and errors. No input or output."""

from __future__ import annotations

from typing import Any, Final

import attrs
import orjson

from echo_actors.simulator.prices import INPUT_TOKENS, OUTPUT_TOKENS

ERROR_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
"""The API's documented error type for each HTTP status; any other status is an `api_error`."""


@attrs.frozen
class Block:
    """A content block.

    Attributes:
        content: The whole block, as a non-streaming answer has it.
        opening: The block as it starts on a stream.
        deltas: What is then added to it, in order.
    """

    content: dict[str, Any]
    opening: dict[str, Any]
    deltas: tuple[dict[str, Any], ...]


@attrs.frozen
class Answer:
    """What the model says to one request."""

    message_id: str
    model: str
    blocks: tuple[Block, ...]
    stop_reason: str


def text_block(pieces: tuple[str, ...]) -> Block:
    """Return a text block that is streamed in these pieces."""
    return Block(
        content={"type": "text", "text": "".join(pieces)},
        opening={"type": "text", "text": ""},
        deltas=tuple({"type": "text_delta", "text": piece} for piece in pieces),
    )


def thinking_block(thought: str) -> Block:
    """Return a block of thinking, with a signature as the API demands it."""
    return Block(
        content={"type": "thinking", "thinking": thought, "signature": "simulated"},
        opening={"type": "thinking", "thinking": "", "signature": ""},
        deltas=(
            {"type": "thinking_delta", "thinking": thought},
            {"type": "signature_delta", "signature": "simulated"},
        ),
    )


def tool_block(tool_id: str, name: str, arguments: dict[str, Any]) -> Block:
    """Return a block that asks for a tool to be run."""
    return Block(
        content={"type": "tool_use", "id": tool_id, "name": name, "input": arguments},
        opening={"type": "tool_use", "id": tool_id, "name": name, "input": {}},
        deltas=({"type": "input_json_delta", "partial_json": orjson.dumps(arguments).decode()},),
    )


def message_json(answer: Answer) -> tuple[bytes, bytes]:
    """Return the body of a non-streaming answer, in two halves."""
    body = orjson.dumps(
        _message(answer)
        | {
            "content": [block.content for block in answer.blocks],
            "stop_reason": answer.stop_reason,
            "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS},
        }
    )
    middle = len(body) // 2
    return body[:middle], body[middle:]


def message_events(answer: Answer) -> tuple[bytes, bytes]:
    """Return the body of a streaming answer in two parts: up to its first delta, and all after it."""
    events = [_event("message_start", message=_message(answer))]
    middle = None
    for index, block in enumerate(answer.blocks):
        events.append(_event("content_block_start", index=index, content_block=block.opening))
        for delta in block.deltas:
            events.append(_event("content_block_delta", index=index, delta=delta))
            middle = middle or len(events)
        events.append(_event("content_block_stop", index=index))
    middle = middle or len(events)
    ending = {"stop_reason": answer.stop_reason, "stop_sequence": None}
    events.append(_event("message_delta", delta=ending, usage={"output_tokens": OUTPUT_TOKENS}))
    events.append(_event("message_stop"))
    return b"".join(events[:middle]), b"".join(events[middle:])


def error_json(status: int) -> bytes:
    """Return the body of an answer with this HTTP status."""
    kind = ERROR_TYPES.get(status, "api_error")
    return orjson.dumps({"type": "error", "error": {"type": kind, "message": f"simulated {status}"}})


def _message(answer: Answer) -> dict[str, Any]:
    """Return the message as it starts: without content, its end unknown."""
    return {
        "id": answer.message_id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": 1},
    }


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps({"type": kind} | fields))
