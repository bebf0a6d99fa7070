"""One turn: the frames that answer one message, or several that were merged or steered."""

from __future__ import annotations

import os
import signal

from .directives import DIRECTIVES, Moment, parse
from .frames import line
from .ledger import turn_usage
from .stage import Wait

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the time its import takes
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .frames import Message
    from .stage import Stage


class Turn:
    """Plays as a generator that yields whenever it must wait; directives set the attributes below it reads."""

    def __init__(self, stage: Stage, messages: list[Message], extra: str) -> None:
        self.stage = stage
        self.messages = messages
        self.blocks = 1
        self.deltas = 1
        self.results = 1
        self.torn = False
        """A rate limit event is written into the middle of the answer's line."""
        self.empty = False
        self.stalled = False
        self._asked: dict[str, dict[str, Any] | None] = {}
        """The host's answers to what it was asked, by the request's id; None while it is open."""
        self._denials: list[dict[str, Any]] = []
        self._error: tuple[str, int | None] | None = None
        self._tool_rounds = 0
        self._directives = parse(extra + self._text())

    def play(self) -> Iterator[Wait]:
        """The whole turn, from the announcement to what is left behind."""
        yield from self._perform(Moment.FIRST)
        if self.stalled:
            yield Wait()
        self._open()
        yield from self._perform(Moment.WORK)
        text = self._answer()
        yield from self._perform(Moment.ANSWERED)
        self._close(text)
        yield from self._perform(Moment.LAST)

    def _perform(self, moment: Moment) -> Iterator[Wait]:
        for name, argument in self._directives:
            when, act = DIRECTIVES[name]
            if when is not moment:
                continue
            for wait in act(self, argument) or ():
                yield wait
                if wait.tool:
                    self._steer()

    def _text(self) -> str:
        return "\n".join(message.text for message in self.messages)

    def _uuids(self) -> list[str]:
        return [message.uuid for message in self.messages if message.stamped]

    def _open(self) -> None:
        stage, frames = self.stage, self.stage.frames
        *merged, last = self.messages
        stage.emit(*(frames.lifecycle(m, "queued") for m in self.messages if not m.announced))
        stage.emit(*(frames.replay(m) for m in merged))
        stage.emit(*(frames.lifecycle(m, "started") for m in self.messages))
        if stage.fault.name == "die-before-init":
            stage.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        if stage.fault.name != "no-init":
            stage.emit(frames.init(self._uuids()))
        content = self._text() if merged else last.content
        stage.emit(frames.user(content, last.uuid, isReplay=True))
        stage.transcript.user(last, content)
        for message in self.messages:
            stage.note_asked(message)

    def _steer(self) -> None:
        """Take what arrived during the tool phase into this turn."""
        stage = self.stage
        for message in stage.queue:
            stage.emit(stage.frames.lifecycle(message, "started"), stage.frames.replay(message))
            stage.transcript.user(message, message.content)
            stage.note_asked(message)
            self.messages.append(message)
        stage.queue.clear()

    def start_tool(self, command: str) -> str:
        """Emit the tool's call; return its id."""
        self._tool_rounds += 1
        tool_use_id = f"toolu_{self.stage.frames.uuid()}"
        block = {"type": "tool_use", "id": tool_use_id, "name": "Bash", "input": {"command": command}}
        self._block(self.stage.frames.uuid(), block)
        return tool_use_id

    def finish_tool(self, tool_use_id: str, output: str, *, is_error: bool = False) -> None:
        """Emit the tool's output."""
        self.stage.emit(self.stage.frames.tool_result(tool_use_id, output, is_error=is_error))

    def ask_host(self, request: dict[str, Any]) -> str:
        """Ask the host for something; return the request's id."""
        request_id = self.stage.frames.uuid()
        self._asked[request_id] = None
        self.stage.emit(line({"type": "control_request", "request_id": request_id, "request": request}))
        return request_id

    def ask_permission(self, tool_use_id: str) -> str:
        """Ask the host whether a tool may run; return the request's id."""
        return self.ask_host(
            {
                "subtype": "can_use_tool",
                "tool_name": "Bash",
                "display_name": "Bash",
                "input": {"command": "echo asked"},
                "description": "echo asked",
                "permission_suggestions": [],
                "tool_use_id": tool_use_id,
            }
        )

    def take_answer(self, response: dict[str, Any]) -> bool:
        """Take the host's answer, if it is one to an open request; whether it ends the turn."""
        request_id = str(response.get("request_id"))
        if self._asked.get(request_id, response) is not None:
            return False
        self._asked[request_id] = response
        self.stage.emit(line({"type": "control_response", "response": response}))
        return bool((response.get("response") or {}).get("interrupt"))

    def answer_to(self, request_id: str) -> dict[str, Any] | None:
        """The host's answer to a request; None while it is open."""
        return self._asked[request_id]

    def finish_permission(self, tool_use_id: str, request_id: str) -> None:
        """Go on as the host decided."""
        response = self._asked[request_id] or {}
        decision = response.get("response") or {}
        if decision.get("behavior") == "allow":
            command: str = (decision.get("updatedInput") or {}).get("command", "echo asked")
            self.finish_tool(tool_use_id, command.removeprefix("echo "))
            return
        failed = f"Tool permission request failed: Error: {response.get('error')}"
        self.deny(tool_use_id, decision.get("message", failed))

    def deny(self, tool_use_id: str, message: str) -> None:
        """Go on without the tool."""
        self._denials.append(
            {"tool_name": "Bash", "tool_use_id": tool_use_id, "tool_input": {"command": "echo asked"}}
        )
        self.finish_tool(tool_use_id, message, is_error=True)

    def fail(self, kind: str, status: int | None) -> None:
        """Answer with this error of the API."""
        self._error = (kind, status)

    def _answer(self) -> str:
        """Emit the answer; return the last block's text, which is the result's."""
        if self._error is not None:
            kind, status = self._error
            text = f"API Error: {status} {kind}" if status else f"API Error: {kind}"
            self._block(self.stage.frames.uuid(), {"type": "text", "text": text}, error=kind)
            return text
        if self.empty:
            return ""
        text = f"echo: {self._text()}"
        for number in range(1, self.blocks + 1):
            text = f"echo: {self._text()}" if self.blocks == 1 else f"echo {number}: {self._text()}"
            self._stream(text)
            uuid = self.stage.frames.uuid()
            self.stage.transcript.assistant(uuid, self._block(uuid, {"type": "text", "text": text}))
        return text

    def _stream(self, text: str) -> None:
        if not self.stage.options.partial:
            return
        event = self.stage.frames.stream_event
        usage = {"input_tokens": 100, "output_tokens": 1}
        message = {"id": "msg_1", "role": "assistant", "model": self.stage.frames.model, "usage": usage}
        size = -(-len(text) // self.deltas)
        parts = [text[n * size : (n + 1) * size] for n in range(self.deltas)]
        self.stage.emit(
            event({"type": "message_start", "message": message}),
            event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            *(
                event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}})
                for part in parts
            ),
            event({"type": "content_block_stop", "index": 0}),
            event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}}),
            event({"type": "message_stop"}),
        )

    def _block(self, uuid: str, block: dict[str, Any], error: str | None = None) -> dict[str, Any]:
        frames = self.stage.frames
        message = {
            "id": f"msg_{uuid}",
            "type": "message",
            "role": "assistant",
            "model": "<synthetic>" if error else frames.model,
            "content": [block],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 100, "output_tokens": 1},
        }
        frame = frames.assistant(uuid, message, self._uuids(), error)
        if self.torn and block["type"] == "text":
            half = len(frame) // 2
            frame = frame[:half] + frames.rate_limit("allowed", 0) + frame[half:]
        self.stage.emit(frame)
        return message

    def _close(self, text: str) -> None:
        stage, frames = self.stage, self.stage.frames
        stage.emit(self._result(text))
        for _ in range(1, self.results):
            stage.emit(frames.result(self._uuids(), self.success(text)))
        stage.emit(*(frames.lifecycle(m, "completed") for m in self.messages))
        stage.transcript.done.update(self._uuids())

    def _result(self, text: str) -> bytes:
        charged = self._error is None and not self.empty
        if charged:
            self.stage.ledger.charge(self.stage.frames.model)
        fields = self.success(text)
        fields["usage"] = turn_usage(int(charged))
        if self._error is not None:
            fields["is_error"] = True
            fields["api_error_status"] = self._error[1]
        self.stage.failed = self._error is not None
        return self.stage.frames.result(self._uuids(), fields)

    def success(self, text: str) -> dict[str, Any]:
        """The fields of a successful result."""
        return {
            "subtype": "success",
            "is_error": False,
            "result": text,
            "num_turns": 1 + self._tool_rounds,
            "stop_reason": "end_turn",
            "terminal_reason": "completed",
            "api_error_status": None,
            "permission_denials": self._denials,
            "usage": turn_usage(1),
            **self._costs(),
        }

    def _costs(self) -> dict[str, Any]:
        ledger = self.stage.ledger
        costs: dict[str, Any] = {"total_cost_usd": ledger.total_usd, "modelUsage": ledger.model_usage()}
        if self.stage.frames.modern:
            costs["model_usage_since_last_result"] = ledger.since_last_result()
        return costs

    def interrupt(self, *, in_tool: bool) -> None:
        """End the turn as the host asked: an error result, and every message cancelled."""
        stage, frames = self.stage, self.stage.frames
        stage.kill_children()
        content = [{"type": "text", "text": "[Request interrupted by user]"}]
        uuid = frames.uuid()
        stage.emit(frames.user(content, uuid))
        stage.transcript.interrupted(uuid, content)
        fields = {
            "subtype": "error_during_execution",
            "is_error": True,
            "num_turns": 2,
            "stop_reason": "tool_use" if in_tool else None,
            "terminal_reason": "aborted_tools" if in_tool else "aborted_streaming",
            "errors": ["[ede_diagnostic] result_type=user"],
            "permission_denials": self._denials,
            "usage": turn_usage(0),
            **self._costs(),
        }
        stage.emit(frames.result(self._uuids(), fields))
        stage.emit(*(frames.lifecycle(m, "cancelled") for m in self.messages))
        stage.transcript.done.update(self._uuids())
        stage.failed = True

    def withdraw_requests(self) -> None:
        """Tell the host that what is open needs no answer."""
        for request_id in [each for each, response in self._asked.items() if response is None]:
            self._asked[request_id] = {}
            self.stage.emit(line({"type": "control_cancel_request", "request_id": request_id}))
