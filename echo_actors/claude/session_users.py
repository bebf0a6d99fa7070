"""Which CLIs have a session open: a person's terminal, or another program's.

A CLI says so itself (measured with CLI 2.1.330, of interactive ones and of ``-p`` alike): ``<configuration>/sessions/
<pid>.json`` has its session, follows it through ``/clear`` and the picker, and goes with a clean exit; a killed one's
stays. Until it has written that, 0.3 to 1 s after its start, only its arguments tell. It holds no file open.

A look takes about 1 ms for each hundred processes. CLIs of another machine or container are not seen.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import attrs
import orjson

from echo_actors.claude.environment import RUN_VARIABLE
from echo_actors.claude.process_table import TABLE, ProcessTable

_NAMING = frozenset({"--resume", "-r", "--session-id"})


@attrs.frozen
class SessionUser:
    """A running CLI that has the session open.

    Attributes:
        terminal: Whether a person sits before it, as far as it said.
    """

    pid: int
    terminal: bool

    def __str__(self) -> str:
        return f"{'a terminal' if self.terminal else 'another program'} (process {self.pid})"


def session_user(session_id: str, config: Path, run_id: str, table: ProcessTable = TABLE) -> SessionUser | None:
    """A CLI that has a session open, if there is one.

    Args:
        session_id: The conversation's id.
        config: The CLI's configuration directory.
        run_id: The engine's own run, whose processes do not count.
        table: The machine's processes.
    """
    registered = dict(_registered(config, table))
    own = os.fsencode(f"\0{RUN_VARIABLE}={run_id}\0")
    for pid in table.pids():
        entry = registered.get(pid)
        opened = _names(table.arguments(pid), session_id) if entry is None else entry.get("sessionId") == session_id
        if opened and own not in b"\0" + table.environment(pid):
            return SessionUser(pid, entry is not None and entry.get("entrypoint") == "cli")
    return None


def _registered(config: Path, table: ProcessTable) -> list[tuple[int, dict[str, Any]]]:
    """What the running CLIs say about themselves, by process."""
    found = []
    for path in (config / "sessions").glob("*.json"):
        row = table.row(int(path.stem)) if path.stem.isdecimal() else None
        if row is None or row.zombie:
            continue
        try:
            entry = orjson.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        # Given in the unit of the process table on Linux; a pid that was used again shows by it.
        started = str(entry.get("procStart", "")) if isinstance(entry, dict) else ""
        if isinstance(entry, dict) and (not started.isdecimal() or int(started) == row.started):
            found.append((row.pid, entry))
    return found


def _names(arguments: bytes, session_id: str) -> bool:
    """Whether these are the arguments of a CLI that was told to open the session itself, not a copy of it."""
    if session_id.encode() not in arguments:
        return False
    given = [os.fsdecode(each) for each in arguments.split(b"\0")]
    program = any(Path(each).name.startswith("claude") or Path(each).name == "cli.js" for each in given[:2])
    named = any(option in _NAMING and value == session_id for option, value in itertools.pairwise(given))
    joined = any(f"{option}={session_id}" in given for option in _NAMING)
    return program and (named or joined) and "--fork-session" not in given
