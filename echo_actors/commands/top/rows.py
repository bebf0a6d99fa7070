"""The rows of the table: what is known of each channel, which of them are wanted, and in which order."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from echo_actors.commands.terminal import visible
from echo_actors.engine.channels import ChannelState, ChannelStatus
from echo_actors.state.records import SessionSnapshot

STORED: Final = "stored"
"""The state of a channel that no engine has; the others are those of ``ChannelState``."""

_URGENCY: Final = (
    ChannelState.RUNNING,
    ChannelState.STARTING,
    ChannelState.QUEUED,
    ChannelState.SUSPENDED,
    ChannelState.IDLE,
    STORED,
)
"""The states from what goes on to what rests."""

_NEVER: Final = datetime.fromtimestamp(0, UTC)


class Column(enum.StrEnum):
    """What the table shows of a channel, and what it can be sorted by."""

    CHANNEL = "channel"
    STATE = "state"
    QUEUE = "queue"
    MODEL = "model"
    MEMORY = "memory"
    TOKENS = "tokens"
    COST = "cost"
    LAST = "last"


@attrs.frozen(kw_only=True)
class Row:
    """A channel.

    Attributes:
        name: The channel's name, in characters that can all be seen.
        suspended: Why it takes nothing; empty when it does.
        tokens: All that its session took, those from the cache included.
        status: What the engine says of it; None when it is not live.
    """

    channel: str
    name: str
    state: str
    suspended: str = ""
    queued: int = 0
    model: str = ""
    memory: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    last_event: str | None = None
    last_event_at: datetime | None = None
    status: ChannelStatus | None = None


def of_engine(channels: Iterable[ChannelStatus], suspended: Mapping[str, str]) -> list[Row]:
    """The rows of live channels, and of those that are suspended without being live."""
    rows = [_live(each) for each in channels]
    known = {row.channel for row in rows}
    return rows + [
        Row(channel=channel, name=visible(channel), state=ChannelState.SUSPENDED, suspended=reason)
        for channel, reason in suspended.items()
        if channel not in known
    ]


def of_store(sessions: Iterable[SessionSnapshot]) -> list[Row]:
    """The rows of what a store knows."""
    return [
        Row(
            channel=each.channel,
            name=visible(each.channel),
            state=STORED,
            model=visible(each.model),
            tokens=each.total_input_tokens
            + each.total_output_tokens
            + each.total_cache_read_tokens
            + each.total_cache_creation_tokens,
            cost_usd=each.total_cost_usd,
            last_event_at=each.last_message_at,
        )
        for each in sessions
    ]


def matching(rows: Iterable[Row], text: str) -> list[Row]:
    """The rows in whose channel, state or model each of the words is, whatever its case."""
    words = text.casefold().split()
    return [row for row in rows if all(word in f"{row.name} {row.state} {row.model}".casefold() for word in words)]


def in_order(rows: Iterable[Row], column: Column, *, reverse: bool = False) -> list[Row]:
    """The rows by a column: texts from A on, states from the busiest on, figures and times from the greatest on."""
    # Sorted by name first: those that are equal keep that order, so that rows do not jump.
    by_name = sorted(rows, key=lambda row: row.name)
    return sorted(by_name, key=_RANKS[column], reverse=reverse)


def _live(status: ChannelStatus) -> Row:
    used = status.usage
    return Row(
        channel=status.channel,
        name=visible(status.channel),
        state=status.state,
        suspended=status.suspended,
        queued=status.queued,
        model=visible(status.model),
        memory=status.memory,
        tokens=used.input_tokens + used.output_tokens + used.cache_read_tokens + used.cache_creation_tokens,
        cost_usd=status.cost_usd,
        last_event=status.last_event,
        last_event_at=status.last_event_at,
        status=status,
    )


def _recency(row: Row) -> float:
    return -(row.last_event_at or _NEVER).timestamp()


_RANKS: Final[Mapping[Column, Callable[[Row], Any]]] = {
    Column.CHANNEL: lambda row: row.name,
    Column.STATE: lambda row: (_URGENCY.index(row.state), -row.queued, _recency(row)),
    Column.QUEUE: lambda row: -row.queued,
    Column.MODEL: lambda row: row.model,
    Column.MEMORY: lambda row: -row.memory,
    Column.TOKENS: lambda row: -row.tokens,
    Column.COST: lambda row: -row.cost_usd,
    Column.LAST: _recency,
}
