"""One owner per session: a lock that the kernel drops when its holder dies.

Two CLIs on one session do not exclude each other: the history forks, and one branch is lost (measured with CLI
2.1.330). So an engine owns a session before it starts a process for it, and until that process is gone.

The locks are files in one folder of the CLI's configuration, because engines with different state directories can
share that. A file goes when its lock is released; one whose owner was killed stays until the session is owned again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
from pathlib import Path

import attrs
import orjson

from echo_actors.errors import CLIFailed

LOCKS = "echo-actors-locks"
"""The folder's name."""


@attrs.frozen
class Holder:
    """The engine that owns a session.

    Attributes:
        pid: The program's process; 0 when it could not be read.
    """

    pid: int
    host: str

    def __str__(self) -> str:
        return f"another engine (process {self.pid} on {self.host})" if self.pid else "another engine"


@attrs.define(eq=False)
class SessionLock:
    """The held ownership of a session.

    The lock belongs to the open file, so two channels of one engine exclude each other too, and no program that is
    started meanwhile inherits it.
    """

    session_id: str
    path: Path
    _descriptor: int | None

    def release(self) -> None:
        """Give the session up; doing so again has no effect."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            # Before the lock is dropped: whoever gets a lock on a file that has no name any more tries again.
            with contextlib.suppress(OSError):  # a file that stays does no harm
                self.path.unlink()
            # A forked copy of the descriptor would keep a lock that is merely closed here.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def lock_session(session_id: str, config: Path) -> SessionLock | Holder:
    """Own a session, or say who does.

    Args:
        session_id: The conversation's id.
        config: The CLI's configuration directory.

    Raises:
        CLIFailed: The lock cannot be made.
    """
    path = config / LOCKS / f"{re.sub(r'[^a-zA-Z0-9-]', '-', session_id)}.lock"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            holder = _lock(descriptor)
            if holder is None and _has_name(descriptor, path):
                return SessionLock(session_id, path, descriptor)
            os.close(descriptor)
            if holder is not None:
                return holder
    except OSError as problem:
        raise CLIFailed(f"session {session_id} cannot be locked: {problem}") from problem


def _lock(descriptor: int) -> Holder | None:
    """Lock an open file and write its owner; or read who that is."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(os.pread(descriptor, 4096, 0))
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, orjson.dumps({"pid": os.getpid(), "host": socket.gethostname()}), 0)
    return None


def _has_name(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name: its last owner may just have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(content: bytes) -> Holder:
    try:
        owner = orjson.loads(content)
        return Holder(int(owner["pid"]), str(owner["host"]))
    except (ValueError, KeyError, TypeError):
        return Holder(0, "")
