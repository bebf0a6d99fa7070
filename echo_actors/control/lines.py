"""One JSON object per line over a stream, with an end to how long a line may be."""

from __future__ import annotations

import select
from typing import Any, Final

import attrs
import orjson
import trio

from echo_actors.errors import ControlError

_CHUNK: Final = 1 << 16


@attrs.define(eq=False)
class Lines:
    """The two directions of a connection.

    Attributes:
        longest: The most bytes of a line that is read.
        send_within: Seconds in which the other side has to take what is sent.
    """

    _stream: trio.SocketStream
    longest: int
    send_within: float
    _buffer: bytearray = attrs.Factory(bytearray)
    _searched: int = 0
    _ended: bool = False

    async def next(self) -> dict[str, Any] | None:
        """The next object; None when there is no more. What comes after the last line end is no line.

        Raises:
            ControlError: The line is too long, or it is no JSON object.
            trio.BrokenResourceError: The other side has gone.
        """
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > self.longest:
                raise ControlError(f"a line has more than {self.longest} bytes")
            if not await self._read():
                return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return _object(line)

    async def closed(self) -> None:
        """Wait until the other side sends no more, or more ahead than a line may be long; what it sent is dropped."""
        while len(self._buffer) <= self.longest and await self._read():
            pass
        self._buffer.clear()
        self._searched, self._ended = 0, True

    async def send(self, *values: dict[str, Any]) -> None:
        """Send objects, a line each.

        Raises:
            ControlError: One cannot be written as JSON. Nothing was sent.
            trio.TooSlowError: The other side did not take them in time; the connection cannot be used any more.
            trio.BrokenResourceError: The other side has gone.
        """
        try:
            lines = b"".join(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE) for value in values)
        except (TypeError, ValueError) as problem:
            raise ControlError(f"this cannot be written as JSON: {problem}") from problem
        with trio.fail_after(self.send_within):
            await self._stream.send_all(lines)

    def is_over(self) -> bool:
        """Whether a connection that nothing is expected on has something to read: its end, or what makes no sense."""
        poll = select.poll()
        poll.register(self._stream.socket.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Close the connection."""
        self._stream.socket.close()

    async def _read(self) -> bool:
        if not self._ended:
            chunk = await self._stream.receive_some(_CHUNK)
            self._buffer += chunk
            self._ended = not chunk
        return not self._ended


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except ValueError as problem:
        raise ControlError(f"a line is no JSON: {problem}") from None
    if not isinstance(value, dict):
        raise ControlError("a line is no JSON object")
    return value
