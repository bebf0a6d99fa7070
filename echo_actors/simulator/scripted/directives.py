"""The misbehaviour a message can ask for: a table from each directive's name to its moment and its function."""

from __future__ import annotations

import json
import os
import re
import signal
from enum import Enum, auto

from .frames import line
from .stage import Wait

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the time its import takes
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .turn import Turn

    Act = Callable[[Turn, str], Iterator[Wait] | None]

SLEEP_SECONDS = "987"
"""How long what is left behind sleeps: a number to look for in a process list."""

_PATTERN = re.compile(r"\[\[([a-z0-9-]+)(?: ([^\]]*))?\]\]")

STATUS_OF = {
    "authentication_failed": 401,
    "billing_error": 402,
    "invalid_request": 400,
    "overloaded_error": 529,
    "rate_limit": 429,
    "server_error": 500,
}
"""The HTTP status behind each kind of error; an unknown kind has none."""


class Moment(Enum):
    """When in a turn a directive acts."""

    FIRST = auto()
    """Before the message's lifecycle has started."""
    WORK = auto()
    """After the replay, before the answer."""
    ANSWERED = auto()
    """After the answer, before the result."""
    LAST = auto()
    """After the result."""


def parse(text: str) -> list[tuple[str, str]]:
    """The directives in a text, in their order; brackets with any other name are plain text."""
    if "[[" not in text:
        return []
    return [found for found in _PATTERN.findall(text) if found[0] in DIRECTIVES]


def _bad_json(turn: Turn, _: str) -> None:
    turn.stage.emit(b'{"type":"assistant","message":{"role":\n')


def _inside(turn: Turn, _: str) -> None:
    turn.torn = True


def _bad_utf8(turn: Turn, _: str) -> None:
    frame = turn.stage.frames.tool_result("toolu_bytes", "before BYTES after")
    turn.stage.emit(frame.replace(b"BYTES", b"\xff\xc3\x28"))


def _big_line(turn: Turn, megabytes: str) -> None:
    turn.stage.emit(turn.stage.frames.tool_result("toolu_big", "x" * (int(megabytes) * 1024 * 1024)))


def _stderr(turn: Turn, count: str) -> None:
    turn.stage.flush()
    data = memoryview(b"e" * int(count))
    while data:
        data = data[os.write(2, data) :]


def _no_result(turn: Turn, _: str) -> Iterator[Wait]:
    turn.stage.flush()
    turn.stage.muted = True
    yield Wait()


def _no_result_exit(turn: Turn, code: str) -> None:
    turn.stage.leave(int(code or 0))


def _result_twice(turn: Turn, _: str) -> None:
    turn.results = 2


def _stray_result(turn: Turn, kind: str) -> None:
    frames = turn.stage.frames
    turn.stage.emit(frames.result([] if kind == "bare" else [frames.uuid()], turn.success("a stray answer")))


def _session_id(turn: Turn, session_id: str) -> None:
    turn.stage.frames.session_id = session_id


def _silence(turn: Turn, _: str) -> None:
    turn.stage.muted = True
    turn.stalled = True


def _ignore_sigterm(turn: Turn, _: str) -> None:
    turn.stage.deaf = True
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)


def _grandchild(turn: Turn, _: str) -> None:
    turn.stage.flush()
    turn.stage.spawn_sleep(SLEEP_SECONDS, keeps_stdout=True)
    turn.stage.leave(0)


def _exit(turn: Turn, code: str) -> None:
    turn.stage.leave(int(code))


def _double_fork(turn: Turn, _: str) -> None:
    turn.stage.spawn_orphan(SLEEP_SECONDS)


def _tool_sleep(turn: Turn, seconds: str) -> Iterator[Wait]:
    tool_use_id = turn.start_tool(f"sleep {seconds}")
    pid = turn.stage.spawn_sleep(seconds)
    turn.stage.children.add(pid)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        yield Wait(0.02, tool=True)
    turn.stage.children.discard(pid)
    turn.finish_tool(tool_use_id, "slept")


def _hold(turn: Turn, seconds: str) -> Iterator[Wait]:
    tool_use_id = turn.start_tool("hold")
    yield Wait(float(seconds), tool=True)
    turn.finish_tool(tool_use_id, "held")


def _delay(turn: Turn, seconds: str) -> Iterator[Wait]:
    del turn
    yield Wait(float(seconds))


def _ask_permission(turn: Turn, count: str) -> Iterator[Wait]:
    tools = [turn.start_tool("echo asked") for _ in range(int(count or 1))]
    if not turn.stage.options.asks_host:
        for tool_use_id in tools:
            turn.deny(tool_use_id, "This command requires approval")
        return
    asked = {turn.ask_permission(tool_use_id): tool_use_id for tool_use_id in tools}
    for request_id, tool_use_id in asked.items():
        yield _answer(turn, request_id)
        turn.finish_permission(tool_use_id, request_id)


def _ask_host(turn: Turn, request: str) -> Iterator[Wait]:
    tool_use_id = turn.start_tool("ask-host")
    request_id = turn.ask_host(json.loads(request))
    yield _answer(turn, request_id)
    turn.finish_tool(tool_use_id, json.dumps(turn.answer_to(request_id)))


def _answer(turn: Turn, request_id: str) -> Wait:
    return Wait(ready=lambda: turn.answer_to(request_id) is not None, tool=True)


def _stop_reading(turn: Turn, _: str) -> None:
    turn.stage.reading = False


def _is_error(turn: Turn, status: str) -> None:
    turn.fail("unknown", int(status))


def _error_kind(turn: Turn, kind: str) -> None:
    turn.fail(kind, STATUS_OF.get(kind))


def _rate_limited(turn: Turn, resets_at: str) -> None:
    turn.stage.emit(turn.stage.frames.rate_limit("rejected", int(resets_at)))
    turn.fail("rate_limit", STATUS_OF["rate_limit"])


def _empty(turn: Turn, _: str) -> None:
    turn.empty = True


def _blocks(turn: Turn, count: str) -> None:
    turn.blocks = int(count)


def _deltas(turn: Turn, count: str) -> None:
    turn.deltas = int(count)


def _unknown_frame(turn: Turn, _: str) -> None:
    turn.stage.emit(line({"type": "novelty", "payload": {"n": 1}, "uuid": turn.stage.frames.uuid()}))


def _background(turn: Turn, count: str) -> None:
    frame = {"type": "system", "subtype": "background_tasks_changed", "tasks": [{"type": "shell"}] * int(count)}
    turn.stage.emit(line({**frame, "session_id": turn.stage.frames.session_id, "uuid": turn.stage.frames.uuid()}))


def _mode(turn: Turn, mode: str) -> None:
    turn.stage.emit(turn.stage.frames.permission_mode_changed(mode))


def _die(turn: Turn, _: str) -> None:
    turn.stage.flush()
    os.kill(os.getpid(), signal.SIGKILL)


DIRECTIVES: dict[str, tuple[Moment, Act]] = {
    "ask-host": (Moment.WORK, _ask_host),
    "ask-permission": (Moment.WORK, _ask_permission),
    "background": (Moment.WORK, _background),
    "bad-json": (Moment.WORK, _bad_json),
    "bad-utf8": (Moment.WORK, _bad_utf8),
    "big-line": (Moment.WORK, _big_line),
    "blocks": (Moment.FIRST, _blocks),
    "delay": (Moment.WORK, _delay),
    "deltas": (Moment.FIRST, _deltas),
    "die": (Moment.WORK, _die),
    "double-fork": (Moment.WORK, _double_fork),
    "empty": (Moment.FIRST, _empty),
    "error-kind": (Moment.FIRST, _error_kind),
    "exit": (Moment.WORK, _exit),
    "grandchild": (Moment.LAST, _grandchild),
    "hold": (Moment.WORK, _hold),
    "ignore-sigterm": (Moment.FIRST, _ignore_sigterm),
    "inside": (Moment.FIRST, _inside),
    "is-error": (Moment.FIRST, _is_error),
    "mode": (Moment.WORK, _mode),
    "no-result": (Moment.ANSWERED, _no_result),
    "no-result-exit": (Moment.ANSWERED, _no_result_exit),
    "rate-limited": (Moment.WORK, _rate_limited),
    "result-twice": (Moment.FIRST, _result_twice),
    "session-id": (Moment.FIRST, _session_id),
    "silence": (Moment.FIRST, _silence),
    "stderr": (Moment.WORK, _stderr),
    "stop-reading": (Moment.LAST, _stop_reading),
    "stray-result": (Moment.FIRST, _stray_result),
    "tool-sleep": (Moment.WORK, _tool_sleep),
    "unknown-frame": (Moment.WORK, _unknown_frame),
}
