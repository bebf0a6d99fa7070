"""The scripted CLI, driven as a program drives the real one: over pipes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from echo_actors.simulator.cli import write_scripted_cli

DEADLINE = 10.0
SESSION = "11111111-2222-4333-8444-555555555555"


class Driver:
    """One scripted CLI with its pipes; every read has a deadline."""

    def __init__(self, directory: Path, *args: str, **env: str) -> None:
        command: list[str | Path] = [write_scripted_cli(directory), "-p", "--verbose", *args]
        variables = {"PATH": os.environ["PATH"], "HOME": str(directory), **env}
        self.process = subprocess.Popen(
            command, stdin=-1, stdout=-1, stderr=-1, env=variables, cwd=directory, bufsize=0
        )
        self._buffer = b""

    def send(self, frame: dict[str, Any]) -> None:
        """Write one frame."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(frame).encode() + b"\n")

    def say(self, text: str, message_id: str | None = None) -> str:
        """Send a message; return its uuid."""
        message_id = message_id or str(uuid.uuid4())
        self.send({"type": "user", "uuid": message_id, "message": {"role": "user", "content": text}})
        return message_id

    def ask_control(self, subtype: str, **fields: str) -> dict[str, Any]:
        """Send a control request; return the response."""
        self.send({"type": "control_request", "request_id": "r", "request": {"subtype": subtype, **fields}})
        response: dict[str, Any] = self.until("control_response")[-1]["response"]
        return response

    def line(self) -> bytes | None:
        """The next line; None at the end of output."""
        assert self.process.stdout is not None
        end = time.monotonic() + DEADLINE
        while b"\n" not in self._buffer:
            readable = select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]
            assert readable, f"nothing more than {self._buffer[:200]!r}"
            chunk = os.read(self.process.stdout.fileno(), 1 << 20)
            if not chunk:
                return None
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def until(self, kind: str, **fields: str) -> list[dict[str, Any]]:
        """The frames up to one of this type with these fields; broken lines are left out."""
        frames: list[dict[str, Any]] = []
        while (line := self.line()) is not None:
            try:
                frames.append(json.loads(line))
            except ValueError:
                continue
            if frames[-1]["type"] == kind and fields.items() <= frames[-1].items():
                return frames
        pytest.fail(f"no {kind} {fields} in {frames}")

    def turn(self, text: str, message_id: str | None = None) -> list[dict[str, Any]]:
        """Send a message; return all frames until it is completed."""
        message_id = self.say(text, message_id)
        return self.until("command_lifecycle", command_uuid=message_id, state="completed")

    def finish(self) -> int:
        """Close the input; the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(DEADLINE)

    def dispose(self) -> None:
        """End the process if it still runs, and close the pipes."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


Start = Callable[..., Driver]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start scripted CLIs in one home, and end them."""
    drivers: list[Driver] = []

    def begin(*args: str, **env: str) -> Driver:
        drivers.append(Driver(tmp_path, *(args or ("--session-id", SESSION)), **env))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.dispose()


def only(frames: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The frames of one type."""
    return [frame for frame in frames if frame["type"] == kind]


def test_a_turn_has_the_frames_of_the_real_one_in_their_order(start: Start) -> None:
    """Queued, started, init, replay, answer, result, completed."""
    frames = start().turn("hello", "u1")
    kinds = [frame.get("state") or frame.get("subtype") or frame["type"] for frame in frames]
    assert kinds == ["queued", "started", "init", "user", "assistant", "success", "completed"]
    assert only(frames, "result")[0]["result"] == "echo: hello"
    assert only(frames, "result")[0]["user_message_uuids"] == ["u1"]


def test_costs_are_cumulative_and_continue_on_resume(start: Start) -> None:
    """The total grows by one turn's price; the part since the last result does not."""
    driver = start()
    driver.turn("one")
    second = only(driver.turn("two"), "result")[0]
    assert driver.finish() == 0
    third = only(start("--resume", SESSION).turn("three"), "result")[0]
    assert [second["total_cost_usd"], third["total_cost_usd"]] == [0.0008, 0.0012]
    assert third["model_usage_since_last_result"]["claude-sonnet-5-5"]["costUSD"] == 0.0004


def test_a_completed_uuid_is_not_run_again_even_after_resume(start: Start, tmp_path: Path) -> None:
    """Both processes answer the duplicate with a replay and completed; the model was asked once."""
    asked = str(tmp_path / "asked.jsonl")
    driver = start("--session-id", SESSION, SCRIPTED_CLI_ASKED=asked)
    driver.turn("hello", "u1")
    assert [frame["type"] for frame in driver.turn("hello", "u1")] == ["user", "command_lifecycle"]
    driver.finish()
    resumed = start("--resume", SESSION, SCRIPTED_CLI_ASKED=asked)
    assert [frame["type"] for frame in resumed.turn("hello", "u1")] == ["user", "command_lifecycle"]
    records = [json.loads(line) for line in Path(asked).read_text(encoding="utf-8").splitlines()]
    assert [(record["uuid"], record["pid"]) for record in records] == [("u1", driver.process.pid)]


def test_a_message_cut_off_by_death_runs_again(start: Start, tmp_path: Path) -> None:
    """The fault kills the first process in the middle of the turn; the next one answers the same uuid."""
    fault = {"SCRIPTED_CLI_FAULT": "[[die]]", "SCRIPTED_CLI_FAULT_ONCE": str(tmp_path / "once")}
    dying = start("--session-id", SESSION, **fault)
    dying.say("hello", "u1")
    assert dying.process.wait(DEADLINE) == -signal.SIGKILL
    assert only(start("--resume", SESSION, **fault).turn("hello", "u1"), "result")[0]["result"] == "echo: hello"


def test_used_and_unknown_sessions_are_refused(start: Start) -> None:
    """A used id and an unknown one end with 1 and the real CLI's words."""
    first = start()
    first.turn("hello")
    first.finish()
    used, unknown = start(), start("--resume", "no-such-session")
    assert (
        used.process.communicate(timeout=DEADLINE)[1] == f"Error: Session ID {SESSION} is already in use.\n".encode()
    )
    assert unknown.until("result")[0]["subtype"] == "error_during_execution"
    assert [used.process.wait(DEADLINE), unknown.process.wait(DEADLINE)] == [1, 1]


def test_an_interrupt_ends_the_turn_and_keeps_the_process(start: Start) -> None:
    """The response names the queued message, the result is an error, and the queued one runs."""
    driver = start()
    running = driver.say("long [[delay 600]]")
    driver.until("command_lifecycle", state="started")
    waiting = driver.say("next")
    driver.until("command_lifecycle", state="queued", command_uuid=waiting)
    assert driver.ask_control("interrupt")["response"] == {"still_queued": [waiting]}
    ended = driver.until("command_lifecycle", state="cancelled", command_uuid=running)
    assert only(ended, "result")[0]["terminal_reason"] == "aborted_streaming"
    assert only(driver.until("result"), "result")[0]["result"] == "echo: next"


def test_messages_are_merged_behind_text_and_steered_into_tools(start: Start) -> None:
    """Two that come during text share the next result; one that comes during a tool shares the running one."""
    driver = start()
    driver.say("text [[delay 0.5]]")
    driver.until("command_lifecycle", state="started")
    merged = [driver.say("a"), driver.say("b")]
    assert driver.until("result")[-1]["result"] == "echo: text [[delay 0.5]]"
    assert driver.until("result")[-1]["user_message_uuids"] == merged
    held = driver.say("tool [[hold 0.5]]")
    driver.until("command_lifecycle", state="started", command_uuid=held)
    steered = driver.say("c")
    assert driver.until("result")[-1]["user_message_uuids"] == [held, steered]


def test_control_requests_are_answered(start: Start) -> None:
    """A known one succeeds and takes effect; an unknown one is an error."""
    driver = start()
    assert driver.ask_control("set_model", model="haiku")["response"] == {"model": "claude-haiku-5-5"}
    assert driver.ask_control("get_context_usage")["subtype"] == "success"
    assert driver.ask_control("nonsense")["subtype"] == "error"
    assert only(driver.turn("x"), "system")[0]["model"] == "claude-haiku-5-5"


def test_a_permission_question_waits_for_its_answer(start: Start) -> None:
    """The turn goes on when the host denies, and the result says so."""
    driver = start("--permission-prompt-tool", "stdio")
    driver.say("[[ask-permission]]")
    question = driver.until("control_request")[-1]
    response = {"subtype": "success", "request_id": question["request_id"], "response": {"behavior": "deny"}}
    driver.send({"type": "control_response", "response": response})
    assert driver.until("result")[-1]["permission_denials"][0]["tool_name"] == "Bash"


def test_a_permission_question_that_is_not_wanted_is_denied(start: Start) -> None:
    """As by the real one, when nothing says whom to ask."""
    frames = start().turn("[[ask-permission]]")
    assert only(frames, "control_request") == []
    assert only(frames, "result")[0]["permission_denials"][0]["tool_name"] == "Bash"


def test_permission_questions_are_withdrawn_by_an_interrupt(start: Start) -> None:
    """All that are open, and no other."""
    driver = start("--permission-prompt-tool", "stdio")
    driver.say("[[ask-permission 3]]")
    asked = [driver.until("control_request")[-1]["request_id"] for _ in range(3)]
    response = {"subtype": "success", "request_id": asked[0], "response": {"behavior": "allow"}}
    driver.send({"type": "control_response", "response": response})
    driver.send({"type": "control_request", "request_id": "r", "request": {"subtype": "interrupt"}})
    frames = driver.until("result")
    assert [frame["request_id"] for frame in only(frames, "control_cancel_request")] == asked[1:]


def test_any_request_of_the_host_can_be_put(start: Start) -> None:
    """And the answer is seen, whatever it is."""
    driver = start()
    driver.say('[[ask-host {"subtype": "elicitation"}]]')
    request = driver.until("control_request")[-1]
    assert request["request"] == {"subtype": "elicitation"}
    response = {"subtype": "error", "request_id": request["request_id"], "error": "never heard of it"}
    driver.send({"type": "control_response", "response": response})
    assert any("never heard of it" in str(frame) for frame in only(driver.until("result"), "user"))


def test_broken_output_comes_before_a_good_result(start: Start) -> None:
    """Bad JSON, bad bytes, a line within a line, a big line and an unknown frame, all in one turn."""
    driver = start()
    driver.say("[[bad-json]] [[bad-utf8]] [[inside]] [[big-line 1]] [[unknown-frame]]")
    lines: list[bytes] = []
    while not lines or not lines[-1].startswith(b'{"type":"result"'):
        line = driver.line()
        assert line is not None
        lines.append(line)
    assert b'{"type":"assistant","message":{"role":' in lines
    assert any(b"\xff\xc3\x28" in line for line in lines)
    assert any(b'{"type":"rate_limit_event"' in line[1:] for line in lines)
    assert max(map(len, lines)) > 1024 * 1024
    assert any(b'"novelty"' in line for line in lines)


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("[[is-error 400]]", {"is_error": True, "api_error_status": 400}),
        ("[[error-kind billing_error]]", {"is_error": True, "api_error_status": 402}),
        ("[[rate-limited 1900000000]]", {"is_error": True, "api_error_status": 429}),
        ("[[empty]]", {"is_error": False, "result": "", "total_cost_usd": 0}),
        ("[[session-id other]]", {"session_id": "other"}),
        ("[[blocks 3]]", {"result": "echo 3: [[blocks 3]]"}),
    ],
)
def test_a_directive_changes_the_result(start: Start, directive: str, expected: dict[str, Any]) -> None:
    """The result carries what the directive promises."""
    assert expected.items() <= only(start().turn(directive), "result")[0].items()


def test_deltas_make_up_the_answer(start: Start) -> None:
    """With partial messages, the parts join to the whole text."""
    frames = start("--session-id", SESSION, "--include-partial-messages").turn("[[deltas 4]]")
    deltas = [
        f["event"]["delta"]["text"] for f in only(frames, "stream_event") if "text" in f["event"].get("delta", {})
    ]
    assert (len(deltas), "".join(deltas)) == (4, "echo: [[deltas 4]]")


def test_stray_and_double_results(start: Start) -> None:
    """A stray result comes before the message has started, a double one before it is completed."""
    frames = start().turn("[[stray-result bare]] [[result-twice]]")
    kinds = [frame.get("state") or frame["type"] for frame in frames]
    assert kinds.index("result") < kinds.index("started")
    assert kinds.count("result") == 3
    assert "user_message_uuid" not in only(frames, "result")[0]


@pytest.mark.parametrize(
    ("text", "code"), [("[[exit 7]]", 7), ("[[die]]", -9), ("[[no-result-exit 3]]", 3), ("[[grandchild]]", 0)]
)
def test_a_directive_ends_the_process(start: Start, text: str, code: int) -> None:
    """The exit code tells how; the grandchild, which outlives it, is found by its environment."""
    mark = f"MARK_{uuid.uuid4().hex}"
    driver = start("--session-id", SESSION, **{mark: "1"})
    driver.say(text)
    assert driver.process.wait(DEADLINE) == code
    left = marked(mark)
    for process in left:
        process.kill()
    assert len(left) == (1 if text == "[[grandchild]]" else 0)


def marked(mark: str) -> list[psutil.Process]:
    """Every living process with this variable in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.environ():
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_sigterm_ends_it_and_its_tool(start: Start) -> None:
    """The exit code is 143 and nothing with its environment is left."""
    driver = start("--session-id", SESSION, MARK_TERM=SESSION)
    driver.say("[[tool-sleep 600]]")
    driver.until("assistant")
    driver.process.terminate()
    assert driver.process.wait(DEADLINE) == 143
    assert marked("MARK_TERM") == []


def test_a_double_forked_child_outlives_a_clean_exit(start: Start) -> None:
    """Only the environment connects it with the process that left it."""
    driver = start("--session-id", SESSION, MARK_FORK=SESSION)
    driver.turn("[[double-fork]]")
    assert driver.finish() == 0
    left = marked("MARK_FORK")
    for process in left:
        process.kill()
    assert len(left) == 1


def test_a_deaf_one_ends_only_by_sigkill(start: Start) -> None:
    """It answers as before after a SIGTERM."""
    driver = start()
    driver.turn("[[ignore-sigterm]]")
    driver.process.terminate()
    driver.turn("still here")
    driver.process.kill()
    assert driver.process.wait(DEADLINE) == -signal.SIGKILL


def test_stderr_is_filled_before_the_answer(start: Start) -> None:
    """A host that drains standard error gets all of it."""
    driver = start()
    driver.say("[[stderr 1000000]]")
    assert len(driver.process.communicate(timeout=DEADLINE)[1]) == 1_000_000


def test_an_old_version_names_no_messages(start: Start) -> None:
    """Neither lifecycle nor capabilities nor uuids, and the version shows."""
    driver = start("--session-id", SESSION, SCRIPTED_CLI_VERSION="2.0.1")
    driver.say("hello")
    frames = driver.until("result")
    assert only(frames, "command_lifecycle") == []
    assert only(frames, "system")[0]["claude_code_version"] == "2.0.1"
    assert "capabilities" not in only(frames, "system")[0]
    assert "user_message_uuid" not in frames[-1]


def test_a_fault_at_start(start: Start) -> None:
    """The process leaves with the code and the words it was given."""
    driver = start("--session-id", SESSION, SCRIPTED_CLI_FAULT="exit-at-start 5 no luck today")
    assert driver.process.communicate(timeout=DEADLINE)[1] == b"no luck today\n"
    assert driver.process.returncode == 5


def test_a_script_that_is_written_again_takes_the_place_of_the_other_one_whole(tmp_path: Path) -> None:
    """Somebody may be starting it: a file that is open for writing cannot be run, and half of one does nothing."""
    with write_scripted_cli(tmp_path).open(encoding="utf-8") as before:
        path = write_scripted_cli(tmp_path)
        assert not os.path.samestat(os.fstat(before.fileno()), path.stat())
        assert before.read() == path.read_text(encoding="utf-8")
    assert os.access(path, os.X_OK)
    assert list(tmp_path.iterdir()) == [path]
