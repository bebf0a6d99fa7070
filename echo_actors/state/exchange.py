"""Sessions into a store and out of it, as Echo-Core's file has them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs

from echo_actors.errors import NotStorable
from echo_actors.state.active_json import Reading, Refusal, record_of
from echo_actors.state.records import SessionSnapshot
from echo_actors.state.store import Store

_PAGE = 500


@attrs.frozen
class Imported:
    """What became of a file's sessions.

    Attributes:
        taken: Those that the store has now.
        unchanged: Channels whose session in the store was the same already.
        refused: Those that were left out.
    """

    taken: tuple[SessionSnapshot, ...]
    unchanged: tuple[str, ...]
    refused: tuple[Refusal, ...]


async def all_sessions(store: Store) -> AsyncIterator[SessionSnapshot]:
    """Every session in the store, by channel name."""
    after = ""
    while page := await store.snapshots(after=after, limit=_PAGE):
        for snapshot in page:
            yield snapshot
        after = page[-1].channel


async def import_sessions(store: Store, reading: Reading, *, replace: bool = False) -> Imported:
    """Take sessions into the store, each by itself.

    Args:
        store: That no engine uses meanwhile.
        reading: What the file has.
        replace: Take them also for channels that have another session.

    Raises:
        StoreError: The store cannot be read or written; what was taken before stays.
    """
    channels = {each.session_id: each.channel async for each in all_sessions(store)}
    taken: list[SessionSnapshot] = []
    unchanged: list[str] = []
    refused = list(reading.refused)
    for snapshot in reading.snapshots:
        channel, session_id = snapshot.channel, snapshot.session_id
        before = await store.snapshot(channel)
        has_one = before is not None and before.session_id is not None
        if before is not None and has_one and record_of(before) == record_of(snapshot):
            unchanged.append(channel)
        elif has_one and not replace:
            refused.append(Refusal(channel, "the channel has a session in the store already"))
        elif channels.setdefault(session_id, channel) != channel:
            # Two channels with one session would each continue it without the other.
            refused.append(Refusal(channel, f"its session is that of channel {channels[session_id]!r}"))
        else:
            revision = 0 if before is None else before.revision
            try:
                claim = await store.claim(channel)
                taken.append(await store.save(claim, attrs.evolve(snapshot, revision=revision)))
            except NotStorable as problem:
                refused.append(Refusal(channel, str(problem)))
    return Imported(tuple(taken), tuple(unchanged), tuple(refused))
