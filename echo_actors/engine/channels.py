"""What an operator sees of each live channel."""

from __future__ import annotations

import enum
import heapq
from datetime import datetime

import attrs

from echo_actors.actors.channel import ChannelActor
from echo_actors.actors.supervisor import Supervisor
from echo_actors.claude.driver import Phase
from echo_actors.models import Usage


class ChannelState(enum.StrEnum):
    """What a channel is doing."""

    IDLE = "idle"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUSPENDED = "suspended"


@attrs.frozen(kw_only=True)
class ChannelStatus:
    """What a live channel is doing at this moment, and what it has taken so far.

    Attributes:
        state: ``queued`` waits for the gate, for a slot, or for its actor after a crash; ``starting`` has its turn and
            waits for its CLI.
        suspended: Why it takes nothing; empty when it does.
        queued: Messages that wait, without those in the turn.
        model: That of its next turn.
        session_id: None before its first turn.
        turn_id: The running turn; None between turns.
        turn_started: When that was given to the CLI.
        pid: Its CLI's process id; None when it has none.
        memory: The private bytes of that and its tools when they were last measured; 0 before.
        messages: Those that were answered in its session.
        usage: The tokens that its session took.
        context_tokens: The size of the conversation as the model last saw it.
        cost_usd: What its session cost.
        last_event: The name of the last event's class; None when there was none since it became live.
        last_event_at: When that was.
    """

    channel: str
    state: ChannelState
    suspended: str
    queued: int
    model: str
    session_id: str | None
    turn_id: str | None
    turn_started: datetime | None
    pid: int | None
    memory: int
    messages: int
    usage: Usage
    context_tokens: int
    cost_usd: float
    last_event: str | None
    last_event_at: datetime | None


def page_of_channels(supervisor: Supervisor, *, after: str, limit: int | None) -> tuple[ChannelStatus, ...]:
    """The live channels whose names come after the given one, so many of them, in the order of their names."""
    names = [name for name in supervisor.actors if name > after]
    chosen = sorted(names) if limit is None else heapq.nsmallest(limit, names)
    return tuple(_status(supervisor.actors[name], supervisor) for name in chosen)


def _status(actor: ChannelActor, supervisor: Supervisor) -> ChannelStatus:
    services, channel, batch = actor.services, actor.channel, actor.runner.batch
    snapshot, process, latest = actor.session.snapshot, services.driver.process(channel), services.hub.latest(channel)
    suspended = supervisor.suspended.get(channel, "")
    return ChannelStatus(
        channel=channel,
        state=ChannelState.SUSPENDED if suspended else _state(actor),
        suspended=suspended,
        queued=actor.mailbox.depth,
        model=actor.session.launch.model,
        session_id=None if snapshot is None else snapshot.session_id,
        turn_id=batch.turn_id if batch else None,
        turn_started=batch.started if batch else None,
        pid=None if process is None else process.pid,
        memory=0 if process is None else process.memory,
        messages=0 if snapshot is None else snapshot.message_count,
        usage=Usage()
        if snapshot is None
        else Usage(
            snapshot.total_input_tokens,
            snapshot.total_output_tokens,
            snapshot.total_cache_read_tokens,
            snapshot.total_cache_creation_tokens,
        ),
        context_tokens=0 if snapshot is None else snapshot.context_tokens,
        cost_usd=0.0 if snapshot is None else snapshot.total_cost_usd,
        last_event=None if latest is None else latest[0].__name__,
        last_event_at=None if latest is None else latest[1],
    )


def _state(actor: ChannelActor) -> ChannelState:
    if actor.runner.batch is not None:
        running = actor.runner.phase in {Phase.SENT, Phase.RUNNING}
        return ChannelState.RUNNING if running else ChannelState.STARTING
    return ChannelState.QUEUED if actor.mailbox.depth else ChannelState.IDLE
