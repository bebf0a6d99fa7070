"""A conversation read again from the lines of a transcript, whatever state they are in."""

from __future__ import annotations

import json
import os
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support import JSON, Gate, new_id, opened, plain_settings, scripted_engine, scripted_settings, until

from echo_actors import (
    Author,
    BusyPolicy,
    CLIFailed,
    History,
    HistoryRole,
    InvalidMessage,
    TranscriptMissing,
    Trust,
    Usage,
    open_engine,
)
from echo_actors.claude.driver import KeptSession
from echo_actors.claude.entries import LONGEST_LINE, parsed
from echo_actors.claude.history import read_history
from echo_actors.claude.transcript import Transcript
from echo_actors.events import BlockFinished
from echo_actors.testing.instant_driver import InstantDriver
from echo_actors.testing.puppet_driver import Conversations, Decision, PuppetDriver

Line = dict[str, Any]
TIME = "2030-01-02T03:04:05.678Z"


def line(kind: str, uuid: str, parent: str | None, **fields: Any) -> Line:
    """A chained line."""
    return {"type": kind, "uuid": uuid, "parentUuid": parent, "isSidechain": False, "timestamp": TIME, **fields}


def person(uuid: str, parent: str | None, text: object = None, **fields: Any) -> Line:
    """A message; its text is its uuid by default."""
    return line("user", uuid, parent, message={"role": "user", "content": uuid if text is None else text}, **fields)


def answer(uuid: str, parent: str | None, *blocks: Line, answer_id: str = "", **fields: Any) -> Line:
    """A part of an answer; a text that is its uuid by default."""
    content = list(blocks) or [{"type": "text", "text": uuid}]
    usage = {"input_tokens": 10, "output_tokens": 1}
    message = {"id": answer_id or f"msg-{uuid}", "model": "sonnet", "content": content, "usage": usage}
    return line("assistant", uuid, parent, message={**message, **fields.pop("message", {})}, **fields)


def uses(use: str, name: str = "Bash") -> Line:
    """The use of a tool."""
    return {"type": "tool_use", "id": use, "name": name, "input": {"of": use}}


def gives(uuid: str, parent: str, use: str, content: object, *, is_error: bool = False) -> Line:
    """The result of a tool."""
    result = {"type": "tool_result", "tool_use_id": use, "content": content, "is_error": is_error}
    return person(uuid, parent, [result])


def session(tmp_path: Path) -> KeptSession:
    """The session of these tests."""
    return KeptSession(channel="c", session_id="s", working_dir=tmp_path)


def write(tmp_path: Path, *lines: Line | bytes) -> Path:
    """Write the session's transcript, with a line end after each line but the last bytes."""
    path = Transcript.of("s", tmp_path, {"HOME": str(tmp_path)}).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"".join(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in lines)
    )
    return path


def read(tmp_path: Path, *lines: Line | bytes, limit: int | None = None, before: str | None = None) -> History:
    """The page of a transcript with these lines."""
    write(tmp_path, *lines)
    found = read_history(session(tmp_path), {"HOME": str(tmp_path)}, limit=limit, before=before)
    assert found is not None
    return found


def shown(history: History) -> list[str]:
    """The first letter of each role, with the text."""
    return [f"{entry.role[0]}:{entry.text}" for entry in history.entries]


def test_what_was_said_is_told_in_order_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    """A person's words, then the assistant's with the tools it used, as one entry each."""
    history = read(
        tmp_path,
        person("q", None, "do it"),
        answer("a", "q", {"type": "thinking", "thinking": "hm"}, answer_id="m1"),
        answer("b", "a", uses("t"), answer_id="m1"),
        gives("r", "b", "t", [{"type": "text", "text": "42"}, {"type": "image"}], is_error=True),
        answer("c", "r", {"type": "text", "text": " done "}, answer_id="m2"),
    )
    asked, answered = history.entries
    assert (asked.role, asked.text, asked.uuids, asked.entry_id) == (HistoryRole.USER, "do it", ("q",), "q")
    assert asked.time == datetime(2030, 1, 2, 3, 4, 5, 678000, UTC)
    assert (answered.role, answered.text, answered.model) == (HistoryRole.ASSISTANT, "done", "sonnet")
    assert [block.kind for block in answered.blocks] == ["thinking", "tool_use", "text"]
    assert answered.usage == Usage(input_tokens=20, output_tokens=2)
    assert answered.uuids == ("a", "b", "c")
    (call,) = answered.tool_calls
    assert (call.name, call.input, call.result, call.is_error) == ("Bash", {"of": "t"}, "42\n[image]", True)
    assert (history.earlier, history.damaged) == (None, 0)


def test_a_tool_without_a_result_has_none(tmp_path: Path) -> None:
    """It was cut, or still runs."""
    (_, answered) = read(tmp_path, person("q", None), answer("a", "q", uses("t"))).entries
    assert answered.tool_calls[0].result is None


def test_the_branch_that_ends_in_the_last_line_is_the_conversation(tmp_path: Path) -> None:
    """Two processes on one session: the CLI goes on from the last line, and forgets the other's."""
    history = read(
        tmp_path,
        person("q1", None),
        answer("a1", "q1"),
        person("lost", "a1"),
        person("q2", "a1"),
        answer("lost too", "lost"),
        answer("a2", "q2"),
    )
    assert shown(history) == ["u:q1", "a:a1", "u:q2", "a:a2"]


def test_tools_that_ran_side_by_side_have_their_results(tmp_path: Path) -> None:
    """Each result follows its own use, so that all but one are beside the way from the end to the beginning."""
    history = read(
        tmp_path,
        person("q", None),
        answer("a", "q", uses("t1"), answer_id="m"),
        answer("b", "a", uses("t2"), answer_id="m"),
        answer("c", "b", uses("t3"), answer_id="m"),
        gives("r1", "a", "t1", "one"),
        gives("r3", "c", "t3", "three"),
        gives("r2", "b", "t2", "two"),
        answer("d", "r1"),
    )
    assert [call.result for call in history.entries[1].tool_calls] == ["one", "two", "three"]
    assert history.entries[1].usage.input_tokens == 20


def test_what_the_cli_said_itself_is_a_note_or_nothing(tmp_path: Path) -> None:
    """Errors of the API, interruptions and work in the background; not what it puts in to keep the form."""
    told = {"type": "text", "text": "API Error: 500"}
    notification = "<task-notification>\n<summary>Agent done</summary>\n</task-notification>"
    history = read(
        tmp_path,
        person("q1", None),
        answer("e", "q1", told, isApiErrorMessage=True, message={"model": "<synthetic>"}),
        person("q2", "e"),
        answer("a", "q2"),
        person("i", "a", [{"type": "text", "text": "[Request interrupted by user]"}]),
        answer("n", "i", isApiErrorMessage=False, message={"model": "<synthetic>"}),
        person("m", "n", "meta", isMeta=True),
        person("b", "m", notification, origin={"kind": "task-notification"}),
        person("l", "b", "<local-command-stdout>cost</local-command-stdout>"),
        answer("empty", "l", {"type": "text", "text": ""}),
        person("q3", "empty", notification, promptSource="sdk"),
    )
    assert shown(history) == [
        "u:q1",
        "n:API Error: 500",
        "u:q2",
        "a:a",
        "n:Request interrupted by user",
        "n:Agent done",
        "n:<local-command-stdout>cost</local-command-stdout>",
        f"u:{notification}",
    ]


def test_a_message_that_looks_like_an_interruption_is_a_message(tmp_path: Path) -> None:
    """The engine sends plain text; the CLI writes its own words as blocks."""
    assert shown(read(tmp_path, person("q", None, "[Request interrupted by user]"))) == [
        "u:[Request interrupted by user]"
    ]


def test_a_message_that_joined_a_running_turn_stands_where_it_came(tmp_path: Path) -> None:
    """With the uuid that it was sent under; notifications that come the same way are notes."""
    joined = {"type": "queued_command", "prompt": "and this", "source_uuid": "sent", "commandMode": "prompt"}
    notice = {**joined, "prompt": "background", "commandMode": "task-notification"}
    history = read(
        tmp_path,
        person("q", None),
        answer("a", "q", uses("t")),
        gives("r", "a", "t", "x"),
        line("attachment", "j", "r", attachment=joined),
        line("attachment", "k", "j", attachment=notice),
        line("attachment", "l", "k", attachment={"type": "date", "date": "2030-01-02"}),
        answer("b", "l"),
    )
    assert shown(history) == ["u:q", "a:", "u:and this", "n:background", "a:b"]
    assert history.entries[2].uuids == ("j", "sent")


@pytest.mark.parametrize("names_the_last", [True, False])
def test_what_was_said_before_a_summary_is_still_told(tmp_path: Path, *, names_the_last: bool) -> None:
    """The model is shown the summary in its place; people are told both, once."""
    logical = {"logicalParentUuid": "a1"} if names_the_last else {}
    history = read(
        tmp_path,
        person("q1", None),
        answer("a1", "q1"),
        line("system", "c", None, subtype="compact_boundary", **logical),
        person("s", "c", "In short: q1", isCompactSummary=True),
        person("q2", "s"),
        answer("a2", "q2"),
    )
    assert shown(history) == ["u:q1", "a:a1", "s:In short: q1", "u:q2", "a:a2"]


def test_a_sub_agents_conversation_is_not_told(tmp_path: Path) -> None:
    """Nor is what belongs to none: titles, costs, queues."""
    history = read(
        tmp_path,
        person("q", None),
        answer("a", "q", uses("t", "Agent")),
        person("sub", None, isSidechain=True),
        answer("suba", "sub", isSidechain=True),
        gives("r", "a", "t", "found"),
        answer("b", "r"),
        {"type": "last-prompt", "leafUuid": "a"},
        {"type": "cost-state", "totalCostUSD": 1},
        {"type": "queue-operation", "operation": "enqueue", "content": "q"},
    )
    assert shown(history) == ["u:q", "a:b"]


def test_an_image_is_told_of_without_its_bytes(tmp_path: Path) -> None:
    """The text beside it is the entry's."""
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 1000}
    content = [{"type": "text", "text": "look"}, {"type": "image", "source": source}]
    (entry,) = read(tmp_path, person("q", None, content)).entries
    assert entry.text == "look"
    assert [attrs.astuple(block) for block in entry.blocks] == [
        ("image", "", None, {"media_type": "image/png", "base64": 1000})
    ]


def test_damaged_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    """What came before one is still told, although nothing names it any more; so is what the CLI can read."""
    history = read(
        tmp_path,
        person("q1", None),
        json.dumps(answer("a1", "q1")).encode()[:-20] + b"\n",
        b"\xff\xfe\n",
        b'"no object"\n',
        person("q2", "a1"),
        json.dumps(answer("a2", "q2")).replace('"text": "a2"', '"text": "half \\ud83d"').encode() + b"\n",
        json.dumps(person("q3", "a2", "bad bytes X")).encode().replace(b"X", b"\xff") + b"\n\n",
        b'{"type":"user","uuid":"torn","parentUuid":"q3","mess',
    )
    assert shown(history) == ["u:q1", "u:q2", "a:half ?", "u:bad bytes \ufffd"]
    assert history.damaged == 4


def test_a_line_without_an_end_takes_little_memory_and_is_damaged(tmp_path: Path) -> None:
    """As a file has one after a crash of the machine, or of somebody who wants to fill the memory."""
    path = write(tmp_path, person("q1", None), answer("a1", "q1"))
    with path.open("r+b") as file:
        file.truncate(8 * LONGEST_LINE)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + json.dumps(person("q2", "a1")).encode() + b"\n")
    tracemalloc.start()
    try:
        history = read_history(session(tmp_path), {"HOME": str(tmp_path)}, limit=None, before=None)
        assert tracemalloc.get_traced_memory()[1] < 5 * LONGEST_LINE
    finally:
        tracemalloc.stop()
    assert history is not None
    assert shown(history) == ["u:q1", "a:a1", "u:q2"]
    assert history.damaged == 1


def test_a_circle_of_lines_ends(tmp_path: Path) -> None:
    """And a line that names one written later follows the one before it."""
    history = read(tmp_path, person("q1", "q3"), person("q2", "q2"), person("q3", "q1"), person("q1", "q3"))
    assert [entry.uuids for entry in history.entries] == [("q1",), ("q3",), ("q1",)]


ROWS = st.lists(
    st.builds(
        lambda kind, uuid, parent, message, extra: {
            **(extra if isinstance(extra, dict) else {}),
            "type": kind,
            "uuid": uuid,
            "parentUuid": parent,
            "message": message,
            "attachment": message,
        },
        st.sampled_from(["user", "assistant", "attachment", "system", "else"]),
        st.sampled_from(["a", "b", "c", 1]),
        st.sampled_from(["a", "b", "c", None, 1]),
        st.dictionaries(st.sampled_from(["content", "id", "model", "usage", "prompt", "type"]), JSON) | JSON,
        JSON,
    ),
    max_size=8,
)


@given(ROWS)
def test_no_transcript_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, rows: list[Line]) -> None:
    """Whatever another version of the CLI writes into it."""
    tmp_path = tmp_path_factory.getbasetemp() / "any"
    tmp_path.mkdir(exist_ok=True)
    whole = read(tmp_path, *rows)
    assert whole.earlier is None
    assert {type(entry.text) for entry in whole.entries} <= {str}


@given(st.integers(1, 9))
def test_pages_are_the_conversation_piece_by_piece(tmp_path_factory: pytest.TempPathFactory, limit: int) -> None:
    """Nothing twice, nothing left out, also where one message is several people's."""
    fence = '[fence {0} trust=member author="{1}"]\n| hi\n[end of fence {0}]'
    collected = "\n\n".join(fence.format(digit * 32, name) for digit, name in (("1", "Ana"), ("2", "Bo"), ("3", "Cy")))
    lines: list[Line] = []
    for number in range(3):
        lines.append(person(f"q{number}", lines[-1]["uuid"] if lines else None, collected))
        lines.append(answer(f"a{number}", f"q{number}"))
    tmp_path = tmp_path_factory.getbasetemp() / "pages"
    tmp_path.mkdir(exist_ok=True)
    whole = read(tmp_path, *lines)
    pages: list[History] = []
    page = read(tmp_path, *lines, limit=limit)
    while page.earlier is not None:
        pages.insert(0, page)
        assert len(page.entries) == limit
        page = read(tmp_path, *lines, limit=limit, before=page.earlier)
    entries = [entry for each in (page, *pages) for entry in each.entries]
    assert entries == list(whole.entries)
    assert len(entries) == 12
    assert len({entry.entry_id for entry in entries}) == 12


def test_a_page_before_an_unknown_entry_is_refused(tmp_path: Path) -> None:
    """It may have been of another session."""
    with pytest.raises(InvalidMessage, match="no entry other"):
        read(tmp_path, person("q", None), before="other")


def test_a_line_that_only_another_reader_takes_is_read() -> None:
    """Half of a surrogate pair, as a cut text ends with; but not what is no JSON for anybody."""
    assert parsed(b'{"a": "x\\ud83d"}') == {"a": "x?"}
    assert parsed(b'{"a": NaN}') is None
    assert parsed(b"[" * 100_000) is None


# -- through an engine


async def test_an_engine_tells_who_said_what_without_the_fences(tmp_path: Path) -> None:
    """With the ids of its messages, and in the next run too."""
    settings, message_id = scripted_settings(tmp_path), new_id()
    async with scripted_engine(settings) as engine:
        assert await engine.history("c") == History(channel="c", session_id=None)
        reply = await engine.ask(
            "c", "hi\x1b", author=Author("Ana", "42"), trust=Trust.EXTERNAL, message_id=message_id
        )
        await engine.ask("c", "plain")
        history = await engine.history("c")
    assert shown(history)[::2] == ["u:hi␛", "u:plain"]
    assert (history.channel, history.session_id) == ("c", reply.session_id)
    asked, answered = history.entries[:2]
    assert (asked.author, asked.trust, asked.message_id) == (Author("Ana", "42"), Trust.EXTERNAL, message_id)
    assert (answered.text, answered.message_id) == (reply.text, None)
    async with scripted_engine(settings) as engine:
        assert await engine.history("c") == history
        last = await engine.history("c", limit=1)
        assert last.entries == history.entries[-1:]
        assert (await engine.history("c", before=last.earlier)).entries == history.entries[:-1]


async def test_a_running_first_turn_is_told_as_far_as_it_came(tmp_path: Path) -> None:
    """Before the session is established in the store."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine, engine.subscribe("c") as events:
        await engine.post("c", "wait [[no-result]]")
        async for event in events:
            if isinstance(event, BlockFinished):
                break
        assert await engine.session("c") is None
        assert shown(await engine.history("c"))[0] == "u:wait [[no-result]]"
        await engine.interrupt("c")


async def test_a_cleared_channel_has_no_history(tmp_path: Path) -> None:
    """It begins anew."""
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        await engine.ask("c", "one")
        await engine.clear("c")
        assert (await engine.history("c")).entries == ()
        await engine.ask("c", "two")
        assert shown(await engine.history("c")) == ["u:two", "a:echo: two"]


async def test_a_transcript_that_is_gone_is_said(tmp_path: Path) -> None:
    """With the session and where it was; a deleted conversation must not look like one that never was."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        reply = await engine.ask("c", "one")
        Transcript.of(reply.session_id, settings.working_dir, settings.environment).path.unlink()
        with pytest.raises(TranscriptMissing, match=f"session {reply.session_id}, is gone") as caught:
            await engine.history("c")
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.working_dir == str(settings.working_dir)


@pytest.mark.parametrize("other", ["pipe", "device"])
async def test_what_never_comes_to_its_end_is_no_transcript(tmp_path: Path, other: str) -> None:
    """A tool of the CLI's could put it there; to wait for it would be to wait for ever."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        reply = await engine.ask("c", "one")
        transcript = Transcript.of(reply.session_id, settings.working_dir, settings.environment)
        transcript.path.unlink()
        if other == "pipe":
            os.mkfifo(transcript.path)
        else:
            transcript.path.symlink_to("/dev/zero")
        with pytest.raises(CLIFailed, match="no regular file"):
            await engine.history("c")
        with pytest.raises(CLIFailed, match="no regular file"):
            await engine.fork("c", "d")
        assert transcript.reply_to("any") is None


async def test_a_transcript_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """With what the system says."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        reply = await engine.ask("c", "one")
        path = Transcript.of(reply.session_id, settings.working_dir, settings.environment).path
        path.unlink()
        path.mkdir()
        with pytest.raises(CLIFailed, match=r"cannot be read: .*no regular file"):
            await engine.history("c")


async def test_a_conversation_is_found_where_its_cli_ran(tmp_path: Path) -> None:
    """Also when the working directory is another one now."""
    settings, elsewhere = scripted_settings(tmp_path), tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with scripted_engine(settings) as engine:
        await engine.ask("c", "one")
    async with scripted_engine(attrs.evolve(settings, working_dir=elsewhere)) as engine:
        assert shown(await engine.history("c"))[0] == "u:one"


@pytest.mark.parametrize(("channel", "limit"), [("", 1), ("c", 0)])
async def test_a_page_that_cannot_be_is_refused(tmp_path: Path, channel: str, limit: int) -> None:
    """Before anything is read."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        with pytest.raises(InvalidMessage):
            await engine.history(channel, limit=limit)


async def test_collected_messages_are_told_apart(tmp_path: Path) -> None:
    """Each with its author, although they were one turn."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        for name in ("Ana", "Bo"):
            last = await engine.post("c", name.lower(), author=Author(name), busy=BusyPolicy.COLLECT)
        gate.open()
        await engine.outcome(last.message_id)
        history = await engine.history("c", limit=3)
        rest = await engine.history("c", before=history.earlier)
        with pytest.raises(InvalidMessage, match="no entry x"):
            await engine.history("c", before="x")
    assert [(entry.author and entry.author.name, entry.text) for entry in history.entries[:2]] == [
        ("Ana", "ana"),
        ("Bo", "bo"),
    ]
    assert shown(rest) == ["u:hold", "a:echo: hold"]


async def test_a_driver_that_is_told_everything_has_a_history_too(tmp_path: Path) -> None:
    """Of what its transcripts have."""
    conversations, message_id = Conversations(), new_id()
    driver = PuppetDriver(conversations)
    async with open_engine(plain_settings(tmp_path), driver=driver) as engine:
        await engine.post("c", "x", message_id=message_id)
        with trio.fail_after(5):
            await until(lambda: driver.decide("c", Decision()))
            await engine.outcome(message_id)
        history = await engine.history("c")
    assert [entry.role for entry in history.entries] == [HistoryRole.USER, HistoryRole.ASSISTANT]
    assert history.entries[0].message_id == message_id
