"""What a turn is made of, and what is made of it: request, clocks, outcome, audit records. Functions, no state."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from echo_actors.actors.attempt import Verdict
from echo_actors.actors.clocks import TurnClocks
from echo_actors.actors.mailbox import Entry
from echo_actors.actors.services import Services
from echo_actors.actors.session import Session
from echo_actors.audit import text_fields
from echo_actors.claude.driver import Launch, TurnRequest, TurnResult
from echo_actors.events import Event, ToolFinished, ToolStarted
from echo_actors.models import Clock, Outcome, Reply
from echo_actors.safety.fence import fence, needs_fence, new_nonce
from echo_actors.settings import Settings


def request_for(entry: Entry, session: Session, services: Services) -> TurnRequest:
    """The request that runs a message in the channel's session."""
    settings, message = services.settings, entry.message
    text = message.text
    if needs_fence(message.trust, message.author.name if message.author else None):
        author = message.author
        text = fence(
            text,
            author_name=author.name if author else None,
            author_id=author.id if author else None,
            trust=message.trust.value,
            nonce=new_nonce(),
        )
    return TurnRequest(
        channel=message.channel,
        turn_id=message.message_id,
        content=text,
        session_id=session.session_id,
        established=session.established,
        launch=Launch(
            model=session.model,
            working_dir=settings.working_dir,
            allowed_tools=settings.allowed_tools,
            permission_mode=settings.permission_mode,
            prompt_file=services.persona.file,
            partial_messages=settings.stream_deltas,
            extra_arguments=settings.cli_arguments,
        ),
    )


def clocks(settings: Settings) -> TurnClocks:
    """The clocks of a turn, none of them running."""
    return TurnClocks(
        {
            Clock.START: settings.start_timeout,
            Clock.IDLE: settings.idle_timeout,
            Clock.TOTAL: settings.total_timeout,
        }
    )


def reply_of(result: TurnResult, turn_id: str) -> Reply:
    """The reply in a result that is an answer."""
    return Reply(
        text=result.text,
        blocks=result.blocks,
        session_id=result.session_id,
        turn_id=turn_id,
        model=result.model,
        usage=result.spent.usage,
        cost_usd=result.spent.cost_usd,
        duration_ms=result.spent.duration_ms,
        context_tokens=result.spent.context_tokens,
    )


def outcome_of(verdict: Verdict, entry: Entry) -> Outcome:
    """The outcome that a final verdict gives a message."""
    if verdict.kind is None:
        raise ValueError("a turn that will run again has no outcome")
    answered = verdict.result is not None and verdict.result.error is None
    return Outcome(
        kind=verdict.kind,
        reason=verdict.reason,
        clock=verdict.clock,
        reply=reply_of(verdict.result, entry.message.message_id) if verdict.result and answered else None,
        error=verdict.error,
        attempts=entry.attempts,
    )


def publisher(message_id: str, services: Services) -> Callable[[Event], None]:
    """A function that publishes a turn's events under its message, and records the use of tools."""

    def publish(event: Event) -> None:
        services.hub.publish(attrs.evolve(event, message_id=message_id))
        if isinstance(event, ToolStarted):
            services.record("tool.started", channel=event.channel, message=message_id, tool=event.tool)
        elif isinstance(event, ToolFinished):
            services.record("tool.finished", channel=event.channel, message=message_id, error=event.is_error)

    return publish


def record_start(request: TurnRequest, entry: Entry, services: Services) -> None:
    """Record that a message was given to the CLI."""
    services.record(
        "turn.started",
        channel=request.channel,
        message=entry.message.message_id,
        session=request.session_id,
        model=request.launch.model,
        attempt=entry.attempts,
    )


def record_end(entry: Entry, outcome: Outcome, verdict: Verdict, services: Services) -> None:
    """Record a message's end and what its turn took."""
    fields: dict[str, str | float | bool | None] = {
        "channel": entry.message.channel,
        "message": entry.message.message_id,
        "outcome": outcome.kind.value,
        "attempts": outcome.attempts,
    }
    if outcome.reason:
        fields["reason"] = outcome.reason
    if outcome.clock:
        fields["clock"] = outcome.clock.value
    if outcome.error:
        fields["error"] = outcome.error
    if verdict.result is not None:
        spent = verdict.result.spent
        fields |= {
            "session": verdict.result.session_id,
            "model": verdict.result.model,
            "duration_ms": spent.duration_ms,
            "cost_usd": spent.cost_usd,
            **attrs.asdict(spent.usage),
        }
        fields |= text_fields(verdict.result.text, content=services.settings.audit_content, name="reply")
    services.record("turn.ended", **fields)
