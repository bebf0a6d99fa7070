"""A store that no engine uses, opened to be looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from echo_actors.commands.exits import complain
from echo_actors.settings import Settings
from echo_actors.state.sqlite import DATABASE_NAME, SQLiteStore, open_sqlite_store


@asynccontextmanager
async def opened_store(settings: Settings, *, owner: str, instead: bool = False) -> AsyncIterator[SQLiteStore | None]:
    """Open the store for the block, if there is one: to look is no reason to make it.

    Args:
        settings: Say where it is.
        owner: Who has it meanwhile, as others are told.
        instead: It stands in for an engine that does not run; that is said.

    Raises:
        StoreLocked: An engine is running on it.
        StoreError: It cannot be opened.
    """
    if not (settings.state_dir / DATABASE_NAME).exists():
        yield None
        return
    async with open_sqlite_store(settings.state_dir, owner=owner, now=lambda: datetime.now(UTC)) as store:
        if store.set_aside is not None:
            complain(f"the store was damaged; it was moved to {store.set_aside}")
        if instead:
            complain(f"no engine is running on {settings.state_dir}; this is from its store")
        yield store
