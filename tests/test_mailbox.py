"""The mailbox: order, withdrawal, limits, and waiting for what is not yet on disk."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trio
import trio.testing
from support import new_id

from echo_actors import MailboxFull
from echo_actors.actors.mailbox import Entry, EntryState, Mailbox
from echo_actors.models import Message, Outcome, OutcomeKind

DAY = datetime(2030, 1, 1, tzinfo=UTC)
ANSWERED = Outcome(kind=OutcomeKind.ANSWERED)


def entry(sequence: int, *, committed: bool = True) -> Entry:
    """An entry whose text is its sequence number."""
    made = Entry(
        Message(message_id=new_id(), channel="c", text=str(sequence), sequence=sequence, accepted_at=DAY),
    )
    if committed:
        made.commit()
    return made


def filled(count: int, *, size: int = 10) -> tuple[Mailbox, list[Entry]]:
    """A mailbox with so many committed entries."""
    mailbox = Mailbox("c", size)
    entries = [entry(number) for number in range(count)]
    for each in entries:
        mailbox.offer(each)
    return mailbox, entries


async def take(mailbox: Mailbox) -> Entry:
    """Take the next entry out of the mailbox."""
    with trio.fail_after(5):
        taken = await mailbox.next()
    assert taken is not None
    assert mailbox.begin(taken)
    return taken


async def test_entries_come_out_in_the_order_of_their_places() -> None:
    """Order is decided when the place is taken."""
    mailbox, entries = filled(3)
    assert [await take(mailbox) for _ in entries] == entries
    assert mailbox.depth == 0


async def test_offer_says_how_many_are_ahead() -> None:
    """The position is the number of waiting entries."""
    mailbox, _ = filled(2)
    assert mailbox.offer(entry(2)) == 2
    assert mailbox.depth == 3


async def test_an_entry_may_be_begun_while_it_is_committed_and_keeps_its_place() -> None:
    """A later entry that is on disk earlier does not overtake; the commit leaves a begun one begun."""
    mailbox = Mailbox("c", 10)
    first, second = entry(1, committed=False), entry(2)
    mailbox.offer(first)
    mailbox.offer(second)
    assert mailbox.head() is None
    assert await take(mailbox) is first
    first.commit()
    assert first.state is EntryState.RUNNING
    assert await take(mailbox) is second


async def test_a_failed_commit_lets_the_next_one_through() -> None:
    """The head that is withdrawn before it is begun is passed over."""
    mailbox = Mailbox("c", 10)
    first, second = entry(1, committed=False), entry(2)
    mailbox.offer(first)
    mailbox.offer(second)
    assert await mailbox.next() is first
    assert mailbox.withdraw(first)
    assert await take(mailbox) is second
    assert first.state is EntryState.WITHDRAWN


async def test_an_actor_that_is_woken_looks_around_even_when_it_was_not_waiting_yet() -> None:
    """A wake is never lost, and takes no entry away."""
    mailbox = Mailbox("c", 10)
    mailbox.wake()
    first = entry(1)
    mailbox.offer(first)
    assert mailbox.head() is first
    with trio.fail_after(5):
        assert await mailbox.next() is None
        assert await mailbox.next() is first


async def test_a_withdrawn_entry_never_comes_out() -> None:
    """It frees its place at once, from the middle too."""
    mailbox, (first, second, third) = filled(3)
    assert mailbox.withdraw(second)
    assert mailbox.depth == 2
    assert [await take(mailbox), await take(mailbox)] == [first, third]


async def test_withdrawing_twice_or_too_late_says_no() -> None:
    """Only a waiting entry can be withdrawn."""
    mailbox, (first, second) = filled(2)
    assert mailbox.withdraw(second)
    assert not mailbox.withdraw(second)
    await take(mailbox)
    assert not mailbox.withdraw(first)
    assert first.state is EntryState.RUNNING


async def test_an_entry_withdrawn_between_next_and_begin_is_not_begun() -> None:
    """The actor looks once more when it has its slot."""
    mailbox, (first, second) = filled(2)
    assert await mailbox.next() is first
    assert mailbox.withdraw(first)
    assert not mailbox.begin(first)
    assert await take(mailbox) is second


async def test_next_leaves_the_entry_where_it_is() -> None:
    """An actor that is cancelled after ``next`` has lost nothing."""
    mailbox, (first,) = filled(1)
    assert await mailbox.next() is first
    assert await mailbox.next() is first
    assert mailbox.depth == 1


async def test_a_cancelled_next_loses_nothing() -> None:
    """What comes in the moment of the cancellation is there for the next one."""
    mailbox = Mailbox("c", 10)
    first = entry(1)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.next)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            mailbox.offer(first)
    assert await take(mailbox) is first


async def test_an_entry_that_is_put_back_comes_first_again() -> None:
    """What was begun and not ended goes before all that wait."""
    mailbox, (first, second) = filled(2)
    await take(mailbox)
    mailbox.put_back([first])
    assert mailbox.head() is first
    assert [await take(mailbox), await take(mailbox)] == [first, second]


async def test_an_entry_that_is_put_back_goes_before_one_already_looked_at() -> None:
    """``next`` may have given the second one out already."""
    mailbox, (first, second) = filled(2)
    await take(mailbox)
    assert await mailbox.next() is second
    mailbox.put_back([first])
    assert [await take(mailbox), await take(mailbox)] == [first, second]


async def test_an_entry_that_is_put_back_and_withdrawn_does_not_come() -> None:
    """A put back entry is a waiting one."""
    mailbox, (first, second) = filled(2)
    await take(mailbox)
    mailbox.put_back([first])
    assert mailbox.withdraw(first)
    assert await take(mailbox) is second


def test_a_full_mailbox_says_how_many_wait() -> None:
    """The error carries channel, depth and limit, and nothing was taken."""
    mailbox, _ = filled(3, size=3)
    with pytest.raises(MailboxFull) as caught:
        mailbox.offer(entry(3))
    assert (caught.value.channel, caught.value.depth, caught.value.limit) == ("c", 3, 3)
    assert mailbox.depth == 3


async def test_a_running_entry_takes_no_place() -> None:
    """The size limits what waits."""
    mailbox, _ = filled(3, size=3)
    await take(mailbox)
    assert mailbox.offer(entry(3)) == 2


async def test_putting_back_needs_no_place() -> None:
    """What was accepted always fits."""
    mailbox, (first, *_) = filled(3, size=3)
    await take(mailbox)
    mailbox.offer(entry(3))
    mailbox.put_back([first])
    assert mailbox.depth == 4
    assert await take(mailbox) is first


async def test_the_end_wakes_those_who_wait_for_it() -> None:
    """Also those who wait for the commit, which an end makes pointless."""
    made = entry(1, committed=False)
    made.end(ANSWERED)
    assert (made.state, made.outcome) == (EntryState.ENDED, ANSWERED)
    assert made.settled.is_set()
    assert made.ended.is_set()


def test_a_commit_does_not_revive_a_withdrawn_entry() -> None:
    """The commit may be known after the withdrawal."""
    mailbox = Mailbox("c", 10)
    late = entry(1, committed=False)
    mailbox.offer(late)
    mailbox.withdraw(late)
    late.commit()
    assert late.state is EntryState.WITHDRAWN


async def test_several_entries_are_put_back_in_their_order() -> None:
    """What one turn had taken together goes back together."""
    mailbox, (first, second, third) = filled(3)
    await take(mailbox)
    await take(mailbox)
    mailbox.put_back([first, second])
    assert [await take(mailbox) for _ in range(3)] == [first, second, third]


def test_the_head_is_what_next_would_give() -> None:
    """Without waiting: nothing when the first one is not on disk."""
    mailbox = Mailbox("c", 10)
    assert mailbox.head() is None
    late, ready = entry(1, committed=False), entry(2)
    mailbox.offer(late)
    mailbox.offer(ready)
    assert mailbox.head() is None
    late.commit()
    assert mailbox.head() is late
    mailbox.withdraw(late)
    assert mailbox.head() is ready


def test_further_entries_join_from_the_head_as_long_as_they_may() -> None:
    """One that may not join stops those behind it."""
    mailbox, (first, second, third, _fourth) = filled(4)
    assert mailbox.begin_while(lambda each: each is not third) == [first, second]
    assert mailbox.head() is third
    assert (second.state, third.state) == (EntryState.RUNNING, EntryState.WAITING)


def test_one_that_is_not_on_disk_does_not_join_and_is_not_overtaken() -> None:
    """Order holds in a joined turn too."""
    mailbox = Mailbox("c", 10)
    entries = [entry(1), entry(2, committed=False), entry(3)]
    for each in entries:
        mailbox.offer(each)
    assert mailbox.begin_while(lambda _: True) == entries[:1]


async def test_a_restored_backlog_leaves_no_place_for_new_ones_until_it_is_loaded() -> None:
    """Messages of the earlier run come before all that are new, however many they are."""
    mailbox = Mailbox("c", 2)
    old = [entry(1, committed=False), entry(2, committed=False)]
    mailbox.restore(old, backlog=3)
    assert (mailbox.depth, mailbox.room, mailbox.full) == (5, 0, True)
    with pytest.raises(MailboxFull):
        mailbox.offer(entry(9))
    assert [await take(mailbox), await take(mailbox)] == old
    assert (mailbox.room, mailbox.full) == (2, True)
    mailbox.restore([entry(3, committed=False)], backlog=0)
    assert mailbox.offer(entry(9)) == 1


def test_the_oldest_is_the_first_that_is_on_disk() -> None:
    """One that is not on disk yet has been promised to nobody."""
    mailbox = Mailbox("c", 10)
    assert mailbox.oldest() is None
    late, ready = entry(1, committed=False), entry(2)
    mailbox.offer(late)
    mailbox.offer(ready)
    assert mailbox.oldest() is ready


@pytest.mark.parametrize("freed_by", ["begin", "withdraw"])
async def test_those_who_wait_for_a_place_get_it_in_their_order(freed_by: str) -> None:
    """One place frees one of them."""
    mailbox, entries = filled(2, size=2)
    got: list[int] = []

    async def hopeful(number: int) -> None:
        await mailbox.wait_for_place()
        mailbox.offer(entry(number))
        got.append(number)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for number in (10, 11):
                nursery.start_soon(hopeful, number)
                await trio.testing.wait_all_tasks_blocked()
            for expected, old in enumerate(entries):
                assert mailbox.begin(old) if freed_by == "begin" else mailbox.withdraw(old)
                await trio.testing.wait_all_tasks_blocked()
                assert got == [10, 11][: expected + 1]


async def test_one_who_comes_later_does_not_overtake_those_who_wait_for_a_place() -> None:
    """Also when the place became free a moment ago."""
    mailbox, (first, _) = filled(2, size=2)
    got: list[str] = []

    async def hopeful(name: str) -> None:
        await mailbox.wait_for_place()
        mailbox.offer(entry(9))
        got.append(name)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hopeful, "early")
            await trio.testing.wait_all_tasks_blocked()
            mailbox.begin(first)
            nursery.start_soon(hopeful, "late")
            await trio.testing.wait_all_tasks_blocked()
            assert got == ["early"]
            nursery.cancel_scope.cancel()


async def test_a_backlog_is_not_overtaken_while_the_window_on_it_empties() -> None:
    """What waits on disk was accepted first, however much room there is in memory."""
    mailbox, waiting = Mailbox("c", 4), [entry(number) for number in range(4)]
    mailbox.restore(waiting, backlog=2)
    for each in waiting[:3]:
        assert await mailbox.next() is each
        mailbox.begin(each)
    with pytest.raises(MailboxFull):
        mailbox.offer(entry(9))
    mailbox.restore([entry(4), entry(5)], backlog=0)
    assert mailbox.offer(entry(9)) == 3
