"""The CLI's transcript: where it is, and what it says about a message and its answer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from echo_actors.claude.transcript import Transcript

ASKED = "11111111-1111-4111-8111-111111111111"
NEXT = "22222222-2222-4222-8222-222222222222"


def question(uuid: str, text: str = "?", **fields: Any) -> dict[str, Any]:
    """A person's message."""
    return {"type": "user", "uuid": uuid, "message": {"role": "user", "content": text}, **fields}


def says(text: str, stop: str | None = "end_turn", **fields: Any) -> dict[str, Any]:
    """A block of the assistant's."""
    return {
        "type": "assistant",
        "message": {"content": [{"type": "text", "text": text}], "stop_reason": stop},
        **fields,
    }


def uses_tool() -> dict[str, Any]:
    """The assistant calls a tool."""
    call = {"type": "tool_use", "id": "t", "name": "Bash", "input": {}}
    return {"type": "assistant", "message": {"content": [call], "stop_reason": "tool_use"}}


def tool_says(text: str = "done") -> dict[str, Any]:
    """A tool's result, which the CLI keeps as a user's entry."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": text}
    return {"type": "user", "uuid": "t-result", "message": {"content": [result]}}


def written(tmp_path: Path, *entries: dict[str, Any] | str) -> Transcript:
    """A transcript with these entries; a string is a line as it is."""
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    path = tmp_path / "s.jsonl"
    path.write_text("\n".join(lines))
    return Transcript(path)


def test_it_is_where_the_cli_keeps_it(tmp_path: Path) -> None:
    """Everything but ASCII letters and digits of the working directory is a dash."""
    work = tmp_path / "a_b.c é"
    work.mkdir()
    folder = "".join(each if each.isascii() and each.isalnum() else "-" for each in str(work.resolve()))
    found = Transcript.of("the-id", work, {"HOME": "/home/x"})
    assert found.path == Path("/home/x/.claude/projects") / folder / "the-id.jsonl"


def test_a_configuration_directory_goes_before_the_home(tmp_path: Path) -> None:
    """An empty one counts as none."""
    both = {"HOME": "/home/x", "CLAUDE_CONFIG_DIR": "/etc/claude"}
    assert Transcript.of("i", tmp_path, both).path.is_relative_to("/etc/claude/projects")
    empty = {"HOME": "/home/x", "CLAUDE_CONFIG_DIR": ""}
    assert Transcript.of("i", tmp_path, empty).path.is_relative_to("/home/x/.claude/projects")


def test_a_linked_working_directory_counts_by_its_real_path(tmp_path: Path) -> None:
    """As the CLI sees it."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    environment = {"HOME": "/h"}
    linked, real = (Transcript.of("i", tmp_path / name, environment) for name in ("link", "real"))
    assert linked == real


def test_a_missing_file_is_an_empty_transcript(tmp_path: Path) -> None:
    """Nothing is known, nothing was spent."""
    missing = Transcript(tmp_path / "none.jsonl")
    assert not missing.exists()
    assert list(missing.entries()) == []
    assert missing.total_cost() == 0.0
    assert missing.reply_to(ASKED) is None


def test_the_answer_is_what_was_said_between_two_questions(tmp_path: Path) -> None:
    """Blocks in order, those of other messages left out."""
    transcript = written(
        tmp_path, question("x"), says("old"), question(ASKED), says("one"), says("two"), question(NEXT), says("new")
    )
    reply = transcript.reply_to(ASKED)
    assert reply is not None
    assert (reply.text, len(reply.blocks), reply.finished) == ("one\n\ntwo", 2, True)


def test_an_unknown_message_has_no_answer(tmp_path: Path) -> None:
    """It was never given to the CLI, or its line is lost."""
    assert written(tmp_path, question(NEXT), says("no")).reply_to(ASKED) is None


def test_tool_results_in_between_do_not_end_the_answer(tmp_path: Path) -> None:
    """They are entries of type user, and no person's."""
    reply = written(tmp_path, question(ASKED), says("first", None), uses_tool(), tool_says(), says("then")).reply_to(
        ASKED
    )
    assert reply is not None
    assert reply.text == "first\n\nthen"
    assert [block.kind for block in reply.blocks] == ["text", "tool_use", "text"]
    assert reply.finished


def test_a_sub_agents_entries_are_no_part_of_the_answer(tmp_path: Path) -> None:
    """Nor do its questions end it."""
    side: dict[str, Any] = {"isSidechain": True}
    reply = written(
        tmp_path, question(ASKED), question("s", **side), says("aside", "max_tokens", **side), says("answer")
    ).reply_to(ASKED)
    assert reply is not None
    assert (reply.text, reply.finished) == ("answer", True)


@pytest.mark.parametrize(
    "tail",
    [
        [],
        [says("half", None)],
        [uses_tool()],
        [uses_tool(), tool_says()],
        [says("paused", "pause_turn")],
    ],
)
def test_an_answer_without_its_end_is_unfinished(tmp_path: Path, tail: list[dict[str, Any]]) -> None:
    """The process died in the middle; such an answer is not to be relied on."""
    reply = written(tmp_path, question(ASKED), *tail).reply_to(ASKED)
    assert reply is not None
    assert not reply.finished


def test_an_unfinished_answer_does_not_take_the_next_ones_end(tmp_path: Path) -> None:
    """The next question ends it."""
    reply = written(tmp_path, question(ASKED), says("half", None), question(NEXT), says("whole")).reply_to(ASKED)
    assert reply is not None
    assert (reply.text, reply.finished) == ("half", False)


def test_a_message_that_ran_twice_has_the_answer_of_its_last_run(tmp_path: Path) -> None:
    """The CLI was killed during the first one."""
    reply = written(tmp_path, question(ASKED), says("half", None), question(ASKED), says("whole")).reply_to(ASKED)
    assert reply is not None
    assert (reply.text, reply.finished) == ("whole", True)


@pytest.mark.parametrize("line", ['{"type":"assistant","mess', "", "null", "[1]", "7", "\ufeff", '{"type":', "x" * 10])
def test_lines_that_cannot_be_read_are_passed_over(tmp_path: Path, line: str) -> None:
    """The last one may be torn, and any other may be, after a kill and a resume."""
    reply = written(tmp_path, line, question(ASKED), line, says("answer"), line).reply_to(ASKED)
    assert reply is not None
    assert (reply.text, reply.finished) == ("answer", True)


def test_bytes_that_are_no_utf8_are_passed_over(tmp_path: Path) -> None:
    """Tool output may be anything."""
    transcript = written(tmp_path, question(ASKED), says("answer"))
    transcript.path.write_bytes(b'{"type":"x","y":"\xff\xfe"}\n' + transcript.path.read_bytes())
    reply = transcript.reply_to(ASKED)
    assert reply is not None
    assert reply.text == "answer"


@pytest.mark.parametrize("message", [None, 7, "text", [], {"content": 7}, {"content": [7, None]}, {}])
def test_entries_of_a_wrong_shape_break_nothing(tmp_path: Path, message: Any) -> None:
    """Neither a question's nor an answer's."""
    transcript = written(
        tmp_path, {"type": "user", "uuid": ASKED, "message": message}, {"type": "assistant", "message": message}
    )
    reply = transcript.reply_to(ASKED)
    assert reply is not None
    assert (reply.text, reply.finished) == ("", False)


def test_the_cost_is_the_last_saved_one(tmp_path: Path) -> None:
    """A total, not a sum; a wrong type counts as nothing."""
    saved = [{"type": "cost-state", "totalCostUSD": cost} for cost in (0.1, 0.25)]
    assert written(tmp_path, *saved, says("x")).total_cost() == pytest.approx(0.25)
    assert written(tmp_path, {"type": "cost-state", "totalCostUSD": "much"}).total_cost() == 0.0


def test_an_answer_by_a_schema_is_finished_by_its_tool(tmp_path: Path) -> None:
    """The CLI ends the turn there: no text follows, and what it says as a text is the same object."""
    given = {"type": "attachment", "attachment": {"type": "structured_output", "data": {"name": "Ana"}}}
    transcript = written(tmp_path, question(ASKED), uses_tool(), given, tool_says(), question(NEXT), uses_tool())
    reply = transcript.reply_to(ASKED)
    assert reply is not None
    assert (reply.finished, reply.structured_output, reply.text) == (True, {"name": "Ana"}, '{"name":"Ana"}')
    unfinished = transcript.reply_to(NEXT)
    assert unfinished is not None
    assert (unfinished.finished, unfinished.structured_output) == (False, None)


def test_a_session_that_ran_in_another_directory_is_found_and_moved(tmp_path: Path) -> None:
    """The newest, with what the CLI keeps beside it."""
    projects, environment = tmp_path / "projects", {"CLAUDE_CONFIG_DIR": str(tmp_path)}
    place = Transcript.of("s", tmp_path / "here", environment)
    assert place.elsewhere() is None
    for age, folder in enumerate(("newest", "older"), 1):
        (projects / folder).mkdir(parents=True)
        (projects / folder / "s.jsonl").write_text(folder)
        os.utime(projects / folder / "s.jsonl", (1000 - age, 1000 - age))
    (projects / "newest" / "s").mkdir()
    (projects / "newest" / "s" / "part").touch()
    found = place.elsewhere()
    assert found is not None
    found.move_to(place)
    assert place.path.read_text() == "newest"
    assert (place.path.with_suffix("") / "part").exists()
    assert not found.path.exists()
    assert not found.path.with_suffix("").exists()
