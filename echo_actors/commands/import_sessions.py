"""``echo-actors import``: sessions out of Echo-Core's file into the store."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import attrs
import orjson
from cyclopts import Parameter

from echo_actors.claude.transcript import Transcript
from echo_actors.commands.exits import Exit, complain
from echo_actors.commands.options import Running, SettingsFile, StateDir, WorkingDir, loaded
from echo_actors.commands.terminal import write
from echo_actors.engine.intake import check_channel
from echo_actors.settings import Settings
from echo_actors.state.active_json import read_sessions
from echo_actors.state.exchange import Imported
from echo_actors.state.exchange import import_sessions as take_sessions
from echo_actors.state.sqlite import open_sqlite_store


async def import_sessions(
    file: Path,
    /,
    *,
    replace: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
    state_dir: StateDir = None,
    working_dir: WorkingDir = None,
    settings_file: SettingsFile = None,
    ending: Running,
) -> int:
    """Take the sessions of an Echo-Core file, sessions/active.json, into the store; no engine may be running on it.

    What cannot be read is refused record by record, and said; the exit code is then 1. The file is only read.

    Args:
        file: The file.
        replace: Take sessions also for channels that have another one in the store, which is then forgotten.
        json: Print what became of each as JSON.
        state_dir: As the setting.
        working_dir: As the setting: where the CLI is to run, and where transcripts are looked for first.
        settings_file: As everywhere.
        ending: How the command may be ended before its time.
    """
    del ending
    settings = loaded(settings_file, state_dir=state_dir, working_dir=working_dir)
    reading = read_sessions(
        file, models=settings.models, working_dir=settings.working_dir, check_channel=check_channel
    )
    async with open_sqlite_store(settings.state_dir, owner="import", now=lambda: datetime.now(UTC)) as store:
        if store.set_aside is not None:
            complain(f"the store was damaged; it was moved to {store.set_aside}")
        imported = await take_sessions(store, reading, replace=replace)
    lost = _without_transcript(imported, settings)
    if json:
        write(_as_json(imported, lost))
    else:
        write(
            f"{len(imported.taken)} imported, {len(imported.unchanged)} unchanged, {len(imported.refused)} refused\n"
        )
        for refusal in imported.refused:
            complain(f"channel {refusal.channel!r} was refused: {refusal.reason}")
    if lost:
        complain(
            f"of {len(lost)} sessions the CLI has no transcript, such as that of channel {lost[0]!r}: their next "
            "message begins a new one"
        )
    return Exit.FAILED if imported.refused else Exit.DONE


def _without_transcript(imported: Imported, settings: Settings) -> list[str]:
    """The channels whose session cannot be resumed."""
    environ = {**os.environ, **settings.environment}
    return [
        each.channel
        for each in imported.taken
        if each.session_id and not Transcript.kept(each.session_id, settings.working_dir, environ).exists()
    ]


def _as_json(imported: Imported, lost: list[str]) -> str:
    found = {
        "imported": [each.channel for each in imported.taken],
        "unchanged": imported.unchanged,
        "refused": [attrs.asdict(each) for each in imported.refused],
        "without_transcript": lost,
    }
    return orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
