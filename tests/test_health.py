"""Health: whether the engine is alive and ready, and why it is not."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import attrs
import pytest
import trio
from support import memory_services, opened, plain_settings, scripted_settings, until

from echo_actors import Engine, StoreError, TurnFailed, open_engine
from echo_actors.actors.services import Services
from echo_actors.claude.driver import TurnRequest
from echo_actors.engine import auditing
from echo_actors.engine import watch as watching
from echo_actors.engine.health import Condition, Health, health_of
from echo_actors.engine.watch import Watch
from echo_actors.simulator.cli import write_scripted_cli
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo
from echo_actors.testing.memory_store import MemoryDisk


def health(services: Services, watch: Watch | None = None, *, audit_problem: str | None = None) -> Health:
    """Of an engine of these parts."""
    return health_of(services, watch or Watch(), closing=False, audit_problem=audit_problem)


async def test_an_engine_that_works_is_alive_and_ready(tmp_path: Path) -> None:
    """And no longer ready when it drains, but alive until it has."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        assert engine.health() == Health(Condition(), Condition())
        assert engine.health().live
        assert engine.health().ready
        await engine.drain()
        assert engine.health().live
        assert engine.health().ready.reasons == ("the engine is draining, or closed",)
        assert not engine.health().ready


async def test_a_loop_that_is_blocked_shows_in_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is who can still ask; and it is alive again when the loop turns."""
    monkeypatch.setattr("echo_actors.engine.health.WEDGED", 0.2)
    monkeypatch.setattr(watching, "BEAT", 0.01)
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        before = await trio.to_thread.run_sync(lambda: engine.health().live)
        time.sleep(0.3)  # noqa: ASYNC251 - blocking the loop is what it is about
        stuck = engine.health()
        await until(lambda: bool(engine.health().live))
    assert before
    assert "the event loop has stood still for" in stuck.live.reasons[0]
    assert stuck.ready.reasons == stuck.live.reasons


async def test_a_closed_gate_a_full_store_and_a_failing_audit_log_are_told(tmp_path: Path) -> None:
    """All of them, each with its reason."""
    services = memory_services(InstantDriver(), tmp_path, MemoryDisk(full=True))
    services.gate.state.on_failure("rate_limit", "the limit is reached", services.gate.now() + 60, services.gate.now())
    found = health(services, audit_problem="No space left on device")
    assert found.live
    assert found.ready.reasons == (
        "no turn starts for 60 s: the limit is reached",
        "the store cannot be written: the memory disk is full",
        "the audit log cannot be written: No space left on device",
    )


async def test_a_gate_whose_pause_is_over_is_no_reason(tmp_path: Path) -> None:
    """A turn may start, although none has succeeded yet: waiting for one would be waiting for ever."""
    services = memory_services(InstantDriver(), tmp_path)
    services.gate.state.on_failure("overloaded", "busy", None, services.gate.now() - 100)
    assert services.gate.state.reason == "busy"
    assert health(services).ready


async def test_a_rate_limit_of_a_turn_makes_the_engine_not_ready(tmp_path: Path) -> None:
    """From the turn that met it."""

    def answer(request: TurnRequest) -> Answer:
        return attrs.evolve(echo(request), error="rate_limit", reason="come back", resets_at=4e9)

    async with opened(plain_settings(tmp_path, drain_timeout=0.1), driver=InstantDriver(answer)) as engine:
        await engine.post("c", "hello")
        await until(lambda: not engine.health().ready)
        assert engine.health().ready.reasons[0].endswith(": come back")
        assert engine.status().gate_closed_for > 0


async def test_a_store_that_fails_is_told_until_it_has_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when nobody brings a message, as whoever asks for health before that does not."""
    monkeypatch.setattr(watching, "PROBE_EVERY", 0.02)
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        broken(engine, on=True)
        with pytest.raises(StoreError):
            await engine.post("c", "refused" * 10_000)
        (reason,) = engine.health().ready.reasons
        assert reason.startswith("the store cannot be written: there is no room in the store")
        errors = engine.status().store_errors
        assert errors > 0
        broken(engine, on=False)
        await until(lambda: bool(engine.health().ready))
        assert engine.status().store_errors >= errors


def broken(engine: Engine, *, on: bool) -> None:
    """Let the database be full, or have room again."""
    connection = engine._services.store._writer._transactions.connection  # type: ignore[attr-defined] # of the SQLite store
    assert isinstance(connection, sqlite3.Connection)
    connection.execute(f"PRAGMA max_page_count = {1 if on else 2**30}")
    if on:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")


async def test_a_disk_that_hangs_is_told_while_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No write fails, and none is done: only the time shows it."""
    monkeypatch.setattr("echo_actors.engine.health.HANGING", 0.05)
    goes_on = threading.Event()
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        transactions = engine._services.store._writer._transactions  # type: ignore[attr-defined] # of the SQLite store
        monkeypatch.setattr(transactions, "guard", goes_on.wait)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.ask, "c", "again")
            await until(lambda: not engine.health().ready)
            (reason,) = engine.health().ready.reasons
            goes_on.set()
        assert reason.startswith("the store's disk has not taken a write for")
        assert engine.health().ready


async def test_a_message_that_is_itself_at_fault_says_nothing_of_the_store(tmp_path: Path) -> None:
    """A number that no store can keep is the reply's fault."""

    def answer(request: TurnRequest) -> Answer:
        result = echo(request)
        return attrs.evolve(result, spent=attrs.evolve(result.spent, duration_ms=2**70))

    async with opened(plain_settings(tmp_path), driver=InstantDriver(answer)) as engine:
        with pytest.raises(TurnFailed):
            await engine.ask("c", "hello")
        assert engine.health().ready
        assert engine.status().store_errors == 0


async def test_a_cli_that_is_taken_away_makes_the_engine_not_ready(tmp_path: Path) -> None:
    """As an update does that goes wrong; put back, it is ready again."""
    settings = scripted_settings(tmp_path)
    assert settings.claude_bin is not None
    async with open_engine(settings) as engine:
        assert engine.health().ready
        settings.claude_bin.unlink()
        assert engine.health().ready.reasons == (
            f"the CLI {settings.claude_bin} is gone, or cannot be executed any more",
        )
        write_scripted_cli(settings.claude_bin.parent)
        assert engine.health().ready


async def test_a_record_that_could_not_be_made_does_not_keep_an_engine_from_being_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is lost for good and told as a problem, but the records after it are written."""

    def mask(text: str) -> str:
        if text == "hunter2":
            raise ValueError(text)
        return text

    monkeypatch.setattr(auditing, "mask_of", lambda _: mask)
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("hunter2", "hello")
        assert await engine._audit.flush()
        assert "could not be made" in (engine.status().audit_problem or "")
        assert engine.health().ready
