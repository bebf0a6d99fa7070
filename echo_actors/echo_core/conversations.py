"""What Echo-Core's functions do in the engine's thread: calls of the engine, in an order into which nothing comes."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

import attrs
import trio

from echo_actors.echo_core.failures import failure, too_long
from echo_actors.engine import Engine
from echo_actors.engine.intake import check_session
from echo_actors.engine.streaming import Stream, answer
from echo_actors.events import Accepted, BlockFinished, Lagged
from echo_actors.models import OutcomeKind, Reply
from echo_actors.state.active_json import Record, record_of
from echo_actors.state.records import SessionSnapshot

_PAGE = 500
_BLOCKS_IN_ERRORS = 3
_MOST_PLACES = 10_000
_OF_SESSION = "session:"
"""How the name of the channel begins in which a session runs that no channel has."""

Tell = Callable[[str], object]


@attrs.frozen(kw_only=True)
class Wanted:
    """A message, as one of the functions takes it.

    Attributes:
        timeout: Seconds from the beginning of its turn; the wait for other turns of the channel is not counted.
        tell: Gets each text block as it comes, in the engine's thread.
    """

    text: str
    timeout: float
    tell: Tell


@attrs.frozen
class Answered:
    """A reply, and the channel that it came in."""

    channel: str
    reply: Reply


@attrs.define(eq=False)
class Conversations:
    """The conversations of one engine. Its calls belong to the engine's thread.

    A change of a session waits for the turn that runs in it. What was asked for shows in the records at once.
    """

    engine: Engine
    _beginnings: WeakValueDictionary[str, trio.Lock] = attrs.field(factory=WeakValueDictionary, init=False)
    _starting: set[str] = attrs.field(factory=set, init=False)
    _models: dict[str, str] = attrs.field(factory=dict, init=False)
    _clearing: set[str] = attrs.field(factory=set, init=False)
    _places: dict[str, str] = attrs.field(factory=dict, init=False)

    # -- messages

    async def start(self, channel: str, model: str, wanted: Wanted) -> Answered:
        """Begin a new session in the channel, whatever it had, and run a message in it."""
        async with AsyncExitStack() as stack:
            async with self._beginning(channel):
                # A channel that failed too often may begin anew: nobody else could let it.
                await self.engine.resume(channel)
                await self.engine.clear(channel)
                await self.engine.set_model(channel, model)
                stream = await self._accepted(stack, channel, wanted, starts=True)
            return await self._run(channel, stream, wanted, stack)

    async def send(self, channel: str, model: str, wanted: Wanted) -> Answered:
        """Run a message in the channel's session; the model is that of a session which begins with it."""
        async with AsyncExitStack() as stack:
            async with self._beginning(channel):
                starts = await self._session(channel) is None and channel not in self._starting
                if starts:
                    await self.engine.set_model(channel, model)
                stream = await self._accepted(stack, channel, wanted, starts=starts)
            return await self._run(channel, stream, wanted, stack)

    async def resume(self, session_id: str, wanted: Wanted) -> Answered:
        """Run a message in a session, in the channel that has it or in one of its own."""
        channel = await self._place_of(check_session(session_id))
        async with AsyncExitStack() as stack:
            async with self._beginning(channel):
                if await self._session(channel) is None and channel.startswith(_OF_SESSION):
                    await self.engine.adopt(channel, session_id)
                stream = await self._accepted(stack, channel, wanted, starts=False)
            return await self._run(channel, stream, wanted, stack)

    # -- records

    async def record(self, channel: str) -> Record | None:
        """The channel's record."""
        snapshot = await self._session(channel)
        return None if snapshot is None else self._shown(snapshot)

    async def records(self) -> dict[str, Record]:
        """All records, by channel."""
        return {
            each.channel: self._shown(each) async for each in self._snapshots() if each.channel not in self._clearing
        }

    # -- changes

    async def clear(self, channel: str) -> None:
        """Forget the channel's conversation."""
        self._clearing.add(channel)
        try:
            await self.engine.clear(channel)
        finally:
            self._clearing.discard(channel)

    async def set_model(self, channel: str, model: str) -> None:
        """Choose the channel's model from the next turn on."""
        self._models[channel] = model
        try:
            await self.engine.set_model(channel, model)
        finally:
            if self._models.get(channel) == model:
                del self._models[channel]

    # -- within

    @asynccontextmanager
    async def _beginning(self, channel: str) -> AsyncIterator[None]:
        """Keep other messages of the channel from beginning meanwhile."""
        lock = self._beginnings.setdefault(channel, trio.Lock())
        async with lock:
            yield

    async def _accepted(self, stack: AsyncExitStack, channel: str, wanted: Wanted, *, starts: bool) -> Stream:
        if starts:
            # Until it has ended, others need not say with which model the session is to begin.
            self._starting.add(channel)
            stack.callback(self._starting.discard, channel)
        return await stack.enter_async_context(self.engine.stream(channel, wanted.text))

    async def _run(self, channel: str, stream: Stream, wanted: Wanted, stack: AsyncExitStack) -> Answered:
        texts: deque[str] = deque(maxlen=_BLOCKS_IN_ERRORS)
        with trio.CancelScope() as turn:
            async for event in stream:
                # Any event of its turn says that it has begun: the first one may be among those that were lost.
                if turn.deadline == math.inf and not isinstance(event, Accepted | Lagged):
                    turn.deadline = trio.current_time() + wanted.timeout
                if isinstance(event, BlockFinished) and event.block.kind == "text":
                    text = event.block.text.strip()
                    if text:
                        texts.append(text)
                        wanted.tell(text)
        # To leave the stream before the end interrupts the turn.
        await stack.aclose()
        outcome = stream.outcome or await self.engine.outcome(stream.message_id)
        if turn.cancelled_caught and outcome.kind is not OutcomeKind.ANSWERED:
            raise too_long(outcome, wanted.timeout)
        if outcome.kind is not OutcomeKind.ANSWERED:
            raise failure(outcome, texts, self.engine.settings, os.environ)
        reply = answer(outcome)
        self._remember(reply.session_id, channel)
        return Answered(channel, reply)

    async def _session(self, channel: str) -> SessionSnapshot | None:
        return None if channel in self._clearing else await self.engine.session(channel)

    def _shown(self, snapshot: SessionSnapshot) -> Record:
        record: dict[str, Any] = record_of(snapshot)
        return {**record, "model": self._models.get(snapshot.channel, snapshot.model)}

    async def _snapshots(self) -> AsyncGenerator[SessionSnapshot, None]:
        after = ""
        while page := await self.engine.sessions(after=after, limit=_PAGE):
            for snapshot in page:
                yield snapshot
            after = page[-1].channel

    async def _place_of(self, session_id: str) -> str:
        """The channel that a session is in; one of its own if none has it."""
        known = self._places.get(session_id)
        if known is not None:
            snapshot = await self._session(known)
            if snapshot is not None and snapshot.session_id == session_id:
                return known
        own = f"{_OF_SESSION}{session_id}"
        # After its transcript was lost, the channel of its own goes on in another session.
        if await self._session(own) is not None:
            return own
        async with aclosing(self._snapshots()) as snapshots:
            async for snapshot in snapshots:
                if snapshot.session_id == session_id and snapshot.channel not in self._clearing:
                    self._remember(session_id, snapshot.channel)
                    return snapshot.channel
        return own

    def _remember(self, session_id: str, channel: str) -> None:
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        self._places[session_id] = channel
