"""The lines of the protocol, as bytes."""

from __future__ import annotations

import itertools
import json
import os
import time

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the time its import takes
if TYPE_CHECKING:
    from typing import Any

    from .options import Options

CAPABILITIES = [
    "interrupt_receipt_v1",
    "interrupt_cancel_queued_v1",
    "msg_lifecycle_v1",
    "request_marker_lists_v1",
]
TOOLS = ["Task", "Bash", "Edit", "Read", "WebFetch", "Write"]

_encode = json.JSONEncoder(separators=(",", ":")).encode


def line(frame: dict[str, Any]) -> bytes:
    """One object as one line."""
    return _encode(frame).encode() + b"\n"


def now() -> str:
    """The time of a frame: UTC with milliseconds."""
    moment = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))}.{int(moment * 1000) % 1000:03d}Z"


class Message:
    """One user frame from the host; `stamped` when the host gave it a uuid."""

    __slots__ = ("announced", "content", "stamped", "text", "uuid")

    def __init__(self, uuid: str, content: Any, *, stamped: bool) -> None:
        self.uuid = uuid
        self.content = content
        self.stamped = stamped
        self.announced = False
        if isinstance(content, str):
            self.text = content
        else:
            self.text = "\n".join(block.get("text", "") for block in content if isinstance(block, dict))


class Frames:
    """Builds the frames of one process. What never changes is encoded once."""

    def __init__(self, options: Options, session_id: str) -> None:
        self.session_id = session_id
        self.model = options.model
        self.permission_mode = options.permission_mode
        self.modern = options.modern
        self._version = options.version
        self._numbers = itertools.count(1)
        self._results = itertools.count()
        run = os.urandom(10).hex()
        self._run = f"{run[:8]}-{run[8:12]}-4{run[12:15]}-8{run[15:18]}"
        self._init: dict[tuple[str, str, str], bytes] = {}

    def uuid(self) -> str:
        """A fresh id: random per process, counting within it."""
        return f"{self._run}-{next(self._numbers):012x}"

    def init(self, uuids: list[str]) -> bytes:
        """The `system/init` frame that opens every turn."""
        key = (self.session_id, self.model, self.permission_mode)
        if key not in self._init:
            self._init[key] = self._init_head()
        tail: dict[str, Any] = {"uuid": self.uuid()}
        if self.modern:
            tail["user_message_uuids"] = uuids
        return self._init[key] + line(tail)[1:]

    def _init_head(self) -> bytes:
        frame: dict[str, Any] = {
            "type": "system",
            "subtype": "init",
            "cwd": os.getcwd(),  # noqa: PTH109 - pathlib costs a quarter of the start-up time
            "session_id": self.session_id,
            "tools": TOOLS,
            "mcp_servers": [],
            "model": self.model,
            "permissionMode": self.permission_mode,
            "slash_commands": ["clear", "compact", "context"],
            "apiKeySource": "ANTHROPIC_API_KEY",
            "claude_code_version": self._version,
            "output_style": "default",
        }
        if self.modern:
            frame["capabilities"] = CAPABILITIES
        return line(frame)[:-2] + b","

    def lifecycle(self, message: Message, state: str) -> bytes:
        """A message's `command_lifecycle`; nothing for an unstamped message or an old version."""
        if not (self.modern and message.stamped):
            return b""
        return line(
            {
                "type": "command_lifecycle",
                "command_uuid": message.uuid,
                "state": state,
                "uuid": self.uuid(),
                "session_id": self.session_id,
            }
        )

    def replay(self, message: Message) -> bytes:
        """The message sent back (`--replay-user-messages`)."""
        return self.user(message.content, message.uuid, isReplay=True)

    def user(self, content: Any, uuid: str, **fields: Any) -> bytes:
        """A `user` frame: a replay, a tool result or a synthetic text."""
        return line(
            {
                "type": "user",
                "message": {"role": "user", "content": content},
                "session_id": self.session_id,
                "parent_tool_use_id": None,
                "uuid": uuid,
                "timestamp": now(),
                **fields,
            }
        )

    def tool_result(self, tool_use_id: str, content: str, *, is_error: bool = False) -> bytes:
        """A tool's output as the `user` frame that carries it."""
        block = {"type": "tool_result", "tool_use_id": tool_use_id, "content": content, "is_error": is_error}
        return self.user([block], self.uuid())

    def assistant(self, uuid: str, message: dict[str, Any], uuids: list[str], error: str | None) -> bytes:
        """An `assistant` frame: one finished content block."""
        frame: dict[str, Any] = {
            "type": "assistant",
            "message": message,
            "parent_tool_use_id": None,
            "session_id": self.session_id,
            "uuid": uuid,
            "timestamp": now(),
        }
        if error is not None:
            frame["error"] = error
        return line({**frame, **self.names(uuids)})

    def stream_event(self, event: dict[str, Any]) -> bytes:
        """A raw API event (`--include-partial-messages`)."""
        return line(
            {
                "type": "stream_event",
                "event": event,
                "session_id": self.session_id,
                "parent_tool_use_id": None,
                "uuid": self.uuid(),
            }
        )

    def rate_limit(self, status: str, resets_at: int) -> bytes:
        """A `rate_limit_event`."""
        info = {"status": status, "resetsAt": resets_at, "rateLimitType": "five_hour", "isUsingOverage": False}
        return line(
            {
                "type": "rate_limit_event",
                "rate_limit_info": info,
                "uuid": self.uuid(),
                "session_id": self.session_id,
            }
        )

    def result(self, uuids: list[str], fields: dict[str, Any]) -> bytes:
        """A `result` frame that names the messages it ends."""
        return line(
            {
                "type": "result",
                "duration_ms": 1,
                "duration_api_ms": 1,
                "session_id": self.session_id,
                "uuid": self.uuid(),
                "queued_turn_count": 0,
                "result_index": next(self._results),
                **fields,
                **self.names(uuids),
            }
        )

    def names(self, uuids: list[str]) -> dict[str, Any]:
        """The fields by which a frame says which messages it belongs to; an old version says nothing."""
        if not (self.modern and uuids):
            return {}
        return {"user_message_uuid": uuids[-1], "user_message_uuids": uuids}

    def control_response(self, request_id: str, response: dict[str, Any]) -> bytes:
        """The answer to a request the simulator understands."""
        body = {"subtype": "success", "request_id": request_id, "response": response}
        return line({"type": "control_response", "response": body})

    def permission_mode_changed(self, mode: str) -> bytes:
        """From now on this permission mode holds."""
        self.permission_mode = mode
        body = {"type": "system", "subtype": "status", "status": None, "permissionMode": mode}
        return line({**body, "session_id": self.session_id, "uuid": self.uuid()})

    def control_error(self, request_id: str, subtype: str) -> bytes:
        """The answer to any other."""
        error = f"Unsupported control request subtype: {subtype}"
        body = {"subtype": "error", "request_id": request_id, "error": error, "error_code": "unsupported_request"}
        return line({"type": "control_response", "response": body})
