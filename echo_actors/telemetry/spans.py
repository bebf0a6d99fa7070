"""Spans of messages, turns and tools, named by OpenTelemetry's conventions for generative AI.

A message's span is a child of the span in which its caller brought it. A turn's span is a child of its first
message's; those of further messages in it are linked to it, and it to them. A tool's span is a child of its turn's.
Nothing of what was said is in an attribute, unless content is asked for.

Nothing here asks which context it is called in, but for the message's caller: the tasks that publish the other events
have inherited the context of whoever started them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs
import orjson
from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from echo_actors.events import Event, Retrying, ToolFinished, ToolStarted, TurnEnded, TurnStarted
from echo_actors.models import Outcome, OutcomeKind, Spent
from echo_actors.telemetry.following import Message, Turn

Attributes = dict[str, AttributeValue]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ERRORS = frozenset({OutcomeKind.FAILED, OutcomeKind.TIMED_OUT, OutcomeKind.EXPIRED, OutcomeKind.DEAD_LETTERED})
"""The ends that are errors. The others are somebody's wish: to cancel, to interrupt, to make room."""

_PROVIDER = "anthropic"


@attrs.define(eq=False)
class Spans:
    """Makes spans of what a ``Follower`` tells.

    Attributes:
        run_id: Of the engine.
        content: Whether replies, and what tools are given and give, go into attributes.
        mask: Replaces secret values in a text, before it goes into a span.
    """

    tracer: Tracer
    run_id: str
    content: bool
    mask: Callable[[str], str]
    _messages: dict[Message, tuple[Span, Context]] = attrs.field(factory=dict, init=False)
    _turns: dict[Turn, Span] = attrs.field(factory=dict, init=False)
    _tools: dict[tuple[Turn, str], Span] = attrs.field(factory=dict, init=False)

    # -- the follower's listener

    def on_message(self, message: Message) -> None:
        """Begin its span, in the context of its caller; one of an earlier run has none any more."""
        context = Context() if message.recovered else contexts.get_current()
        attributes: Attributes = {
            "echo_actors.run.id": self.run_id,
            "echo_actors.channel": message.channel,
            "echo_actors.message.id": message.message_id,
            "echo_actors.recovered": message.recovered,
        }
        span = self.tracer.start_span(
            "message", context, attributes=attributes, start_time=_nanoseconds(message.since)
        )
        self._messages[message] = span, set_span_in_context(span, context)

    def on_message_end(self, message: Message, event: TurnEnded) -> None:
        """End its span."""
        span, _ = self._messages.pop(message)
        span.set_attribute("echo_actors.attempts", event.outcome.attempts)
        self._end(span, event.outcome, event.time)

    def on_turn(self, turn: Turn) -> None:
        """Begin its span."""
        attributes: Attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.conversation.id": turn.session_id,
            "gen_ai.request.model": turn.model,
            "echo_actors.run.id": self.run_id,
            "echo_actors.channel": turn.message.channel,
            "echo_actors.turn.id": turn.turn_id,
            "echo_actors.attempt": turn.attempt,
        }
        self._turns[turn] = self.tracer.start_span(
            "invoke_agent",
            self._messages[turn.message][1],
            attributes=attributes,
            start_time=_nanoseconds(turn.started),
        )

    def on_join(self, turn: Turn, message: Message, event: TurnStarted) -> None:  # noqa: ARG002 - as the Protocol has it
        """Link a turn with a message that is not its first."""
        if message is not turn.message:
            joined, span = self._messages[message][0], self._turns[turn]
            joined.add_link(span.get_span_context())
            span.add_link(joined.get_span_context())

    def on_first_output(self, turn: Turn, event: Event) -> None:
        """Say how long that took."""
        seconds = (event.time - turn.started).total_seconds()
        self._turns[turn].set_attribute("gen_ai.response.time_to_first_chunk", seconds)

    def on_tool(self, turn: Turn, event: ToolStarted) -> None:
        """Begin its span."""
        attributes: Attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.tool,
            "gen_ai.tool.call.id": event.tool_use_id,
            "echo_actors.channel": event.channel,
        }
        if self.content:
            attributes["gen_ai.tool.call.arguments"] = self.mask(orjson.dumps(event.input).decode())
        context = set_span_in_context(self._turns[turn], self._messages[turn.message][1])
        self._tools[turn, event.tool_use_id] = self.tracer.start_span(
            f"execute_tool {event.tool}", context, attributes=attributes, start_time=_nanoseconds(event.time)
        )

    def on_tool_end(self, turn: Turn, started: ToolStarted, event: ToolFinished) -> None:
        """End its span."""
        span = self._tools.pop((turn, started.tool_use_id))
        if self.content:
            span.set_attribute("gen_ai.tool.call.result", self.mask(event.text))
        if event.is_error:
            span.set_attribute("error.type", "tool_error")
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(event.time))

    def on_retry(self, turn: Turn, event: Retrying) -> None:
        """Note it in the turn's span."""
        attributes: Attributes = {"reason": self.mask(event.reason), "attempt": event.attempt, "delay": event.delay}
        self._turns[turn].add_event("retrying", attributes, _nanoseconds(event.time))

    def on_turn_end(self, turn: Turn, event: TurnEnded | Retrying | None, time: datetime) -> None:
        """End its span, and those of tools that have given no result."""
        for tool_use_id in turn.tools:
            self._cut(self._tools.pop((turn, tool_use_id)), time)
        span = self._turns.pop(turn)
        if event is not None and event.spent is not None:
            span.set_attributes(_taken(event.spent))
        match event:
            case TurnEnded():
                self._describe_reply(span, event.outcome)
                self._end(span, event.outcome, time)
            case Retrying():
                span.set_attribute("error.type", "retried")
                span.set_status(Status(StatusCode.ERROR, self.mask(event.reason)))
                span.end(_nanoseconds(time))
            case _:
                self._cut(span, time)

    def close(self, time: datetime) -> None:
        """End the spans of messages that have no end yet; they run at the next start."""
        for span, _ in self._messages.values():
            self._cut(span, time)
        self._messages.clear()

    # -- within

    def _describe_reply(self, span: Span, outcome: Outcome) -> None:
        reply = outcome.reply
        if reply is None:
            return
        span.set_attributes({"gen_ai.response.model": reply.model, "gen_ai.conversation.id": reply.session_id})
        if self.content:
            parts = [{"type": "text", "content": self.mask(reply.text)}]
            said = [{"role": "assistant", "parts": parts, "finish_reason": "stop"}]
            span.set_attribute("gen_ai.output.messages", orjson.dumps(said).decode())

    def _end(self, span: Span, outcome: Outcome, time: datetime) -> None:
        span.set_attribute("echo_actors.outcome", outcome.kind.value)
        if outcome.kind in _ERRORS:
            clock = f"{outcome.clock.value}_timeout" if outcome.clock is not None else None
            span.set_attribute("error.type", outcome.error or clock or outcome.kind.value)
            span.set_status(Status(StatusCode.ERROR, self.mask(outcome.reason)))
        span.end(_nanoseconds(time))

    def _cut(self, span: Span, time: datetime) -> None:
        span.set_attribute("echo_actors.unfinished", True)
        span.end(_nanoseconds(time))


def _taken(spent: Spent) -> Attributes:
    usage = spent.usage
    cached = usage.cache_read_tokens + usage.cache_creation_tokens
    return {
        # The conventions count what came from a cache, or went into one; Anthropic's figure does not.
        "gen_ai.usage.input_tokens": usage.input_tokens + cached,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_tokens,
        "echo_actors.cost_usd": spent.cost_usd,
        "echo_actors.context_tokens": spent.context_tokens,
    }


def _nanoseconds(time: datetime) -> int:
    """Since the epoch, as OpenTelemetry counts; whole microseconds, which a float could not hold."""
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000
