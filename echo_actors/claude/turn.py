r"""The turn machine: frames in, events and results out. No process, no clock, no await.

One machine per CLI process. The rule it exists for: a result ends only those messages that it names, or, from a CLI
that names none, the message that was seen to start. A result that answers nobody is reported and ends nothing.

A sent message moves through three states:

    SENT --lifecycle started | init--> RUNNING --result | lifecycle completed--> gone
      \--lifecycle discarded | refused--> returned

``init`` opens every turn, so for a CLI without lifecycle frames the first ``init`` after a message was sent
starts it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import attrs

from echo_actors.claude.blocks import Blocks
from echo_actors.claude.content import block_of, contents, flat_text, items, named_in, reply_text, shown, table
from echo_actors.claude.driver import TurnResult
from echo_actors.claude.failures import failure
from echo_actors.claude.meter import Meter, context_size, number
from echo_actors.claude.permissions import Refusal, question_of
from echo_actors.claude.wire import BadLine, Frame
from echo_actors.events import (
    BlockFinished,
    Event,
    PermissionAnswered,
    PermissionAsked,
    Retrying,
    TextDelta,
    ToolFinished,
    ToolStarted,
    UnknownFrame,
)
from echo_actors.models import AnsweredBy, Spent

LIFECYCLE = "msg_lifecycle_v1"
"""The capability of a CLI that tells each message's way by its uuid."""


class _State(enum.Enum):
    SENT = "sent"
    RUNNING = "running"


Output = Event | TurnResult | Refusal


@attrs.define(eq=False)
class TurnMachine:
    """Follows what one CLI process says.

    Attributes:
        channel: Goes into the events.
        session_id: The conversation, as the CLI last named it.
        capabilities: From ``init``; None before the first one.
        permission_mode: What the CLI last said that it had changed it to; empty when it never did.
        own_turn: Whether it runs a turn that no message of ours began, such as one about work in its background.
    """

    channel: str
    session_id: str
    meter: Meter
    capabilities: frozenset[str] | None = None
    model: str = ""
    permission_mode: str = ""
    background_tasks: int = 0
    own_turn: bool = False
    _sent: dict[str, _State] = attrs.Factory(dict)
    _returned: list[str] = attrs.Factory(list)
    _blocks: Blocks = attrs.Factory(Blocks)
    _turn_id: str = ""
    _api_error: str = ""
    _context: dict[str, Any] = attrs.Factory(dict)
    _resets_at: float | None = None
    _agents: set[str] = attrs.Factory(set)

    def sent(self, uuid: str) -> None:
        """A message was written to the CLI."""
        if not self._sent:
            self._turn_id = uuid
            self._forget_turn()
        self._sent[uuid] = _State.SENT

    def expects(self, uuid: str) -> bool:
        """Whether a message was written and has not ended."""
        return uuid in self._sent

    @property
    def begun(self) -> frozenset[str]:
        """The messages of ours that the CLI has begun."""
        return frozenset(uuid for uuid, state in self._sent.items() if state is _State.RUNNING)

    @property
    def running(self) -> bool:
        """Whether the CLI has begun a message of ours."""
        return _State.RUNNING in self._sent.values()

    def feed(self, frame: Frame | BadLine) -> list[Output]:
        """Take one frame; give what follows from it, in order."""
        if isinstance(frame, BadLine):
            data = {"reason": frame.reason, "size": frame.size}
            return [self._event(UnknownFrame, kind="bad line", data=data)]
        handler = _HANDLERS.get(str(frame.get("type")))
        if handler is None:
            return [self._unknown(frame)]
        return handler(self, frame)

    # -- one handler per type of frame

    def on_system(self, frame: Frame) -> list[Output]:
        """``init``, retries of the API, and background work."""
        match frame.get("subtype"):
            case "init":
                self.capabilities = frozenset(map(str, items(frame, "capabilities")))
                self.model = str(frame.get("model", ""))
                self.own_turn = not self._sent
                if LIFECYCLE not in self.capabilities:
                    self._start(next(iter(self._sent), ""))
            case "api_retry":
                status = frame.get("error_status")
                reason = f"the API answered {status}" if status else "the API could not be reached"
                delay = number(frame.get("retry_delay_ms")) / 1000
                return [self._event(Retrying, reason=reason, attempt=int(number(frame.get("attempt"))), delay=delay)]
            case "status" if mode := frame.get("permissionMode"):
                self.permission_mode = str(mode)
            case "background_tasks_changed":
                self.background_tasks = len(items(frame, "tasks"))
            case "task_started" if self.running and str(frame.get("parent_task_id", "")) in {"", *self._agents}:
                self._agents.add(str(frame.get("task_id")))
        return []

    def on_lifecycle(self, frame: Frame) -> list[Output]:
        """A message's way through the CLI, by its uuid."""
        uuid = str(frame.get("command_uuid"))
        match frame.get("state"):
            case "started":
                self._start(uuid)
            case "completed" if self._sent.get(uuid) is _State.SENT:
                # Completed without having started: it was done before, and no result will follow.
                del self._sent[uuid]
                return [TurnResult(uuids=(uuid,), session_id=self.session_id, model=self.model, replayed=True)]
            case "discarded" | "refused" if uuid in self._sent:
                del self._sent[uuid]
                self._returned.append(uuid)
                if not self._sent:
                    return [self._give_back()]
        return []

    def on_assistant(self, frame: Frame) -> list[Output]:
        """One or more finished blocks of the answer."""
        if frame.get("parent_tool_use_id"):
            return []
        for superseded in items(frame, "supersedes"):
            self._blocks.drop(str(superseded))
        self._api_error = str(frame.get("error") or "")
        message = table(frame, "message")
        self._context = table(message, "usage")
        outputs: list[Output] = []
        for raw in contents(message):
            self._blocks.add(str(frame.get("uuid")), block := block_of(raw))
            outputs.append(self._event(BlockFinished, block=block))
            if block.kind == "tool_use":
                tool_use_id = str(raw.get("id"))
                outputs.append(
                    self._event(ToolStarted, tool=block.name or "", tool_use_id=tool_use_id, input=block.data or {})
                )
        return outputs

    def on_user(self, frame: Frame) -> list[Output]:
        """Results of tools; replays say nothing new."""
        if frame.get("parent_tool_use_id"):
            return []
        return [
            self._event(
                ToolFinished,
                tool_use_id=str(raw.get("tool_use_id")),
                is_error=bool(raw.get("is_error")),
                text=flat_text(raw.get("content")),
            )
            for raw in contents(table(frame, "message"))
            if raw.get("type") == "tool_result"
        ]

    def on_stream_event(self, frame: Frame) -> list[Output]:
        """Parts of blocks, and the running count of tokens."""
        if frame.get("parent_tool_use_id"):
            return []
        event = table(frame, "event")
        if event.get("type") == "message_delta":
            self._context = {**self._context, **table(event, "usage")}
        delta = table(event, "delta")
        if delta.get("type") == "text_delta" and isinstance(delta.get("text"), str):
            return [self._event(TextDelta, text=delta["text"])]
        return []

    def on_rate_limit(self, frame: Frame) -> list[Output]:
        """Only a rejection is kept, for the result that follows it."""
        info = table(frame, "rate_limit_info") or frame
        if info.get("status") == "rejected":
            self._resets_at = number(info.get("resetsAt")) or None
        return []

    def on_result(self, frame: Frame) -> list[Output]:
        """The end of those messages that it names."""
        named = named_in(frame)
        ended = [uuid for uuid in named if uuid in self._sent]
        if not named:
            ended = [uuid for uuid, state in self._sent.items() if state is _State.RUNNING]
        usage, cost = self.meter.read(frame, claimed=bool(ended))
        self.own_turn = False
        if not ended:
            return [self._event(UnknownFrame, kind="stray result", data={"uuids": list(named)})]
        self.session_id = str(frame.get("session_id") or self.session_id)
        spent = Spent(
            usage=usage,
            cost_usd=cost,
            duration_ms=int(number(frame.get("duration_ms"))),
            context_tokens=context_size(self._context or table(frame, "usage")),
        )
        for uuid in ended:
            del self._sent[uuid]
        blocks = self._blocks.all()
        text = reply_text(blocks) or str(frame.get("result") or "").strip()
        error, reason = failure(frame, text, self._api_error)
        result = TurnResult(
            uuids=tuple(ended),
            session_id=self.session_id,
            model=self.model,
            text=text,
            blocks=blocks,
            structured_output=given if isinstance(given := frame.get("structured_output"), dict) else None,
            spent=spent,
            error=error,
            reason=reason,
            returned=tuple(self._returned),
            resets_at=self._resets_at,
        )
        self._turn_id = next(iter(self._sent), "")
        self._forget_turn()
        return [result]

    def on_request(self, frame: Frame) -> list[Output]:
        """A question of the running turn's; anything else is answered at once, for the CLI waits for it."""
        question = question_of(frame, self._agents if self.running else None)
        if isinstance(question, Refusal):
            return [question, self._unknown(frame)]
        return [self._event(PermissionAsked, **question)]

    def on_withdrawal(self, frame: Frame) -> list[Output]:
        """A question needs no answer any more."""
        fields = {"request_id": str(frame.get("request_id")), "tool": "", "allowed": False, "message": ""}
        return [self._event(PermissionAnswered, by=AnsweredBy.WITHDRAWN, **fields)]

    def on_other(self, _frame: Frame) -> list[Output]:
        """A sign of life, or an answer that the process's owner has already looked at."""
        return []

    # -- within

    def _start(self, uuid: str) -> None:
        if uuid in self._sent:
            self._sent[uuid] = _State.RUNNING

    def _give_back(self) -> TurnResult:
        returned, self._returned = tuple(self._returned), []
        return TurnResult(uuids=(), session_id=self.session_id, model=self.model, returned=returned)

    def _forget_turn(self) -> None:
        self._blocks, self._context, self._api_error = Blocks(), {}, ""
        self._returned, self._resets_at, self._agents = [], None, set()

    def _event(self, event_type: type[Event], /, **fields: Any) -> Event:
        return event_type(channel=self.channel, turn_id=self._turn_id, **fields)

    def _unknown(self, frame: Frame) -> Event:
        return self._event(UnknownFrame, kind=str(frame.get("type"))[:100], data=shown(frame))


_HANDLERS: dict[str, Callable[[TurnMachine, Frame], list[Output]]] = {
    "system": TurnMachine.on_system,
    "command_lifecycle": TurnMachine.on_lifecycle,
    "assistant": TurnMachine.on_assistant,
    "user": TurnMachine.on_user,
    "stream_event": TurnMachine.on_stream_event,
    "rate_limit_event": TurnMachine.on_rate_limit,
    "result": TurnMachine.on_result,
    "tool_progress": TurnMachine.on_other,
    "keep_alive": TurnMachine.on_other,
    "control_request": TurnMachine.on_request,
    "control_cancel_request": TurnMachine.on_withdrawal,
    "control_response": TurnMachine.on_other,
}
