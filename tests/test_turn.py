"""The turn machine, row by row: which frame starts, answers, ends or gives back which message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import JSON

from echo_actors import (
    AnsweredBy,
    BlockFinished,
    PermissionAnswered,
    PermissionAsked,
    Retrying,
    TextDelta,
    ToolFinished,
    ToolStarted,
    UnknownFrame,
)
from echo_actors.claude.driver import TurnResult
from echo_actors.claude.failures import ERRORS
from echo_actors.claude.meter import Meter
from echo_actors.claude.permissions import Refusal
from echo_actors.claude.turn import LIFECYCLE, Output, TurnMachine
from echo_actors.claude.wire import BadLine, encode
from echo_actors.models import Block

A, B, STRANGER = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")


def machine(*sent: str, modern: bool = True) -> TurnMachine:
    """A machine that these messages were sent to; of a modern CLI it knows so already."""
    made = TurnMachine("c", "s-1", Meter(lambda: 0.0))
    if modern:
        made.feed(init())
    for uuid in sent:
        made.sent(uuid)
    return made


def init(*capabilities: str, model: str = "claude-sonnet") -> dict[str, Any]:
    """The frame that opens a turn."""
    return {"type": "system", "subtype": "init", "model": model, "capabilities": list(capabilities or (LIFECYCLE,))}


def old_init() -> dict[str, Any]:
    """The same of a CLI without capabilities."""
    return {"type": "system", "subtype": "init", "model": "claude-sonnet"}


def lifecycle(uuid: str, state: str) -> dict[str, Any]:
    """A message's way."""
    return {"type": "command_lifecycle", "command_uuid": uuid, "state": state}


def says(text: str, uuid: str = "u-1", **fields: Any) -> dict[str, Any]:
    """A finished text block."""
    usage = {"input_tokens": 100, "output_tokens": 1, "cache_read_input_tokens": 5}
    message = {"content": [{"type": "text", "text": text}], "usage": usage}
    return {"type": "assistant", "uuid": uuid, "parent_tool_use_id": None, "message": message, **fields}


def result(*uuids: str, **fields: Any) -> dict[str, Any]:
    """A result that names these messages."""
    named = {"user_message_uuids": list(uuids), "user_message_uuid": uuids[-1]} if uuids else {}
    used = {"inputTokens": 100, "outputTokens": 20, "costUSD": 0.25}
    return {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "result": "from the result",
        "session_id": "s-1",
        "duration_ms": 7,
        "total_cost_usd": 0.25,
        "model_usage_since_last_result": {"m": used},
        **named,
        **fields,
    }


def feed(made: TurnMachine, *frames: dict[str, Any]) -> list[Output]:
    """Everything that follows from these frames."""
    return [output for frame in frames for output in made.feed(frame)]


def results(outputs: list[Output]) -> list[TurnResult]:
    """The results among the outputs."""
    return [output for output in outputs if isinstance(output, TurnResult)]


def only_result(outputs: list[Output]) -> TurnResult:
    """The one result among the outputs."""
    (found,) = results(outputs)
    return found


def stray(outputs: list[Output]) -> bool:
    """Whether the outputs are the report of a result that answers nobody, and nothing else."""
    (output,) = outputs
    return isinstance(output, UnknownFrame) and output.kind == "stray result"


# -- attribution


def test_a_result_ends_the_message_it_names() -> None:
    """By its uuid, with all that the turn made."""
    made = machine(A)
    ended = only_result(feed(made, lifecycle(A, "started"), init(), says("hi"), result(A)))
    assert ended.uuids == (A,)
    assert (ended.text, ended.blocks, ended.error) == ("hi", (Block("text", "hi"),), None)
    assert (ended.model, ended.session_id, ended.replayed) == ("claude-sonnet", "s-1", False)
    assert (ended.spent.cost_usd, ended.spent.duration_ms, ended.spent.context_tokens) == (0.25, 7, 106)
    assert not made.expects(A)


@pytest.mark.parametrize(("given", "taken"), [({"a": 1}, {"a": 1}), ({}, {}), (None, None), ("a", None), ([1], None)])
def test_a_result_has_what_a_schema_asked_for(given: object, taken: object) -> None:
    """An object; anything else is not what was asked for."""
    made = machine(A)
    ended = only_result(feed(made, lifecycle(A, "started"), init(), result(A, structured_output=given)))
    assert ended.structured_output == taken


def test_a_result_that_names_several_ends_them_all_with_one_count() -> None:
    """A steered message is answered by the same result."""
    made = machine(A)
    feed(made, lifecycle(A, "started"))
    made.sent(B)
    ended = only_result(feed(made, lifecycle(B, "started"), says("both"), result(A, B)))
    assert ended.uuids == (A, B)
    assert ended.spent.cost_usd == 0.25
    assert not made.expects(A)
    assert not made.expects(B)


def test_one_uuid_alone_is_enough_of_a_name() -> None:
    """Some versions name the last message only."""
    made = machine(A)
    assert only_result(feed(made, lifecycle(A, "started"), result(user_message_uuid=A))).uuids == (A,)


def test_a_message_not_named_stays_pending() -> None:
    """It is still queued in the CLI and gets a result of its own."""
    made = machine(A)
    feed(made, lifecycle(A, "started"))
    made.sent(B)
    assert only_result(feed(made, says("one"), result(A))).uuids == (A,)
    assert made.expects(B)
    second = only_result(feed(made, lifecycle(B, "started"), says("two", "u-2"), result(B)))
    assert (second.uuids, second.text) == ((B,), "two")


def test_a_result_without_names_ends_the_one_that_was_seen_to_start() -> None:
    """By lifecycle; one that has not started is not meant."""
    made = machine(A)
    feed(made, lifecycle(A, "started"))
    made.sent(B)
    assert only_result(feed(made, says("one"), result())).uuids == (A,)
    assert made.expects(B)


def test_an_old_cli_starts_the_message_with_its_init() -> None:
    """Without lifecycle frames, ``init`` opens the turn."""
    made = machine(A, modern=False)
    feed(made, old_init())
    assert made.running
    assert only_result(feed(made, says("hi"), result())).uuids == (A,)


def test_the_init_of_a_modern_cli_starts_nothing() -> None:
    """The lifecycle does; another turn's ``init`` must not."""
    made = machine(A)
    feed(made, init())
    assert made.begun == frozenset()
    feed(made, lifecycle(A, "started"))
    assert made.begun == {A}


def test_the_lifecycle_of_a_stranger_starts_nothing() -> None:
    """A uuid that was not sent by us."""
    made = machine(A)
    feed(made, lifecycle(STRANGER, "started"))
    assert not made.running


# -- results that answer nobody


@pytest.mark.parametrize("name", [STRANGER, None])
@pytest.mark.parametrize("sent", [[], [A]])
def test_a_result_before_the_start_ends_nothing(name: str | None, sent: list[str]) -> None:
    """Whether it names somebody else, or nobody while nothing has started."""
    made = machine(*sent)
    assert stray(feed(made, result(*([name] if name else []))))
    assert all(made.expects(uuid) for uuid in sent)


def test_a_result_that_names_a_stranger_does_not_end_the_running_turn() -> None:
    """Not even when ours runs."""
    made = machine(A)
    feed(made, lifecycle(A, "started"))
    assert stray(feed(made, result(STRANGER)))
    assert only_result(feed(made, says("mine"), result(A))).text == "mine"


def test_a_stray_result_of_an_old_cli_before_init_ends_nothing() -> None:
    """The background task of an earlier turn may report one."""
    made = machine(A, modern=False)
    assert stray(feed(made, result()))
    assert made.expects(A)


def test_the_same_result_twice_ends_one_turn() -> None:
    """The second one is a stray, and the next message gets an answer of its own."""
    made = machine(A)
    outputs = feed(made, lifecycle(A, "started"), says("one"), result(A), result(A))
    assert only_result(outputs).uuids == (A,)
    assert isinstance(outputs[-1], UnknownFrame)
    made.sent(B)
    assert stray(feed(made, result(A)))
    assert only_result(feed(made, lifecycle(B, "started"), says("two", "u-2"), result(B))).text == "two"


def test_what_a_stray_result_cost_is_carried_by_the_next_turn() -> None:
    """It was paid for."""
    made = machine(A)
    outputs = feed(made, result(STRANGER), lifecycle(A, "started"), says("hi"), result(A))
    assert only_result(outputs).spent.cost_usd == 0.5


def test_the_blocks_of_an_ended_turn_are_not_the_next_ones() -> None:
    """Each turn starts empty."""
    made = machine(A)
    feed(made, lifecycle(A, "started"), says("one"), result(A))
    made.sent(B)
    ended = only_result(feed(made, lifecycle(B, "started"), says("two", "u-2"), result(B)))
    assert ended.blocks == (Block("text", "two"),)


# -- other ends


def test_completed_without_a_start_means_done_before() -> None:
    """No result will follow; the answer is in the transcript."""
    made = machine(A)
    ended = only_result(feed(made, lifecycle(A, "completed")))
    assert (ended.uuids, ended.replayed, ended.error) == ((A,), True, None)
    assert not made.expects(A)


def test_completed_after_the_start_ends_nothing() -> None:
    """The result does; the order of the two is the CLI's."""
    made = machine(A)
    assert results(feed(made, lifecycle(A, "started"), lifecycle(A, "completed"))) == []
    assert only_result(feed(made, says("hi"), result(A))).uuids == (A,)


@pytest.mark.parametrize("state", ["discarded", "refused"])
def test_a_message_that_the_cli_gives_back_is_returned(state: str) -> None:
    """Alone, at once."""
    made = machine(A)
    ended = only_result(feed(made, lifecycle(A, state)))
    assert (ended.uuids, ended.returned) == ((), (A,))
    assert not made.expects(A)


@pytest.mark.parametrize("state", ["discarded", "refused"])
def test_a_message_given_back_during_a_turn_comes_with_its_result(state: str) -> None:
    """The running one goes on."""
    made = machine(A)
    feed(made, lifecycle(A, "started"))
    made.sent(B)
    assert results(feed(made, lifecycle(B, state))) == []
    ended = only_result(feed(made, says("hi"), result(A)))
    assert (ended.uuids, ended.returned) == ((A,), (B,))


def test_a_message_given_back_can_be_sent_again() -> None:
    """Under the same uuid."""
    made = machine(A)
    feed(made, lifecycle(A, "refused"))
    made.sent(A)
    assert only_result(feed(made, lifecycle(A, "started"), says("hi"), result(A))).returned == ()


@pytest.mark.parametrize("state", ["queued", "cancelled", "novelty", None, 7])
def test_other_states_change_nothing(state: Any) -> None:
    """A result, or the process's end, follows."""
    made = machine(A)
    assert feed(made, lifecycle(A, state)) == []
    assert made.expects(A)


def test_a_session_id_that_changed_is_taken_from_the_result() -> None:
    """Some versions change it on resume; a stray result does not count."""
    made = machine(A)
    feed(made, result(STRANGER, session_id="s-stray"))
    assert made.session_id == "s-1"
    ended = only_result(feed(made, lifecycle(A, "started"), says("hi"), result(A, session_id="s-2")))
    assert ended.session_id == made.session_id == "s-2"


@pytest.mark.parametrize("missing", [None, "", 0])
def test_a_result_without_a_session_id_keeps_the_last_one(missing: Any) -> None:
    """The last good one."""
    made = machine(A)
    assert only_result(feed(made, lifecycle(A, "started"), result(A, session_id=missing))).session_id == "s-1"


# -- text and blocks


def test_superseded_blocks_are_dropped() -> None:
    """A frame names the earlier ones it replaces."""
    made = machine(A)
    outputs = feed(
        made, lifecycle(A, "started"), says("draft", "u-1"), says("final", "u-2", supersedes=["u-1"]), result(A)
    )
    assert only_result(outputs).text == "final"


def test_sub_agents_say_nothing_here() -> None:
    """Their blocks, parts and tool results belong to a tool of the turn."""
    made = machine(A)
    feed(made, lifecycle(A, "started"))
    aside = {"parent_tool_use_id": "toolu_1"}
    tool_result = {"content": [{"type": "tool_result", "tool_use_id": "t"}]}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}}
    assert feed(made, {**says("aside"), **aside}) == []
    assert feed(made, {"type": "user", "message": tool_result, **aside}) == []
    assert feed(made, {"type": "stream_event", "event": delta, **aside}) == []
    assert only_result(feed(made, says("own", "u-2"), result(A))).blocks == (Block("text", "own"),)


def test_without_blocks_the_results_own_text_counts() -> None:
    """Slash commands and old versions answer so."""
    made = machine(A)
    assert only_result(feed(made, lifecycle(A, "started"), result(A))).text == "from the result"


def test_all_text_blocks_make_the_text() -> None:
    """The result itself carries only the last one."""
    made = machine(A)
    outputs = feed(made, lifecycle(A, "started"), says("one", "u-1"), says("two", "u-2"), result(A, result="two"))
    assert only_result(outputs).text == "one\n\ntwo"


def test_frames_of_one_message_with_the_same_uuid_add_up() -> None:
    """A block per frame."""
    made = machine(A)
    outputs = feed(made, lifecycle(A, "started"), says("one"), says("two"), result(A))
    assert only_result(outputs).text == "one\n\ntwo"


def test_every_block_a_tool_and_its_result_are_events_of_the_turn() -> None:
    """In the order in which they came, under the turn's id."""
    made = machine(A)
    call = {"type": "tool_use", "id": "t-1", "name": "Bash", "input": {"command": "ls"}}
    done = {"type": "tool_result", "tool_use_id": "t-1", "content": [{"text": "files"}], "is_error": True}
    outputs = feed(
        made,
        lifecycle(A, "started"),
        {"type": "assistant", "uuid": "u", "message": {"content": [call]}},
        {"type": "user", "message": {"content": [done]}},
    )
    assert outputs == [
        BlockFinished(channel="c", turn_id=A, block=Block("tool_use", name="Bash", data={"command": "ls"})),
        ToolStarted(channel="c", turn_id=A, tool="Bash", tool_use_id="t-1", input={"command": "ls"}),
        ToolFinished(channel="c", turn_id=A, tool_use_id="t-1", is_error=True, text="files"),
    ]


def test_parts_of_a_text_are_events() -> None:
    """Parts of anything else are not."""
    made = machine(A)
    text, thinking = {"type": "text_delta", "text": "he"}, {"type": "thinking_delta", "thinking": "hm"}
    frames = [{"type": "stream_event", "event": {"type": "content_block_delta", "delta": d}} for d in (text, thinking)]
    assert feed(made, *frames) == [TextDelta(channel="c", turn_id=A, text="he")]


def test_the_context_is_that_of_the_last_request() -> None:
    """The running count of the stream goes before the first frame's guess."""
    made = machine(A)
    delta = {"type": "message_delta", "usage": {"output_tokens": 20}}
    outputs = feed(made, lifecycle(A, "started"), says("hi"), {"type": "stream_event", "event": delta}, result(A))
    assert only_result(outputs).spent.context_tokens == 125


def test_a_retry_of_the_api_is_announced() -> None:
    """With the status, the attempt and the delay in seconds."""
    frame = {"type": "system", "subtype": "api_retry", "attempt": 2, "retry_delay_ms": 1500, "error_status": 529}
    (event,) = feed(machine(A), frame)
    assert isinstance(event, Retrying)
    assert (event.attempt, event.delay) == (2, 1.5)
    assert "529" in event.reason


def test_a_turn_that_the_cli_began_by_itself_is_known_as_one() -> None:
    """From its init to its result; one of ours is none, also when its message comes first."""
    made, seen = machine(), []
    for frame in ({"type": "system", "subtype": "init"}, {"type": "result", "subtype": "success"}):
        feed(made, frame)
        seen.append(made.own_turn)
    made.sent("u")
    feed(made, {"type": "system", "subtype": "init"})
    assert [*seen, made.own_turn] == [True, False, False]


def test_background_tasks_are_counted() -> None:
    """Its process must not hibernate meanwhile."""
    made = machine()
    feed(made, {"type": "system", "subtype": "background_tasks_changed", "tasks": [{}, {}]})
    assert made.background_tasks == 2


# -- failures


@pytest.mark.parametrize(("status", "kind"), ERRORS.items())
def test_a_success_that_is_an_error_is_a_failure_by_its_status(status: int, kind: str) -> None:
    """Measured: subtype ``success`` with ``is_error``."""
    made = machine(A)
    failed = only_result(
        feed(made, lifecycle(A, "started"), result(A, is_error=True, api_error_status=status, result="API Error"))
    )
    assert (failed.error, failed.reason) == (kind, "API Error")


def test_an_error_without_a_known_status_has_the_kind_that_the_frame_named() -> None:
    """The assistant's frame says it."""
    made = machine(A)
    failed = only_result(
        feed(made, lifecycle(A, "started"), says("API Error", error="server_error"), result(A, is_error=True))
    )
    assert failed.error == "server_error"


def test_an_error_frame_counts_even_if_the_result_calls_itself_good() -> None:
    """What it said is no answer."""
    made = machine(A)
    assert only_result(feed(made, lifecycle(A, "started"), says("no", error="unknown"), result(A))).error == "unknown"


def test_an_error_that_was_overcome_is_none() -> None:
    """The last frame counts."""
    made = machine(A)
    outputs = feed(made, lifecycle(A, "started"), says("no", error="server_error"), says("yes", "u-2"), result(A))
    assert only_result(outputs).error is None


@pytest.mark.parametrize(
    ("stop_reason", "text", "error"),
    [
        ("tool_use", "I shall look", "error_max_budget_usd"),
        (None, "", "error_max_budget_usd"),
        ("end_turn", "", "error_max_budget_usd"),
        ("end_turn", "the whole answer", None),
    ],
)
def test_a_turn_over_its_budget_fails_unless_its_answer_was_whole(
    stop_reason: str | None, text: str, error: str | None
) -> None:
    """Measured: the CLI calls it an error when the last request of a turn went over the limit, answer or not."""
    made = machine(A)
    over = {"subtype": "error_max_budget_usd", "is_error": True, "result": None, "stop_reason": stop_reason}
    spoken = [says(text)] if text else []
    frame = {**result(A), **over, "errors": ["Reached maximum budget ($0.001)"]}
    ended = only_result(feed(made, lifecycle(A, "started"), *spoken, frame))
    assert (ended.error, ended.text, ended.spent.cost_usd) == (error, text, 0.25)
    assert ended.reason == ("Reached maximum budget ($0.001): the setting turn_budget_usd" if error else "")


@pytest.mark.parametrize("subtype", ["error_during_execution", "error_max_turns", "novelty"])
def test_any_other_subtype_than_success_is_a_failure(subtype: str) -> None:
    """Its name is the kind, the list of errors the reason."""
    made = machine(A)
    failed = only_result(feed(made, lifecycle(A, "started"), result(A, subtype=subtype, errors=["a", "b"])))
    assert (failed.error, failed.reason) == (subtype, "a; b")


@pytest.mark.parametrize("text", ["", "  \n", None])
def test_an_empty_answer_is_a_failure(text: str | None) -> None:
    """A damaged session answers nothing, for nothing, for ever."""
    made = machine(A)
    assert only_result(feed(made, lifecycle(A, "started"), result(A, result=text))).error == "empty_reply"


def test_a_rejected_rate_limit_comes_with_its_result() -> None:
    """One that is allowed does not; both forms of the frame are read."""
    made = machine(A)
    info = {"status": "rejected", "resetsAt": 1900000000}
    failed = only_result(
        feed(
            made,
            lifecycle(A, "started"),
            {"type": "rate_limit_event", "rate_limit_info": info},
            {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed", "resetsAt": 5}},
            result(A, is_error=True, api_error_status=429),
        )
    )
    assert (failed.error, failed.resets_at) == ("rate_limit", 1900000000.0)
    made.sent(B)
    assert only_result(feed(made, lifecycle(B, "started"), says("hi"), result(B))).resets_at is None


# -- what is unknown


def test_a_frame_of_an_unknown_type_is_passed_on_whole() -> None:
    """Never an error."""
    frame = {"type": "novelty", "payload": [1]}
    assert feed(machine(A), frame) == [UnknownFrame(channel="c", turn_id=A, kind="novelty", data=frame)]


def test_a_line_that_is_no_frame_is_reported() -> None:
    """With the reason and the size, without its text."""
    (event,) = machine(A).feed(BadLine("broken JSON", 7, "secret"))
    assert event == UnknownFrame(channel="c", turn_id=A, kind="bad line", data={"reason": "broken JSON", "size": 7})


@pytest.mark.parametrize("kind", ["tool_progress", "keep_alive", "control_response"])
def test_signs_of_life_change_nothing(kind: str) -> None:
    """They are no events."""
    assert feed(machine(A), {"type": kind}) == []


KNOWN = {
    "system": ["subtype", "capabilities", "model", "tasks", "attempt", "retry_delay_ms", "error_status"],
    "command_lifecycle": ["command_uuid", "state"],
    "assistant": ["message", "uuid", "supersedes", "error", "parent_tool_use_id"],
    "user": ["message", "parent_tool_use_id"],
    "stream_event": ["event", "parent_tool_use_id"],
    "rate_limit_event": ["rate_limit_info", "status", "resetsAt"],
    "result": [
        *("user_message_uuids", "user_message_uuid", "subtype", "is_error", "errors", "result", "usage"),
        *("session_id", "api_error_status", "duration_ms", "total_cost_usd", "model_usage_since_last_result"),
    ],
    "control_request": ["request", "request_id"],
    "novelty": ["x"],
}
WORDS = st.sampled_from(
    ["init", "api_retry", "background_tasks_changed", "started", "completed", "discarded", "success", "rejected", A]
)
BLOCK = st.dictionaries(
    st.sampled_from(["type", "text", "thinking", "input", "name", "id", "content", "is_error", "tool_use_id"]),
    JSON | st.sampled_from(["text", "thinking", "tool_use", "tool_result", "image"]),
)
BODY = st.dictionaries(
    st.sampled_from(["content", "usage", "type", "delta", "text", "status", "resetsAt"]),
    JSON | st.lists(BLOCK, max_size=2) | st.sampled_from(["message_delta", "text_delta", "rejected"]),
)


@st.composite
def frames(draw: st.DrawFn) -> dict[str, Any]:
    """A frame whose type is known and whose fields may hold anything."""
    kind = draw(st.sampled_from(sorted(KNOWN)))
    fields = st.dictionaries(st.sampled_from(KNOWN[kind]), JSON | WORDS | BODY, max_size=6)
    return {**draw(fields), "type": kind}


WRONG: list[Any] = [None, True, 7, -1, 1e308, "x", [], [{}], [[]], [None], {}, {"x": [7]}, [A]]


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in KNOWN.items() for field in fields])
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_field_of_a_wrong_type_breaks_nothing(kind: str, field: str, value: Any) -> None:
    """Each known field of each known frame, for every subtype that has it."""
    for subtype in ("init", "api_retry", "background_tasks_changed", "success"):
        made = machine(A)
        feed(made, lifecycle(A, "started"), {**result(A), "subtype": subtype, "type": kind, field: value})


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize(
    "path", ["message", "message.content", "message.usage", "event", "event.delta", "event.usage"]
)
def test_a_part_of_a_wrong_type_breaks_nothing(path: str, value: Any) -> None:
    """Also inside a message and inside an event of the API."""
    outer, _, inner = path.partition(".")
    body = {inner: value, "type": "message_delta"} if inner else value
    made = machine(A)
    feed(
        made, lifecycle(A, "started"), *({"type": kind, outer: body} for kind in ("assistant", "user", "stream_event"))
    )
    assert made.expects(A)


@given(st.lists(frames() | st.dictionaries(st.text(max_size=5), JSON, max_size=3), max_size=6))
def test_no_frame_whatever_breaks_the_machine(given_frames: list[dict[str, Any]]) -> None:
    """Any JSON in any field: events and results follow, and a good turn still ends afterwards."""
    made = machine(A)
    feed(made, *given_frames)
    made.sent(B)
    ended = only_result(feed(made, lifecycle(B, "started"), says("hi", "u-b"), result(B)))
    assert B in ended.uuids


# -- permission questions


def asks(request_id: str = "q-1", **fields: Any) -> dict[str, Any]:
    """A question about a tool."""
    request = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "ls"}, **fields}
    return {"type": "control_request", "request_id": request_id, "request": request}


def task(task_id: str, parent: str | None = None) -> dict[str, Any]:
    """A sub-agent starts."""
    of = {} if parent is None else {"parent_task_id": parent}
    return {"type": "system", "subtype": "task_started", "task_id": task_id, **of}


def replied(outputs: list[Output]) -> dict[str, Any]:
    """What the CLI is told at once; what it asked is shown besides."""
    reply, unknown = outputs
    assert isinstance(reply, Refusal)
    assert isinstance(unknown, UnknownFrame)
    assert unknown.kind == "control_request"
    response: dict[str, Any] = reply.frame["response"]
    return response


def test_a_question_has_all_that_the_cli_says() -> None:
    """Under the turn it belongs to."""
    made = machine(A)
    rule = {"type": "addRules", "behavior": "allow"}
    question = asks(
        tool_use_id="toolu_1",
        description="list",
        decision_reason="outside",
        blocked_path="/x",
        permission_suggestions=[rule, 7],
    )
    (event,) = feed(made, lifecycle(A, "started"), question)
    assert event == PermissionAsked(
        channel="c",
        turn_id=A,
        request_id="q-1",
        tool="Bash",
        input={"command": "ls"},
        tool_use_id="toolu_1",
        description="list",
        reason="outside",
        blocked_path="/x",
        suggestions=(rule,),
    )


def test_a_question_is_taken_back_by_its_name() -> None:
    """Whether it is open is for others to know."""
    made = machine(A)
    (event,) = feed(made, lifecycle(A, "started"), {"type": "control_cancel_request", "request_id": "q-1"})
    assert isinstance(event, PermissionAnswered)
    assert (event.request_id, event.allowed, event.by) == ("q-1", False, AnsweredBy.WITHDRAWN)


@pytest.mark.parametrize("sent", [(), (A,)])
def test_a_question_outside_of_a_turn_is_denied(sent: tuple[str, ...]) -> None:
    """Nobody has asked for what it is about."""
    response = replied(feed(machine(*sent), asks()))
    assert (response["request_id"], response["response"]["behavior"]) == ("q-1", "deny")
    assert response["response"]["message"]


def test_a_sub_agent_asks_in_the_turn_that_started_it() -> None:
    """One that it started itself, too."""
    made = machine(A)
    feed(made, lifecycle(A, "started"), task("a-1"), task("a-2", parent="a-1"))
    asked = feed(made, asks(agent_id="a-1"), asks("q-2", agent_id="a-2"))
    assert [event.agent_id for event in asked if isinstance(event, PermissionAsked)] == ["a-1", "a-2"]


@pytest.mark.parametrize("agent", ["a-1", "a-2", "a-3", "never seen"])
def test_a_sub_agent_of_another_turn_is_denied(agent: str) -> None:
    """A stranger's agent must not ask under the name of the owner who comes next; nor one that it starts then."""
    made = machine(A)
    feed(made, lifecycle(A, "started"), task("a-1"), task("a-2", parent="a-1"), says("hi"), result(A))
    feed(made, task("a-4"))
    made.sent(B)
    feed(made, task("a-5"), lifecycle(B, "started"), task("a-3", parent="a-2"))
    assert replied(feed(made, asks(agent_id=agent)))["response"]["behavior"] == "deny"
    assert isinstance(feed(made, asks())[0], PermissionAsked)


@pytest.mark.parametrize("agent", ["a-4", "a-5"])
def test_a_sub_agent_that_started_between_turns_is_denied(agent: str) -> None:
    """As when an earlier one's report is worked on, before the next message has begun."""
    made = machine()
    feed(made, task("a-4"))
    made.sent(B)
    feed(made, task("a-5"), lifecycle(B, "started"))
    assert replied(feed(made, asks(agent_id=agent)))["response"]["behavior"] == "deny"


@pytest.mark.parametrize(
    "request_",
    [
        None,
        [],
        {},
        {"subtype": "hook_callback"},
        {"subtype": "can_use_tool"},
        {"subtype": "can_use_tool", "tool_name": 1, "input": {}},
        {"subtype": "can_use_tool", "tool_name": "Bash", "input": []},
    ],
)
def test_any_other_request_is_refused(request_: object) -> None:
    """With a word on why."""
    made = machine(A)
    feed(made, lifecycle(A, "started"))
    response = replied(feed(made, {"type": "control_request", "request_id": "r", "request": request_}))
    assert (response["subtype"], response["request_id"]) == ("error", "r")
    assert response["error"]


def test_an_input_that_could_not_be_given_back_is_refused() -> None:
    """JSON can be nested deeper when it is read than when it is written."""
    made = machine(A)
    feed(made, lifecycle(A, "started"))
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"x": deep}
    assert replied(feed(made, asks(input=deep)))["subtype"] == "error"


def test_a_name_that_could_not_be_written_is_left_out() -> None:
    """The refusal must be; whatever it is called."""
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    response = replied(feed(machine(), {"type": "control_request", "request_id": deep, "request": {}}))
    assert response["request_id"] is None


def test_a_sub_agent_whose_name_is_no_text_is_not_the_conversation() -> None:
    """What cannot be read is not trusted."""
    made = machine(A)
    feed(made, lifecycle(A, "started"))
    assert replied(feed(made, asks(agent_id=7)))["response"]["behavior"] == "deny"


@given(JSON, JSON, JSON)
def test_no_request_silences_the_machine(request_id: object, request_: object, tool_input: object) -> None:
    """Whatever its fields hold, there is an answer or an event."""
    made = machine(A)
    feed(made, lifecycle(A, "started"), task("a-1"))
    outputs = made.feed({"type": "control_request", "request_id": request_id, "request": request_})
    outputs += made.feed(asks(input=tool_input, agent_id=request_, tool_use_id=request_id))
    assert len(outputs) >= 2
    assert all(encode(output.frame) for output in outputs if isinstance(output, Refusal))
    assert made.feed({"type": "control_cancel_request", "request_id": request_id})
    made.feed({"type": "system", "subtype": "task_started", "task_id": request_id, "parent_task_id": request_})
