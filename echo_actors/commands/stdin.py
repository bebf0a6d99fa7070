"""Reads standard input without holding up anything else."""

from __future__ import annotations

import errno
import os
from typing import Final

import attrs
import trio

_CHUNK: Final = 1 << 16


@attrs.define(eq=False)
class StandardInput:
    """Standard input, read in a worker thread.

    The file descriptor is read, not ``sys.stdin``: a thread that is abandoned while it waits holds no lock then that
    the interpreter needs to end.
    """

    _descriptor: int = 0
    _buffer: bytearray = attrs.Factory(bytearray)
    _ended: bool = False

    @property
    def is_terminal(self) -> bool:
        """Whether a person types it."""
        return os.isatty(self._descriptor)

    async def line(self) -> bytes | None:
        """The next line, without its end; None when there is no more."""
        while b"\n" not in self._buffer and not self._ended:
            await self._read()
        if not self._buffer:
            return None
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer[:] = rest
        return line

    async def everything(self) -> bytes:
        """All that is left."""
        while not self._ended:
            await self._read()
        return bytes(self._buffer)

    async def _read(self) -> None:
        try:
            chunk = await trio.to_thread.run_sync(os.read, self._descriptor, _CHUNK, abandon_on_cancel=True)
        except OSError as problem:
            if problem.errno != errno.EIO:  # a terminal that was closed has no more to say
                raise
            chunk = b""
        self._buffer += chunk
        self._ended = not chunk
