"""The process: reads lines, answers control requests, and plays one turn after the other."""

from __future__ import annotations

import json
import os
import select
import signal
import time

from .frames import Message
from .ledger import Ledger, turn_usage
from .options import Options, model_id
from .stage import Stage, Wait
from .turn import Turn

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the time its import takes
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

STDIN = 0
CHUNK = 1 << 16


class Host:
    """One thread, one loop: play until the turn waits, then listen until something is read or the wait is over."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._buffer = bytearray()
        self._ended = False
        self._turn: Turn | None = None
        self._steps: Iterator[Wait] = iter(())
        self._wait = Wait()
        self._extra = stage.fault.directives

    def run(self) -> NoReturn:
        """Serve until the input ends."""
        stage = self._stage
        while True:
            self._play()
            stage.flush()
            if self._ended and not stage.deaf and self._is_stuck():
                break
            self._listen()
        stage.transcript.costs(stage.ledger.total_usd, stage.ledger.model_usage())
        stage.leave(int(stage.failed))

    def _is_stuck(self) -> bool:
        """Whether nothing happens any more unless something is read."""
        return self._turn is None or self._wait.remaining() is None

    def _play(self) -> None:
        while self._turn is not None or self._stage.queue:
            if self._turn is None:
                messages, self._stage.queue[:] = self._stage.queue[:], []
                self._turn = Turn(self._stage, messages, self._extra)
                self._extra = ""
                self._steps = self._turn.play()
            elif not self._wait.over():
                return
            wait = next(self._steps, None)
            if wait is None:
                self._turn = None
            else:
                self._wait = wait

    def _listen(self) -> None:
        seconds = None if self._turn is None else self._wait.remaining()
        if self._ended or not self._stage.reading:
            _sleep(seconds)
            return
        if seconds is not None and not select.select([STDIN], [], [], seconds)[0]:
            return
        chunk = os.read(STDIN, CHUNK)
        if not chunk:
            self._ended = True
            return
        self._buffer += chunk
        if b"\n" not in chunk:
            return
        *lines, rest = bytes(self._buffer).split(b"\n")
        self._buffer[:] = rest
        for raw in lines:
            self._read(raw)
            self._play()

    def _read(self, raw: bytes) -> None:
        try:
            frame = json.loads(raw)
            kind = frame["type"]
        except (ValueError, TypeError, KeyError):
            if raw.strip():
                os.write(2, b"Error parsing streaming input line\n")
                self._stage.leave(1)
            return
        if kind == "user":
            self._message(frame)
        elif kind == "control_request":
            self._control(frame["request_id"], frame["request"])
        elif kind == "control_response" and self._turn is not None and self._turn.take_answer(frame["response"]):
            self._interrupt_turn(self._turn)

    def _message(self, frame: dict[str, Any]) -> None:
        stage, frames = self._stage, self._stage.frames
        uuid = frame.get("uuid")
        message = Message(uuid or frames.uuid(), frame["message"]["content"], stamped=uuid is not None)
        if frames.modern and uuid in stage.transcript.done:
            stage.emit(frames.replay(message))
            if stage.fault.name != "bare-replay":
                stage.emit(frames.lifecycle(message, "completed"))
        elif not self._is_known(message):
            if self._turn is not None:
                stage.emit(frames.lifecycle(message, "queued"))
                message.announced = True
            stage.queue.append(message)

    def _is_known(self, message: Message) -> bool:
        """Whether the same message waits or runs already."""
        running = [] if self._turn is None else self._turn.messages
        return self._stage.frames.modern and any(
            message.uuid == other.uuid for other in (*self._stage.queue, *running)
        )

    def _control(self, request_id: str, request: dict[str, Any]) -> None:
        stage, frames = self._stage, self._stage.frames
        subtype = request.get("subtype", "")
        answer = {
            "initialize": self._initialize,
            "interrupt": self._interrupt,
            "set_model": self._set_model,
            "set_permission_mode": self._set_permission_mode,
            "get_context_usage": self._context_usage,
        }.get(subtype)
        if answer is None or (stage.fault.name == "refuse-changes" and subtype.startswith("set_")):
            stage.emit(frames.control_error(request_id, subtype))
            return
        stage.emit(frames.control_response(request_id, answer(request)))
        if subtype == "interrupt" and self._turn is not None and not stage.muted:
            self._interrupt_turn(self._turn)

    def _interrupt_turn(self, turn: Turn) -> None:
        turn.interrupt(in_tool=self._wait.tool)
        self._turn = None

    def _initialize(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"commands": [], "models": [], "account": {}, "output_style": "default", "pid": os.getpid()}

    def _interrupt(self, _: dict[str, Any]) -> dict[str, Any]:
        if self._turn is not None:
            self._turn.withdraw_requests()
        return {"still_queued": [message.uuid for message in self._stage.queue]}

    def _set_model(self, request: dict[str, Any]) -> dict[str, Any]:
        frames = self._stage.frames
        frames.model = model_id(request.get("model") or "sonnet")
        told = f"<local-command-stdout>Set model to `{frames.model}`</local-command-stdout>"
        self._stage.emit(frames.user(told, frames.uuid(), isReplay=True))
        return {"model": frames.model}

    def _set_permission_mode(self, request: dict[str, Any]) -> dict[str, Any]:
        mode = request.get("mode", "default")
        self._stage.emit(self._stage.frames.permission_mode_changed(mode))
        return {"mode": mode}

    def _context_usage(self, _: dict[str, Any]) -> dict[str, Any]:
        tokens = sum(usage["inputTokens"] for usage in self._stage.ledger.model_usage().values())
        return {"categories": [], "totalTokens": tokens, "maxTokens": 1000000, "percentage": tokens // 10000}


def _sleep(seconds: float | None) -> None:
    if seconds is None:
        signal.pause()
    else:
        time.sleep(seconds)


def _refuse(stage: Stage, session_id: str, resume: bool) -> None:
    """End as the real CLI does when the session is unknown, or used and not resumed."""
    if resume and not stage.transcript.exists:
        reason = f"No conversation found with session ID: {session_id}"
        os.write(2, reason.encode() + b"\n")
        fields = {
            "subtype": "error_during_execution",
            "duration_ms": 0,
            "duration_api_ms": 0,
            "is_error": True,
            "num_turns": 0,
            "total_cost_usd": 0,
            "usage": turn_usage(0),
            "modelUsage": {},
            "permission_denials": [],
            "errors": [reason],
        }
        stage.emit(stage.frames.result([], fields))
        stage.leave(1)
    if not resume and stage.transcript.exists:
        os.write(2, f"Error: Session ID {session_id} is already in use.\n".encode())
        stage.leave(1)


def main(argv: list[str]) -> NoReturn:
    """Run as the CLI with these arguments."""
    options = Options(argv)
    if options.asks_version:
        os.write(1, f"{options.version} (Claude Code)\n".encode())
        os._exit(0)
    session_id = options.session_id or _random_uuid()
    stage = Stage(options, session_id)

    def end(signum: int, _: object) -> None:
        stage.kill_children()
        os._exit(143 if signum == signal.SIGTERM else 0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    stage.fault.happen_at_start()
    _refuse(stage, session_id, options.resume is not None)
    if options.resume is not None:
        stage.transcript.load()
        stage.ledger = Ledger(stage.transcript.cost_state)
    stage.reading = stage.fault.name != "not-reading"
    Host(stage).run()


def _random_uuid() -> str:
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"
