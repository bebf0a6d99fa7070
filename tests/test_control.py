"""The control socket: an engine's calls from another program, and clients of every bad kind."""

from __future__ import annotations

import errno
import inspect
import os
import socket
import stat
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
import trio
from support import DAY, Gate, audit_records, new_id, opened, plain_settings, until

from echo_actors import (
    Allow,
    Author,
    BusyPolicy,
    ChannelOptions,
    ChannelState,
    ChannelSuspended,
    CLIFailed,
    ControlError,
    Deny,
    EchoActorsError,
    Engine,
    EngineClosed,
    EngineNotRunning,
    InvalidMessage,
    Outcome,
    OutcomeKind,
    Policy,
    RemoteEngine,
    Reply,
    Settings,
    SettingsError,
    Trust,
    TurnEnded,
    TurnFailed,
    connect,
    errors,
    events,
)
from echo_actors.claude.driver import TurnRequest
from echo_actors.control import place
from echo_actors.control.calls import WITHHELD, calls_of
from echo_actors.control.client import connected
from echo_actors.control.protocol import PROTOCOL, Hello
from echo_actors.control.server import Server
from echo_actors.control.values import Values
from echo_actors.events import Event, TextDelta, UnknownFrame
from echo_actors.models import Budget, BudgetPeriod, BudgetScope, Clock
from echo_actors.shape import Kind, public
from echo_actors.state.lock import lock_directory
from echo_actors.testing.instant_driver import InstantDriver


@asynccontextmanager
async def both(tmp_path: Path, answer: Any = None, **overrides: Any) -> AsyncIterator[tuple[Engine, RemoteEngine]]:
    """An engine, and the same one over its socket."""
    driver = InstantDriver() if answer is None else InstantDriver(answer=answer)
    settings = plain_settings(tmp_path, **overrides)
    async with opened(settings, driver=driver) as engine, connect(settings.state_dir) as remote:
        yield engine, remote


@asynccontextmanager
async def raw(state_dir: Path) -> AsyncIterator[trio.SocketStream]:
    """A connection on which anything can be sent."""
    async with await trio.open_unix_socket(str(state_dir / place.SOCKET_NAME)) as stream:
        yield stream


async def lines(stream: trio.SocketStream) -> list[dict[str, Any]]:
    """All that comes until the end."""
    received = b"".join([chunk async for chunk in stream])
    return [orjson.loads(line) for line in received.splitlines()]


# -- calls


def test_every_call_of_the_engine_is_one_of_the_remote_engine() -> None:
    """Under its name, with its arguments and words; there is no list to keep in step, only of what is withheld."""
    expected = {name for name, value in public(Engine).items() if not isinstance(value, property)} - WITHHELD
    assert calls_of(Engine).keys() == expected
    for name in expected:
        here, there = inspect.getattr_static(RemoteEngine, name), inspect.getattr_static(Engine, name)
        assert inspect.signature(here) == inspect.signature(there)
        assert inspect.getdoc(here) == inspect.getdoc(there)


def test_what_ends_the_engine_and_what_holds_secrets_is_not_for_others() -> None:
    """Its program ends it; its settings have keys in them."""
    assert not {"drain", "settings"} & calls_of(Engine).keys()


@pytest.mark.parametrize("call", calls_of(Engine).values(), ids=lambda call: call.name)
def test_the_result_of_every_call_can_be_carried(call: Any) -> None:
    """If this fails for a new call: its result's type has to be one that ``Values`` reads."""
    if call.kind is not Kind.ENTERED:
        Values()._converter.get_structure_hook(call.returns)


async def test_a_call_gives_what_it_gives_in_the_engine(tmp_path: Path) -> None:
    """As the same records."""
    async with both(tmp_path) as (engine, remote):
        reply = await remote.ask(
            "c", "hello", author=Author("ana", "1"), trust=Trust.EXTERNAL, message_id=uuid.uuid4()
        )
        assert isinstance(reply, Reply)
        assert "| hello" in reply.text
        assert await remote.session("c") == await engine.session("c")
        assert await remote.sessions() == await engine.sessions()
        assert await remote.session("nobody") is None
        assert await remote.status() == engine.status()
        assert await remote.spending("c") == await engine.spending("c")
        assert remote.hello == Hello(
            protocol=PROTOCOL, version=remote.hello.version, run_id=engine.status().run_id, pid=os.getpid()
        )


async def test_options_go_there_and_come_back(tmp_path: Path) -> None:
    """Also those that JSON has no word for."""
    async with both(tmp_path) as (engine, remote):
        policies = {Trust.MEMBER: Policy(allowed_tools=("Read",))}
        set_there = await remote.configure(
            "c", model="opus", idle_timeout=float("inf"), working_dir=tmp_path, policies=policies
        )
        expected = ChannelOptions(model="opus", idle_timeout=float("inf"), working_dir=tmp_path, policies=policies)
        assert set_there == expected
        assert await engine.options("c") == attrs.evolve(
            expected, idle_timeout=(await engine.options("c")).idle_timeout
        )


async def test_a_stream_gives_its_events_and_the_reply(tmp_path: Path) -> None:
    """The same ones as in the engine."""
    async with both(tmp_path) as (_, remote):
        key = new_id()
        async with remote.stream("c", "hello", message_id=key) as stream:
            assert stream.message_id == key
            with pytest.raises(RuntimeError, match="not ended"):
                _ = stream.reply
            names = [type(event).__name__ async for event in stream]
        assert names == ["Accepted", "TurnStarted", "BlockFinished", "TurnEnded"]
        assert stream.reply.text == "echo: hello"


async def test_leaving_a_stream_withdraws_its_message(tmp_path: Path) -> None:
    """As in the engine: the turn is interrupted."""
    gate = Gate("hello")
    async with both(tmp_path, gate) as (engine, remote):
        async with remote.stream("c", "hello") as stream:
            await gate.entered()
        assert (await engine.outcome(stream.message_id)).kind is OutcomeKind.CANCELLED


async def test_cancelling_a_call_cancels_it_there(tmp_path: Path) -> None:
    """A sender who gives up takes the message back."""
    gate, key = Gate("hello"), new_id()
    async with both(tmp_path, gate) as (engine, remote):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: remote.ask("c", "hello", message_id=key))
            await gate.entered()
            nursery.cancel_scope.cancel()
        assert (await engine.outcome(key)).kind is OutcomeKind.CANCELLED
        # The client can be used as before.
        assert (await remote.ask("c", "again")).text == "echo: again"


async def test_calls_of_one_client_do_not_wait_for_each_other(tmp_path: Path) -> None:
    """While one asks, another interrupts."""
    gate, failures = Gate("hello"), []
    async with both(tmp_path, gate) as (_, remote):

        async def ask() -> None:
            with pytest.raises(TurnFailed) as caught:
                await remote.ask("c", "hello")
            failures.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await gate.entered()
            assert await remote.interrupt("c", reason="enough")
        assert failures[0].outcome.kind is OutcomeKind.CANCELLED
        assert failures[0].outcome.reason == "enough"


async def test_a_subscription_goes_on_from_a_cursor(tmp_path: Path) -> None:
    """Over the socket too."""
    async with both(tmp_path) as (engine, remote):
        async with engine.subscribe() as local:
            await engine.ask("c", "hello")
            seen = [await local.__anext__() for _ in range(5)]
        async with remote.subscribe("c", since=seen[0].cursor) as subscription:
            assert [await subscription.__anext__() for _ in range(4)] == seen[1:]


# -- suspension


async def test_a_suspended_channel_refuses_and_keeps_what_waits(tmp_path: Path) -> None:
    """The running turn goes on to its end, the next one does not begin before it is resumed."""
    gate = Gate("first")
    async with both(tmp_path, gate) as (engine, remote):
        first = await remote.post("c", "first")
        await gate.entered()
        second = await remote.post("c", "second")
        assert await remote.suspend("c", reason="maintenance")
        assert not await remote.suspend("c")
        with pytest.raises(ChannelSuspended) as caught:
            await remote.ask("c", "third")
        assert (caught.value.channel, caught.value.reason) == ("c", "maintenance")
        gate.open()
        assert (await remote.outcome(first.message_id)).kind is OutcomeKind.ANSWERED
        assert (await remote.ask("other", "hello")).text == "echo: hello"
        assert engine.status().queued_messages == 1
        assert (await remote.status()).suspended == {"c": "maintenance"}
        assert await remote.resume("c")
        assert not await remote.resume("c")
        assert (await remote.outcome(second.message_id)).kind is OutcomeKind.ANSWERED
    recorded = [(each["event"], each["channel"]) for each in audit_records(engine.settings, "") if "channel" in each]
    assert ("operator.suspend", "c") in recorded
    assert ("operator.resume", "c") in recorded


async def test_a_turn_that_waits_for_a_slot_does_not_begin_once_it_is_suspended(tmp_path: Path) -> None:
    """Suspending is heeded up to the moment in which it would begin."""
    gate = Gate("hold")
    async with both(tmp_path, gate, turn_slots=1, max_residents=1) as (engine, remote):
        held = await remote.post("a", "hold")
        await gate.entered()
        waiting = await remote.post("b", "hello")
        await until(lambda: engine.status().waiting_for_slot == 1)
        await remote.suspend("b")
        gate.open()
        await remote.outcome(held.message_id)
        assert (await remote.ask("a", "more")).text == "echo: more"
        assert engine.status().queued_messages == 1
        await remote.resume("b")
        assert (await remote.outcome(waiting.message_id)).kind is OutcomeKind.ANSWERED


async def test_a_suspended_channel_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """What waits in it runs at the next start, which knows nothing of the suspension."""
    settings, gate = plain_settings(tmp_path), Gate("first")
    async with opened(settings, driver=InstantDriver(answer=gate)) as engine:
        await engine.post("c", "first")
        await gate.entered()
        receipt = await engine.post("c", "second")
        await engine.suspend("c")
        gate.open()
    async with opened(settings, driver=InstantDriver()) as engine:
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED


async def test_a_channel_that_crashes_too_often_while_the_engine_drains_does_not_hold_it_up(tmp_path: Path) -> None:
    """Nobody could resume it any more."""
    gate, answered = trio.Event(), list[str]()

    async def crash() -> Exception:
        if len(answered) == 6:
            await gate.wait()
        return KeyError("a bug")

    def answer(request: TurnRequest) -> Awaitable[Exception]:
        answered.append(request.channel)
        return crash()

    settings = plain_settings(tmp_path, max_attempts=10, drain_timeout=900)
    async with opened(settings, driver=InstantDriver(answer=answer)) as engine:
        await engine.post("c", "hello")
        await until(lambda: len(answered) == 6)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.drain)
            await until(lambda: engine.status().closing)
            gate.set()


# -- errors

BUDGET = Budget(
    scope=BudgetScope.CHANNEL, channel="c", period=BudgetPeriod.DAY, limit_usd=1.0, spent_usd=2.0, resets_at=DAY
)
OUTCOME = Outcome(kind=OutcomeKind.TIMED_OUT, reason="slow", clock=Clock.IDLE, attempts=2, budget=BUDGET)
SAMPLES: dict[str, Any] = {
    "outcome": OUTCOME,
    "budget": BUDGET,
    "searched": ("/a", "/b"),
    "within": ("policies", "external"),
    "retry_after": 12.5,
    **dict.fromkeys(("exit_code", "depth", "limit", "line", "pid"), 7),
}
ERRORS = sorted(
    (each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, EchoActorsError)),
    key=lambda each: each.__name__,
)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda each: each.__name__)
def test_every_error_arrives_as_what_it_was(kind: type[EchoActorsError]) -> None:
    """Its class, its fields and its words."""
    fields = [each.name for each in attrs.fields(kind)] if attrs.has(kind) else []
    error = kind(**{name: SAMPLES.get(name, f"some {name}") for name in fields}) if fields else kind("words")
    values = Values()
    there = values.read_error(orjson.loads(orjson.dumps(values.write_error(error))))
    assert type(there) is kind
    assert str(there) == str(error)
    assert [getattr(there, name) for name in fields] == [getattr(error, name) for name in fields]


async def test_errors_of_calls_are_raised_here(tmp_path: Path) -> None:
    """Those of the message, of the options, and of arguments that are none."""
    async with both(tmp_path, lambda _: CLIFailed("boom")) as (_, remote):
        with pytest.raises(InvalidMessage, match="1 to 1024 bytes"):
            await remote.ask("", "hello")
        with pytest.raises(SettingsError) as caught:
            await remote.configure("c", modle="opus")  # type: ignore[call-arg]
        assert caught.value.nearest == "model"
        with pytest.raises(TypeError, match="missing a required argument"):
            await remote.ask("c")  # type: ignore[call-arg]
        with pytest.raises(ControlError, match="unknown options of a message: colour"):
            await remote.ask("c", "hello", colour="red")  # type: ignore[call-arg]
        with pytest.raises(ControlError, match=r"sessions: limit: .*'many' is no int"):
            await remote.sessions(limit="many")  # type: ignore[arg-type]
        with pytest.raises(TurnFailed) as failed:
            await remote.ask("c", "hello")
        assert failed.value.outcome.kind is OutcomeKind.FAILED


def test_an_error_of_a_newer_engine_keeps_its_words() -> None:
    """Its class is not known here."""
    error = Values().read_error({"type": "Novel", "text": "new words", "fields": {}})
    assert isinstance(error, ControlError)
    assert str(error) == "Novel: new words"


def test_a_bug_in_a_call_is_told_as_such() -> None:
    """It is no error of this package's."""
    told = Values().write_error(KeyError("x"))
    assert (told["type"], told["text"]) == ("ControlError", "KeyError: 'x'")


# -- values


@pytest.mark.parametrize("answer", [Allow(), Allow(input={"a": 1}), Deny(message="no", interrupt=True)])
def test_answers_to_questions_are_told_apart(answer: Allow | Deny) -> None:
    """Although each may have nothing but defaults."""
    call, values = calls_of(Engine)["answer_permission"], Values()
    written = orjson.loads(orjson.dumps(call.write({"channel": "c", "request_id": "r", "answer": answer}, values)))
    assert call.read(written, values)["answer"] == answer


def test_what_may_be_said_of_a_message_arrives() -> None:
    """Each of its options."""
    call, values = calls_of(Engine)["ask"], Values()
    given = {
        "channel": "c",
        "text": "hello",
        "author": Author("ana"),
        "trust": Trust.OWNER,
        "busy": BusyPolicy.STEER,
        "deadline": datetime.now(UTC) + timedelta(hours=1),
        "message_id": str(uuid.uuid4()),
        "on_cancel": "detach",
    }
    assert call.read(orjson.loads(orjson.dumps(call.write(given, values))), values) == given
    with pytest.raises(ControlError, match="text: str cannot be read: 7 is no str"):
        call.read({"channel": "c", "text": 7}, values)
    with pytest.raises(ControlError, match="needs the arguments channel, text"):
        call.read({"channel": "c"}, values)
    with pytest.raises(ControlError, match="needs the arguments"):
        call.read([], values)


def test_every_event_arrives_as_what_it_was() -> None:
    """And one that only a newer engine knows as an unknown frame, with the cursor."""
    values = Values()
    event = TurnEnded(channel="c", message_id="m", time=DAY, cursor="r:7", outcome=OUTCOME)
    assert values.read_event(orjson.loads(orjson.dumps(values.write_event(event)))) == event
    newer = values.read_event({"type": "Novel", "channel": "c", "cursor": "r:8", "more": [1]})
    assert isinstance(newer, UnknownFrame)
    assert (newer.channel, newer.cursor, newer.kind, newer.data["more"]) == ("c", "r:8", "Novel", [1])


@pytest.mark.parametrize(
    "kind", [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event)]
)
def test_every_kind_of_event_can_be_carried(kind: type[Event]) -> None:
    """If this fails for a new event: a field's type has to be one that ``Values`` reads."""
    Values()._converter.get_structure_hook(kind)


# -- the place


async def test_the_socket_is_for_its_user_alone_and_goes_with_the_engine(tmp_path: Path) -> None:
    """No other file is left in the state directory."""
    settings = plain_settings(tmp_path)
    path = settings.state_dir / place.SOCKET_NAME
    async with opened(settings, driver=InstantDriver()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [each.name for each in settings.state_dir.iterdir() if "control" in each.name] == [path.name]
    assert not path.exists()
    with pytest.raises(EngineNotRunning) as caught:
        async with connect(settings.state_dir):
            pass
    assert isinstance(caught.value, ConnectionError)


async def test_without_the_setting_there_is_no_socket(tmp_path: Path) -> None:
    """A client is told what that may mean."""
    settings = plain_settings(tmp_path, control_socket=False)
    async with opened(settings, driver=InstantDriver()):
        with pytest.raises(EngineNotRunning, match="control_socket"):
            async with connect(settings.state_dir):
                pass


@pytest.mark.parametrize("temporary", ["short", "long" * 20])
async def test_a_state_directory_may_have_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: str
) -> None:
    """Longer than any address of a socket can be, also where the directory for temporary files has one as well."""
    (tmp_path / temporary).mkdir()
    if temporary != "short":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / temporary))
    state = tmp_path / ("long" * 40) / ("longer" * 30)
    async with both(tmp_path, state_dir=state) as (_, remote):
        assert (await remote.ask("c", "hello")).text == "echo: hello"
        async with remote.subscribe():
            pass


async def test_what_a_killed_engine_left_is_replaced(tmp_path: Path) -> None:
    """A socket on which nobody listens, and a half-made one."""
    state = tmp_path / "state"
    (state / ".control-abandoned").mkdir(parents=True)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(state / place.SOCKET_NAME))
    left.close()
    with pytest.raises(EngineNotRunning):
        async with connect(state):
            pass
    async with both(tmp_path) as (_, remote):
        assert await remote.sessions() == []
        assert not (state / ".control-abandoned").exists()


async def test_a_link_in_the_place_is_not_followed(tmp_path: Path) -> None:
    """What it points at stays as it is; the client does not follow one either."""
    state, treasure = tmp_path / "state", tmp_path / "treasure"
    state.mkdir()
    treasure.write_text("gold")
    (state / place.SOCKET_NAME).symlink_to(treasure)
    with pytest.raises(ControlError, match="is no socket"):
        async with connect(state):
            pass
    async with both(tmp_path) as (_, remote):
        assert await remote.sessions() == []
    assert treasure.read_text() == "gold"


async def test_where_there_can_be_no_socket_the_engine_runs_without(tmp_path: Path) -> None:
    """And says so in the audit log."""
    settings = plain_settings(tmp_path)
    (settings.state_dir / place.SOCKET_NAME / "full").mkdir(parents=True)
    async with opened(settings, driver=InstantDriver()) as engine:
        assert (await engine.ask("c", "hello")).text == "echo: hello"
    assert len(audit_records(settings, "control.unavailable")) == 1


async def test_a_second_engine_does_not_take_the_first_ones_socket(tmp_path: Path) -> None:
    """The lock on the directory comes first, and says no."""
    async with both(tmp_path) as (engine, remote):
        with pytest.raises(errors.StoreLocked):
            async with opened(engine.settings, driver=InstantDriver()):
                pass
        assert await remote.sessions() == []


async def test_other_users_are_refused_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the file's mode has become."""
    settings = plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver()):
        with monkeypatch.context() as patch:
            patch.setattr(place, "peer", lambda _: os.geteuid() + 1)
            with pytest.raises(ControlError, match=f"of user {os.geteuid() + 1}"):
                async with connect(settings.state_dir):
                    pass
        with monkeypatch.context() as patch:
            patch.setattr("echo_actors.control.server.peer", lambda _: os.geteuid() + 1)
            with pytest.raises(EngineNotRunning):
                async with connect(settings.state_dir):
                    pass
    assert {each["user"] for each in audit_records(settings, "control.refused")} == {os.geteuid() + 1}


async def test_where_many_connect_at_once_they_wait_for_each_other(tmp_path: Path) -> None:
    """An engine that is busy for a moment is not one that cannot be used; one that is stuck is, after a while."""
    with socket.socket(socket.AF_UNIX) as listening, ExitStack() as waiting:
        listening.bind(str(tmp_path / place.SOCKET_NAME))
        listening.listen(0)
        waiting.enter_context(place.connect_to(tmp_path, 10))
        with pytest.raises(TimeoutError):
            place.connect_to(tmp_path, 0.05)
        listening.settimeout(10)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(_connected, tmp_path, waiting)
            for _ in range(4):
                waiting.enter_context((await trio.to_thread.run_sync(listening.accept))[0])


async def _connected(directory: Path, stack: ExitStack) -> None:
    stack.enter_context(await trio.to_thread.run_sync(place.connect_to, directory, 10))


def test_the_other_side_of_a_socket_has_a_user() -> None:
    """This one, where the system tells."""
    one, other = socket.socketpair()
    with one, other:
        assert place.peer(one) in (os.geteuid(), None)


# -- clients of every bad kind


async def test_a_line_is_answered_with_a_line(tmp_path: Path) -> None:
    """What a program in any language says and sees."""
    async with both(tmp_path) as (_, remote), raw(tmp_path / "state") as stream:
        await stream.send_all(b'{"id": "a", "call": "sessions", "arguments": {"limit": 5}}\n{"id": 2, "call": "no"}\n')
        received = bytearray()
        while received.count(b"\n") < 3:
            received += await stream.receive_some(4096)
        hello, sessions, unknown = map(orjson.loads, received.splitlines())
        assert hello == attrs.asdict(remote.hello)
        assert sessions == {"id": "a", "result": []}
        assert (unknown["id"], unknown["error"]["type"]) == (2, "ControlError")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"\n",
        b'{"id": 1}\n',
        b'{"id": 1, "call": ["x"]}\n',
        b"\0" * 99,
    ],
)
async def test_garbage_ends_nothing_but_its_connection(tmp_path: Path, garbage: bytes) -> None:
    """The client is told, if it reads."""
    async with both(tmp_path) as (_, remote):
        async with raw(tmp_path / "state") as stream:
            await stream.send_all(garbage)
            await stream.send_eof()
            answers = await lines(stream)
        assert len(answers) <= 2
        assert (await remote.ask("c", "hello")).text == "echo: hello"


async def test_an_endless_line_is_cut_off(tmp_path: Path) -> None:
    """At what the longest message takes, and a little more; a message of the longest length fits."""
    longest = 10_000
    async with both(tmp_path, max_message_bytes=longest) as (_, remote):
        assert (await remote.ask("c", "\x01" * longest)).text
        async with raw(tmp_path / "state") as stream:
            with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
                await stream.send_all(b"x" * 64 * 2**20)
        assert await remote.sessions()


async def test_a_client_that_vanishes_takes_its_message_back(tmp_path: Path) -> None:
    """In the middle of a request, without a word."""
    gate, key = Gate("hello"), new_id()
    async with both(tmp_path, gate) as (engine, remote):
        async with raw(tmp_path / "state") as stream:
            arguments = {"channel": "c", "text": "hello", "message_id": key}
            await stream.send_all(orjson.dumps({"id": 1, "call": "ask", "arguments": arguments}) + b"\n")
            await gate.entered()
        assert (await engine.outcome(key)).kind is OutcomeKind.CANCELLED
        assert await remote.sessions() is not None


async def test_a_subscriber_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    """It loses events, as every slow subscriber, and is told when it reads again."""
    text = "x" * 50_000
    async with both(tmp_path, subscriber_buffer=10) as (engine, remote), raw(tmp_path / "state") as stream:
        await stream.send_all(b'{"id": 1, "call": "subscribe"}\n')
        await until(lambda: engine.status().subscribers == 1)
        for _ in range(40):
            await engine.ask("c", text)
        assert (await remote.status()).subscribers == 1
        received, kinds = bytearray(), []
        while "Lagged" not in kinds:
            received += await stream.receive_some(1 << 20)
            *whole, rest = bytes(received).split(b"\n")
            kinds += [orjson.loads(line).get("event", {}).get("type") for line in whole]
            received = bytearray(rest)


@asynccontextmanager
async def served(tmp_path: Path, **limits: Any) -> AsyncIterator[tuple[Engine, Server, Path]]:
    """An engine behind a server with these limits."""
    settings, directory = plain_settings(tmp_path, control_socket=False), tmp_path / "state"
    async with opened(settings, driver=InstantDriver()) as engine, trio.open_nursery() as nursery:
        hello = Hello(protocol=PROTOCOL, version="", run_id="", pid=0)
        server = Server(engine, hello, 1000, lambda *_, **__: None, **limits)
        await nursery.start(server.serve, directory)
        yield engine, server, directory
        nursery.cancel_scope.cancel()


async def test_a_client_that_takes_nothing_is_left_in_the_end(tmp_path: Path) -> None:
    """After the time that it has for it; its subscription ends with it."""
    async with served(tmp_path, send_within=0.1) as (engine, _, directory), raw(directory) as stream:
        await stream.send_all(b'{"id": 1, "call": "subscribe"}\n')
        await until(lambda: engine.status().subscribers == 1)
        await engine.ask("c", "x" * 900_000)
        await until(lambda: engine.status().subscribers == 0)


async def test_there_may_be_many_clients_and_not_endlessly_many(tmp_path: Path) -> None:
    """One too many is told so while all the others ask; when another leaves there is room."""
    async with (
        served(tmp_path, most_clients=2) as (_, server, directory),
        connect(directory) as first,
        first.subscribe(),
        connect(directory) as second,
    ):
        async with second.subscribe():
            with pytest.raises(ControlError, match="2 clients already"):
                async with connect(directory):
                    pass
        await until(lambda: server._clients == 1)
        async with connect(directory) as remote:
            assert await remote.sessions() == []


async def test_clients_that_ask_nothing_do_not_keep_the_others_out(tmp_path: Path) -> None:
    """Those that have been silent for longest make room, also amid a line; those that ask stay."""
    async with (
        served(tmp_path, most_clients=3) as (engine, server, directory),
        AsyncExitStack() as silent,
        connect(directory) as watching,
        watching.subscribe() as subscription,
    ):
        for _ in range(20):
            stream = await silent.enter_async_context(raw(directory))
            await stream.send_all(b'{"id": 1, "call": ')
            await until(lambda: len(server._silent) == server._clients - 1)
        async with connect(directory) as remote:
            assert await remote.sessions() == []
        await until(lambda: server._clients <= 3)
        await engine.ask("c", "hello")
        assert (await subscription.__anext__()).channel == "c"


async def test_a_client_whose_place_was_needed_connects_again(tmp_path: Path) -> None:
    """It has asked nothing for a while, and does not notice."""
    async with served(tmp_path, most_clients=1) as (_, server, directory), connect(directory) as remote:
        assert await remote.sessions() == []
        await until(lambda: len(server._silent) == 1)
        async with raw(directory) as stream:
            assert b"protocol" in await stream.receive_some(1000)
            await until(lambda: len(server._silent) == server._clients == 1)
            assert await remote.sessions() == []


async def test_a_client_that_sends_far_ahead_is_left_when_it_has_gone(tmp_path: Path) -> None:
    """It would be subscribed for ever: nothing more is read of it to see its end by."""
    async with served(tmp_path) as (engine, server, directory):
        async with raw(directory) as stream:
            await stream.send_all(b'{"id": 1, "call": "subscribe"}\n')
            await until(lambda: engine.status().subscribers == 1)
            await stream.send_all(b'{"id": 2, "call": "status"}\n' * 1000)
        await until(lambda: engine.status().subscribers == server._clients == 0)


async def test_what_a_client_sent_ahead_is_not_done_when_it_has_gone(tmp_path: Path) -> None:
    """Nobody is there for the answers."""
    done: list[int] = []

    class Target:
        async def wait(self) -> None:
            """Wait."""
            await trio.sleep_forever()

        def do(self) -> None:
            """Do something at once."""
            done.append(1)

    server = Server(Target(), Hello(protocol=PROTOCOL, version="", run_id="", pid=0), 1000, lambda *_, **__: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, tmp_path)
        async with raw(tmp_path) as stream:
            await stream.send_all(b'{"id": 1, "call": "wait"}\n' + b'{"id": 2, "call": "do"}\n' * 5)
            await stream.send_eof()
            assert len(await lines(stream)) == 1
        nursery.cancel_scope.cancel()
    assert done == []


async def test_clients_wait_while_there_are_no_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The audit log says so once, and no other log anything."""
    settings, tries, accept = plain_settings(tmp_path), list[int](), trio.SocketListener.accept

    async def without(listener: trio.SocketListener) -> trio.SocketStream:
        tries.append(1)
        if len(tries) in range(2, 5):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await accept(listener)

    monkeypatch.setattr(trio.SocketListener, "accept", without)
    async with opened(settings, driver=InstantDriver()):
        for _ in range(3):
            async with connect(settings.state_dir) as remote:
                assert await remote.sessions() == []
    assert len(tries) > 4
    assert [each["reason"] for each in audit_records(settings, "control.unavailable")] == ["Too many open files"]
    assert [each for each in caplog.records if each.name.startswith("trio")] == []


async def test_what_a_client_got_wrong_is_no_fault_of_the_program(tmp_path: Path) -> None:
    """It is told, in few words, and nothing is on record."""
    async with both(tmp_path) as (engine, remote):
        with pytest.raises(ControlError, match=r"on_cancel: .* cannot be read"):
            await remote.ask("c", "hello", on_cancel="never")  # type: ignore[arg-type]
        with pytest.raises(ControlError, match="is no str") as caught:
            await remote.ask("c", ["long"] * 100_000)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 1000
    assert audit_records(engine.settings, "control.failed") == []


async def test_a_channel_that_is_suspended_for_no_reason_shows_as_suspended(tmp_path: Path) -> None:
    """Somebody said nothing, and the channel takes nothing all the same."""
    async with both(tmp_path) as (_, remote):
        await remote.ask("c", "hello")
        assert await remote.suspend("c", reason="")
        (status,) = await remote.channels()
        assert status.state is ChannelState.SUSPENDED


async def test_a_bug_behind_a_call_is_recorded_and_the_connection_goes_on(tmp_path: Path) -> None:
    """The target is whatever has calls."""

    class Target:
        async def broken(self) -> None:
            """Fail."""
            raise KeyError("bug")

        def ten(self) -> int:
            """Give a number."""
            return 10

    reported: list[str] = []
    hello = Hello(protocol=PROTOCOL, version="", run_id="", pid=0)

    def record(event: str, /, **fields: object) -> None:
        reported.append(f"{event} {fields['reason']}")

    server = Server(Target(), hello, 1000, record)
    calls = calls_of(Target)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, tmp_path)
        async with connected(tmp_path) as client:
            with pytest.raises(ControlError, match="KeyError: 'bug'"):
                await client.call(calls["broken"], (), {})
            assert await client.call(calls["ten"], (), {}) == 10
        nursery.cancel_scope.cancel()
    assert reported == ["control.failed KeyError: 'bug'"]


# -- ends


async def test_an_engine_that_drains_can_be_looked_at(tmp_path: Path) -> None:
    """That is when somebody wants to know what it waits for. What still asks when it has ended is told."""
    gate = Gate("hello")
    settings = plain_settings(tmp_path)
    async with connected_after(settings, gate) as (engine, remote, nursery):
        await remote.post("c", "hello")
        await gate.entered()
        nursery.start_soon(engine.drain)
        await until(lambda: engine.status().closing)
        assert (await remote.status()).closing
        with pytest.raises(EngineClosed):
            await remote.post("c", "more")
        gate.open()


@asynccontextmanager
async def connected_after(settings: Settings, gate: Gate) -> AsyncIterator[tuple[Engine, RemoteEngine, trio.Nursery]]:
    """An engine with a client that is still there when the engine has gone."""
    async with trio.open_nursery() as nursery:
        async with opened(settings, driver=InstantDriver(answer=gate)) as engine:
            client = connect(settings.state_dir)
            remote = await client.__aenter__()
            yield engine, remote, nursery
        with pytest.raises(EngineClosed):
            await remote.status()
        async with opened(settings, driver=InstantDriver()):
            with pytest.raises(EngineClosed, match="another one has begun"):
                await remote.status()
        await client.__aexit__(None, None, None)


async def test_a_client_of_another_version_is_told(tmp_path: Path) -> None:
    """Before it misunderstands anything."""
    hello = Hello(protocol=PROTOCOL + 1, version="9", run_id="", pid=0)
    async with trio.open_nursery() as nursery:
        await nursery.start(Server(object(), hello, 1000, lambda *_, **__: None).serve, tmp_path)
        with pytest.raises(ControlError, match=f"version {PROTOCOL + 1} of the protocol"):
            async with connect(tmp_path):
                pass
        nursery.cancel_scope.cancel()


async def test_an_engine_that_runs_without_a_socket_is_not_taken_for_one(tmp_path: Path) -> None:
    """A locked directory without a socket."""
    lock = lock_directory(tmp_path, now=datetime.now(UTC))
    try:
        with pytest.raises(EngineNotRunning):
            async with connect(tmp_path):
                pass
    finally:
        lock.release()


async def test_deltas_come_one_by_one(tmp_path: Path) -> None:
    """As they are written, not when the turn has ended."""
    async with both(tmp_path) as (engine, remote), remote.subscribe("c") as subscription:
        engine._services.hub.publish(TextDelta(channel="c", text="a"))
        first = await subscription.__anext__()
        assert isinstance(first, TextDelta)
        engine._services.hub.publish(TextDelta(channel="c", text="b"))
        assert first.cursor != (await subscription.__anext__()).cursor
