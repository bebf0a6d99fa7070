"""Discord as a bot sees it, without Discord: enough of discord.py's client for ``discord_bot`` to run on."""

# ruff: noqa: INP001 - examples are scripts, not a package

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import attrs

LIMIT = 2000
"""Characters in a message; Discord refuses more."""


@attrs.frozen
class FakeRole:
    """A role in a guild."""

    name: str


@attrs.frozen
class FakeUser:
    """Somebody."""

    id: int
    display_name: str
    roles: tuple[FakeRole, ...] = ()
    bot: bool = False


@attrs.define(eq=False)
class FakeMessage:
    """A message of the bot's.

    Attributes:
        times: When it was sent and each time it was edited, on the loop's clock.
    """

    channel: FakeChannel
    content: str
    times: list[float] = attrs.field(factory=lambda: [_now()])

    def __attrs_post_init__(self) -> None:
        _check(self.content)

    @property
    def edits(self) -> int:
        """How often it was edited."""
        return len(self.times) - 1

    async def edit(self, *, content: str) -> FakeMessage:
        """Say something else."""
        _check(content)
        self.times.append(_now())
        self.content = content
        await asyncio.sleep(0)
        return self

    async def delete(self) -> None:
        """Take it away."""
        self.channel.messages.remove(self)
        await asyncio.sleep(0)


@attrs.define(eq=False)
class FakeChannel:
    """A channel, with what the bot has said there.

    Attributes:
        typing_now: Set while the bot is shown as typing.
    """

    id: int
    messages: list[FakeMessage] = attrs.Factory(list)
    typing_now: asyncio.Event = attrs.Factory(asyncio.Event)

    async def send(self, content: str) -> FakeMessage:
        """Say something."""
        self.messages.append(FakeMessage(self, content))
        await asyncio.sleep(0)
        return self.messages[-1]

    @asynccontextmanager
    async def typing(self) -> AsyncIterator[None]:
        """Be shown as typing."""
        self.typing_now.set()
        try:
            yield
        finally:
            self.typing_now.clear()


@attrs.frozen
class FakeInput:
    """A message of somebody else's."""

    id: int
    content: str
    author: FakeUser
    channel: FakeChannel


@attrs.define(eq=False)
class FakeDiscord:
    """Calls the handlers as discord.py does, each in a task of its own."""

    on_message: Callable[[FakeInput], Awaitable[None]]
    on_typing: Callable[[FakeChannel, FakeUser, datetime], Awaitable[None]]
    channels: dict[int, FakeChannel] = attrs.field(factory=dict, init=False)
    _ids: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1_000_000), init=False)
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)

    def types(self, channel: int, user: FakeUser) -> None:
        """Somebody begins to type."""
        self._dispatch(self.on_typing(self._channel(channel), user, datetime.now(UTC)))

    def says(self, channel: int, user: FakeUser, text: str, *, times: int = 1) -> None:
        """Somebody says something; it is delivered so many times."""
        message = FakeInput(next(self._ids), text, user, self._channel(channel))
        for _ in range(times):
            self._dispatch(self.on_message(message))

    async def settled(self) -> None:
        """Wait until every handler has ended; raise what one raised."""
        while self._tasks:
            done, self._tasks = self._tasks, set()
            await asyncio.gather(*done)

    async def shows_typing(self, channel: int) -> None:
        """Wait until the bot is seen typing in a channel."""
        await self._channel(channel).typing_now.wait()

    async def close(self) -> None:
        """Deliver nothing more, and see that every handler has ended well."""
        await self.settled()

    def _channel(self, number: int) -> FakeChannel:
        return self.channels.setdefault(number, FakeChannel(number))

    def _dispatch(self, handler: Awaitable[None]) -> None:
        self._tasks.add(asyncio.ensure_future(_run(handler)))


async def _run(handler: Awaitable[None]) -> None:
    await handler


def _check(content: str) -> None:
    if not content.strip() or len(content) > LIMIT:
        raise ValueError(f"Discord takes 1 to {LIMIT} characters, not {len(content)}")


def _now() -> float:
    return asyncio.get_running_loop().time()
