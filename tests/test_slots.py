"""Slots: a bound on what runs at once, and fairness between those who wait."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from echo_actors.admission.slots import Slots


async def test_no_more_than_the_total_are_held() -> None:
    """The rest waits, and both are counted."""
    slots, leave = Slots(2), trio.Event()

    async def worker() -> None:
        async with slots.hold():
            await leave.wait()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(worker)
            await trio.testing.wait_all_tasks_blocked()
            assert (slots.held, slots.waiting) == (2, 3)
            leave.set()
    assert (slots.held, slots.waiting) == (0, 0)


async def test_a_channel_with_much_to_do_does_not_starve_one_with_little() -> None:
    """Who asks again queues behind those who wait already."""
    slots, order = Slots(1), list[str]()

    async def channel(name: str, turns: int) -> None:
        for _ in range(turns):
            async with slots.hold():
                order.append(name)
                await trio.testing.wait_all_tasks_blocked()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel, "busy", 5)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(channel, "quiet", 1)
    assert order.index("quiet") <= 2


async def test_first_come_first_served() -> None:
    """Slots are given in the order in which they were asked for."""
    slots, order, leave = Slots(1), list[int](), trio.Event()

    async def worker(number: int) -> None:
        async with slots.hold():
            order.append(number)
            await leave.wait()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(worker, number)
                await trio.testing.wait_all_tasks_blocked()
            leave.set()
    assert order == [0, 1, 2, 3, 4]


async def test_an_error_or_a_cancellation_gives_the_slot_back() -> None:
    """Held or waited for: nothing leaks."""
    slots = Slots(1)
    with trio.move_on_after(0):
        async with slots.hold():
            await trio.sleep_forever()
    with pytest.raises(KeyError):
        async with slots.hold():
            raise KeyError
    async with slots.hold():
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_hold, slots)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
    assert (slots.held, slots.waiting) == (0, 0)


async def test_one_task_may_hold_slots_of_the_same_kind_twice() -> None:
    """A token per hold: a task that passes twice is not an error."""
    slots = Slots(2)
    async with slots.hold(), slots.hold():
        assert slots.held == 2


async def _hold(slots: Slots) -> None:
    async with slots.hold():
        pass
