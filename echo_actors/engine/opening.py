"""Opening an engine: the rooms in order, and closed in reverse."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, date, datetime
from pathlib import Path

import attrs
import trio

from echo_actors._version import __version__
from echo_actors.actors.services import PermissionCallback, Persona, Services
from echo_actors.actors.supervisor import Supervisor
from echo_actors.actors.topic import Hub
from echo_actors.admission.budgets import RETENTION, Budgets
from echo_actors.admission.gate import Gate
from echo_actors.admission.slots import Slots
from echo_actors.audit import AuditLog, Record
from echo_actors.claude.driver import Driver
from echo_actors.claude.launching import launch_for
from echo_actors.claude.opening import open_residency
from echo_actors.claude.orphans import reap_run
from echo_actors.claude.process_tree import Identity
from echo_actors.claude.spawning import OPTION_PREFIX, PROMPTS
from echo_actors.control.protocol import PROTOCOL, Hello, longest_request
from echo_actors.control.server import Server
from echo_actors.engine.auditing import engine_audit, mask_of, sync_before_ends, watch_audit
from echo_actors.engine.engine import Engine
from echo_actors.engine.intake import id_source
from echo_actors.engine.measures import DEFINITIONS, metrics_of
from echo_actors.engine.watch import Watch
from echo_actors.errors import StoreError
from echo_actors.models import Trust
from echo_actors.personality import (
    PROMPT_PREFIX,
    build_system_prompt,
    default_personality_dir,
    prompt_hash,
    write_prompt_file,
)
from echo_actors.safety.private_file import remove_private_files
from echo_actors.settings import Settings
from echo_actors.settings.layers import for_trust
from echo_actors.state.records import RESTORED, Note
from echo_actors.state.sqlite import SQLiteStore, open_sqlite_store
from echo_actors.state.store import Store
from echo_actors.telemetry.telemetry import Providers, Telemetry, open_telemetry

RUNS = "runs"
FORGOTTEN = "forgotten"
FORGET_EVERY = 3600.0
"""Seconds between looks for outcomes that are older than their retention."""


@asynccontextmanager
async def open_engine(
    settings: Settings | None = None,
    *,
    driver: Driver | None = None,
    permissions: PermissionCallback | None = None,
    telemetry: Providers | None = None,
) -> AsyncIterator[Engine]:
    """Open an engine for the block; leaving the block drains it.

    Messages that an earlier run of the program accepted, and that have no end yet, run first.

    Args:
        settings: ``Settings.load()`` by default.
        driver: Runs the turns instead of the Claude CLI.
        permissions: Answers permission questions, in a task for each, and turns the setting ``permission_questions``
            on: a function that does not wait, or an async one, cancelled when the question is over. One that raises
            denies.
        telemetry: Where spans and metrics go; by default to OpenTelemetry's global providers, if the setting
            ``telemetry`` is on, and nowhere otherwise.

    Raises:
        SettingsError: A setting in the environment or in the settings file is unknown or cannot be used.
        CLINotFound: There is no usable CLI.
        PersonalityError: The persona cannot be read.
        StoreLocked: Another engine owns the state directory.
        StoreError: The store or the audit log cannot be opened.
    """
    settings = settings or Settings.load()
    if permissions is not None:
        settings = attrs.evolve(settings, permission_questions=True)
    run_id = uuid.uuid4().hex
    async with AsyncExitStack() as rooms:
        prompt = build_system_prompt(settings.personality_dir or default_personality_dir(Path.cwd()))
        store = await rooms.enter_async_context(open_sqlite_store(settings.state_dir, owner=run_id, now=_now))
        audit = await rooms.enter_async_context(engine_audit(settings, store, run_id))
        _announce_start(audit.record, settings, store)
        await _announce_restore(audit, store)
        await rooms.enter_async_context(_run_noted(store, run_id, audit.record))
        # The longest line that the CLI may write fits, with another before it.
        hub = Hub(run_id, settings.event_ring, settings.subscriber_buffer, _now, 2 * settings.max_line_bytes)
        rooms.callback(hub.close)
        persona = _persona(prompt, settings)
        launch = launch_for(settings, persona.file)
        slots = settings.turn_slots
        if driver is None:
            # A turn that has its slot shall not wait for a process's place, which is on no clock.
            slots = min(slots, settings.max_residents)
            usual = launch_for(for_trust(settings, Trust.MEMBER), persona.file)
            driver = await rooms.enter_async_context(open_residency(settings, run_id, audit.record, usual))
        services = Services(
            settings=settings,
            store=store,
            driver=driver,
            hub=hub,
            record=audit.record,
            turn_slots=Slots(slots),
            gate=Gate(time.time),
            budgets=await _budgets(settings, store),
            persona=persona,
            launch=launch,
            now=_now,
            new_id=id_source(),
            permissions=permissions,
            audit_sync=sync_before_ends(settings, audit),
        )
        watch = Watch(_telemetry(services, telemetry, rooms))
        async with _running(services, audit, watch) as engine:
            yield engine


@asynccontextmanager
async def _running(services: Services, audit: AuditLog, watch: Watch) -> AsyncIterator[Engine]:
    """Run the actors for the block. What the block raises comes out as it is, not in the nursery's group."""
    last_sequence = await services.store.last_sequence()
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(services, nursery, last_sequence, random.random)
        engine = Engine(services, supervisor, audit, watch)
        nursery.start_soon(watch.beat, lambda: metrics_of(engine.status()))
        nursery.start_soon(watch.probe, services.store)
        if services.settings.control_socket:
            # It serves while the engine drains, too: that is when somebody wants to see what it waits for.
            await nursery.start(_server(engine).serve, services.settings.state_dir)
        recovered = await supervisor.recover()
        if recovered:
            services.record("engine.recovered", messages=recovered)
        nursery.start_soon(watch_audit, audit, services.store, services.hub)
        nursery.start_soon(_forget_old, services.store, services.settings, services.record)
        try:
            yield engine
        except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - raised again below, outside of the nursery
            error = caught
        finally:
            with trio.CancelScope(shield=True):
                await engine.drain()
            nursery.cancel_scope.cancel()
    if error is not None:
        raise error


def _server(engine: Engine) -> Server:
    """What serves the engine's calls to commands."""
    services = engine._services  # noqa: SLF001 - this module makes both
    hello = Hello(protocol=PROTOCOL, version=__version__, run_id=services.hub.run_id, pid=os.getpid())
    return Server(engine, hello, longest_request(services.settings.max_message_bytes), services.record)


@asynccontextmanager
async def _run_noted(store: Store, run_id: str, record: Record) -> AsyncIterator[None]:
    """Keep this run's name in the store until it has closed; end what runs left that did not come to that.

    The lock on the state directory says that those runs are over.
    """
    note = await store.note(RUNS) or {"runs": []}
    for earlier in note["runs"]:
        # In a copy of a state directory, the run may be alive beside the original.
        if not Identity(earlier["pid"], earlier["started"]).alive():
            reaped = await reap_run(earlier["id"])
            record("run.reaped", earlier=earlier["id"], processes=reaped)
    me = Identity.of(os.getpid())
    started = 0.0 if me is None else me.started
    await store.put_note(RUNS, {"runs": [{"id": run_id, "pid": os.getpid(), "started": started}]})
    try:
        yield
    finally:
        await _put_at_the_end(store, RUNS, {"runs": []})


async def _put_at_the_end(store: Store, key: str, value: Note) -> None:
    """Keep a fact while the engine closes. A store that takes nothing must not hide what the engine closes for."""
    with trio.CancelScope(shield=True), suppress(StoreError):
        await store.put_note(key, value)


async def _forget_old(store: Store, settings: Settings, record: Record) -> None:
    """Drop what is older than its retention, for ever; replies only from where the last look stopped."""
    while True:
        try:
            await store.forget(before=_ago(settings.outcome_retention))
            await store.forget_spending(before=_first_day())
            note = await store.note(FORGOTTEN) or {"replies_until": 0.0}
            until = _ago(settings.reply_retention)
            await store.forget_replies(after=datetime.fromtimestamp(note["replies_until"], UTC), before=until)
            await store.put_note(FORGOTTEN, {"replies_until": until.timestamp()})
        except StoreError as problem:
            record("store.refused", reason=str(problem), retry_in=FORGET_EVERY)
        await trio.sleep(FORGET_EVERY)


def _ago(seconds: float) -> datetime:
    return datetime.fromtimestamp(max(0.0, time.time() - seconds), UTC)


def _telemetry(services: Services, providers: Providers | None, rooms: AsyncExitStack) -> Telemetry | None:
    """What the events are told to; nothing when nobody wants it, so that no turn pays for it."""
    if providers is None and not services.settings.telemetry:
        return None
    telemetry = open_telemetry(
        providers or Providers(),
        services.hub.run_id,
        observed=DEFINITIONS,
        content=services.settings.audit_content,
        on_fault=lambda reason: services.record("telemetry.failed", reason=reason),
        mask=mask_of(services.settings),
    )
    services.hub.tap(telemetry.on_event)
    rooms.callback(lambda: telemetry.close(services.now()))
    return telemetry


async def _budgets(settings: Settings, store: Store) -> Budgets:
    """The budgets, with what was spent before."""
    budgets = Budgets.under(settings)
    await budgets.overall.load(store, _first_day())
    return budgets


def _first_day() -> date:
    """The first day of which it is kept what it cost."""
    return (_now() - RETENTION).date()


def _persona(prompt: str, settings: Settings) -> Persona:
    """Write the system prompt; what runs before this one left in the same place goes: nobody uses it any more."""
    directory = settings.state_dir / PROMPTS
    try:
        file = write_prompt_file(prompt, directory)
        remove_private_files(directory, (PROMPT_PREFIX, OPTION_PREFIX), keep=file)
    except OSError as problem:
        raise StoreError(f"the system prompt cannot be written into {settings.state_dir}: {problem}") from problem
    return Persona(file, prompt_hash(prompt))


def _announce_start(record: Record, settings: Settings, store: SQLiteStore) -> None:
    record("engine.started", version=__version__, state_dir=str(settings.state_dir.resolve()))
    if store.set_aside is not None:
        record("store.set_aside", path=str(store.set_aside), reason="the store was damaged")


async def _announce_restore(audit: AuditLog, store: Store) -> None:
    """Record once that the state was put back, which is no step of any run before."""
    note = await store.note(RESTORED)
    if note:
        audit.record("store.restored", made_at=note["made_at"], restored_at=note["restored_at"])
        if await audit.flush():
            await store.put_note(RESTORED, {})


def _now() -> datetime:
    return datetime.now(UTC)
