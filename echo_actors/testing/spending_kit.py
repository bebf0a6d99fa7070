"""How every store counts what turns cost, as tests to inherit with ``StoreConformance``."""
# ruff: noqa: S101 - tests assert

from __future__ import annotations

from datetime import date
from uuid import UUID

import attrs
import trio

from echo_actors.errors import StaleRevision, StoreError
from echo_actors.state.records import Charge
from echo_actors.testing.store_parts import OpenStore, make_end, make_message, make_snapshot, refused

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


class SpendingConformance:
    """Tests of charges; ``StoreConformance`` has them."""

    async def test_charges_add_up_by_channel_and_day(self, open_store: OpenStore) -> None:
        """All channels together have their own sum, and all outlives the store."""
        async with open_store() as store:
            one, other = await store.claim("one"), await store.claim("other")
            saved = await store.save(one, make_snapshot("one"), Charge("one", MONDAY, 0.25))
            saved = await store.save(one, saved, Charge("one", MONDAY, 0.5))
            await store.finish(one, [], saved, Charge("one", TUESDAY, 1.0))
            await store.save(other, make_snapshot("other"), Charge("other", TUESDAY, 2.0))
        async with open_store() as store:
            assert await store.spending("one", since=MONDAY) == {MONDAY: 0.75, TUESDAY: 1.0}
            assert await store.spending("one", since=TUESDAY) == {TUESDAY: 1.0}
            assert await store.spending("other", since=MONDAY) == {TUESDAY: 2.0}
            assert await store.spending(None, since=MONDAY) == {MONDAY: 0.75, TUESDAY: 3.0}
            assert await store.spending("nobody", since=MONDAY) == {}

    async def test_a_charge_is_kept_with_its_end_or_not_at_all(self, open_store: OpenStore) -> None:
        """A write that is refused charges nothing, so that trying again charges once."""
        charge = Charge("chat:1", MONDAY, 0.5)
        async with open_store() as store:
            claim = await store.claim("chat:1")
            await store.accept(make_message(1))
            stale = attrs.evolve(make_snapshot(), revision=7)
            await refused(StaleRevision, store.finish(claim, [make_end(1)], stale, charge))
            await refused(StaleRevision, store.save(claim, stale, charge))
            await refused(StoreError, store.finish(claim, [make_end(99)], None, charge))
            assert await store.spending(None, since=MONDAY) == {}
            await store.finish(claim, [make_end(1)], make_snapshot(), charge)
            assert await store.spending("chat:1", since=MONDAY) == {MONDAY: 0.5}
            ended = await store.message(str(UUID(int=1)))
            assert ended is not None
            assert ended.outcome is not None

    async def test_charges_of_many_at_once_are_all_counted(self, open_store: OpenStore) -> None:
        """Each adds to what is there, whatever the others do."""
        names = [f"chat:{number}" for number in range(20)]
        async with open_store() as store:

            async def spend(name: str) -> None:
                claim, saved = await store.claim(name), make_snapshot(name)
                for _ in range(5):
                    saved = await store.save(claim, saved, Charge(name, MONDAY, 0.25))

            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(spend, name)
            assert await store.spending(None, since=MONDAY) == {MONDAY: 25.0}
            assert await store.spending(names[0], since=MONDAY) == {MONDAY: 1.25}

    async def test_old_charges_are_forgotten_by_day(self, open_store: OpenStore) -> None:
        """Those of the day itself stay."""
        async with open_store() as store:
            claim = await store.claim("chat:1")
            saved = await store.save(claim, make_snapshot(), Charge("chat:1", MONDAY, 0.25))
            await store.save(claim, saved, Charge("chat:1", TUESDAY, 0.5))
            assert await store.forget_spending(before=MONDAY) == 0
            assert await store.forget_spending(before=TUESDAY) > 0
            assert await store.spending("chat:1", since=MONDAY) == {TUESDAY: 0.5}
            assert await store.spending(None, since=MONDAY) == {TUESDAY: 0.5}
