"""A full mailbox rejects, waits or drops the oldest; whatever it does, nothing accepted is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from support import Gate, new_id, plain_settings, until

from echo_actors import Engine, EngineClosed, FullPolicy, MailboxFull, OutcomeKind, StoreFull, TurnFailed, open_engine
from echo_actors.state.sqlite import SQLiteStore
from echo_actors.testing.instant_driver import InstantDriver

SIZE = 3


@asynccontextmanager
async def _engine(tmp_path: Path, gate: Gate, policy: FullPolicy) -> AsyncIterator[Engine]:
    settings = plain_settings(tmp_path, full_mailbox=policy, mailbox_size=SIZE, drain_timeout=0.05)
    with trio.fail_after(20):
        async with open_engine(settings, driver=InstantDriver(gate)) as engine:
            yield engine


async def _fill(engine: Engine, gate: Gate) -> list[str]:
    """Let one message run and as many wait as may; give the ids of those that wait."""
    await engine.post("c", "hold")
    await gate.entered()
    return [(await engine.post("c", f"waiting {number}")).message_id for number in range(SIZE)]


async def test_reject_says_how_many_wait_and_stores_nothing(tmp_path: Path) -> None:
    """The sender is told; another channel is not concerned; there is room again when the turn has ended."""
    gate = Gate()
    async with _engine(tmp_path, gate, FullPolicy.REJECT) as engine:
        waiting, rejected = await _fill(engine, gate), new_id()
        with pytest.raises(MailboxFull) as caught:
            await engine.post("c", "one too many", message_id=rejected)
        assert (caught.value.channel, caught.value.depth, caught.value.limit) == ("c", SIZE, SIZE)
        assert await engine._services.store.message(rejected) is None
        assert (await engine.ask("other", "hello")).text == "echo: hello"
        gate.open()
        assert (await engine.outcome(waiting[-1])).kind is OutcomeKind.ANSWERED
        assert (await engine.ask("c", "again", message_id=rejected)).text == "echo: again"


async def test_a_message_that_is_known_is_not_rejected(tmp_path: Path) -> None:
    """It has its place already."""
    gate = Gate()
    async with _engine(tmp_path, gate, FullPolicy.REJECT) as engine:
        waiting = await _fill(engine, gate)
        assert (await engine.post("c", "waiting 0", message_id=waiting[0])).message_id == waiting[0]
        gate.open()


async def test_those_who_wait_for_a_place_get_it_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    """Nobody who came later overtakes them, and one who gave up leaves the place to the next."""
    gate = Gate()
    driver = InstantDriver(gate)
    settings = plain_settings(tmp_path, full_mailbox=FullPolicy.WAIT, mailbox_size=SIZE)
    with trio.fail_after(20):
        async with open_engine(settings, driver=driver) as engine:
            await _fill(engine, gate)
            async with trio.open_nursery() as nursery:
                impatient = trio.CancelScope()

                async def give_up() -> None:
                    with impatient:
                        await engine.post("c", "impatient")

                for number in range(8):
                    nursery.start_soon(engine.post, "c", f"late {number}")
                    if number == 3:
                        nursery.start_soon(give_up)
                    await trio.testing.wait_all_tasks_blocked()
                assert engine.status().queued_messages == SIZE
                impatient.cancel()
                await trio.testing.wait_all_tasks_blocked()
                gate.open()
            await engine.ask("c", "last")
    texts = [request.content for request in driver.requests]
    assert texts == ["hold", *(f"waiting {n}" for n in range(SIZE)), *(f"late {n}" for n in range(8)), "last"]


async def test_one_who_finds_its_message_known_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    """As when a message is sent again by somebody who grew tired of waiting for its place."""
    gate, message_id = Gate(), new_id()
    driver = InstantDriver(gate)
    settings = plain_settings(tmp_path, full_mailbox=FullPolicy.WAIT, mailbox_size=1)
    with trio.fail_after(20):
        async with open_engine(settings, driver=driver) as engine:
            await engine.post("c", "hold")
            await gate.entered()
            await engine.post("c", "waiting")
            async with trio.open_nursery() as nursery:
                for text, key in (("twice", message_id), ("twice", message_id), ("next", new_id())):
                    nursery.start_soon(partial(engine.ask, "c", text, message_id=key))
                    await trio.testing.wait_all_tasks_blocked()
                gate.open()
    assert [request.content for request in driver.requests] == ["hold", "waiting", "twice", "next"]


async def test_those_who_wait_for_a_place_are_told_when_the_engine_closes(tmp_path: Path) -> None:
    """They were not accepted; those who had a place are answered at the next start, and nobody else."""
    gate, told = Gate(), []
    async with _engine(tmp_path, gate, FullPolicy.WAIT) as engine:
        waiting = await _fill(engine, gate)
        async with trio.open_nursery() as nursery:

            async def come_late(message_id: str) -> None:
                with pytest.raises(EngineClosed):
                    await engine.post("c", "late", message_id=message_id)
                told.append(message_id)

            late = [new_id(), new_id()]
            for message_id in late:
                nursery.start_soon(come_late, message_id)
            await trio.testing.wait_all_tasks_blocked()
            await engine.drain()
        assert sorted(told) == sorted(late)
    driver = InstantDriver()
    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path, mailbox_size=SIZE), driver=driver) as engine:
            for message_id in waiting:
                assert (await engine.outcome(message_id)).kind is OutcomeKind.ANSWERED
    assert [request.content for request in driver.requests] == ["hold", *(f"waiting {n}" for n in range(SIZE))]


async def test_the_oldest_that_waits_is_dropped_and_told_so(tmp_path: Path) -> None:
    """Not the running one; its end is announced, and the newer ones are answered in order."""
    gate = Gate()
    driver = InstantDriver(gate)
    settings = plain_settings(tmp_path, full_mailbox=FullPolicy.DROP_OLDEST, mailbox_size=SIZE)
    with trio.fail_after(20):
        async with open_engine(settings, driver=driver) as engine:
            waiting = await _fill(engine, gate)
            newer = [(await engine.post("c", f"newer {number}")).message_id for number in range(2)]
            assert [(await engine.outcome(each)).kind for each in waiting[:2]] == [OutcomeKind.DROPPED] * 2
            gate.open()
            for message_id in (waiting[2], *newer):
                assert (await engine.outcome(message_id)).kind is OutcomeKind.ANSWERED
    assert [request.content for request in driver.requests] == ["hold", "waiting 2", "newer 0", "newer 1"]


async def test_a_burst_into_a_full_mailbox_drops_each_message_at_most_once(tmp_path: Path) -> None:
    """Forty senders at once: as many answers as places, the newest ones, and an end for every other."""
    gate = Gate()
    async with _engine(tmp_path, gate, FullPolicy.DROP_OLDEST) as engine:
        waiting, ends = await _fill(engine, gate), dict[int, OutcomeKind]()

        async def send(number: int) -> None:
            receipt = await engine.post("c", f"burst {number}")
            if len(posted) == 39:
                gate.open()
            posted.append(receipt.sequence)
            ends[receipt.sequence] = (await engine.outcome(receipt.message_id)).kind

        posted: list[int] = []
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(send, number)
        assert {(await engine.outcome(each)).kind for each in waiting} == {OutcomeKind.DROPPED}
    kinds = [ends[sequence] for sequence in sorted(ends)]
    assert kinds == [OutcomeKind.DROPPED] * (40 - SIZE) + [OutcomeKind.ANSWERED] * SIZE


async def test_the_drop_is_undone_when_the_newer_message_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are one transaction: the sender of the newer one is told, the older one keeps its place and its order."""
    gate = Gate()
    driver = InstantDriver(gate)
    settings = plain_settings(tmp_path, full_mailbox=FullPolicy.DROP_OLDEST, mailbox_size=SIZE)
    with trio.fail_after(20):
        async with open_engine(settings, driver=driver) as engine:
            waiting, refused = await _fill(engine, gate), new_id()

            async def refuse(*_: object, **__: object) -> None:
                await trio.lowlevel.checkpoint()
                raise StoreFull("no room")

            with monkeypatch.context() as patched:
                patched.setattr(SQLiteStore, "accept", refuse)
                with pytest.raises(StoreFull):
                    await engine.post("c", "newer", message_id=refused)
            assert await engine._services.store.message(refused) is None
            assert engine.status().queued_messages == SIZE
            gate.open()
            for message_id in waiting:
                assert (await engine.outcome(message_id)).kind is OutcomeKind.ANSWERED
    assert [request.content for request in driver.requests] == ["hold", *(f"waiting {n}" for n in range(SIZE))]


async def test_a_drop_holds_across_a_restart(tmp_path: Path) -> None:
    """The dropped one does not come back; the others run."""
    gate = Gate()
    async with _engine(tmp_path, gate, FullPolicy.DROP_OLDEST) as engine:
        waiting = await _fill(engine, gate)
        newer = (await engine.post("c", "newer")).message_id
    driver = InstantDriver()
    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path, mailbox_size=SIZE), driver=driver) as engine:
            assert (await engine.outcome(waiting[0])).kind is OutcomeKind.DROPPED
            assert (await engine.outcome(newer)).kind is OutcomeKind.ANSWERED
    assert [request.content for request in driver.requests] == ["hold", "waiting 1", "waiting 2", "newer"]


async def test_what_was_accepted_before_a_restart_is_not_dropped_while_it_does_not_fit(tmp_path: Path) -> None:
    """A drop makes no place while there is more on disk than the mailbox holds, so nothing is dropped."""
    gate, settings = Gate(), plain_settings(tmp_path, mailbox_size=3 * SIZE, drain_timeout=0.05)
    with trio.fail_after(20):
        async with open_engine(settings, driver=InstantDriver(gate)) as engine:
            accepted = [(await engine.post("c", f"hold {number}")).message_id for number in range(3 * SIZE)]
    async with _engine(tmp_path, gate, FullPolicy.DROP_OLDEST) as engine:
        await gate.entered()
        with pytest.raises(MailboxFull):
            await engine.post("c", "newer")
        gate.open()
        for message_id in accepted:
            assert (await engine.outcome(message_id)).kind is OutcomeKind.ANSWERED


async def test_a_dropped_messages_caller_is_told_by_ask(tmp_path: Path) -> None:
    """The error carries the outcome."""
    gate = Gate()
    async with _engine(tmp_path, gate, FullPolicy.DROP_OLDEST) as engine, trio.open_nursery() as nursery:
        await engine.post("c", "hold")
        await gate.entered()

        async def ask() -> None:
            with pytest.raises(TurnFailed) as caught:
                await engine.ask("c", "oldest")
            assert caught.value.outcome.kind is OutcomeKind.DROPPED

        nursery.start_soon(ask)
        await until(lambda: engine.status().queued_messages == 1)
        for number in range(SIZE):
            await engine.post("c", f"newer {number}")
        gate.open()
