"""The behaviour that every store must have, as tests to inherit.

Subclass ``StoreConformance`` as ``Test...`` and give it a pytest fixture ``open_store``: a function that opens the
same place anew each time it is called, as an async context manager. The tests are async functions for pytest-trio.
"""
# ruff: noqa: S101, PLR2004 - tests assert, and expected values are what they are about

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import attrs
import trio

from echo_actors.errors import StaleRevision, StoreError
from echo_actors.models import Outcome, OutcomeKind, Reply
from echo_actors.state.records import Claim, End
from echo_actors.testing.spending_kit import SpendingConformance
from echo_actors.testing.store_parts import NOON, OpenStore, make_end, make_message, make_snapshot, refused

__all__ = ["NOON", "OpenStore", "StoreConformance", "make_end", "make_message", "make_snapshot"]


class StoreConformance(SpendingConformance):
    """Tests to inherit; see the module."""

    async def test_a_message_is_kept_once(self, open_store: OpenStore) -> None:
        """The first acceptance gives nothing; the second gives the stored one and changes nothing."""
        async with open_store() as store:
            assert await store.accept(make_message(1)) is None
            known = await store.accept(attrs.evolve(make_message(1), text="other", sequence=2))
        assert known is not None
        assert known.message == make_message(1)

    async def test_a_reopened_store_has_everything(self, open_store: OpenStore) -> None:
        """Messages, attempts, ends, snapshots and notes outlive the store; the epoch rises."""
        async with open_store() as store:
            before = await store.claim("chat:1")
            await store.accept(make_message(7))
            await store.start(before, [make_message(7)], turn_id="t", session_id="s")
            await store.finish(before, [make_end(7, "why")], make_snapshot())
            await store.put_note("head", {"hash": "x"})
        async with open_store() as store:
            stored = await store.message(str(UUID(int=7)))
            assert stored is not None
            assert (stored.attempts, stored.turn_id, stored.session_id) == (1, "t", "s")
            assert (stored.outcome, stored.ended_at) == (make_end(7, "why").outcome, NOON)
            assert await store.snapshot("chat:1") == attrs.evolve(make_snapshot(), revision=1)
            assert await store.note("head") == {"hash": "x"}
            assert await store.last_sequence() == 7
            after = await store.claim("chat:1")
            assert after.epoch > before.epoch
            await refused(StaleRevision, store.save(before, attrs.evolve(make_snapshot(), revision=1)))

    async def test_attempts_count_up_and_can_be_taken_back(self, open_store: OpenStore) -> None:
        """Each start counts one; ``unstart`` takes one away, never below none."""
        async with open_store() as store:
            claim, ids = await store.claim("chat:1"), [str(UUID(int=1))]
            await store.accept(make_message(1))
            await store.unstart(claim, ids)
            await store.start(claim, [make_message(1)], turn_id="a", session_id="s")
            await store.start(claim, [make_message(1)], turn_id="b", session_id="s")
            await store.unstart(claim, ids)
            stored = await store.message(ids[0])
            assert stored is not None
            assert (stored.attempts, stored.turn_id) == (1, "b")

    async def test_an_unknown_or_ended_message_cannot_start(self, open_store: OpenStore) -> None:
        """Neither can start, and a refused start counts no attempt for the others either."""
        async with open_store() as store:
            claim = await store.claim("chat:1")
            await store.accept(make_message(1))
            both = [make_message(1), make_message(2)]
            await refused(StoreError, store.start(claim, both, turn_id="t", session_id="s"))
            stored = await store.message(str(UUID(int=1)))
            assert stored is not None
            assert stored.attempts == 0

    async def test_the_first_outcome_stays(self, open_store: OpenStore) -> None:
        """A second end changes nothing."""
        async with open_store() as store:
            claim = await store.claim("chat:1")
            await store.accept(make_message(1))
            await store.finish(claim, [make_end(1, "first")], None)
            await store.finish(claim, [make_end(1, "second")], None)
            stored = await store.message(str(UUID(int=1)))
            assert stored is not None
            assert stored.outcome == make_end(1, "first").outcome

    async def test_a_stale_snapshot_takes_its_ends_with_it(self, open_store: OpenStore) -> None:
        """An end and a snapshot are one transaction: a stale snapshot stores neither."""
        async with open_store() as store:
            claim = await store.claim("chat:1")
            await store.accept(make_message(1))
            assert (await store.save(claim, make_snapshot())).revision == 1
            await refused(StaleRevision, store.finish(claim, [make_end(1)], make_snapshot()))
            stored = await store.message(str(UUID(int=1)))
            assert stored is not None
            assert stored.outcome is None

    async def test_a_strange_claim_is_refused(self, open_store: OpenStore) -> None:
        """A write under another owner's claim changes nothing."""
        async with open_store() as store:
            await refused(StaleRevision, store.save(Claim("thief", 99), make_snapshot()))
            assert await store.snapshot("chat:1") is None

    async def test_unfinished_messages_come_in_order_and_pages(self, open_store: OpenStore) -> None:
        """By sequence, of one channel, after the given one, at most the limit, ended ones left out."""
        async with open_store() as store:
            claim = await store.claim("chat:1")
            for sequence in (3, 1, 2, 4):
                await store.accept(make_message(sequence))
            await store.accept(make_message(5, "chat:2"))
            await store.finish(claim, [make_end(2)], None)
            first = await store.unfinished("chat:1", after=0, limit=2)
            rest = await store.unfinished("chat:1", after=3, limit=2)
            assert [stored.message.sequence for stored in first + rest] == [1, 3, 4]
            assert sorted(await store.unfinished_channels()) == [("chat:1", 3), ("chat:2", 1)]

    async def test_snapshots_come_by_name_and_only_with_a_session(self, open_store: OpenStore) -> None:
        """Pages go on after the last name."""
        async with open_store() as store:
            for name, session in (("b", "s"), ("a", "s"), ("c", None), ("d", "s")):
                await store.save(await store.claim(name), make_snapshot(name, session))
            assert [s.channel for s in await store.snapshots(limit=2)] == ["a", "b"]
            assert [s.channel for s in await store.snapshots(after="b")] == ["d"]

    async def test_forgetting_drops_only_old_ends(self, open_store: OpenStore) -> None:
        """Unfinished and younger ones stay, and the highest sequence stays known."""
        async with open_store() as store:
            claim = await store.claim("chat:1")
            for sequence in (1, 2, 9):
                await store.accept(make_message(sequence))
            late = NOON + timedelta(microseconds=1)
            await store.finish(claim, [make_end(9), make_end(2, ended_at=late)], None)
            assert await store.forget(before=late) == 1
            assert await store.message(str(UUID(int=9))) is None
            assert await store.message(str(UUID(int=2))) is not None
            assert await store.last_sequence() == 9

    async def test_forgetting_replies_keeps_the_outcomes(self, open_store: OpenStore) -> None:
        """A message that ended in the span is still known to be answered, without what was answered."""
        async with open_store() as store:
            claim = await store.claim("chat:1")
            reply = Reply(text="yes", session_id="s", turn_id="t")
            for sequence in (1, 2):
                await store.accept(make_message(sequence))
                answered = Outcome(kind=OutcomeKind.ANSWERED, reply=reply)
                ended_at = NOON + timedelta(seconds=sequence)
                end = End(message_id=str(UUID(int=sequence)), outcome=answered, ended_at=ended_at)
                await store.finish(claim, [end], None)
            assert await store.forget_replies(after=NOON, before=NOON + timedelta(seconds=2)) == 1
            first, second = [await store.message(str(UUID(int=sequence))) for sequence in (1, 2)]
            assert first is not None
            assert first.outcome == Outcome(kind=OutcomeKind.ANSWERED)
            assert second is not None
            assert second.outcome == Outcome(kind=OutcomeKind.ANSWERED, reply=reply)

    async def test_a_drop_and_the_acceptance_it_makes_room_for_are_one(self, open_store: OpenStore) -> None:
        """Both are kept; and when the new message is known already, neither is."""
        async with open_store() as store:
            for sequence in (1, 2):
                await store.accept(make_message(sequence))
            await store.accept(make_message(2), ends=[make_end(1)])
            assert [each.message.sequence for each in await store.unfinished("chat:1", after=0, limit=9)] == [1, 2]
            await store.accept(make_message(3), ends=[make_end(1)])
            assert [each.message.sequence for each in await store.unfinished("chat:1", after=0, limit=9)] == [2, 3]

    async def test_dead_letters_are_listed_revived_and_discarded(self, open_store: OpenStore) -> None:
        """A revived one waits again as if it had never been started; a discarded one is gone; others are untouched."""
        async with open_store() as store:
            claim = await store.claim("chat:1")
            dead = Outcome(kind=OutcomeKind.DEAD_LETTERED, reason="poison", attempts=3)
            for sequence in (1, 2, 3):
                await store.accept(make_message(sequence))
                await store.start(claim, [make_message(sequence)], turn_id="t", session_id="s")
            ends = [End(message_id=str(UUID(int=sequence)), outcome=dead, ended_at=NOON) for sequence in (1, 2)]
            await store.finish(claim, ends, None)
            assert [each.message.sequence for each in await store.dead_letters()] == [1, 2]
            assert [each.message.sequence for each in await store.dead_letters(after=1)] == [2]
            assert await store.revive(str(UUID(int=1)))
            assert await store.discard(str(UUID(int=2)))
            assert not await store.revive(str(UUID(int=3)))
            assert not await store.discard(str(UUID(int=3)))
            assert await store.dead_letters() == []
            waiting = await store.unfinished("chat:1", after=0, limit=9)
            assert [(each.message.sequence, each.attempts) for each in waiting] == [(1, 0), (3, 1)]
            assert await store.message(str(UUID(int=2))) is None

    async def test_any_text_is_a_key(self, open_store: OpenStore) -> None:
        """Names with NUL, newlines, slashes and emoji are kept apart."""
        names = ["a", "a\0b", "a\0c", "a\nb", "../a", "😀", "'; --"]
        async with open_store() as store:
            for name in names:
                await store.save(await store.claim(name), make_snapshot(name))
                await store.put_note(name, {"is": name})
            assert [s.channel for s in await store.snapshots()] == sorted(names)
            assert [await store.note(name) for name in names] == [{"is": name} for name in names]

    async def test_two_hundred_tasks_at_once(self, open_store: OpenStore) -> None:
        """All are kept, each once."""
        async with open_store() as store:
            async with trio.open_nursery() as nursery:
                for sequence in range(1, 201):
                    nursery.start_soon(store.accept, make_message(sequence, f"chat:{sequence % 7}"))
            assert sum(count for _, count in await store.unfinished_channels()) == 200

    async def test_cancelling_does_not_undo(self, open_store: OpenStore) -> None:
        """A write that was asked for in a cancelled scope is kept."""
        async with open_store() as store:
            with trio.CancelScope() as scope:
                scope.cancel()
                assert await store.accept(make_message(1)) is None
            assert not scope.cancelled_caught
            assert await store.message(str(UUID(int=1))) is not None

    async def test_a_message_of_another_sequence_is_not_started(self, open_store: OpenStore) -> None:
        """Its id was known, so that the one of this sequence was never accepted."""
        async with open_store() as store:
            await store.accept(make_message(1))
            again = attrs.evolve(make_message(1), sequence=2)
            claim = await store.claim(again.channel)
            await refused(StaleRevision, store.start(claim, [again], turn_id="t", session_id="s"))
            (stored,) = await store.unfinished(again.channel, after=0, limit=10)
            assert stored.attempts == 0

    async def test_a_closed_store_refuses(self, open_store: OpenStore) -> None:
        """After the close every call is a StoreError; closing again is none."""
        async with open_store() as store:
            await store.aclose()
            await store.aclose()
            await refused(StoreError, store.accept(make_message(1)))
