"""The fan-out: who sees which events, what a slow subscriber loses, and how one goes on from a cursor."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime

import pytest
import trio
import trio.testing

from echo_actors import Event, Lagged, Outcome, OutcomeKind, Reply, TextDelta, ToolStarted, TurnEnded
from echo_actors.actors.topic import Hub, Subscription

DAY = datetime(2030, 1, 1, tzinfo=UTC)


def make_hub(*, ring: int = 100, buffer: int = 100, run_id: str = "run") -> Hub:
    """A hub whose clock stands still."""
    return Hub(run_id, ring, buffer, lambda: DAY)


def say(hub: Hub, text: str, channel: str = "c") -> Event:
    """Publish a text."""
    return hub.publish(TextDelta(channel=channel, text=text))


async def read(subscription: Subscription) -> list[str | int]:
    """What is buffered, without waiting: texts, and for a lag the number of missed events."""
    subscription.close()
    seen: list[str | int] = []
    async for event in subscription:
        assert isinstance(event, TextDelta | Lagged)
        seen.append(event.missed if isinstance(event, Lagged) else event.text)
    return seen


async def test_a_subscriber_sees_its_channel_alone() -> None:
    """In the order of publication."""
    hub = make_hub()
    subscription = hub.subscribe("a")
    for text, channel in (("1", "a"), ("x", "b"), ("2", "a")):
        say(hub, text, channel)
    assert await read(subscription) == ["1", "2"]


async def test_a_subscriber_to_all_sees_every_channel() -> None:
    """None stands for all channels."""
    hub = make_hub()
    subscription = hub.subscribe()
    say(hub, "1", "a")
    say(hub, "2", "b")
    assert await read(subscription) == ["1", "2"]


def test_a_published_event_carries_time_and_a_cursor_of_its_own() -> None:
    """Both are the hub's to give."""
    hub = make_hub()
    first, second = say(hub, "1"), say(hub, "2")
    assert first.time == second.time == DAY
    assert first.cursor != second.cursor


async def test_a_waiting_subscriber_is_woken() -> None:
    """Iteration waits for news."""
    hub = make_hub()
    seen: list[Event] = []

    async def reader() -> None:
        async with hub.subscribe("c") as events:
            seen.append(await anext(events))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await trio.testing.wait_all_tasks_blocked()
            event = say(hub, "late")
    assert seen == [event]


async def test_a_slow_subscriber_loses_the_oldest_and_is_told_how_many() -> None:
    """The buffer is bounded, and the count is exact."""
    hub = make_hub(buffer=3)
    subscription = hub.subscribe("c")
    for number in range(10):
        say(hub, str(number))
    assert await read(subscription) == [7, "7", "8", "9"]


async def test_lag_is_counted_from_the_last_report() -> None:
    """What was told once is not told again."""
    hub = make_hub(buffer=2)
    subscription = hub.subscribe("c")
    for number in range(3):
        say(hub, str(number))
    lagged = await anext(subscription)
    assert isinstance(lagged, Lagged)
    assert lagged.missed == 1
    say(hub, "3")
    assert await read(subscription) == [1, "2", "3"]


async def test_one_slow_subscriber_costs_the_others_nothing() -> None:
    """Lag is a subscriber's own."""
    hub = make_hub()
    slow, quick = hub.subscribe("c", buffer_size=1), hub.subscribe("c")
    say(hub, "1")
    say(hub, "2")
    assert await read(slow) == [1, "2"]
    assert await read(quick) == ["1", "2"]


def test_publishing_touches_no_subscriber_of_another_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a publication costs does not grow with the subscribers of other channels."""
    hub = make_hub()
    for number in range(50):
        hub.subscribe(f"other {number}")
    mine = hub.subscribe("mine")
    pushed: list[Subscription] = []
    push = Subscription.push

    def counting(self: Subscription, item: tuple[Event, int]) -> None:
        pushed.append(self)
        push(self, item)

    monkeypatch.setattr(Subscription, "push", counting)
    say(hub, "1", "mine")
    assert pushed == [mine]


async def test_a_cursor_of_this_run_goes_on_behind_its_event() -> None:
    """Nothing is told twice, nothing is left out."""
    hub = make_hub()
    say(hub, "1")
    cursor = say(hub, "2").cursor
    say(hub, "3")
    subscription = hub.subscribe("c", since=cursor)
    say(hub, "4")
    assert await read(subscription) == ["3", "4"]


async def test_the_last_cursor_gives_nothing_old() -> None:
    """And no lag either."""
    hub = make_hub()
    cursor = say(hub, "1").cursor
    assert await read(hub.subscribe("c", since=cursor)) == []


async def test_a_cursor_replays_the_subscribed_channel_alone() -> None:
    """A cursor is of the whole engine; the replay is of the channel."""
    hub = make_hub()
    cursor = say(hub, "1", "a").cursor
    say(hub, "2", "b")
    say(hub, "3", "a")
    assert await read(hub.subscribe("a", since=cursor)) == ["3"]
    assert await read(hub.subscribe(since=cursor)) == ["2", "3"]


@pytest.mark.parametrize("ring", [2, 3])
async def test_a_cursor_older_than_the_ring_lags_first(ring: int) -> None:
    """The count is of what the ring no longer holds behind the cursor."""
    hub = make_hub(ring=ring)
    cursor = say(hub, "0").cursor
    for number in range(1, 6):
        say(hub, str(number))
    assert await read(hub.subscribe("c", since=cursor)) == [5 - ring, *map(str, range(6 - ring, 6))]


async def test_a_cursor_at_the_edge_of_the_ring_does_not_lag() -> None:
    """The event behind the cursor is the oldest in the ring."""
    hub = make_hub(ring=2)
    cursor = say(hub, "0").cursor
    say(hub, "1")
    say(hub, "2")
    assert await read(hub.subscribe("c", since=cursor)) == ["1", "2"]


@pytest.mark.parametrize("cursor", ["other:1", "", "run:", "run:x", "run:-1", "run:²", ":", "run", "run:1:1"])
async def test_a_cursor_of_another_run_or_of_no_run_lags_by_an_unknown_number(cursor: str) -> None:
    """It never fails: what the ring holds follows."""
    hub = make_hub()
    say(hub, "1")
    assert await read(hub.subscribe("c", since=cursor)) == [-1, "1"]


async def test_a_replay_larger_than_the_buffer_says_what_it_left_out() -> None:
    """The buffer bounds a replay too, and its loss adds to the ring's."""
    hub = make_hub(ring=5)
    cursor = say(hub, "0").cursor
    for number in range(1, 9):
        say(hub, str(number))
    assert await read(hub.subscribe("c", since=cursor, buffer_size=2)) == [6, "7", "8"]


async def test_the_cursor_of_a_lag_can_be_gone_on_from() -> None:
    """A subscriber that saw nothing but a lag resumes behind it with what it had not yet read."""
    hub = make_hub(buffer=1)
    subscription = hub.subscribe("c")
    say(hub, "1")
    say(hub, "2")
    lagged = await anext(subscription)
    assert isinstance(lagged, Lagged)
    subscription.close()
    assert await read(hub.subscribe("c", since=lagged.cursor)) == ["2"]


async def test_closing_the_hub_ends_every_subscription_after_what_is_buffered() -> None:
    """Iteration ends by itself; nothing buffered is lost."""
    hub = make_hub()
    subscription, other = hub.subscribe("c"), hub.subscribe()
    say(hub, "1")
    hub.close()
    with trio.fail_after(5):
        assert [event.channel async for event in subscription] == ["c"]
        assert [event.channel async for event in other] == ["c"]
    assert hub.subscriptions == 0


async def test_closing_the_hub_wakes_a_waiting_subscriber() -> None:
    """It would wait for ever otherwise."""
    hub = make_hub()

    async def reader() -> None:
        assert [event async for event in hub.subscribe("c")] == []

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await trio.testing.wait_all_tasks_blocked()
            hub.close()


async def test_a_subscriber_that_leaves_gets_nothing_more() -> None:
    """And is no longer counted; leaving twice is harmless."""
    hub = make_hub()
    async with hub.subscribe("c") as subscription:
        assert hub.subscriptions == 1
    assert hub.subscriptions == 0
    subscription.close()
    say(hub, "1")
    assert await read(subscription) == []


HUGE = {"text": "x" * 400}
REPLY = Reply(text="", structured_output=HUGE, session_id="s", turn_id="t")


@pytest.mark.parametrize(
    "make",
    [
        lambda: ToolStarted(channel="c", tool="T", tool_use_id="1", input=HUGE),
        lambda: TurnEnded(channel="c", outcome=Outcome(kind=OutcomeKind.ANSWERED, reply=REPLY)),
    ],
    ids=["input", "structured output"],
)
async def test_few_huge_events_do_not_fill_memory(make: Callable[[], Event]) -> None:
    """A table counts like any text, in the ring and for a subscriber that does not read."""
    hub = make_hub()
    hub.most_chars = 1000
    stuck = hub.subscribe("c")
    for _ in range(5):
        hub.publish(make())
    late = hub.subscribe("c", since=f"{hub.run_id}:0")
    for subscription in (stuck, late):
        subscription.close()
        lagged, *kept = [event async for event in subscription]
        assert isinstance(lagged, Lagged)
        assert (lagged.missed, len(kept)) == (3, 2)


async def test_a_second_reader_of_one_subscription_is_refused() -> None:
    """It would take the first one's events; both know it."""
    hub = make_hub()
    with trio.fail_after(5):
        async with hub.subscribe() as subscription, trio.open_nursery() as nursery:
            nursery.start_soon(anext, subscription)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError, match="subscribe once more"):
                await anext(subscription)
            say(hub, "1")


def test_an_event_that_was_published_before_is_copied() -> None:
    """Who has it already sees no other time or cursor in it than before."""
    hub = make_hub()
    first = say(hub, "1")
    cursor = first.cursor
    second = hub.publish(first)
    assert first.cursor == cursor
    assert second.cursor != cursor
    assert second.text == "1"  # type: ignore[attr-defined]  # it is the same text


async def test_a_reader_that_waits_gets_events_in_order_also_when_several_come_before_it_runs() -> None:
    """The first goes into its hand, the others into the buffer behind it."""
    hub = make_hub()
    seen: list[str] = []

    async def watch(subscription: Subscription) -> None:
        async for event in subscription:
            assert isinstance(event, TextDelta)
            seen.append(event.text)

    with trio.fail_after(5):
        async with hub.subscribe() as subscription, trio.open_nursery() as nursery:
            nursery.start_soon(watch, subscription)
            for burst in ("12", "3", "456"):
                await trio.testing.wait_all_tasks_blocked()
                assert subscription.empty
                for text in burst:
                    say(hub, text)
                assert not subscription.empty
            subscription.close()
    assert "".join(seen) == "123456"


def test_a_tap_sees_every_event_in_the_task_that_publishes_it() -> None:
    """Before any subscriber, stamped, and with the context variables of whoever publishes."""
    hub, who = make_hub(), ContextVar("who", default="nobody")
    seen: list[tuple[str, str]] = []
    hub.tap(lambda event: seen.append((event.cursor, who.get())))
    say(hub, "one", "a")
    context = copy_context()
    context.run(who.set, "a caller")
    context.run(say, hub, "two", "b")
    assert seen == [("run:1", "nobody"), ("run:2", "a caller")]
    assert hub.subscriptions == 0


def test_the_last_event_of_a_live_channel_is_known() -> None:
    """By its kind and time, not itself; of one that is not live any more, nothing."""
    hub = make_hub()
    say(hub, "one")
    assert (hub.latest("c"), hub.latest("d")) == ((TextDelta, DAY), None)
    hub.leave("c")
    hub.leave("d")
    assert hub.latest("c") is None
