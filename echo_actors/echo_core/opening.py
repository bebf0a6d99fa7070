"""Opening the engine that stands in for Echo-Core: the old sessions first, once."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from echo_actors.claude.transcript import config_dir
from echo_actors.engine import Engine
from echo_actors.engine.intake import check_channel
from echo_actors.engine.opening import open_engine
from echo_actors.settings import Settings
from echo_actors.state.active_json import Reading, read_sessions
from echo_actors.state.exchange import import_sessions
from echo_actors.state.sqlite import open_sqlite_store

_LOG = logging.getLogger("echo-core.sessions")

SEEN = "echo_core.sessions"
"""The store's note that the old sessions were looked for."""


@asynccontextmanager
async def open_with_old_sessions(settings: Settings, sessions: Path) -> AsyncIterator[Engine]:
    """Open the engine for the block.

    Raises:
        ActiveFileError: The old sessions cannot be read, so they would be forgotten.
        EchoActorsError: As ``open_engine`` raises them.
    """
    await take_old_sessions(settings, sessions)
    _make_home(settings)
    async with open_engine(settings) as engine:
        yield engine


async def take_old_sessions(settings: Settings, sessions: Path) -> None:
    """Import the old program's sessions into a store that was not used in its place before.

    Only then: later the store is what counts, and ``echo-actors import`` is there for more. A run that is killed
    meanwhile leaves nothing half done: the next one goes on.

    Raises:
        ActiveFileError: The file cannot be read.
        StoreError: The store cannot be opened or written.
    """
    async with open_sqlite_store(settings.state_dir, owner="import", now=_now) as store:
        if await store.note(SEEN) is not None:
            return
        reading = _read(settings, sessions)
        if reading is not None:
            imported = await import_sessions(store, reading)
            _LOG.info("%d sessions imported from %s", len(imported.taken), sessions)
            for refusal in imported.refused:
                _LOG.warning("channel %r was not imported from %s: %s", refusal.channel, sessions, refusal.reason)
        await store.put_note(SEEN, {"at": _now().isoformat()})


def _read(settings: Settings, sessions: Path) -> Reading | None:
    if not sessions.exists():
        return None
    return read_sessions(
        sessions, models=settings.models, working_dir=settings.working_dir, check_channel=check_channel
    )


def _make_home(settings: Settings) -> None:
    """Make the place of the CLI's transcripts if it is not there.

    The engine takes a home without it for one that is away, and waits for it to come back. Echo-Core's users have been
    promised that a session whose transcript is gone goes on.
    """
    projects = config_dir({**os.environ, **settings.environment}) / "projects"
    if not projects.exists():
        # Where that cannot be done, the home is away indeed.
        with suppress(OSError):
            projects.mkdir(mode=0o700, parents=True)
            _LOG.warning("the CLI had no sessions in %s: old ones begin anew", projects)


def _now() -> datetime:
    return datetime.now(UTC)
