"""What a turn is made of, and what is made of it: request, clocks, outcome, audit records. Functions, no state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import orjson

from echo_actors.actors.batch import Batch
from echo_actors.actors.clocks import TurnClocks
from echo_actors.actors.mailbox import Entry
from echo_actors.actors.services import Services
from echo_actors.actors.session import Session
from echo_actors.actors.verdict import Verdict
from echo_actors.audit import text_fields
from echo_actors.claude.driver import TurnRequest, TurnResult
from echo_actors.events import Event, PermissionAnswered, PermissionAsked, ToolFinished, ToolStarted, TurnStarted
from echo_actors.models import Clock, Outcome, Reply, Spent
from echo_actors.settings import Settings


async def request_for(batch: Batch, session: Session) -> TurnRequest:
    """The request that runs a turn's messages in the channel's session."""
    return _request((batch.turn_id, session.session_id), await batch.content(), session)


def recall_request(entry: Entry, session: Session) -> TurnRequest:
    """The request that a message was last run by, as far as finding its answer needs it."""
    return _request((entry.turn_id or "", entry.session_id or ""), "", session)


def uuid_for(entries: list[Entry], new_id: Callable[[], str]) -> str:
    """The uuid to give messages to the CLI under.

    A message's own at first, and again after a crash, when the CLI may know that it was done. Otherwise a new one:
    the CLI counts an interrupted or failed message as done too (measured with CLI 2.1.330).
    """
    first, *others = entries
    if others or first.replayed:
        return new_id()
    if not first.attempts:
        return first.message.message_id
    own = first.message.message_id
    # One that was collected had the others' text with it: under that uuid, this message alone is another message.
    return own if first.recovered and first.turn_id == own else new_id()


def _request(ids: tuple[str, str], content: str, session: Session) -> TurnRequest:
    turn_id, session_id = ids
    return TurnRequest(
        channel=session.channel,
        turn_id=turn_id,
        content=content,
        session_id=session_id,
        established=session.established,
        launch=session.launch,
    )


def clocks(settings: Settings) -> TurnClocks:
    """The clocks of a turn, none of them running."""
    return TurnClocks(
        {
            Clock.QUEUE: settings.queue_timeout,
            Clock.START: settings.start_timeout,
            Clock.FIRST_EVENT: settings.first_event_timeout,
            Clock.IDLE: settings.idle_timeout,
            Clock.TOTAL: settings.total_timeout,
        }
    )


def reply_of(result: TurnResult, turn_id: str) -> Reply:
    """The reply in a result that is an answer."""
    return Reply(
        text=result.text,
        blocks=result.blocks,
        structured_output=result.structured_output,
        session_id=result.session_id,
        turn_id=turn_id,
        model=result.model,
        usage=result.spent.usage,
        cost_usd=result.spent.cost_usd,
        duration_ms=result.spent.duration_ms,
        context_tokens=result.spent.context_tokens,
    )


def outcome_of(verdict: Verdict, entry: Entry, turn_id: str) -> Outcome:
    """The outcome that a final verdict gives a message."""
    if verdict.kind is None:
        raise ValueError("a turn that will run again has no outcome")
    answered = verdict.result is not None and verdict.result.error is None
    return Outcome(
        kind=verdict.kind,
        reason=verdict.reason,
        clock=verdict.clock,
        reply=reply_of(verdict.result, turn_id) if verdict.result and answered else None,
        error=verdict.error,
        attempts=entry.attempts,
        budget=verdict.budget,
    )


def publisher(message_id: str, services: Services) -> Callable[[Event], None]:
    """A function that publishes a turn's events under its message, and records the use of tools and who allowed it."""

    def publish(event: Event) -> None:
        services.hub.publish(event, message_id)
        if isinstance(event, ToolStarted):
            services.record("tool.started", channel=event.channel, message=message_id, tool=event.tool)
        elif isinstance(event, ToolFinished):
            services.record("tool.finished", channel=event.channel, message=message_id, error=event.is_error)
        elif isinstance(event, PermissionAsked):
            asked = orjson.dumps(event.input).decode()
            content = text_fields(asked, content=services.settings.audit_content, name="input")
            services.record(
                "permission.asked",
                channel=event.channel,
                message=message_id,
                tool=event.tool,
                agent=event.agent_id,
                **content,
            )
        elif isinstance(event, PermissionAnswered):
            services.record(
                "permission.answered",
                channel=event.channel,
                message=message_id,
                tool=event.tool,
                allowed=event.allowed,
                by=event.by.value,
            )

    return publish


def announce_start(entry: Entry, turn_id: str, session: Session, services: Services) -> datetime:
    """Publish and record that a message is given to the CLI; give the time."""
    message_id = entry.message.message_id
    event = services.hub.publish(
        TurnStarted(
            channel=session.channel,
            message_id=message_id,
            turn_id=turn_id,
            attempt=entry.attempts,
            model=session.launch.model,
            session_id=session.session_id,
        )
    )
    services.record(
        "turn.started",
        channel=session.channel,
        message=message_id,
        turn=turn_id,
        session=session.session_id,
        model=session.launch.model,
        attempt=entry.attempts,
    )
    return event.time


def spent_fields(spent: Spent | None) -> dict[str, float]:
    """What a turn took, as fields of a record; none where nobody says."""
    if spent is None:
        return {}
    return {
        "duration_ms": spent.duration_ms,
        "cost_usd": spent.cost_usd,
        "input_tokens": spent.usage.input_tokens,
        "output_tokens": spent.usage.output_tokens,
        "cache_read_tokens": spent.usage.cache_read_tokens,
        "cache_creation_tokens": spent.usage.cache_creation_tokens,
    }


def record_end(
    entry: Entry, outcome: Outcome, verdict: Verdict, services: Services, *, turn_id: str, spent: Spent | None
) -> None:
    """Record a message's end and what its turn took.

    Args:
        entry: The message.
        outcome: Its end.
        verdict: What that was made of.
        services: The rooms below.
        turn_id: The turn; empty where none was started.
        spent: What the turn took. Not what the verdict has of that: a reply that no store takes was paid for as well.
    """
    fields: dict[str, str | float | bool | None] = {
        "channel": entry.message.channel,
        "message": entry.message.message_id,
        "outcome": outcome.kind.value,
        "attempts": outcome.attempts,
    }
    if turn_id:
        fields["turn"] = turn_id
    if outcome.reason:
        fields["reason"] = outcome.reason
    if outcome.clock:
        fields["clock"] = outcome.clock.value
    if outcome.error:
        fields["error"] = outcome.error
    if verdict.first_output is not None:
        fields["first_output_ms"] = round(verdict.first_output * 1000, 3)
    fields |= spent_fields(spent)
    if verdict.result is not None:
        fields |= {"session": verdict.result.session_id, "model": verdict.result.model}
        fields |= text_fields(verdict.result.text, content=services.settings.audit_content, name="reply")
    services.record("turn.ended", **fields)


def record_retry(channel: str, turn_id: str, verdict: Verdict, attempt: int, services: Services) -> None:
    """Record that a turn's messages are started again, and what it took."""
    fields = spent_fields(None if verdict.result is None else verdict.result.spent)
    services.record("turn.retried", channel=channel, turn=turn_id, reason=verdict.reason, attempt=attempt, **fields)


def record_cut(channel: str, turn_id: str, verdict: Verdict, services: Services) -> None:
    """Record that a turn was cut whose messages run again at the next start, and what it took."""
    fields = spent_fields(None if verdict.result is None else verdict.result.spent)
    services.record("turn.cut", channel=channel, turn=turn_id, reason=verdict.reason, **fields)


def tell_gate(verdict: Verdict, ticket: int, services: Services) -> None:
    """Let all channels know what a turn, let through with this ticket, learnt of the account and the API."""
    gate, result = services.gate, verdict.result
    if result is None or result.replayed:
        return
    if result.error is None:
        gate.on_success(ticket)
    elif gate.on_failure(result.error, result.reason, result.resets_at):
        state = gate.state
        seconds = max(0.0, state.closed_until - gate.now())
        services.record("gate.closed", reason=state.reason, error=result.error, seconds=seconds)
