"""Follows the events of all channels: which message waits, which turn runs for it, which tools that uses.

What comes of it goes to listeners, which make spans and counts of it. All times are those of the events, so nothing
depends on when they are looked at. A channel has one turn at a time; a turn may serve several messages, and a message
may need several turns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import attrs

from echo_actors.events import (
    Accepted,
    BlockFinished,
    Event,
    Retrying,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)


@attrs.define(eq=False)
class Message:
    """A message that has not ended.

    Attributes:
        since: When it was accepted; of one of an earlier run of the program, when this one first heard of it.
        recovered: Whether it is of an earlier run.
        begun: How its last turn in this run began; None before the first.
    """

    message_id: str
    channel: str
    since: datetime
    recovered: bool
    begun: TurnStarted | None = None


@attrs.define(eq=False)
class Turn:
    """A turn that runs.

    Attributes:
        message: The first one that it serves.
        spoke: Whether the model has said or done anything.
        tools: Those that are at work, by the id of their use.
    """

    turn_id: str
    message: Message
    started: datetime
    attempt: int
    model: str
    session_id: str
    spoke: bool = False
    tools: dict[str, ToolStarted] = attrs.Factory(dict)


class Listener(Protocol):
    """What is told of messages, turns and tools."""

    def on_message(self, message: Message) -> None:
        """The message is known from now on. For one that was accepted now, this is in its caller's context."""

    def on_message_end(self, message: Message, event: TurnEnded) -> None:
        """It has ended; it had a turn, or had not."""

    def on_turn(self, turn: Turn) -> None:
        """A turn has begun for its message."""

    def on_join(self, turn: Turn, message: Message, event: TurnStarted) -> None:
        """Its first message, or a further one, has begun in a turn."""

    def on_first_output(self, turn: Turn, event: Event) -> None:
        """The model has said or done the first thing in it."""

    def on_tool(self, turn: Turn, event: ToolStarted) -> None:
        """A tool is at work."""

    def on_tool_end(self, turn: Turn, started: ToolStarted, event: ToolFinished) -> None:
        """It has given its result."""

    def on_retry(self, turn: Turn, event: Retrying) -> None:
        """The CLI tries something again; the turn goes on."""

    def on_turn_end(self, turn: Turn, event: TurnEnded | Retrying | None, time: datetime) -> None:
        """It is over: with an end of its messages, or to be tried again, or nobody says how (None)."""


@attrs.define(eq=False)
class Follower:
    """Turns events into what the listeners want to know.

    It holds what has not ended, and nothing else.
    """

    listeners: Sequence[Listener]
    _messages: dict[str, Message] = attrs.field(factory=dict, init=False)
    _turns: dict[str, Turn] = attrs.field(factory=dict, init=False)

    def on_event(self, event: Event) -> None:
        """Take the next event."""
        handle = _HANDLERS.get(type(event))
        if handle is not None:
            handle(self, event)

    def close(self, time: datetime) -> None:
        """End what is open: the engine closes, and the messages that have no end run again at the next start."""
        for turn in list(self._turns.values()):
            self._end_turn(turn, None, time)
        self._messages.clear()

    def accepted(self, event: Accepted) -> None:
        """A message waits."""
        self._know(event, recovered=False)

    def turn_started(self, event: TurnStarted) -> None:
        """A message is given to the CLI: in a new turn, or in the one that runs."""
        message = self._messages.get(event.message_id) or self._know(event, recovered=True)
        turn = self._turns.get(event.channel)
        if turn is None or turn.turn_id != event.turn_id:
            turn = self._begin(event, message, event)
        for listener in self.listeners:
            listener.on_join(turn, message, event)
        message.begun = event

    def output(self, event: Event) -> None:
        """The model said something."""
        turn = self._turn_of(event)
        if turn is not None and not turn.spoke:
            turn.spoke = True
            for listener in self.listeners:
                listener.on_first_output(turn, event)

    def tool_started(self, event: ToolStarted) -> None:
        """The model uses a tool."""
        self.output(event)
        turn = self._turn_of(event)
        if turn is not None and event.tool_use_id not in turn.tools:
            turn.tools[event.tool_use_id] = event
            for listener in self.listeners:
                listener.on_tool(turn, event)

    def tool_finished(self, event: ToolFinished) -> None:
        """A tool gave its result."""
        turn = self._turns.get(event.channel)
        started = None if turn is None else turn.tools.pop(event.tool_use_id, None)
        if turn is not None and started is not None:
            for listener in self.listeners:
                listener.on_tool_end(turn, started, event)

    def retrying(self, event: Retrying) -> None:
        """Something failed and is tried again; that may be the turn."""
        turn = self._turns.get(event.channel)
        if turn is None:
            return
        if event.turn_over:
            self._end_turn(turn, event, event.time)
        else:
            for listener in self.listeners:
                listener.on_retry(turn, event)

    def turn_ended(self, event: TurnEnded) -> None:
        """A message has its end, and with the first one that shared it, the turn."""
        turn = self._turns.get(event.channel)
        if turn is not None and turn.turn_id == event.turn_id:
            self._end_turn(turn, event, event.time)
        message = self._messages.get(event.message_id) or self._know(event, recovered=True)
        del self._messages[event.message_id]
        for listener in self.listeners:
            listener.on_message_end(message, event)

    # -- within

    def _know(self, event: Event, *, recovered: bool) -> Message:
        message = Message(event.message_id, event.channel, event.time, recovered)
        self._messages[event.message_id] = message
        for listener in self.listeners:
            listener.on_message(message)
        return message

    def _turn_of(self, event: Event) -> Turn | None:
        """The turn of an event; one that the CLI went over to, with a message that it had already, begins here."""
        turn = self._turns.get(event.channel)
        if turn is not None and turn.turn_id == event.turn_id:
            return turn
        message = self._messages.get(event.message_id)
        if message is None or message.begun is None or not event.turn_id:
            return None
        return self._begin(event, message, message.begun)

    def _begin(self, event: Event, message: Message, like: TurnStarted) -> Turn:
        earlier = self._turns.get(event.channel)
        if earlier is not None:
            self._end_turn(earlier, None, event.time)
        turn = Turn(event.turn_id, message, event.time, like.attempt, like.model, like.session_id)
        self._turns[event.channel] = turn
        for listener in self.listeners:
            listener.on_turn(turn)
        return turn

    def _end_turn(self, turn: Turn, event: TurnEnded | Retrying | None, time: datetime) -> None:
        del self._turns[turn.message.channel]
        for listener in self.listeners:
            listener.on_turn_end(turn, event, time)


_HANDLERS: dict[type[Event], Callable[[Follower, Any], None]] = {
    Accepted: Follower.accepted,
    TurnStarted: Follower.turn_started,
    TextDelta: Follower.output,
    BlockFinished: Follower.output,
    ToolStarted: Follower.tool_started,
    ToolFinished: Follower.tool_finished,
    Retrying: Follower.retrying,
    TurnEnded: Follower.turn_ended,
}
