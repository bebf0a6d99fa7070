"""The client: the calls of an object in another program.

Each call that runs has a connection of its own, so that none waits for another, and to cancel one closes it. Those
that are done are used again.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import attrs
import trio

from echo_actors.control.calls import Call, calls_of
from echo_actors.control.lines import Lines
from echo_actors.control.place import connect_to
from echo_actors.control.protocol import PROTOCOL, Hello
from echo_actors.control.values import Json, Values
from echo_actors.errors import ControlError, EngineClosed, EngineNotRunning
from echo_actors.events import Event
from echo_actors.shape import Kind

T = TypeVar("T")

_ANSWERS_WITHIN: Final = 10.0
"""Seconds in which a server takes a connection and says what it is, and in which it takes a request."""

_LONGEST: Final = 2**30
"""Bytes of a line from the server, which is trusted; a whole history is one."""


@attrs.define(eq=False)
class Client:
    """A server that was running when this was made.

    Attributes:
        directory: Where its socket is.
        hello: What it said then.
    """

    directory: Path
    hello: Hello
    values: Values
    _idle: list[Lines]

    async def call(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call, and give its result.

        Raises:
            EchoActorsError: What the call raises over there.
            EngineClosed: The server has gone.
        """
        async with self._begun(call, args, kwargs) as lines:
            answer = await _answer(lines, self.values)
            self._idle.append(lines)
        return self.values.read(answer.get("result"), call.returns)

    @asynccontextmanager
    async def events(
        self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[RemoteEvents]
    ) -> AsyncIterator[RemoteEvents]:
        """Make a call that gives events, in a class of this kind; leaving the block leaves it over there.

        Raises:
            EchoActorsError: What the call raises over there.
            EngineClosed: The server has gone.
        """
        async with self._begun(call, args, kwargs) as lines:
            opened = await _answer(lines, self.values)
            yield kind(lines, self.values, opened.get("opened") or {})

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    @asynccontextmanager
    async def _begun(self, call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Lines]:
        arguments = call.write(call.bound(args, kwargs), self.values)
        lines = self._kept() or await self._another()
        try:
            with _gone_is_closed():
                await lines.send({"id": 1, "call": call.name, "arguments": arguments})
            yield lines
        finally:
            if lines not in self._idle:
                lines.close()

    def _kept(self) -> Lines | None:
        """A connection that was used before. A server that needs the place may have ended it."""
        while self._idle:
            lines = self._idle.pop()
            if not lines.is_over():
                return lines
            lines.close()
        return None

    async def _another(self) -> Lines:
        try:
            lines, hello = await _connected(self.directory, self.values)
        except EngineNotRunning:
            raise EngineClosed("the engine has closed") from None
        if hello.run_id != self.hello.run_id:
            lines.close()
            raise EngineClosed("the engine has closed, and another one has begun")
        return lines


@attrs.define(eq=False)
class RemoteEvents:
    """An async iterator over the events of a call in another program.

    Attributes:
        facts: What is known of the call beside its events, as JSON: more of it when the iteration has ended.
        ended: Whether it has.
    """

    _lines: Lines
    values: Values
    facts: Json
    ended: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self.ended:
            raise StopAsyncIteration
        answer = await _answer(self._lines, self.values)
        if "event" in answer:
            return self.values.read_event(answer["event"])
        self.ended = True
        self.facts = answer.get("result") or {}
        raise StopAsyncIteration


@asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[Client]:
    """Have a client of the server in a directory for the block.

    Raises:
        EngineNotRunning: There is none.
        ControlError: It is none that this client can talk to.
    """
    values = Values()
    lines, hello = await _connected(directory, values)
    client = Client(directory, hello, values, [lines])
    try:
        yield client
    finally:
        client.close()


def remote(original: type, entered: Callable[[Call], type[RemoteEvents]]) -> Callable[[type[T]], type[T]]:
    """Give a class, which has a ``client``, the calls of another one that may be made from elsewhere.

    Args:
        original: The class of the object over there.
        entered: By the call, the class of what its block gets.
    """

    def decorate(cls: type[T]) -> type[T]:
        for name, call in calls_of(original).items():
            made = _entered(call, entered(call)) if call.kind is Kind.ENTERED else _awaited(call)
            setattr(cls, name, functools.wraps(call.function)(made))
        return cls

    return decorate


def _awaited(call: Call) -> Any:
    async def awaited(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await self.client.call(call, args, kwargs)

    return awaited


def _entered(call: Call, kind: type[RemoteEvents]) -> Any:
    def entered(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.client.events(call, args, kwargs, kind)

    return entered


async def _connected(directory: Path, values: Values) -> tuple[Lines, Hello]:
    try:
        made = await trio.to_thread.run_sync(
            functools.partial(connect_to, directory, _ANSWERS_WITHIN), abandon_on_cancel=True
        )
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise _not_running(directory) from None
    except TimeoutError:
        raise ControlError(f"the engine on {directory} takes no connection within {_ANSWERS_WITHIN:.0f} s") from None
    except OSError as problem:
        raise ControlError(f"the control socket in {directory} cannot be used: {problem}") from problem
    lines = Lines(trio.SocketStream(trio.socket.from_stdlib_socket(made)), _LONGEST, _ANSWERS_WITHIN)
    try:
        return lines, await _hello(lines, values)
    except EngineClosed:
        lines.close()
        raise _not_running(directory) from None
    except trio.TooSlowError:
        lines.close()
        raise ControlError(f"the engine on {directory} does not answer") from None
    except BaseException:
        lines.close()
        raise


def _not_running(directory: Path) -> EngineNotRunning:
    return EngineNotRunning(f"no engine is running on {directory}, or it has the setting control_socket off")


async def _hello(lines: Lines, values: Values) -> Hello:
    with trio.fail_after(_ANSWERS_WITHIN):
        answer = await _answer(lines, values)
    protocol = answer.get("protocol")
    if protocol != PROTOCOL:
        raise ControlError(f"the engine speaks version {protocol} of the protocol, and this program {PROTOCOL}")
    hello: Hello = values.read(answer, Hello)
    return hello


async def _answer(lines: Lines, values: Values) -> Json:
    """The server's next line.

    Raises:
        EchoActorsError: It is an error.
        EngineClosed: There is none.
    """
    with _gone_is_closed():
        answer = await lines.next()
    if answer is None:
        raise EngineClosed("the engine closed before it answered")
    if "error" in answer:
        raise values.read_error(answer["error"])
    return answer


@contextmanager
def _gone_is_closed() -> Iterator[None]:
    """Say in this package's words that the server has gone."""
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise EngineClosed("the engine closed before it answered") from None
    except trio.TooSlowError:
        raise EngineClosed("the engine does not take what it is asked") from None
