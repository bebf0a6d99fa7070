"""One owner per session: between engines, and before a person's terminal or another program."""

from __future__ import annotations

import fcntl
import os
import pty
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import attrs
import orjson
import pytest
import trio
import trio.testing
from conftest import Host, MakeSettings, eventually, first, residents
from support import audit_records, scripted_engine

from echo_actors import Engine, Retrying, SessionChanged, SessionConflict, Settings, TurnFailed
from echo_actors.claude.process_table import ProcessRow
from echo_actors.claude.session_lock import LOCKS, Holder, SessionLock, lock_session
from echo_actors.claude.session_users import SessionUser, SessionUsers, open_sessions
from echo_actors.claude.transcript import Transcript
from echo_actors.models import Clock, OutcomeKind
from echo_actors.state.records import SessionSnapshot

SESSION = "5b1c9a52-5f6a-4f5e-9c7d-6c2f6f0a4a11"
OTHER = "0d0c52a7-6d5e-4a0e-8a55-93f5d9a3e0aa"

HOLDER = """
import json, sys, trio
from pathlib import Path
from echo_actors import Settings, open_engine

async def main(state, cli, work, environment, text):
    settings = Settings(
        state_dir=Path(state), claude_bin=Path(cli), working_dir=Path(work), environment=json.loads(environment)
    )
    async with open_engine(settings) as engine:
        print((await engine.ask("c", "one")).session_id, flush=True)
        await engine.post("c", text)
        await trio.sleep_forever()

trio.run(main, *sys.argv[1:])
"""
"""A program whose engine keeps a session, and is at work on a message in it."""


async def give(engine: Engine, session_id: str) -> None:
    """Put a session into an engine's store, as the one of channel "c"."""
    store, now = engine._services.store, datetime.now(UTC)
    snapshot = SessionSnapshot(channel="c", session_id=session_id, model="sonnet", created_at=now, last_message_at=now)
    await store.save(await store.claim("c"), snapshot)


def taken(session_id: str, config: Path) -> SessionLock:
    """The lock of a session that nobody has."""
    lock = lock_session(session_id, config)
    assert isinstance(lock, SessionLock)
    return lock


# -- the lock


def test_a_session_has_one_owner_and_the_refused_one_learns_who_that_is(tmp_path: Path) -> None:
    """Within one process too; another session is not concerned."""
    lock = taken(SESSION, tmp_path)
    refused = lock_session(SESSION, tmp_path)
    taken(OTHER, tmp_path).release()
    assert isinstance(refused, Holder)
    assert refused.pid == os.getpid()
    assert str(os.getpid()) in str(refused)
    lock.release()
    taken(SESSION, tmp_path).release()


def test_a_lock_is_private_not_inherited_and_leaves_nothing(tmp_path: Path) -> None:
    """A tool that a CLI starts must not keep its session; a session that was used once must not keep a file."""
    lock = taken(SESSION, tmp_path)
    assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600
    assert lock._descriptor is not None
    assert not os.get_inheritable(lock._descriptor)
    lock.release()
    lock.release()
    assert list((tmp_path / LOCKS).iterdir()) == []


def test_a_file_left_by_a_killed_owner_is_no_lock(tmp_path: Path) -> None:
    """The kernel dropped the lock; the file that stayed is used again."""
    path = tmp_path / LOCKS / f"{SESSION}.lock"
    path.parent.mkdir()
    path.write_text('{"pid": 1, "host": "gone"}')
    taken(SESSION, tmp_path)
    assert orjson.loads(path.read_bytes())["pid"] == os.getpid()


def test_a_session_id_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    """It may be whatever a CLI once said."""
    assert taken("../../x/y", tmp_path).path.parent == tmp_path / LOCKS


def test_a_file_removed_between_opening_and_locking_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release removes the file; a lock on one without a name would let the next comer own the session too."""
    held, flock = taken(SESSION, tmp_path), fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX:
            held.release()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = taken(SESSION, tmp_path)
    assert lock.path.exists()
    assert isinstance(lock_session(SESSION, tmp_path), Holder)


# -- who else has it open


@attrs.frozen
class OneProcess:
    """A table with one process, which has pid 7 and began at 100."""

    arguments_: str = "claude"
    environment_: str = "HOME=/h\0"
    zombie: bool = False

    def pids(self) -> list[int]:
        """The one."""
        return [7]

    def row(self, pid: int) -> ProcessRow | None:
        """The one."""
        return ProcessRow(7, 1, 100, self.zombie, 0.0) if pid == 7 else None

    def environment(self, pid: int) -> bytes:
        """Its environment."""
        assert pid == 7
        return self.environment_.encode()

    def arguments(self, pid: int) -> bytes:
        """Its arguments."""
        assert pid == 7
        return self.arguments_.replace(" ", "\0").encode() + b"\0"

    def private_bytes(self, pid: int) -> int:
        """Not asked for."""
        raise NotImplementedError(pid)


def register(config: Path, pid: int = 7, **fields: str) -> None:
    """Write what a CLI says of itself."""
    entry = {"pid": pid, "sessionId": SESSION, "procStart": "100", "entrypoint": "cli", **fields}
    (config / "sessions").mkdir()
    (config / "sessions" / f"{pid}.json").write_bytes(orjson.dumps(entry))


def test_a_cli_that_says_it_has_the_session_is_seen(tmp_path: Path) -> None:
    """And whether a person sits before it."""
    register(tmp_path)
    assert open_sessions(tmp_path, "run", OneProcess()).get(SESSION) == SessionUser(7, terminal=True)
    assert open_sessions(tmp_path, "run", OneProcess()).get(OTHER) is None


def test_what_a_cli_says_counts_more_than_how_it_was_started(tmp_path: Path) -> None:
    """A terminal may have gone on to another session."""
    register(tmp_path, sessionId=OTHER, entrypoint="sdk-cli")
    table = OneProcess(f"claude --resume {SESSION}")
    assert open_sessions(tmp_path, "run", table).get(SESSION) is None
    assert open_sessions(tmp_path, "run", table).get(OTHER) == SessionUser(7, terminal=False)


@pytest.mark.parametrize(
    ("fields", "table"),
    [({"procStart": "99"}, OneProcess()), ({}, OneProcess(zombie=True)), ({"pid": 8}, OneProcess())],
    ids=["the pid was used again", "it is a zombie", "it is gone"],
)
def test_what_a_killed_cli_left_is_nobody(tmp_path: Path, fields: dict[str, str], table: OneProcess) -> None:
    """It could not take its note back."""
    register(tmp_path, **fields)  # type: ignore[arg-type]  # a pid among the texts
    assert open_sessions(tmp_path, "run", table).get(SESSION) is None


@pytest.mark.parametrize(
    "arguments",
    [
        f"claude --resume {SESSION}",
        f"/opt/bin/claude -p -r {SESSION} hello",
        f"node /opt/claude-code/cli.js --session-id={SESSION}",
    ],
)
def test_a_cli_that_has_not_spoken_yet_is_seen_by_its_arguments(tmp_path: Path, arguments: str) -> None:
    """It says nothing of itself in its first second."""
    assert open_sessions(tmp_path, "run", OneProcess(arguments)).get(SESSION) == SessionUser(7, terminal=False)


@pytest.mark.parametrize(
    "arguments",
    [
        f"claude --resume {SESSION} --fork-session",
        f"tmux new-session claude --resume {SESSION}",
        f"tail -f {SESSION}",
        f"claude -p {SESSION}",
    ],
)
def test_who_only_names_the_session_has_not_opened_it(tmp_path: Path, arguments: str) -> None:
    """A copy is another session; a terminal's server outlives what it started; text is text."""
    assert open_sessions(tmp_path, "run", OneProcess(arguments)).get(SESSION) is None


async def test_all_who_ask_during_a_look_share_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred starts at once need no hundred looks; and nobody is told what was seen before he asked."""
    looks, begun, go_on = 0, trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def look(*_: object) -> dict[str, SessionUser]:
        nonlocal looks
        looks += 1
        if looks == 1:
            token.run_sync_soon(begun.set)
            go_on.wait(10)
            return {}
        return {SESSION: SessionUser(7, terminal=True)}

    monkeypatch.setattr("echo_actors.claude.session_users.open_sessions", look)
    users, found = SessionUsers(tmp_path, "run"), []

    async def ask() -> None:
        found.append(await users.of(SESSION))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await begun.wait()
        for _ in range(100):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
    assert looks == 2
    assert found == [None, *[SessionUser(7, terminal=True)] * 100]


def test_the_engines_own_process_is_no_stranger(tmp_path: Path) -> None:
    """Another run's is."""
    register(tmp_path)
    table = OneProcess(environment_="HOME=/h\0ECHOACTORS_RUN=mine\0")
    assert open_sessions(tmp_path, "mine", table).get(SESSION) is None
    assert open_sessions(tmp_path, "min", table).get(SESSION) is not None


# -- two engines


async def test_an_engine_waits_until_the_other_has_let_the_session_go(
    tmp_path: Path, scripted_settings: MakeSettings
) -> None:
    """It says who has it; its process is started only when the other's is gone."""
    mine, theirs = scripted_settings(state_dir=tmp_path / "second"), scripted_settings()
    async with scripted_engine(mine) as second, second.subscribe("c") as events:
        async with scripted_engine(theirs) as engine:
            session_id = (await engine.ask("c", "one")).session_id
            await give(second, session_id)
            receipt = await second.post("c", "two")
            retrying = await first(events, Retrying)
            assert (residents(second), len(residents(engine))) == ({}, 1)
        outcome = await second.outcome(receipt.message_id)
    assert isinstance(retrying, Retrying)
    assert f"another engine (process {os.getpid()}" in retrying.reason
    assert outcome.reply is not None
    assert (outcome.reply.text, outcome.reply.session_id) == ("echo: two", session_id)
    (busy,) = audit_records(mine, "session.busy")
    assert (busy["channel"], busy["session"], busy["conflict"]) == ("c", session_id, "wait")


async def test_waiting_for_a_session_ends_with_the_start_clock_and_holds_nobody_up(
    tmp_path: Path, scripted_settings: MakeSettings
) -> None:
    """Meanwhile another channel's process can start, though only one may at a time."""
    mine = scripted_settings(
        state_dir=tmp_path / "second", start_timeout=4.0, start_slots=1, turn_slots=2, max_residents=2
    )
    async with (
        scripted_engine(scripted_settings()) as engine,
        scripted_engine(mine) as second,
        second.subscribe("c") as events,
    ):
        await give(second, (await engine.ask("c", "one")).session_id)
        receipt = await second.post("c", "two")
        await first(events, Retrying)
        other = await second.ask("d", "three")
        outcome = await second.outcome(receipt.message_id)
    assert (outcome.kind, outcome.clock) == (OutcomeKind.TIMED_OUT, Clock.START)
    assert other.text == "echo: three"


async def test_an_engine_that_shall_not_wait_fails_the_turn_and_keeps_the_session(
    tmp_path: Path, scripted_settings: MakeSettings
) -> None:
    """However often: a session in use is not a lost one."""
    mine = scripted_settings(state_dir=tmp_path / "second", session_conflict=SessionConflict.FAIL)
    async with scripted_engine(mine) as second:
        async with scripted_engine(scripted_settings()) as engine:
            session_id = (await engine.ask("c", "one")).session_id
            await give(second, session_id)
            for _ in range(3):
                with pytest.raises(TurnFailed, match=f"session {session_id} is in use by another engine"):
                    await second.ask("c", "two")
        assert (await second.ask("c", "three")).session_id == session_id


@asynccontextmanager
async def holder(settings: Settings, state_dir: Path, text: str) -> AsyncIterator[tuple[trio.Process, str]]:
    """A program whose engine has a session, for the block, and that session's id; it is killed at the latest then."""
    environment = orjson.dumps(settings.environment).decode()
    arguments = [str(state_dir), str(settings.claude_bin), str(settings.working_dir), environment, text]
    process = await trio.lowlevel.open_process([sys.executable, "-c", HOLDER, *arguments], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        session_id = b""
        while not session_id.endswith(b"\n"):
            session_id += await process.stdout.receive_some()
        yield process, session_id.decode().strip()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def test_a_killed_engine_owns_nothing(tmp_path: Path, scripted_settings: MakeSettings) -> None:
    """The kernel drops the lock with the process."""
    settings = scripted_settings()
    async with (
        scripted_engine(settings) as engine,
        engine.subscribe("c") as events,
        holder(settings, tmp_path / "first", "more") as (process, session_id),
    ):
        await give(engine, session_id)
        receipt = await engine.post("c", "two")
        await first(events, Retrying)
        process.kill()
        outcome = await engine.outcome(receipt.message_id)
    assert outcome.reply is not None
    assert (outcome.reply.text, outcome.reply.session_id) == ("echo: two", session_id)


@pytest.mark.real_cli
async def test_what_a_killed_engine_left_running_still_has_the_session(host: Host, tmp_path: Path) -> None:
    """Its CLI works on until its turn is over, and is waited for."""
    async with (
        host.engine() as engine,
        engine.subscribe("c") as events,
        holder(host.settings(), tmp_path / "first", "long [[delay 3]]") as (process, session_id),
    ):
        await give(engine, session_id)
        await eventually(lambda: bool(host.asked("long")))
        receipt = await engine.post("c", "two")
        before = await first(events, Retrying)
        process.kill()
        after = await first(events, Retrying)
        outcome = await engine.outcome(receipt.message_id)
    assert isinstance(before, Retrying)
    assert isinstance(after, Retrying)
    assert f"another engine (process {process.pid}" in before.reason
    assert "another program (process" in after.reason
    assert outcome.reply is not None
    assert outcome.reply.session_id == session_id


@pytest.mark.real_cli
async def test_a_fork_goes_on_under_a_new_id_and_leaves_the_first_session_as_it_was(
    host: Host, tmp_path: Path
) -> None:
    """The copy knows what was said before; the transcript of the other is not touched; only the new turn is paid."""
    async with (
        host.engine() as engine,
        host.engine(state_dir=tmp_path / "second", session_conflict=SessionConflict.FORK) as second,
        second.subscribe("c") as events,
    ):
        one = await engine.ask("c", "one")
        before = Transcript.of(one.session_id, host.work, {"HOME": str(host.home)}).path.read_bytes()
        await give(second, one.session_id)
        two = await second.ask("c", "two")
        changed = [await first(events, SessionChanged)]
        three = await second.ask("c", "three")
        four = await engine.ask("c", "four")
    after = Transcript.of(one.session_id, host.work, {"HOME": str(host.home)}).path.read_bytes()
    assert two.session_id == three.session_id != one.session_id == four.session_id
    assert [(each.session_id, each.previous) for each in changed if isinstance(each, SessionChanged)] == [
        (two.session_id, one.session_id)
    ]
    assert after.startswith(before)
    assert b'"two"' not in after
    histories = {call.user_text: call.history for call in host.model.calls if call.asked}
    assert "one" in histories["two"]
    assert "two" in histories["three"]
    assert "two" not in histories["four"]
    assert two.cost_usd == pytest.approx(one.cost_usd)


# -- a person's CLI


@asynccontextmanager
async def by_hand(host: Host, *arguments: str, terminal: bool) -> AsyncIterator[trio.Process]:
    """A CLI that no engine started, for the block; at a terminal, or over pipes as other programs do it."""
    settings = host.settings()
    file = host.home / ".claude" / ".claude.json"
    known = orjson.loads(file.read_bytes()) if file.exists() else {}
    trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    known |= {"hasCompletedOnboarding": True, "theme": "dark", "projects": {str(host.work): trusted}}
    known["customApiKeyResponses"] = {"approved": [settings.environment["ANTHROPIC_API_KEY"]], "rejected": []}
    file.write_bytes(orjson.dumps(known))
    master, slave = pty.openpty()
    extra = () if terminal else ("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose")
    process = await trio.lowlevel.open_process(
        [str(settings.claude_bin), *extra, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=host.work,
        env={**settings.environment, "PATH": os.environ["PATH"], "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(slave)
    async with trio.lowlevel.FdStream(master) as screen, trio.open_nursery() as nursery:
        nursery.start_soon(_watch, screen)
        try:
            yield process
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()


async def _watch(screen: trio.lowlevel.FdStream) -> None:
    try:
        while await screen.receive_some():
            pass
    except trio.BrokenResourceError:  # what a terminal says when its last program has gone
        return


@pytest.mark.real_cli
@pytest.mark.parametrize("terminal", [True, False], ids=["a terminal", "another program"])
async def test_a_cli_run_by_hand_on_the_session_is_waited_for(host: Host, *, terminal: bool) -> None:
    """The engine says which process it is, and goes on in the session when that has ended."""
    async with host.engine() as engine:
        session_id = (await engine.ask("c", "one")).session_id
    async with host.engine() as engine, engine.subscribe("c") as events:
        async with by_hand(host, "--resume", session_id, terminal=terminal) as process:
            user = SessionUser(process.pid, terminal)
            # It writes its note more than once; only then does that name the session.
            await eventually(lambda: open_sessions(host.home / ".claude", "").get(session_id) == user, within=30)
            receipt = await engine.post("c", "two")
            retrying = await first(events, Retrying)
            assert residents(engine) == {}
        outcome = await engine.outcome(receipt.message_id)
    assert isinstance(retrying, Retrying)
    assert f"{'a terminal' if terminal else 'another program'} (process {process.pid})" in retrying.reason
    assert outcome.reply is not None
    assert outcome.reply.session_id == session_id


@pytest.mark.real_cli
async def test_a_warm_channel_and_one_that_hibernated_are_not_in_conflict_with_themselves(host: Host) -> None:
    """The engine's own process on its way out is waited for without a word."""
    async with host.engine() as engine:
        session_id = (await engine.ask("c", "one")).session_id
        driver = engine._services.driver
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.retire, "c", "asked to")
            await trio.lowlevel.checkpoint()
            assert (await engine.ask("c", "two")).session_id == session_id
    assert host.audit("session.busy") == []
    assert not list((host.home / ".claude" / LOCKS).iterdir())
