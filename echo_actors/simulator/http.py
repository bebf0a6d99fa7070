"""HTTP/1.1 for one connection: h11 over a trio stream."""

from __future__ import annotations

from typing import NoReturn

import attrs
import h11
import trio

_READ_SIZE = 65_536


class ConnectionEnded(Exception):
    """The connection is over: the client left before its answer was complete, or it was cut on purpose."""


@attrs.frozen
class Request:
    """One HTTP request."""

    method: str
    path: str
    query: str
    body: bytes


@attrs.define(eq=False)
class Connection:
    """A server's end of one connection."""

    stream: trio.abc.Stream
    _http: h11.Connection = attrs.field(init=False, factory=lambda: h11.Connection(h11.SERVER))

    async def request(self) -> Request | None:
        """Wait for the next request; None when there will be no more.

        Raises:
            h11.RemoteProtocolError: What came is not HTTP.
        """
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        head: h11.Request | None = None
        body: list[bytes] = []
        while self._http.our_state is not h11.MUST_CLOSE:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                await self._expect_body()
                self._http.receive_data(bytes(await self.stream.receive_some(_READ_SIZE)))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                path, _, query = head.target.decode("ascii").partition("?")
                return Request(head.method.decode("ascii"), path, query, b"".join(body))
            else:
                return None
        return None

    async def start(self, status: int, headers: dict[str, str]) -> None:
        """Send the status line and the headers."""
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send(h11.Response(status_code=status, headers=fields))

    async def send(self, data: bytes) -> None:
        """Send a part of the body."""
        await self._send(h11.Data(data=data))

    async def finish(self) -> None:
        """End the body; the connection is then ready for its next request."""
        await self._send(h11.EndOfMessage())

    async def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send a whole answer with a JSON body."""
        length = {"content-type": "application/json", "content-length": str(len(body))}
        await self.start(status, length | (headers or {}))
        await self.send(body)
        await self.finish()

    async def hold(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ConnectionEnded: The client closed the connection meanwhile.
        """
        if not seconds:
            return  # a client that has only closed its sending side still gets its answer
        with trio.move_on_after(seconds):
            while data := await self.stream.receive_some(_READ_SIZE):
                self._http.receive_data(bytes(data))
            raise ConnectionEnded

    def cut(self) -> NoReturn:
        """Leave the answer unfinished.

        Raises:
            ConnectionEnded: Always.
        """
        raise ConnectionEnded

    async def _expect_body(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))

    async def _send(self, event: h11.Event) -> None:
        if data := self._http.send(event):
            await self.stream.send_all(data)
