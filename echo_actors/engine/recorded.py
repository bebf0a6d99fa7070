"""What the store adds to a conversation that was read from a transcript."""

from __future__ import annotations

import attrs

from echo_actors.history import History, HistoryEntry, HistoryRole
from echo_actors.state.store import Store


async def named(history: History, store: Store) -> History:
    """The history with the ids of those messages that the store still knows."""
    return attrs.evolve(history, entries=tuple([await _named(entry, store) for entry in history.entries]))


async def _named(entry: HistoryEntry, store: Store) -> HistoryEntry:
    if entry.role is not HistoryRole.USER or not entry.uuids:
        return entry
    sent_as = entry.uuids[-1]
    return entry if await store.message(sent_as) is None else attrs.evolve(entry, message_id=sent_as)
