"""The engine's audit log: opened with what the store knows of it, watched while it runs, and synced before ends."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import attrs
import trio

from echo_actors.actors.topic import Hub
from echo_actors.audit import AuditLog, Head, Keeping, open_audit
from echo_actors.errors import StoreError
from echo_actors.events import AuditChanged
from echo_actors.safety.redaction import masking, secrets_in
from echo_actors.settings import Settings
from echo_actors.state.records import AUDIT_HEAD
from echo_actors.state.store import Store

LOOK_EVERY = 1.0
"""Seconds between looks whether the log can be written."""

HEAD_EVERY = 10.0
"""Seconds between copies of the log's head to the store; what a cut takes after the last copy does not show."""

SYNC_WITHIN = 5.0
"""Seconds that the end of a turn waits for the disk under the audit log, with the setting ``audit_sync``."""


def mask_of(settings: Settings) -> Callable[[str], str]:
    """What replaces the secret values that this program and the CLI know of, in a text that others will read."""
    return masking({**secrets_in(os.environ, settings.secrets), **secrets_in(settings.environment, settings.secrets)})


@asynccontextmanager
async def engine_audit(settings: Settings, store: Store, run_id: str) -> AsyncIterator[AuditLog]:
    """Open the audit log for the block. The store keeps its head, so that a cut tail shows at the next start.

    Raises:
        StoreError: It cannot be opened.
    """
    note = await store.note(AUDIT_HEAD)
    keeping = Keeping(
        max_bytes=settings.audit_max_bytes,
        max_age=settings.audit_max_age,
        files=settings.audit_keep_files,
        seconds=settings.audit_keep_for,
    )
    try:
        audit = open_audit(
            settings.audit_file,
            run_id=run_id,
            clock=lambda: datetime.now(UTC),
            content=settings.audit_content,
            keeping=keeping,
            known_head=Head(**note) if note is not None else None,
            mask=mask_of(settings),
        )
    except OSError as problem:
        raise StoreError(f"the audit log {settings.audit_file} cannot be opened: {problem}") from problem
    try:
        yield audit
    finally:
        with trio.CancelScope(shield=True):
            audit.record("engine.closed")
            await audit.aclose()
            await _keep_head(store, audit.head)


async def watch_audit(audit: AuditLog, store: Store, hub: Hub) -> None:
    """Say when the log cannot be written, and when it can again; keep its head in the store. For ever."""
    told: tuple[str | None, int] = (None, 0)
    kept, since = audit.head, 0.0
    while True:
        state = (audit.problem, audit.lost)
        if state != told:
            told = state
            hub.publish(AuditChanged(channel="", problem=state[0], lost=state[1]))
        since += LOOK_EVERY
        head = audit.head
        if since >= HEAD_EVERY:
            since = 0.0
            # The head must not be on a disk that the line is not on: after a loss of power that would look like a cut.
            if await audit.flush(sync=head != kept) and head != kept and await _keep_head(store, head):
                kept = head
        await trio.sleep(LOOK_EVERY)


def sync_before_ends(settings: Settings, audit: AuditLog) -> Callable[[], Awaitable[None]] | None:
    """What the end of a turn waits for: that all that was recorded is on the disk. None when it waits for nothing."""

    async def sync() -> None:
        """Wait for ``SYNC_WITHIN`` seconds at most, and say so if the disk refuses."""
        with trio.CancelScope(shield=True):
            synced = await audit.flush(sync=True, timeout=SYNC_WITHIN)
        if not synced:
            audit.unsynced += 1
            audit.record("audit.unsynced", times=audit.unsynced, problem=audit.problem)

    return sync if settings.audit_sync else None


async def _keep_head(store: Store, head: Head) -> bool:
    """Keep the head; a store that takes nothing must not hide what the engine closes for."""
    with suppress(StoreError):
        await store.put_note(AUDIT_HEAD, attrs.asdict(head))
        return True
    return False
