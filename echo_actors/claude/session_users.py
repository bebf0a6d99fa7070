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
import trio

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


def open_sessions(config: Path, run_id: str, table: ProcessTable = TABLE) -> dict[str, SessionUser]:
    """The CLIs that have a session open, by the session.

    Args:
        config: The CLI's configuration directory.
        run_id: The engine's own run, whose processes do not count.
        table: The machine's processes.
    """
    registered = dict(_registered(config, table))
    own = os.fsencode(f"\0{RUN_VARIABLE}={run_id}\0")
    found: dict[str, SessionUser] = {}
    for pid in table.pids():
        entry = registered.get(pid)
        named = _named(table.arguments(pid)) if entry is None else {str(entry.get("sessionId"))}
        if named and own not in b"\0" + table.environment(pid):
            user = SessionUser(pid, entry is not None and entry.get("entrypoint") == "cli")
            found |= dict.fromkeys(named, user)
    return found


@attrs.define(eq=False)
class SessionUsers:
    """Looks for them; all who ask while a look goes on share the next one."""

    config: Path
    run_id: str
    _looking: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _begun: int = attrs.field(default=0, init=False)
    _done: int = attrs.field(default=0, init=False)
    _found: dict[str, SessionUser] = attrs.field(factory=dict, init=False)

    async def of(self, session_id: str) -> SessionUser | None:
        """A CLI that has a session open, if there is one, by a look that begins after this call.

        Raises:
            OSError: There is no descriptor left to look with.
        """
        wanted = self._begun + 1
        async with self._looking:
            if self._done < wanted:
                self._begun += 1
                number = self._begun
                self._found = await trio.to_thread.run_sync(open_sessions, self.config, self.run_id)
                self._done = number
        return self._found.get(session_id)


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


def _named(arguments: bytes) -> set[str]:
    """The session that a CLI with these arguments was told to open itself, not as a copy."""
    if b"claude" not in arguments and b"cli.js" not in arguments:
        return set()
    given = [os.fsdecode(each) for each in arguments.split(b"\0")]
    program = any(Path(each).name.startswith("claude") or Path(each).name == "cli.js" for each in given[:2])
    if not program or "--fork-session" in given:
        return set()
    apart = {value for option, value in itertools.pairwise(given) if option in _NAMING}
    joined = {value for option, found, value in (each.partition("=") for each in given) if found and option in _NAMING}
    return apart | joined
