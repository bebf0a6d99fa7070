"""Exclusive ownership of a state directory, by a lock that the kernel drops when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from datetime import datetime
from pathlib import Path

import attrs
import orjson

from echo_actors.errors import StoreError, StoreFull, StoreLocked

LOCK_NAME = "lock"


@attrs.define(eq=False)
class DirectoryLock:
    """The held ownership of a state directory.

    The lock belongs to the open file, so a second attempt is refused within the same process too. A program that is
    started meanwhile does not inherit it; a bare ``fork`` without ``exec`` would. The file stays when the lock is
    released: to unlink it would let two owners hold locks on two files of one name.
    """

    path: Path
    _descriptor: int | None

    def check(self) -> None:
        """See that the directory is still the one that was locked: who removed it made way for another owner.

        Raises:
            StoreError: It was removed or replaced; what is written into it is lost.
        """
        try:
            same = self._descriptor is None or os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except OSError:
            same = False
        if not same:
            raise StoreError(f"{self.path.parent} was removed or replaced while it was in use; start the engine anew")

    def release(self) -> None:
        """Give the directory up; doing so again has no effect."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            # Unlock first: a forked copy of the descriptor would keep a lock that is merely closed here.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def lock_directory(state_dir: Path, *, now: datetime) -> DirectoryLock:
    """Own a state directory, which is made if it does not exist.

    Args:
        state_dir: The directory.
        now: The time to write into the lock for people to read.

    Raises:
        StoreLocked: Another engine, or one of this process, owns it; the text names its process.
        StoreFull: There is no room to write the owner.
        StoreError: The directory cannot be made, written, or locked.
    """
    path = state_dir / LOCK_NAME
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        raise _unusable(state_dir, problem) from problem
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write_owner(descriptor, now)
    except BlockingIOError as problem:
        locked = _locked(state_dir, descriptor)
        os.close(descriptor)
        raise locked from problem
    except OSError as problem:
        os.close(descriptor)
        raise _unusable(state_dir, problem) from problem
    return DirectoryLock(path, descriptor)


def _write_owner(descriptor: int, now: datetime) -> None:
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": now}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, orjson.dumps(owner, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE), 0)


def _locked(state_dir: Path, descriptor: int) -> StoreLocked:
    try:
        owner = orjson.loads(os.pread(descriptor, 4096, 0))
        pid, who = int(owner["pid"]), f"process {owner['pid']} on {owner['host']} since {owner['started']}"
    except (ValueError, KeyError, TypeError):
        # The owner has the lock and has not written its name yet.
        pid, who = 0, "another process"
    return StoreLocked(f"the state directory {state_dir} is in use by {who}; stop it or choose another state_dir", pid)


def _unusable(state_dir: Path, problem: OSError) -> StoreError:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no room to write in the state directory {state_dir}: {problem.strerror}; free some space")
    if problem.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
        return StoreError(f"the file system of {state_dir} has no locks; put state_dir on a local disk")
    return StoreError(
        f"the state directory {state_dir} cannot be used: {problem.strerror}; "
        "make it writable for this user or choose another state_dir"
    )
