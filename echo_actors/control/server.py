"""The server: an object's calls on a socket. Nothing that a client does, or does not do, reaches anybody else."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from echo_actors.audit import Record
from echo_actors.control.calls import Call, calls_of, facts_of
from echo_actors.control.lines import Lines
from echo_actors.control.place import listen, peer
from echo_actors.control.protocol import Hello
from echo_actors.control.values import Json, Values
from echo_actors.errors import ControlError, EchoActorsError
from echo_actors.shape import Kind

MOST_CLIENTS: Final = 64
"""Connections at once. For one more, the one that has been silent for longest goes; if none is, it is refused."""

SEND_WITHIN: Final = 30.0
"""Seconds in which a client has to take what it is sent."""

_AGAIN_AFTER: Final = 0.1
"""Seconds until the next try to take a client, where the machine did not let it."""

_GONE: Final = (trio.BrokenResourceError, trio.TooSlowError)
"""A client that has gone, and one that has stopped reading."""


@attrs.define(eq=False)
class Server:
    """Serves clients.

    Attributes:
        target: Whose calls are made.
        hello: What each client is told first.
        longest: The most bytes of a request.
        record: Told what an operator may want to know.
    """

    target: Any
    hello: Hello
    longest: int
    record: Record
    send_within: float = SEND_WITHIN
    most_clients: int = MOST_CLIENTS
    _values: Values = attrs.Factory(Values)
    _calls: dict[str, Call] = attrs.field(init=False)
    _clients: int = attrs.field(default=0, init=False)
    _silent: dict[trio.CancelScope, None] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        """See which calls there are."""
        self._calls = calls_of(type(self.target))

    async def serve(self, directory: Path, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve clients until cancelled. Where there can be no socket, that is reported, and nothing is served."""
        try:
            listening = listen(directory)
        except OSError as problem:
            self.record("control.unavailable", reason=f"{problem.strerror or problem}")
            task_status.started()
            return
        task_status.started()
        try:
            await self._take_clients(trio.SocketListener(trio.socket.from_stdlib_socket(listening.socket)))
        finally:
            listening.close()

    async def _take_clients(self, listener: trio.SocketListener) -> None:
        """Serve whoever comes. Not trio's own loop, which logs a traceback ten times a second without descriptors."""
        troubled = False
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as problem:
                    if not troubled:
                        self.record("control.unavailable", reason=f"{problem.strerror or problem}")
                    troubled = True
                    await trio.sleep(_AGAIN_AFTER)
                else:
                    troubled = False
                    nursery.start_soon(self._client, stream)

    async def _client(self, stream: trio.SocketStream) -> None:
        """Serve one client to its end, whatever that is."""
        self._clients += 1
        lines = Lines(stream, self.longest, self.send_within)
        try:
            if self._refused(stream):
                return
            if self._clients > self.most_clients and not self._made_room():
                await self._last_words(lines, ControlError(f"there are {self.most_clients} clients already"))
                return
            await lines.send(attrs.asdict(self.hello))
            while (request := await self._next(lines)) is not None:
                await self._until_gone(lines, request)
        except ControlError as problem:
            await self._last_words(lines, problem)
        except _GONE:
            pass
        except Exception as error:  # noqa: BLE001 - it is this client's, and must not end the others
            self.record("control.failed", reason=f"{type(error).__name__}: {error}")
        finally:
            self._clients -= 1
            lines.close()

    async def _next(self, lines: Lines) -> Json | None:
        """The client's next request; None when there is none, or when its place is needed first."""
        with trio.CancelScope() as scope:
            self._silent[scope] = None
            try:
                return await lines.next()
            finally:
                self._silent.pop(scope, None)
        return None

    def _made_room(self) -> bool:
        """End the connection that has been silent for longest; False when there is none."""
        longest = next(iter(self._silent), None)
        if longest is None:
            return False
        del self._silent[longest]
        longest.cancel()
        return True

    def _refused(self, stream: trio.SocketStream) -> bool:
        user = peer(stream.socket)
        if user in (None, 0, os.geteuid()):
            return False
        self.record("control.refused", user=user)
        return True

    async def _last_words(self, lines: Lines, problem: ControlError) -> None:
        with suppress(*_GONE):
            await lines.send({"error": self._values.write_error(problem)})

    async def _until_gone(self, lines: Lines, request: Json) -> None:
        """Answer a request, unless the client goes meanwhile."""
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_closed, lines, nursery.cancel_scope)
            try:
                await self._answer(lines, request)
            except Exception as caught:  # noqa: BLE001 - raised again below, outside of the nursery's group
                error = caught
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error

    async def _answer(self, lines: Lines, request: Json) -> None:
        number = request.get("id")
        try:
            name = request.get("call")
            call = self._calls.get(name) if isinstance(name, str) else None
            if call is None:
                raise ControlError(f"there is no call {name!r:.100}")  # noqa: TRY301 - answered like all others
            begun = partial(call.function, self.target, **call.read(request.get("arguments", {}), self._values))
            if call.kind is Kind.ENTERED:
                result = await self._events(lines, number, begun)
            elif call.kind is Kind.AWAITED:
                result = self._values.write(await begun())
            else:
                result = self._values.write(begun())
            await lines.send({"id": number, "result": result})
        except _GONE:
            raise
        except Exception as error:  # noqa: BLE001 - told to who called
            if not isinstance(error, EchoActorsError | TypeError):
                self.record("control.failed", reason=f"{type(error).__name__}: {error}")
            await lines.send({"id": number, "error": self._values.write_error(error)})

    async def _events(self, lines: Lines, number: Any, begun: Callable[[], Any]) -> Json:
        """Send events as they come. Whoever is slower than they are has a bounded buffer, as every subscriber."""
        async with begun() as events:
            await lines.send({"id": number, "opened": self._values.write(facts_of(events))})
            async for event in events:
                await lines.send({"id": number, "event": self._values.write_event(event)})
            written: Json = self._values.write(facts_of(events))
            return written


async def _cancel_when_closed(lines: Lines, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):
        await lines.closed()
    scope.cancel()
