"""Deadlines and the queue clock: a message that waited too long expires, and only one that has not begun."""

from __future__ import annotations

import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from support import Gate, audit_records, plain_settings

from echo_actors import Clock, OutcomeKind, TurnFailed, open_engine
from echo_actors.actors.expiry import Expiry
from echo_actors.actors.mailbox import Entry
from echo_actors.models import Message
from echo_actors.testing.instant_driver import InstantDriver

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_a_message_that_waits_beyond_its_deadline_expires(tmp_path: Path) -> None:
    """While the channel is busy; its neighbours in the queue are answered, and it is never asked."""
    gate = Gate()
    driver = InstantDriver(gate)
    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path), driver=driver) as engine:
            await engine.post("c", "hold")
            await gate.entered()
            before = await engine.post("c", "before")
            late = await engine.post("c", "late", deadline=_in(0.2))
            after = await engine.post("c", "after", deadline=_in(60))
            outcome = await engine.outcome(late.message_id)
            gate.open()
            for receipt in (before, after):
                assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
    assert (outcome.kind, outcome.clock, outcome.attempts) == (OutcomeKind.EXPIRED, Clock.QUEUE, 0)
    assert "deadline" in outcome.reason
    assert [request.content for request in driver.requests] == ["hold", "before", "after"]
    assert len(audit_records(engine.settings, "turn.ended")) == 4


async def test_a_deadline_that_has_passed_already_expires_the_message_at_once(tmp_path: Path) -> None:
    """It is accepted and has an end like every other; the model is not asked."""
    driver = InstantDriver(Gate())
    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path), driver=driver) as engine:
            await engine.post("c", "hold")
            with pytest.raises(TurnFailed) as caught:
                await engine.ask("c", "too late", deadline=_in(-5))
    assert caught.value.outcome.kind is OutcomeKind.EXPIRED
    assert "too late" not in [request.content for request in driver.requests]


async def test_a_running_message_does_not_expire(tmp_path: Path) -> None:
    """A deadline is for the start of the turn, the queue clock for the queue."""
    gate = Gate()
    settings = plain_settings(tmp_path, queue_timeout=0.3)
    with trio.fail_after(20):
        async with open_engine(settings, driver=InstantDriver(gate)) as engine:
            running = await engine.post("c", "hold", deadline=_in(0.3))
            await gate.entered()
            queued = await engine.post("c", "queued")
            outcome = await engine.outcome(queued.message_id)
            gate.open()
            assert (await engine.outcome(running.message_id)).kind is OutcomeKind.ANSWERED
    assert (outcome.kind, outcome.clock) == (OutcomeKind.EXPIRED, Clock.QUEUE)
    assert "waited" in outcome.reason


async def test_an_expired_message_gives_its_place_to_another(tmp_path: Path) -> None:
    """The mailbox is as large as before."""
    gate = Gate()
    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path, mailbox_size=1), driver=InstantDriver(gate)) as engine:
            await engine.post("c", "hold")
            await gate.entered()
            late = await engine.post("c", "late", deadline=_in(0.1))
            await engine.outcome(late.message_id)
            next_one = await engine.post("c", "next")
            gate.open()
            assert (await engine.outcome(next_one.message_id)).kind is OutcomeKind.ANSWERED


async def test_the_time_a_closed_engine_sleeps_counts_against_the_deadline_alone(tmp_path: Path) -> None:
    """After a restart the one with a deadline in the past expires; the other has its queue time anew."""
    gate = Gate()
    settings = plain_settings(tmp_path, drain_timeout=0.05)
    with trio.fail_after(20):
        async with open_engine(settings, driver=InstantDriver(gate)) as engine:
            await engine.post("c", "hold")
            await gate.entered()
            deadline = _in(0.5)
            late = await engine.post("c", "late", deadline=deadline)
            patient = await engine.post("c", "patient")
        await trio.sleep((deadline - datetime.now(UTC)).total_seconds() + 0.01)
        again = InstantDriver(gate)
        async with open_engine(plain_settings(tmp_path, queue_timeout=5.0), driver=again) as engine:
            assert (await engine.outcome(late.message_id)).kind is OutcomeKind.EXPIRED
            gate.open()
            assert (await engine.outcome(patient.message_id)).kind is OutcomeKind.ANSWERED
    assert "late" not in [request.content for request in again.requests]


# -- the heap alone


class _Known(dict[str, Entry]):
    """The entries of messages that have not ended, as a supervisor knows them."""

    def make(self, sequence: int, deadline: datetime | None = None) -> Entry:
        """Know one more."""
        message = Message(
            message_id=str(sequence), channel="c", text="x", sequence=sequence, accepted_at=NOON, deadline=deadline
        )
        return self.setdefault(message.message_id, Entry(message))


async def test_entries_expire_in_the_order_of_their_deadlines(autojump_clock: trio.testing.MockClock) -> None:
    """A later one that is watched first does not keep an earlier one."""
    expired, known = list[tuple[str, float]](), _Known()

    async def expire(entry: Entry) -> None:
        await trio.lowlevel.checkpoint()
        expired.append((entry.message.message_id, autojump_clock.current_time()))

    start = autojump_clock.current_time()
    expiry = Expiry(100.0, lambda: NOON + timedelta(seconds=autojump_clock.current_time() - start), known.get, expire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expiry.run)
        expiry.watch(known.make(1))
        expiry.watch(known.make(2, NOON + timedelta(seconds=7)))
        await trio.sleep(1)
        expiry.watch(known.make(3, NOON + timedelta(seconds=3)))
        began = known.make(4, NOON + timedelta(seconds=2))
        expiry.watch(began)
        began.state = type(began.state).RUNNING
        await trio.sleep(200)
        nursery.cancel_scope.cancel()
    assert expired == [("3", start + 3), ("2", start + 7), ("1", start + 100)]


async def test_a_message_that_was_refused_and_comes_again_has_its_time_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The deadline of the first try is not the second one's, though both have one id."""
    expired, known = list[float](), _Known()

    async def expire(_: Entry) -> None:
        await trio.lowlevel.checkpoint()
        expired.append(autojump_clock.current_time())

    start = autojump_clock.current_time()
    expiry = Expiry(10.0, lambda: NOON, known.get, expire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expiry.run)
        expiry.watch(known.make(1))
        await trio.sleep(7)
        known.pop("1").refuse()
        expiry.watch(known.make(1))
        await trio.sleep(50)
        nursery.cancel_scope.cancel()
    assert expired == [start + 17]


async def _never(_: Entry) -> None:
    raise AssertionError("nothing here runs")


@pytest.mark.parametrize(("waits_every", "most"), [(10_000, 100), (10, 2 * 1000 + 100)])
async def test_the_heap_holds_few_messages_that_have_ended(waits_every: int, most: int) -> None:
    """At most as many as wait, and a handful. Those that wait are all there."""
    known = _Known()
    expiry = Expiry(3600.0, lambda: NOON, known.get, _never)
    for sequence in range(10_000):
        expiry.watch(known.make(sequence))
        if sequence % waits_every:
            del known[str(sequence)]
    assert len(expiry._heap) <= most
    assert {int(message_id) for _, message_id in expiry._heap} >= set(range(0, 10_000, waits_every))


async def test_no_message_that_has_ended_is_kept_in_memory() -> None:
    """Its reply may be large, and its deadline an hour away."""
    known = _Known()
    expiry = Expiry(3600.0, lambda: NOON, known.get, _never)
    entries = [known.make(sequence) for sequence in range(50)]
    for entry in entries:
        expiry.watch(entry)
    kept = [weakref.ref(entry.message) for entry in entries]
    entries.clear()
    known.clear()
    del entry
    assert [message() for message in kept] == [None] * 50
