"""Sessions into a store and out of it, as Echo-Core's file has them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import trio

from echo_actors.errors import NotStorable, StoreError
from echo_actors.state.active_json import Reading, Refusal, record_of
from echo_actors.state.records import SessionSnapshot
from echo_actors.state.store import Store

_PAGE = 500
_AT_ONCE = 100


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
    importing = _Import(store, replace, {each.session_id: each.channel async for each in all_sessions(store)})
    for start in range(0, len(reading.snapshots), _AT_ONCE):
        chosen = [await importing.choose(each) for each in reading.snapshots[start : start + _AT_ONCE]]
        # Those that are written at once share a commit, which waits for the disk.
        async with trio.open_nursery() as nursery:
            for snapshot in filter(None, chosen):
                nursery.start_soon(importing.keep, snapshot)
        if importing.failure is not None:
            raise importing.failure
    return Imported(
        tuple(sorted(importing.taken, key=lambda each: each.channel)),
        tuple(importing.unchanged),
        (*reading.refused, *importing.refused),
    )


@attrs.define(eq=False)
class _Import:
    """An import under way.

    Attributes:
        channels: By session, the channel that has it.
        failure: What keeps the store from taking more.
    """

    store: Store
    replace: bool
    channels: dict[str | None, str]
    taken: list[SessionSnapshot] = attrs.Factory(list)
    unchanged: list[str] = attrs.Factory(list)
    refused: list[Refusal] = attrs.Factory(list)
    failure: StoreError | None = None

    async def choose(self, snapshot: SessionSnapshot) -> SessionSnapshot | None:
        """A session as it is to be kept; None for one that is there already, or cannot be taken."""
        before = await self.store.snapshot(snapshot.channel)
        if before is not None and before.session_id is not None:
            if record_of(before) == record_of(snapshot):
                self.unchanged.append(snapshot.channel)
                return None
            if not self.replace:
                self.refused.append(Refusal(snapshot.channel, "the channel has a session in the store already"))
                return None
        # Two channels with one session would each continue it without the other.
        owner = self.channels.setdefault(snapshot.session_id, snapshot.channel)
        if owner != snapshot.channel:
            self.refused.append(Refusal(snapshot.channel, f"its session is that of channel {owner!r}"))
            return None
        return snapshot if before is None else attrs.evolve(snapshot, revision=before.revision)

    async def keep(self, snapshot: SessionSnapshot) -> None:
        """Write a session, or note why that cannot be done."""
        try:
            claim = await self.store.claim(snapshot.channel)
            self.taken.append(await self.store.save(claim, snapshot))
        except NotStorable as problem:
            self.refused.append(Refusal(snapshot.channel, str(problem)))
        except StoreError as problem:
            self.failure = problem
