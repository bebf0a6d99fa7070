"""The scripted Messages API: what it answers, how it fails on request, what it remembers."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import h11
import orjson
import pytest
import trio
import trio.testing

from bench.workplace import cli_variables
from echo_actors.simulator.model import ModelServer, open_model_server
from echo_actors.simulator.prices import INPUT_TOKENS, OUTPUT_TOKENS, cost_usd

MODEL = "claude-sonnet-5-5"


@attrs.frozen
class Answer:
    """An HTTP answer; `complete` is False when the connection ended in its middle."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The body as server-sent events."""
        records = [record.split("\n") for record in self.body.decode().split("\n\n")[:-1]]
        events: list[dict[str, Any]] = [orjson.loads(data.removeprefix("data: ")) for _, data in records]
        assert [name for name, _ in records] == [f"event: {event['type']}" for event in events]
        return events

    @property
    def deltas(self) -> list[dict[str, Any]]:
        """The deltas of a streamed answer."""
        return [event["delta"] for event in self.events if event["type"] == "content_block_delta"]

    @property
    def text(self) -> str:
        """The text of a streamed answer."""
        return "".join(delta.get("text", "") for delta in self.deltas)


async def read_answer(stream: trio.abc.Stream, http: h11.Connection) -> Answer:
    """Read one answer from a connection."""
    head: h11.Response | None = None
    body = b""
    complete = False
    while not complete:
        try:
            event = http.next_event()
        except h11.RemoteProtocolError:
            break
        if event is h11.NEED_DATA:
            http.receive_data(bytes(await stream.receive_some(65_536)))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            complete = True
    assert head is not None
    headers = {name.decode(): value.decode() for name, value in head.headers}
    return Answer(head.status_code, headers, body, complete)


def request_bytes(http: h11.Connection, method: str, path: str, body: bytes) -> bytes:
    """Serialize a request."""
    headers = [("host", "localhost"), ("content-length", str(len(body)))]
    parts = [h11.Request(method=method, target=path, headers=headers), h11.Data(body), h11.EndOfMessage()]
    return b"".join(http.send(part) or b"" for part in parts)


async def call(url: str, method: str, path: str, body: Any = None) -> Answer:
    """Send one request on a connection of its own and read the answer."""
    data = b"" if body is None else orjson.dumps(body)
    http = h11.Connection(h11.CLIENT)
    async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
        await stream.send_all(request_bytes(http, method, path, data))
        return await read_answer(stream, http)


def user(*texts: str) -> dict[str, Any]:
    """A user message with these text blocks."""
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def assistant(text: str) -> dict[str, Any]:
    """An assistant message."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def tool_turn(tool_id: str, printed: str) -> list[dict[str, Any]]:
    """A tool's use and its result."""
    use = {"type": "tool_use", "id": tool_id, "name": "Bash", "input": {}}
    result = {"type": "tool_result", "tool_use_id": tool_id, "content": printed}
    return [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]


async def ask(server: ModelServer, *messages: dict[str, Any], **fields: Any) -> Answer:
    """Send a conversation, streaming, as the CLI does."""
    body = {"model": MODEL, "stream": True, "messages": list(messages)} | fields
    return await call(server.url, "POST", "/v1/messages?beta=true", body)


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    """A running model whose clock stands still."""
    async with open_model_server(clock=lambda: 1_000.0) as server:
        yield server


async def test_echoes_the_user_as_a_stream_of_events(server: ModelServer) -> None:
    """The default answer is an echo, in the order of events the API documents."""
    answer = await ask(server, user("hello"))
    assert answer.text == "echo: hello"
    kinds = [event["type"] for event in answer.events]
    block = ["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"]
    assert kinds == ["message_start", *block, "message_delta", "message_stop"]
    assert answer.events[0]["message"]["usage"]["input_tokens"] == INPUT_TOKENS
    assert answer.events[-2]["usage"]["output_tokens"] == OUTPUT_TOKENS


async def test_answers_whole_when_no_stream_is_wanted(server: ModelServer) -> None:
    """Without `stream` the answer is one JSON message."""
    answer = (await ask(server, user("hello"), stream=False)).json
    assert answer["content"] == [{"type": "text", "text": "echo: hello"}]
    assert answer["stop_reason"] == "end_turn"
    assert answer["usage"] == {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS}


async def test_one_connection_serves_many_requests(server: ModelServer) -> None:
    """The connection stays usable after a streamed answer."""
    http = h11.Connection(h11.CLIENT)
    async with await trio.open_tcp_stream("127.0.0.1", int(server.url.rpartition(":")[2])) as stream:
        texts = []
        for text in ("one", "two"):
            body = orjson.dumps({"model": MODEL, "stream": True, "messages": [user(text)]})
            await stream.send_all(request_bytes(http, "POST", "/v1/messages", body))
            texts.append((await read_answer(stream, http)).text)
            http.start_next_cycle()
    assert texts == ["echo: one", "echo: two"]


@pytest.mark.parametrize("added", ["<system-reminder>\nx", "<command-name>/x", "<local-command-stdout>x"])
async def test_text_the_cli_adds_is_not_the_users(server: ModelServer, added: str) -> None:
    """Blocks that start with a marker of the CLI, and system messages, are not echoed."""
    system = {"role": "system", "content": "# Environment"}
    assert (await ask(server, user(added, "hello"), system)).text == "echo: hello"


@pytest.mark.parametrize("unanswered", [["[[status 400]]\n"], ["[[say old]]\n", "[Request interrupted by user]\n"]])
async def test_a_message_that_got_no_answer_is_history(server: ModelServer, unanswered: list[str]) -> None:
    """Messages the CLI merges before the newest one no longer steer the answer."""
    assert (await ask(server, user(*unanswered, "now"))).text == "echo: now"
    assert server.calls[0].history == (unanswered[0].rstrip("\n"),)


async def test_directives_of_earlier_turns_do_not_count(server: ModelServer) -> None:
    """Only the newest text scripts the answer."""
    answer = await ask(server, user("[[say old]]"), assistant("old"), user("new"))
    assert answer.text == "echo: new"


async def test_uses_a_tool_then_tells_what_it_printed(server: ModelServer) -> None:
    """The tool directive gives a tool_use block, and after its result a text with that result."""
    text = 'run [[tool Bash {"command": "a[[0]]"}]]'
    first = await ask(server, user(text))
    assert first.events[1]["content_block"]["name"] == "Bash"
    assert orjson.loads(first.deltas[0]["partial_json"]) == {"command": "a[[0]]"}
    assert first.events[-2]["delta"]["stop_reason"] == "tool_use"
    assert (await ask(server, user(text), *tool_turn("t1", "printed"))).text == "tool said: printed"
    assert [(each.user_text, each.asked) for each in server.calls] == [(text, True), (text, False)]
    assert server.by_text == {text: 1}


async def test_several_tools_are_used_one_after_the_other(server: ModelServer) -> None:
    """The second tool directive is obeyed once the first tool's result is there."""
    text = "[[tool One]] [[tool Two]]"
    second = await ask(server, user(text), *tool_turn("t1", "x"))
    assert second.events[1]["content_block"]["name"] == "Two"
    third = await ask(server, user(text), *tool_turn("t1", "x"), *tool_turn("t2", "y"))
    assert third.text == "tool said: y"


async def test_a_message_steered_into_a_tool_turn_is_answered_with_it(server: ModelServer) -> None:
    """The CLI brings steered messages in a system message after the tool's result."""
    note = "The user sent a new message while you were working:\n{}\n\nThis is how Claude Code surfaces messages."
    steered = {"role": "system", "content": "\n\n".join(note.format(text) for text in ("left", "right"))}
    answer = await ask(server, user("[[tool Bash]]"), *tool_turn("t1", "done"), steered)
    assert answer.text == "tool said: done\necho: left\nright"
    assert server.calls[0].history == ("[[tool Bash]]",)


@pytest.mark.parametrize(
    ("directive", "deltas"),
    [
        ("[[say a b!]]", ["a ", "b!"]),
        ("[[words 3]]", ["word1 ", "word2 ", "word3 "]),
        ("[[empty]]", []),
    ],
)
async def test_a_message_can_script_the_text(server: ModelServer, directive: str, deltas: list[str]) -> None:
    """`say`, `words` and `empty` fix the deltas of the answer."""
    answer = await ask(server, user(f"please {directive}"))
    assert [delta["text"] for delta in answer.deltas] == deltas
    assert answer.complete


async def test_thinks_before_answering(server: ModelServer) -> None:
    """`thinking` puts a signed block of thinking before the text."""
    answer = await ask(server, user("[[thinking]] [[say x]]"), stream=False)
    assert [block["type"] for block in answer.json["content"]] == ["thinking", "text"]
    assert answer.json["content"][0]["signature"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
async def test_fails_with_the_status_asked_for(server: ModelServer, status: int, kind: str) -> None:
    """An error has the API's body, and no cost."""
    answer = await ask(server, user(f"[[status {status}]]"))
    assert answer.status == status == server.calls[0].status
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == kind
    assert ("retry-after" in answer.headers) == (status in {429, 529})
    assert server.cost_usd == 0


async def test_fails_only_as_often_as_asked(server: ModelServer) -> None:
    """`xN` limits a failure to the text's first N requests."""
    text = "[[status 529 x2]]"
    assert [(await ask(server, user(text))).status for _ in range(3)] == [529, 529, 200]
    assert server.by_text[text] == 3


async def test_cuts_the_connection_mid_stream(server: ModelServer) -> None:
    """`cut` leaves the answer unfinished after its first delta, and lets the next request pass."""
    broken = await ask(server, user("[[cut x1]]"))
    assert not broken.complete
    assert len(broken.deltas) == 1
    assert (await ask(server, user("[[cut x1]]"))).complete
    assert server.cost_usd == cost_usd(MODEL)


async def test_a_client_that_leaves_a_stalled_answer_frees_the_server(server: ModelServer) -> None:
    """The first delta arrives before the stall; a client leaving in it costs nothing and breaks nothing."""
    http = h11.Connection(h11.CLIENT)
    body = orjson.dumps({"model": MODEL, "stream": True, "messages": [user("[[stall 3600]]")]})
    async with await trio.open_tcp_stream("127.0.0.1", int(server.url.rpartition(":")[2])) as stream:
        await stream.send_all(request_bytes(http, "POST", "/v1/messages", body))
        received = b""
        while b"text_delta" not in received:
            received += await stream.receive_some(65_536)
    assert b"message_stop" not in received
    assert (await ask(server, user("next"))).text == "echo: next"
    assert server.cost_usd == cost_usd(MODEL)


async def test_a_delay_holds_back_the_first_byte(autojump_clock: trio.testing.MockClock) -> None:
    """An hour's delay passes on the clock before the answer comes."""
    client, served = trio.testing.memory_stream_pair()
    http = h11.Connection(h11.CLIENT)
    body = orjson.dumps({"model": MODEL, "messages": [user("[[delay 3600]]")]})
    async with open_model_server() as server, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, served)
        started = trio.current_time()
        await client.send_all(request_bytes(http, "POST", "/v1/messages", body))
        assert await client.receive_some(1)
        assert trio.current_time() - started == 3600
        assert autojump_clock.autojump_threshold == 0
        await client.aclose()


async def test_a_fault_hits_everybody_as_often_as_set(server: ModelServer) -> None:
    """The switch over HTTP fails the next N calls, whatever they say."""
    fault = {"status": 429, "count": 1, "retry_after": 7}
    assert (await call(server.url, "POST", "/fault", fault)).status == 200
    answer = await ask(server, user("a"))
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert (await ask(server, user("b"))).status == 200


async def test_a_fault_without_count_holds_until_lifted(server: ModelServer) -> None:
    """Set by method, lifted over HTTP."""
    server.set_fault(401)
    assert [(await ask(server, user("a"))).status for _ in range(2)] == [401, 401]
    await call(server.url, "DELETE", "/fault")
    assert (await ask(server, user("a"))).status == 200


@pytest.mark.parametrize("fault", [{"status": 200}, {"status": 429, "count": 0}, {"retry_after": "x"}, []])
async def test_a_nonsensical_fault_is_refused(server: ModelServer, fault: object) -> None:
    """A fault that cannot be is answered by 400 and not set."""
    assert (await call(server.url, "POST", "/fault", fault)).status == 400
    assert server.fault is None


async def test_remembers_what_it_was_asked(server: ModelServer) -> None:
    """`GET /calls` tells each request in full and the counts by text; `DELETE` forgets."""
    await ask(
        server,
        user("one"),
        assistant("echo: one"),
        user("two"),
        {"role": "system", "content": "env"},
        system=[{"type": "text", "text": "persona"}],
        tools=[{"name": "Bash"}],
        metadata={"user_id": '{"session_id": "s-1"}'},
    )
    told = (await call(server.url, "GET", "/calls")).json
    expected = {
        "user_text": "two",
        "history": ["one"],
        "asked": True,
        "model": MODEL,
        "tools": ["Bash"],
        "system": "persona\nenv",
        "session_id": "s-1",
        "stream": True,
        "status": 200,
        "at": 1_000.0,
    }
    assert told["calls"] == [expected]
    assert told["by_text"] == {"two": 1}
    await call(server.url, "DELETE", "/calls")
    assert (await call(server.url, "GET", "/calls")).json["calls"] == []


async def test_keeps_only_the_newest_calls() -> None:
    """Beyond the limit the oldest are dropped, and counted."""
    async with open_model_server(max_calls=2) as server:
        for text in ("a", "b", "c"):
            await ask(server, user(text))
        assert [each.user_text for each in server.calls] == ["b", "c"]
        summary = (await call(server.url, "GET", "/calls?summary=1")).json
        assert (summary["calls"], summary["dropped"], "by_text" in summary) == (3, 1, False)
        assert summary["cost_usd"] == pytest.approx(cost_usd(MODEL, 3))
        assert server.by_text == {"b": 1, "c": 1}


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_answers_the_clients_greeting(server: ModelServer, method: str) -> None:
    """The CLI greets the server with requests that only want a 200."""
    assert (await call(server.url, method, "/")).status == 200


async def test_counts_tokens(server: ModelServer) -> None:
    """The count is the one every answer reports."""
    answer = await call(server.url, "POST", "/v1/messages/count_tokens", {"model": MODEL, "messages": []})
    assert answer.json == {"input_tokens": INPUT_TOKENS}


@pytest.mark.parametrize("body", [[], {"model": MODEL}, {"model": MODEL, "messages": [{"role": "user"}]}])
async def test_a_request_it_cannot_read_is_an_error(server: ModelServer, body: object) -> None:
    """Nonsense is answered by 400 and not recorded; the server lives on."""
    assert (await call(server.url, "POST", "/v1/messages", body)).status == 400
    assert server.calls == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_runs_as_a_program_until_signalled(number: signal.Signals) -> None:
    """`python -m` prints its address, serves, and ends cleanly on either signal."""
    command = [sys.executable, "-m", "echo_actors.simulator.model", "--port", "0"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = b""
        while not line.endswith(b"\n"):
            line += await process.stdout.receive_some(100)
        assert (await call(line.decode().strip(), "GET", "/")).status == 200
        process.send_signal(number)
        assert await process.wait() == 0
        assert b"".join([chunk async for chunk in process.stderr]) == b""
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def claude() -> Path:
    """The CLI binary that the official SDK's wheel carries."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    assert spec is not None
    assert spec.origin is not None
    binary = Path(spec.origin).parent / "_bundled" / "claude"
    assert binary.is_file()
    return binary


async def run_cli(claude: Path, url: str, home: Path, text: str) -> dict[str, Any]:
    """Run the real CLI once on `text` and return its result."""
    environment = {"PATH": os.environ["PATH"], **cli_variables(home, url)}
    command = [str(claude), "-p", "--output-format", "json", "--model", MODEL, "--allowedTools", "Bash"]
    done = await trio.run_process(
        command, stdin=text.encode(), capture_stdout=True, capture_stderr=True, env=environment, cwd=home
    )
    result: dict[str, Any] = orjson.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    ("model", "usd"),
    [("claude-haiku-5-5", 2e-5), ("claude-sonnet-5-5", 4e-4), ("claude-opus-5-5", 8e-4), ("unheard-of", 0.0)],
)
async def test_costs_what_the_cli_reckons(server: ModelServer, model: str, usd: float) -> None:
    """The sum over answered requests, at the prices measured with the CLI."""
    for _ in range(2):
        await ask(server, user("x"), model=model)
    assert server.cost_usd == pytest.approx(2 * usd)


@pytest.mark.real_cli
async def test_the_real_cli_gets_an_answer_and_reckons_the_same_cost(
    server: ModelServer, claude: Path, tmp_path: Path
) -> None:
    """The CLI understands the stream, and its cost is the server's."""
    result = await run_cli(claude, server.url, tmp_path, "hello")
    assert result["result"] == "echo: hello"
    assert result["total_cost_usd"] == pytest.approx(server.cost_usd)
    assert server.by_text == {"hello": 1}
    assert server.calls[0].session_id == result["session_id"]
    assert "Bash" in server.calls[0].tools


@pytest.mark.real_cli
async def test_the_real_cli_runs_the_tool_the_message_asks_for(
    server: ModelServer, claude: Path, tmp_path: Path
) -> None:
    """The tool really runs, and the final text tells what it printed."""
    text = '[[tool Bash {"command": "expr 6 \\\\* 7", "description": "multiply"}]]'
    result = await run_cli(claude, server.url, tmp_path, text)
    assert result["result"] == "tool said: 42"
    assert [each.asked for each in server.calls] == [True, False]
    assert result["total_cost_usd"] == pytest.approx(cost_usd(MODEL, 2)) == server.cost_usd
