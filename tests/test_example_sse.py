"""The server of server-sent events of the examples, in a process of its own, on the scripted CLI."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, Self

import attrs
import orjson
import pytest
from pages import CLONE
from support import new_id

WITHIN = 30.0
"""Seconds that any answer, and the end of the server, may take."""


@attrs.define(eq=False)
class Server:
    """A server that runs.

    Attributes:
        settings: Variables of the engine's, besides those of the machine.
    """

    directory: Path
    settings: dict[str, str] = attrs.Factory(dict)
    process: subprocess.Popen[str] = attrs.field(init=False)
    port: int = attrs.field(init=False)

    def __enter__(self) -> Self:
        program = [sys.executable, "-W", "error", str(CLONE / "examples" / "sse_server.py"), "--port", "0"]
        self.process = subprocess.Popen(
            program,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.directory),
                "TMPDIR": str(self.directory),
                **self.settings,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        assert self.ends() == (128 + signal.SIGTERM, "")

    def ends(self) -> tuple[int, str]:
        """Its exit code and what it complained of; nothing of it is left in its directory."""
        _, complaints = self.process.communicate(timeout=WITHIN)
        assert [path.name for path in self.directory.iterdir() if path.name.startswith("echo-actors")] == []
        return self.process.returncode, complaints

    @contextmanager
    def asked(self, method: str, path: str, body: Any = None, since: str | None = None) -> Iterator[HTTPResponse]:
        """A request; the connection is cut at the end of the block."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=WITHIN)
        content = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        try:
            connection.request(method, path, content, {} if since is None else {"Last-Event-ID": since})
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()

    def says(self, channel: str, text: str, message_id: str, since: str | None = None) -> list[Sent]:
        """Post a message; give all its events."""
        body = {"text": text, "message_id": message_id}
        with self.asked("POST", f"/channels/{channel}/messages", body, since) as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            return list(events_of(response))


@attrs.frozen
class Sent:
    """A server-sent event.

    Attributes:
        cursor: Its id, "" if it has none.
    """

    kind: str
    cursor: str
    data: dict[str, Any]


def events_of(response: HTTPResponse) -> Iterator[Sent]:
    """The events in a response, as they come."""
    fields: dict[str, str] = {}
    for line in response:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield Sent(fields["event"], fields.get("id", ""), orjson.loads(fields["data"]))
            fields = {}


def kinds(events: list[Sent]) -> list[str]:
    """What kinds of events these are."""
    return [event.kind for event in events]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server."""
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


def test_a_message_is_answered_by_its_events(server: Server) -> None:
    """The last one has the answer, and each can be gone on from."""
    events = server.says("a", "Hello!", new_id())
    assert kinds(events) == ["Accepted", "TurnStarted", "TextDelta", "BlockFinished", "TurnEnded"]
    assert all(event.cursor for event in events)
    assert "| Hello!" in events[-1].data["outcome"]["reply"]["text"]


def test_who_lost_the_connection_goes_on_behind_the_last_event(server: Server) -> None:
    """The turn has gone on, nothing comes twice, and it ran once."""
    message, text = new_id(), "[[hold 0.5]] [[deltas 20]] one two three four"
    with server.asked("POST", "/channels/a/messages", {"text": text, "message_id": message}) as response:
        coming = events_of(response)
        first = [next(coming) for _ in range(2)]
    rest = server.says("a", text, message, since=first[-1].cursor)
    assert kinds(first) == ["Accepted", "TurnStarted"]
    assert rest[-1].kind == "TurnEnded"
    assert "Accepted" not in kinds(rest)
    assert "TurnStarted" not in kinds(rest)
    parts = "".join(event.data["text"] for event in rest if event.kind == "TextDelta")
    assert parts == rest[-1].data["outcome"]["reply"]["text"]
    assert rest[-1].data["outcome"]["attempts"] == 1


def test_a_message_that_has_ended_is_told_its_end_again(server: Server) -> None:
    """To who has no cursor, and to who has one of another run, who is told that events are lost."""
    message = new_id()
    ended = server.says("a", "Hello!", message)[-1]
    assert [event.data["outcome"] for event in server.says("a", "Hello!", message)] == [ended.data["outcome"]]
    late = server.says("a", "Hello!", message, since="another:17")
    assert [late[0].kind, late[0].data["missed"]] == ["Lagged", -1]
    assert late[-1].data["outcome"] == ended.data["outcome"]


def test_a_spectator_sees_a_channel_and_goes_on_where_it_was(server: Server) -> None:
    """As the browser's ``EventSource`` does; other channels are none of its business."""
    with server.asked("GET", "/channels/a/events") as response:
        coming = events_of(response)
        server.says("b", "Elsewhere", new_id())
        server.says("a", "Hello!", new_id())
        first = next(coming)
    with server.asked("GET", "/channels/a/events", since=first.cursor) as response:
        second = next(events_of(response))
    assert [first.kind, second.kind] == ["Accepted", "TurnStarted"]
    assert first.data["channel"] == second.data["channel"] == "web:a"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/channels/a/messages", b"{", 400),
        ("POST", "/channels/a/messages", [], 400),
        ("POST", "/channels/a/messages", {}, 400),
        ("POST", "/channels/a/messages", {"text": 1}, 400),
        ("POST", "/channels/a/messages", {"text": " "}, 400),
        ("POST", "/channels/a/messages", {"text": "x", "message_id": "none"}, 400),
        ("POST", f"/channels/{'a' * 2000}/messages", {"text": "x"}, 400),
        ("POST", "/channels/a/messages", b" " * (2**20 + 1), 413),
        ("GET", "/channels/a/messages", None, 405),
        ("GET", "/elsewhere", None, 404),
    ],
)
def test_bad_input_is_refused_in_json(server: Server, method: str, path: str, body: Any, status: int) -> None:
    """With a status of the sender's fault, and a reason."""
    with server.asked(method, path, body) as response:
        said = orjson.loads(response.read())
    assert (response.status, set(said)) == (status, {"error", "reason"})
    assert said["reason"]


def test_a_full_mailbox_is_to_be_tried_again_later(tmp_path: Path) -> None:
    """Who is refused is told so by the status, and when to come back."""
    settings = {"ECHO_ACTORS_MAILBOX_SIZE": "1", "ECHO_ACTORS_DRAIN_TIMEOUT": "0.1"}
    path = "/channels/a/messages"
    with Server(tmp_path, settings) as server, server.asked("POST", path, {"text": "[[silence]]"}) as response:
        coming = events_of(response)
        assert [next(coming).kind for _ in range(2)] == ["Accepted", "TurnStarted"]
        with server.asked("POST", path, {"text": "waits"}) as waiting:
            assert waiting.status == 200
        with server.asked("POST", path, {"text": "is refused"}) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
            assert orjson.loads(refused.read())["error"] == "MailboxFull"


def test_a_turn_that_runs_is_finished_when_the_server_ends(tmp_path: Path) -> None:
    """Its end is sent, spectators are let go, and nobody is taken any more."""
    server = Server(tmp_path)
    with (
        server,
        server.asked("GET", "/channels/a/events") as watched,
        server.asked("POST", "/channels/a/messages", {"text": "[[hold 1]] to the end"}) as response,
    ):
        coming, seen = events_of(response), events_of(watched)
        assert [next(coming).kind for _ in range(2)] == ["Accepted", "TurnStarted"]
        server.process.terminate()
        assert kinds(list(coming))[-1] == "TurnEnded"
        assert kinds(list(seen))[-1] == "TurnEnded"
        assert server.ends() == (128 + signal.SIGTERM, "")
