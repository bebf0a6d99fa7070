"""A Discord bot: a conversation per channel, answers that grow while they are written, and every error told in words.

Runs against ``fake_discord`` and on the scripted CLI, so it needs no account. The handlers are those of discord.py,
and use only what the Protocols below name. To have a bot on Discord, put this in place of ``FakeDiscord``::

    client = discord.Client(intents=discord.Intents(guilds=True, messages=True, message_content=True, typing=True))
    client.event(bot.on_message)
    client.event(bot.on_typing)
    connected = asyncio.create_task(client.start(os.environ["DISCORD_TOKEN"]))
    await stop.wait()
    await bot.finish()
    await client.close()
"""

# ruff: noqa: D102, INP001, T201 - a script of its own that prints; the Protocols' methods are discord.py's

from __future__ import annotations

import asyncio
import math
import signal
import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import attrs
from fake_discord import FakeDiscord, FakeUser
from tryout import tryout_settings

from echo_actors import (
    Author,
    BlockFinished,
    BudgetExceeded,
    BusyPolicy,
    ChannelSuspended,
    EchoActorsError,
    Engine,
    EngineClosed,
    GateClosed,
    InvalidMessage,
    MailboxFull,
    OutcomeKind,
    Stream,
    TextDelta,
    Trust,
    TurnFailed,
    TurnStarted,
    TurnTimedOut,
)
from echo_actors.portal import open_async_portal
from echo_actors.rendering import DISCORD, Edits, GrowingMessages, coalesce

SNOWFLAKES = uuid.uuid5(uuid.NAMESPACE_URL, "https://discord.com/channels")
"""Discord's ids are no UUIDs; each becomes one in this namespace, always the same."""

REMEMBERED = 1000
"""How many messages are remembered as delivered."""

FINISH_WITHIN = 10.0
"""Seconds that answers may still be shown in when the engine has drained."""


class Sent(Protocol):
    """A message of the bot's."""

    async def edit(self, *, content: str) -> object: ...
    async def delete(self) -> None: ...


class Channel(Protocol):
    """Where people talk."""

    @property
    def id(self) -> int: ...
    async def send(self, content: str) -> Sent: ...
    def typing(self) -> AbstractAsyncContextManager[Any]: ...


class User(Protocol):
    """Somebody; in a guild with ``roles``, in a direct message without."""

    @property
    def id(self) -> int: ...
    @property
    def display_name(self) -> str: ...
    @property
    def bot(self) -> bool: ...


class Message(Protocol):
    """What somebody said."""

    @property
    def id(self) -> int: ...
    @property
    def content(self) -> str: ...
    @property
    def author(self) -> User: ...
    @property
    def channel(self) -> Channel: ...


@attrs.define(eq=False)
class Bot:
    """The handlers.

    Attributes:
        owner: The id of whom the bot belongs to.
        member_role: Who has this role is a member; everybody else is a stranger, whose text is fenced.
        busy: What a message does that comes while another is answered: with ``collect`` those that wait become one
            turn, as suits people who write in many small messages.
        interval: Seconds between the edits of an answer. Discord allows about one a second.
    """

    engine: Engine
    owner: int
    member_role: str = "member"
    busy: BusyPolicy = BusyPolicy.QUEUE
    interval: float = 1.0
    _answering: dict[int, asyncio.Task[Any] | None] = attrs.field(factory=dict, init=False)

    async def on_typing(self, channel: Channel, user: User, _when: object) -> None:
        """Somebody begins to type: have the channel's process ready when the message comes."""
        if not user.bot:
            try:
                await self.engine.prewarm(key(channel), trust=self._trust(user))
            except EchoActorsError:
                return  # The message will meet it as well, and its author be told.

    async def on_message(self, message: Message) -> None:
        """Answer, once, however often Discord delivers the message."""
        if message.author.bot or message.id in self._answering:
            return
        self._answering[message.id] = asyncio.current_task()
        try:
            await self._answer(message)
        finally:
            self._answering[message.id] = None
            # The engine would not run it again in days, but would give its answer again: remember what was shown.
            while len(self._answering) > REMEMBERED and next(iter(self._answering.values())) is None:
                del self._answering[next(iter(self._answering))]

    async def finish(self) -> None:
        """Take nothing more, and let the answers end that are being given."""
        await self.engine.drain()
        if tasks := {each for each in self._answering.values() if each is not None}:
            await asyncio.wait(tasks, timeout=FINISH_WITHIN)

    async def _answer(self, message: Message) -> None:
        accepted = False
        try:
            # A handler that is cancelled leaves its message to the engine, which has promised an answer.
            async with self.engine.stream(
                key(message.channel),
                message.content,
                on_cancel="detach",
                message_id=uuid.uuid5(SNOWFLAKES, str(message.id)),
                author=Author(message.author.display_name, str(message.author.id)),
                trust=self._trust(message.author),
                busy=self.busy,
            ) as turn:
                accepted = True
                async with message.channel.typing():
                    await self._show(turn, message.channel)
        except EchoActorsError as error:
            if words := in_plain_words(error, accepted=accepted):
                await message.channel.send(words)

    async def _show(self, turn: Stream, channel: Channel) -> None:
        messages, sent = GrowingMessages(DISCORD), list[Sent]()

        async def show(text: str) -> None:
            for change in messages.update(text):
                if change.text is None:
                    await sent.pop().delete()
                elif change.new:
                    sent.append(await channel.send(change.text))
                else:
                    await sent[change.index].edit(content=change.text)

        async with coalesce(show, interval=self.interval) as edits:
            await self._follow(turn, edits)

    async def _follow(self, turn: Stream, edits: Edits) -> None:
        """Show what comes. Of a turn that answers several messages, only the first one's handler shows anything."""
        mine, blocks, growing = True, list[str](), ""
        async for event in turn:
            if isinstance(event, TurnStarted):  # Also when it is tried again.
                blocks, growing = [], ""
                continue
            if isinstance(event, TextDelta):
                growing += event.text
            elif isinstance(event, BlockFinished) and event.block.kind == "text":
                blocks, growing = [*blocks, event.block.text], ""
            else:
                continue
            mine = event.message_id == turn.message_id
            if mine and (text := "\n\n".join(filter(str.strip, (*blocks, growing)))):
                edits.update(text)
        if mine:
            edits.update(turn.reply.text)

    def _trust(self, author: User) -> Trust:
        roles: Sequence[Any] = getattr(author, "roles", ())
        if author.id == self.owner:
            return Trust.OWNER
        return Trust.MEMBER if any(role.name == self.member_role for role in roles) else Trust.EXTERNAL


def key(channel: Channel) -> str:
    """The name of a Discord channel in the engine."""
    return f"discord:{channel.id}"


def in_plain_words(error: EchoActorsError, *, accepted: bool) -> str:  # noqa: C901, PLR0911 - a table
    """What to tell somebody whose message has no answer; nothing where they know it already.

    Args:
        error: What the engine raised. What it says itself is for the operator, and in the audit log.
        accepted: Whether the message was taken before that.
    """
    match error:
        case MailboxFull(depth=depth):
            return f"I cannot remember more than {depth} waiting here. Please send that again in a while."
        case GateClosed(retry_after=seconds):
            return f"I cannot think at the moment. Please try again in {math.ceil(seconds / 60)} min."
        case BudgetExceeded():
            return "I have used up what I may spend. Please come back later."
        case ChannelSuspended():
            return "Something is broken in this channel, and I have stopped here until somebody has looked at it."
        case InvalidMessage():
            return "I cannot read that: a message needs some text, and not too much of it."
        case EngineClosed() if accepted:
            return "I am being restarted, and will work on your message when I am back."
        case EngineClosed():
            return "I am being restarted. Please send that again in a minute."
        case TurnTimedOut():
            return "That took too long, and I gave up. Please try again, perhaps in smaller steps."
        case TurnFailed(outcome=outcome) if outcome.kind is OutcomeKind.CANCELLED:
            return "Stopped."
        case TurnFailed(outcome=outcome) if outcome.kind is OutcomeKind.SUPERSEDED:
            return ""
        case TurnFailed():
            return "Something went wrong, and I have no answer. Please ask again."
        case _:
            return "I could not take your message. Please send it again later."


async def main() -> None:
    """Have a conversation on the fake Discord, which ends as the service manager would end it: by SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_async_portal(tryout_settings()) as engine:
        bot = Bot(engine, owner=1)
        client = FakeDiscord(bot.on_message, bot.on_typing)
        ana, ben = FakeUser(1, "Ana"), FakeUser(2, "Ben")
        client.types(7, ana)
        await client.settled()
        client.says(7, ana, "Hello!")
        client.says(8, ben, "[[deltas 50]] Are you there?")
        client.says(8, ben, "[[error-kind overloaded_error]] [[exit 3]] And now?")
        await client.settled()
        client.says(7, ana, "[[hold 0.5]] Can you finish this when you are told to stop?")
        await client.shows_typing(7)
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()
        await bot.finish()
        await client.close()
    for channel in client.channels.values():
        for message in channel.messages:
            print(f"{key(channel)}: {message.content!r}, edited {message.edits} times")


if __name__ == "__main__":
    asyncio.run(main())
