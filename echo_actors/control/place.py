"""Where the socket is: a file in a directory, for the directory's owner alone."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs
import trio

SOCKET_NAME: Final = "control.sock"
_STAGING: Final = ".control-"
_LONGEST_ADDRESS: Final = 100
"""Bytes of a path that every system takes as a socket's address; some take 103, some 107."""

_LINK: Final = "ea-"
_DRAWN: Final = 8
"""Characters that a temporary directory's name has after its prefix."""

_BACKLOG: Final = 128


@attrs.frozen
class Listening:
    """A socket that takes connections at its place."""

    path: Path
    socket: socket.socket
    _identity: tuple[int, int]

    def close(self) -> None:
        """Take no more connections; the file goes, unless another one is in its place."""
        self.socket.close()
        with suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._identity:
                self.path.unlink()


def listen(directory: Path) -> Listening:
    """Take connections in a directory that the caller owns by its lock: whatever was left there is replaced.

    The socket is made in a directory that is nobody else's and then moved to its place, so that there is no moment at
    which others could use it, and no link is followed.

    Raises:
        OSError: There can be no socket.
    """
    for left in directory.glob(f"{_STAGING}*"):
        shutil.rmtree(left, ignore_errors=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=directory))
        try:
            at = staging / SOCKET_NAME
            with _short(staging) as short:
                made.bind(str(short / SOCKET_NAME))
            at.chmod(0o600)
            made.listen(_BACKLOG)
            found = at.lstat()
            path = at.rename(directory / SOCKET_NAME)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except BaseException:
        made.close()
        raise
    return Listening(path, made, (found.st_dev, found.st_ino))


def connect_to(directory: Path, within: float) -> socket.socket:
    """Connect to the socket in a directory; it blocks.

    Args:
        directory: Where the socket is.
        within: Seconds.

    Raises:
        FileNotFoundError: There is none.
        ConnectionRefusedError: Nobody takes connections there any more.
        PermissionError: It is no socket, or of a user who is neither this one nor the directory's owner.
        TimeoutError: It took too long.
        OSError: It cannot be connected to for another reason.
    """
    path = directory / SOCKET_NAME
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise PermissionError(f"{path} is no socket")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Not settimeout, with which connecting fails at once when as many wait as may.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(within), int(within % 1 * 1e6)))
        with _short(directory) as short:
            made.connect(str(short / SOCKET_NAME))
        _check_owner(path, peer(made))
    except BlockingIOError:
        made.close()
        raise TimeoutError(f"{path} takes no connection") from None
    except BaseException:
        made.close()
        raise
    return made


def _check_owner(path: Path, user: int | None) -> None:
    # Root may use the engine of the user whose directory it is.
    if user not in (None, os.geteuid(), path.parent.stat().st_uid):
        raise PermissionError(f"{path} belongs to a program of user {user}")


def peer(connection: socket.socket | trio.socket.SocketType) -> int | None:
    """The user on the other side; None where the system does not tell, and the file's mode has to do."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    form = struct.Struct("i2I")
    _, user, _ = form.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, form.size))
    return int(user)


@contextmanager
def _short(directory: Path) -> Iterator[Path]:
    """The directory by a name that is short enough, for the block: a link to it if need be."""
    if len(os.fsencode(directory / SOCKET_NAME)) <= _LONGEST_ADDRESS:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix=_LINK, dir=_for_links()) as name:
        link = Path(name, "d")
        link.symlink_to(directory.absolute(), target_is_directory=True)
        yield link


def _for_links() -> str:
    # The directory for temporary files may have a long name as well, also where the other one has.
    made = tempfile.gettempdir()
    longest = Path(made, _LINK + "-" * _DRAWN, "d", SOCKET_NAME)
    return made if len(os.fsencode(longest)) <= _LONGEST_ADDRESS else "/tmp"  # noqa: S108 - a new directory in it is ours
