"""``echo-actors history``: what was said in a channel, as a document."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import trio
from cyclopts import Parameter

from echo_actors.claude.driver import KeptSession
from echo_actors.claude.history import read_history
from echo_actors.commands.exits import Exit
from echo_actors.commands.options import Running, StoreOptions
from echo_actors.commands.reaching import running_engine
from echo_actors.commands.stored import opened_store
from echo_actors.commands.terminal import harmless, write
from echo_actors.engine.recorded import named
from echo_actors.errors import SettingsError, TranscriptMissing
from echo_actors.export import to_json, to_markdown
from echo_actors.history import History
from echo_actors.settings import Settings
from echo_actors.state.sqlite import SQLiteStore

Format = Literal["markdown", "json"]


async def history(
    channel: str,
    *,
    format: Annotated[Format, Parameter(name="--format")] = "markdown",  # noqa: A002 - the option's name
    output: Annotated[Path | None, Parameter(name="--output")] = None,
    options: StoreOptions | None = None,
    ending: Running,
) -> int:
    """Print a channel's conversation from the CLI's transcript, also while an engine runs.

    Args:
        channel: The conversation's key.
        format: What to make of it.
        output: The file to write, in place of what is there; standard output by default.
        options: Where the store is.
        ending: How the command may be ended before its time.
    """
    del ending
    settings = (options or StoreOptions()).settings()
    async with running_engine(settings.state_dir) as engine:
        if engine is None:
            found = await _of_store(channel, settings)
        else:
            found = await engine.history(channel, limit=None)
    text = to_json(found) if format == "json" else to_markdown(found)
    if output is None:
        write(harmless(text))
    else:
        await _write_file(output, text)
    return Exit.DONE


async def _write_file(path: Path, text: str) -> None:
    try:
        file = await trio.open_file(path, "w", encoding="utf-8")
    except OSError as problem:
        raise SettingsError(f"{path} cannot be written: {problem.strerror}", name="output") from problem
    async with file:
        await file.write(text)


async def _of_store(channel: str, settings: Settings) -> History:
    async with opened_store(settings, owner="history", instead=True) as store:
        return History(channel=channel, session_id=None) if store is None else await _history(channel, store, settings)


async def _history(channel: str, store: SQLiteStore, settings: Settings) -> History:
    snapshot = await store.snapshot(channel)
    if snapshot is None or snapshot.session_id is None:
        return History(channel=channel, session_id=None)
    kept = KeptSession(
        channel=channel,
        session_id=snapshot.session_id,
        working_dir=Path(snapshot.working_dir or settings.working_dir),
    )
    environment = {**os.environ, **settings.environment}
    found = await trio.to_thread.run_sync(lambda: read_history(kept, environment, limit=None, before=None))
    if found is None:
        raise TranscriptMissing(channel, snapshot.session_id, snapshot.working_dir)
    return await named(found, store)
