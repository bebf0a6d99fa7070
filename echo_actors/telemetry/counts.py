"""What is counted of messages, turns and tools."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import attrs

from echo_actors.events import Event, Retrying, ToolFinished, ToolStarted, TurnEnded, TurnStarted
from echo_actors.models import Spent
from echo_actors.telemetry.following import Message, Turn
from echo_actors.telemetry.instruments import Counter, Forward, Histogram
from echo_actors.telemetry.metric import Definition, Kind, Metric

_COUNTER, _HISTOGRAM = Kind.COUNTER, Kind.HISTOGRAM

ACCEPTED = Definition("echo_actors.messages.accepted", _COUNTER, "{message}", "Messages that were accepted.")
ENDED = Definition("echo_actors.messages.ended", _COUNTER, "{message}", "Messages that have ended, by outcome.")
QUEUED = Definition(
    "echo_actors.message.queue_time", _HISTOGRAM, "s", "From the acceptance of a message to its first turn."
)
TURNS = Definition(
    "echo_actors.turn.duration",
    _HISTOGRAM,
    "s",
    "From the start of a turn to its end, by outcome; retried is one whose messages were given another turn.",
)
FIRST_OUTPUT = Definition(
    "echo_actors.turn.first_output", _HISTOGRAM, "s", "From the start of a turn to the first output of the model."
)
TOOLS = Definition("echo_actors.tool.duration", _HISTOGRAM, "s", "From the start of a tool to its result, by tool.")
TOKENS = Definition(
    "echo_actors.tokens", _COUNTER, "{token}", "Tokens that turns took, answered or not, by kind and chosen model."
)
COST = Definition("echo_actors.cost.usd", _COUNTER, "{USD}", "US dollars that turns cost, answered or not.")

DEFINITIONS = (ACCEPTED, ENDED, QUEUED, TURNS, FIRST_OUTPUT, TOOLS, TOKENS, COST)

NOBODY_SAYS = "unknown"
"""The outcome of a turn that was cut by the engine's end, or by a crash of its actor."""


@attrs.define(eq=False)
class Counts:
    """Counts what a ``Follower`` tells.

    Attributes:
        forward: Gives what takes the values of a metric as well; None for nothing.
    """

    forward: Callable[[Definition], Forward | None]
    _accepted: Counter = attrs.field(init=False)
    _ended: Counter = attrs.field(init=False)
    _queued: Histogram = attrs.field(init=False)
    _turns: Histogram = attrs.field(init=False)
    _first_output: Histogram = attrs.field(init=False)
    _tools: Histogram = attrs.field(init=False)
    _tokens: Counter = attrs.field(init=False)
    _cost: Counter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the instruments."""
        counter: Callable[[Definition], Counter] = lambda what: Counter(what, self.forward(what))  # noqa: E731 - two of one line
        histogram: Callable[[Definition], Histogram] = lambda what: Histogram(what, self.forward(what))  # noqa: E731 - as above
        self._accepted, self._ended = counter(ACCEPTED), counter(ENDED)
        self._queued, self._turns, self._first_output = histogram(QUEUED), histogram(TURNS), histogram(FIRST_OUTPUT)
        self._tools, self._tokens, self._cost = histogram(TOOLS), counter(TOKENS), counter(COST)

    def read(self) -> tuple[Metric, ...]:
        """All of them as they are now."""
        instruments: tuple[Counter | Histogram, ...] = (
            *(self._accepted, self._ended, self._queued, self._turns),
            *(self._first_output, self._tools, self._tokens, self._cost),
        )
        return tuple(instrument.read() for instrument in instruments)

    # -- the follower's listener

    def on_message(self, message: Message) -> None:
        """Count it, unless an earlier run of the program accepted it."""
        if not message.recovered:
            self._accepted.add(1)

    def on_message_end(self, message: Message, event: TurnEnded) -> None:
        """Count its end, and what was taken if that is told with it."""
        self._ended.add(1, outcome=event.outcome.kind.value)
        self._count(event.spent, "" if message.begun is None else message.begun.model)

    def on_turn(self, turn: Turn) -> None:
        """Nothing is known of it yet."""

    def on_join(self, turn: Turn, message: Message, event: TurnStarted) -> None:  # noqa: ARG002 - as the Protocol has it
        """Count how long it waited; of one of an earlier run nobody knows."""
        if message.begun is None and not message.recovered:
            self._queued.observe((event.time - message.since).total_seconds())

    def on_first_output(self, turn: Turn, event: Event) -> None:
        """Count how long that took."""
        self._first_output.observe((event.time - turn.started).total_seconds())

    def on_tool(self, turn: Turn, event: ToolStarted) -> None:
        """Nothing is known of it yet."""

    def on_tool_end(self, turn: Turn, started: ToolStarted, event: ToolFinished) -> None:  # noqa: ARG002 - as above
        """Count how long it worked."""
        seconds = (event.time - started.time).total_seconds()
        self._tools.observe(seconds, tool=started.tool, error=str(event.is_error).lower())

    def on_retry(self, turn: Turn, event: Retrying) -> None:
        """The turn goes on."""

    def on_turn_end(self, turn: Turn, event: TurnEnded | Retrying | None, time: datetime) -> None:
        """Count how long it took, and what an attempt that ends no message did."""
        match event:
            case TurnEnded():
                outcome = event.outcome.kind.value
            case Retrying():
                outcome = "retried"
                self._count(event.spent, turn.model)
            case _:
                outcome = NOBODY_SAYS
        self._turns.observe((time - turn.started).total_seconds(), outcome=outcome)

    def _count(self, spent: Spent | None, model: str) -> None:
        if spent is None:
            return
        usage = spent.usage
        for kind, number in (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_creation", usage.cache_creation_tokens),
        ):
            if number:
                self._tokens.add(number, kind=kind, model=model)
        self._cost.add(spent.cost_usd, model=model)
