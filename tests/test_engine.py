"""The engine with a driver in this process: order, isolation, ends, drains and subscribers."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from support import DAY, Gate, audit_records, memory_services, new_id, opened, plain_settings, until

import echo_actors.state.sqlite
from echo_actors import (
    Accepted,
    BlockFinished,
    BusyPolicy,
    ChannelSuspended,
    CLIFailed,
    Engine,
    EngineClosed,
    InvalidMessage,
    Lagged,
    MailboxFull,
    OutcomeKind,
    StoreError,
    TurnEnded,
    TurnFailed,
    TurnStarted,
)
from echo_actors.actors.mailbox import Entry
from echo_actors.actors.supervisor import Supervisor
from echo_actors.claude.driver import TurnRequest, TurnResult
from echo_actors.models import Message
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo


def texts(driver: InstantDriver, channel: str = "c") -> list[str]:
    """What the driver was asked, in order."""
    return [request.content for request in driver.requests if request.channel == channel]


# -- answers and order


async def test_ask_gives_the_answer_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    """Text, blocks, session, turn, usage, cost."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        reply = await engine.ask("c", "hello")
        snapshot = await engine.session("c")
    assert (reply.text, reply.cost_usd, reply.usage.input_tokens) == ("echo: hello", 0.0004, 100)
    assert [block.text for block in reply.blocks] == ["echo: hello"]
    assert snapshot is not None
    assert (snapshot.session_id, snapshot.message_count, snapshot.model) == (reply.session_id, 1, "sonnet")


async def test_concurrent_posts_run_in_the_order_of_their_acceptance(tmp_path: Path) -> None:
    """The order of the receipts' sequences is the order of the turns."""
    driver = InstantDriver()
    receipts: dict[str, int] = {}

    async def post(engine: Engine, text: str) -> None:
        receipts[text] = (await engine.post("c", text)).sequence

    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(post, engine, str(number))
        await until(lambda: len(driver.requests) == 50)
    assert texts(driver) == sorted(receipts, key=receipts.__getitem__)
    assert len(set(receipts.values())) == 50


async def test_a_channel_has_one_turn_at_a_time(tmp_path: Path) -> None:
    """However many messages it has."""
    most = running = 0

    async def answer(request: TurnRequest) -> Answer:
        nonlocal most, running
        running += 1
        most = max(most, running)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        running -= 1
        return echo(request)

    async with (
        opened(plain_settings(tmp_path), driver=InstantDriver(answer)) as engine,
        trio.open_nursery() as nursery,
    ):
        for number in range(20):
            nursery.start_soon(engine.ask, "c", str(number))
    assert most == 1


async def test_channels_run_side_by_side(tmp_path: Path) -> None:
    """Turns that wait for each other could not end otherwise."""
    together, count = trio.Event(), 0

    async def answer(request: TurnRequest) -> Answer:
        nonlocal count
        count += 1
        if count == 10:
            together.set()
        await together.wait()
        return echo(request)

    async with (
        opened(plain_settings(tmp_path), driver=InstantDriver(answer)) as engine,
        trio.open_nursery() as nursery,
    ):
        for number in range(10):
            nursery.start_soon(engine.ask, str(number), "hi")
    assert count == 10


async def test_no_more_turns_run_than_there_are_slots(tmp_path: Path) -> None:
    """The others wait, and the status says so."""
    gate = Gate(held="")
    driver = InstantDriver(gate)
    async with (
        opened(plain_settings(tmp_path, turn_slots=2), driver=driver) as engine,
        trio.open_nursery() as nursery,
    ):
        for number in range(5):
            nursery.start_soon(engine.ask, str(number), "hi")
        await until(lambda: engine.status().waiting_for_slot == 3 and len(driver.running) == 2)
        assert engine.status().running_turns == 2
        gate.open()


async def test_a_receipt_says_how_many_are_ahead(tmp_path: Path) -> None:
    """The running one included."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        first = await engine.post("c", "hold")
        await gate.entered()
        second, third = await engine.post("c", "b"), await engine.post("c", "c")
        gate.open()
    assert [receipt.position for receipt in (first, second, third)] == [0, 1, 2]


async def test_a_full_mailbox_refuses_and_takes_again_when_there_is_room(tmp_path: Path) -> None:
    """A refused message was never accepted."""
    gate, driver = Gate(), InstantDriver()
    driver.answer = gate
    async with opened(plain_settings(tmp_path, mailbox_size=2), driver=driver) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        await engine.post("c", "1")
        await engine.post("c", "2")
        refused = new_id()
        with pytest.raises(MailboxFull):
            await engine.post("c", "3", message_id=refused)
        with pytest.raises(InvalidMessage, match="known"):
            await engine.outcome(refused)
        gate.open()
        await until(lambda: engine.status().queued_messages == 0)
        await engine.ask("c", "4")
    assert texts(driver) == ["hold", "1", "2", "4"]


async def test_the_same_message_id_runs_once(tmp_path: Path) -> None:
    """While it waits, while it runs, and afterwards: the first outcome is given."""
    gate, message_id = Gate(), new_id()
    driver = InstantDriver(gate)
    replies = []

    async def ask(engine: Engine) -> None:
        replies.append(await engine.ask("c", "hold", message_id=message_id))

    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask, engine)
            await gate.entered()
            gate.open()
        replies.append(await engine.ask("c", "something else", message_id=message_id.upper()))
    assert texts(driver) == ["hold"]
    assert [reply.text for reply in replies] == ["echo: hold"] * 4


# -- crashes and failures


async def test_a_failed_turn_is_an_outcome_and_the_channel_goes_on(tmp_path: Path) -> None:
    """The error carries the outcome; a CLI that failed is no crash of the actor."""

    def answer(request: TurnRequest) -> Answer:
        return CLIFailed("it broke", 3) if request.content == "bad" else echo(request)

    settings = plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver(answer)) as engine:
        with pytest.raises(TurnFailed, match="it broke") as caught:
            await engine.ask("c", "bad")
        assert (await engine.ask("c", "good")).text == "echo: good"
    assert (caught.value.outcome.kind, caught.value.outcome.error) == (OutcomeKind.FAILED, "cli_failed")
    assert audit_records(settings, "actor.crashed") == []


async def test_a_crashed_actor_starts_again_and_its_message_is_answered(tmp_path: Path) -> None:
    """The message that was running runs again, before all that wait."""
    crashes = itertools.count()

    def answer(request: TurnRequest) -> Answer:
        return KeyError("a bug") if request.content == "first" and next(crashes) == 0 else echo(request)

    driver, settings = InstantDriver(answer), plain_settings(tmp_path)
    async with opened(settings, driver=driver) as engine:
        first = await engine.post("c", "first")
        await engine.post("c", "second")
        outcome = await engine.outcome(first.message_id)
        assert outcome.kind is OutcomeKind.ANSWERED
        assert outcome.attempts == 2
        await engine.ask("c", "third")
    assert texts(driver) == ["first", "first", "second", "third"]
    (crash,) = audit_records(settings, "actor.crashed")
    assert "a bug" in crash["reason"]


async def test_a_crash_is_nothing_to_the_neighbours(tmp_path: Path) -> None:
    """A turn that runs meanwhile is not touched, and new ones are answered."""
    gate = Gate(answer=lambda request: KeyError("a bug") if request.content == "bad" else echo(request))
    driver = InstantDriver(gate)
    async with opened(plain_settings(tmp_path), driver=driver) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(engine.ask, "quiet", "hold")
        await gate.entered()
        bad = await engine.post("loud", "bad")
        assert (await engine.ask("other", "hi")).text == "echo: hi"
        assert (await engine.outcome(bad.message_id)).kind is OutcomeKind.DEAD_LETTERED
        gate.open()
    assert driver.interrupts == []
    assert texts(driver, "quiet") == ["hold"]


async def test_a_channel_that_crashes_too_often_is_suspended_until_it_is_resumed(tmp_path: Path) -> None:
    """It refuses with a reason; nothing that was accepted is lost."""
    healthy = False

    def answer(request: TurnRequest) -> Answer:
        return echo(request) if healthy or request.channel != "c" else KeyError("a bug")

    async with opened(plain_settings(tmp_path, max_attempts=10), driver=InstantDriver(answer)) as engine:
        receipts = [await engine.post("c", str(number)) for number in range(3)]
        await until(lambda: "c" in engine.status().suspended)
        with pytest.raises(ChannelSuspended, match="a bug"):
            await engine.post("c", "refused")
        assert (await engine.ask("other", "hi")).text == "echo: hi"
        healthy = True
        assert await engine.resume("c")
        outcomes = [await engine.outcome(receipt.message_id) for receipt in receipts]
        assert not await engine.resume("c")
        assert engine.status().suspended == {}
    assert [outcome.kind for outcome in outcomes] == [OutcomeKind.ANSWERED] * 3
    assert outcomes[0].attempts == 7


async def test_a_suspended_channel_does_not_hold_up_the_drain(tmp_path: Path) -> None:
    """Its messages run at the next start."""
    settings = plain_settings(tmp_path, max_attempts=10)
    async with opened(settings, driver=InstantDriver(lambda _: KeyError("a bug"))) as engine:
        receipt = await engine.post("c", "later")
        await until(lambda: "c" in engine.status().suspended)
    async with opened(settings, driver=InstantDriver()) as engine:
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED


# -- cancellation


async def test_a_cancelled_ask_interrupts_its_running_turn(tmp_path: Path) -> None:
    """The outcome says so, and the channel goes on."""
    gate, message_id = Gate(), new_id()
    driver = InstantDriver(gate)
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_with_id, engine, "hold", message_id)
            await gate.entered()
            nursery.cancel_scope.cancel()
        outcome = await engine.outcome(message_id)
        assert (await engine.ask("c", "next")).text == "echo: next"
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.CANCELLED, 1)
    assert driver.interrupts == ["c"]


async def test_a_cancelled_ask_withdraws_its_waiting_message(tmp_path: Path) -> None:
    """It never runs, and the turn before it is left alone."""
    gate, message_id = Gate(), new_id()
    driver = InstantDriver(gate)
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_with_id, engine, "waiting", message_id)
            await until(lambda: engine.status().queued_messages == 1)
            nursery.cancel_scope.cancel()
        outcome = await engine.outcome(message_id)
        gate.open()
        await engine.ask("c", "next")
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.CANCELLED, 0)
    assert texts(driver) == ["hold", "next"]
    assert driver.interrupts == []


async def test_a_detached_ask_may_be_cancelled_without_effect(tmp_path: Path) -> None:
    """The turn goes on to its answer."""
    gate, message_id = Gate(), new_id()
    driver = InstantDriver(gate)
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_with_id, engine, "hold", message_id, "detach")
            await gate.entered()
            nursery.cancel_scope.cancel()
        gate.open()
        outcome = await engine.outcome(message_id)
    assert outcome.kind is OutcomeKind.ANSWERED
    assert driver.interrupts == []


async def test_a_caller_that_is_cancelled_while_committing_gets_the_end_from_outcome(tmp_path: Path) -> None:
    """The message is either accepted, with an end, or unknown: never in between."""
    message_id = new_id()
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        with trio.move_on_after(0):
            await engine.post("c", "hello", message_id=message_id)
        assert (await engine.outcome(message_id)).kind is OutcomeKind.ANSWERED


async def ask_with_id(engine: Engine, text: str, message_id: str, on_cancel: Any = "interrupt") -> None:
    """Ask in channel c."""
    await engine.ask("c", text, message_id=message_id, on_cancel=on_cancel)


async def test_an_operators_interrupt_cancels_the_running_message_alone(tmp_path: Path) -> None:
    """Those that wait run; without a running turn there is nothing to do."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        assert not await engine.interrupt("c")
        held = await engine.post("c", "hold")
        await gate.entered()
        waiting = await engine.post("c", "waiting")
        assert await engine.interrupt("c", reason="enough")
        outcome = await engine.outcome(held.message_id)
        assert (outcome.kind, outcome.reason) == (OutcomeKind.CANCELLED, "enough")
        assert (await engine.outcome(waiting.message_id)).kind is OutcomeKind.ANSWERED


async def test_a_turn_that_ignores_the_interrupt_is_ended_by_force(tmp_path: Path) -> None:
    """After the grace, whatever the driver thinks of it."""

    class Deaf(InstantDriver):
        def interrupt(self, channel: str) -> None:
            self.interrupts.append(channel)

    gate = Gate()
    async with opened(plain_settings(tmp_path, interrupt_grace=0.05), driver=Deaf(gate)) as engine:
        held = await engine.post("c", "hold")
        await gate.entered()
        await engine.interrupt("c")
        assert (await engine.outcome(held.message_id)).kind is OutcomeKind.CANCELLED
        assert (await engine.ask("c", "next")).text == "echo: next"


# -- the store fails


async def test_a_failed_commit_withdraws_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sender is told, its place is free, its id is unknown, and the next one is answered."""
    fails = True
    accept = echo_actors.state.sqlite.SQLiteStore.accept

    async def refusing(*args: Any, **options: Any) -> Any:
        if fails:
            await trio.lowlevel.checkpoint()
            raise StoreError("the disk is gone")
        return await accept(*args, **options)

    monkeypatch.setattr(echo_actors.state.sqlite.SQLiteStore, "accept", refusing)
    driver, message_id = InstantDriver(), new_id()
    async with opened(plain_settings(tmp_path, mailbox_size=1), driver=driver) as engine:
        for _ in range(3):
            with pytest.raises(StoreError, match="the disk is gone"):
                await engine.post("c", "lost", message_id=message_id)
        fails = False
        with pytest.raises(InvalidMessage):
            await engine.outcome(message_id)
        assert (await engine.ask("c", "kept", message_id=message_id)).text == "echo: kept"
    assert texts(driver) == ["kept"]


@pytest.mark.parametrize("broken", ["claim", "snapshot"])
async def test_a_channel_that_cannot_be_loaded_refuses_to_be_changed_and_can_be_once_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """Whoever asks hears what the store said, then and there; nothing waits for a load that never comes."""
    store, fails = echo_actors.state.sqlite.SQLiteStore, True
    works = getattr(store, broken)

    async def failing(*args: Any) -> Any:
        if fails:
            await trio.lowlevel.checkpoint()
            raise StoreError("the disk is gone")
        return await works(*args)

    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("c", "one")
    monkeypatch.setattr(store, broken, failing)
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        with pytest.raises(StoreError, match="the disk is gone"):
            await engine.clear("c")
        with pytest.raises(StoreError, match="the disk is gone"):
            await engine.set_model("c", "opus")
        assert not await engine.prewarm("c")
        fails = False
        await engine.set_model("c", "opus")
        assert await engine.clear("c")
        await engine.ask("c", "two")
        session = await engine.session("c")
    assert session is not None
    assert (session.model, session.message_count) == ("opus", 1)


async def test_a_change_that_waits_for_a_turn_is_refused_when_the_engine_closes(tmp_path: Path) -> None:
    """The store may be closed before it could be kept."""
    gate, refused = Gate(), trio.Event()
    async with trio.open_nursery() as nursery:
        async with opened(plain_settings(tmp_path, drain_timeout=0.1), driver=InstantDriver(gate)) as engine:

            async def clear() -> None:
                with pytest.raises(EngineClosed):
                    await engine.clear("c")
                refused.set()

            await engine.post("c", "hold")
            await gate.entered()
            nursery.start_soon(clear)
            await trio.testing.wait_all_tasks_blocked()
        await refused.wait()


# -- idle actors


async def test_an_idle_actor_leaves_memory_and_comes_back_with_its_session(tmp_path: Path) -> None:
    """Nothing of the channel is held meanwhile."""
    async with opened(plain_settings(tmp_path, passivate_after=0.01), driver=InstantDriver()) as engine:
        before = await engine.ask("c", "one")
        await until(lambda: engine.status().live_channels == 0)
        after = await engine.ask("c", "two")
        snapshot = await engine.session("c")
    assert after.session_id == before.session_id
    assert snapshot is not None
    assert snapshot.message_count == 2


async def test_no_message_is_lost_at_the_moment_of_passivation(tmp_path: Path) -> None:
    """Messages that come just when their actor leaves are all answered, in order."""
    driver = InstantDriver()
    settings = plain_settings(tmp_path, passivate_after=0.001)
    async with opened(settings, driver=driver) as engine:
        for number in range(150):
            receipt = await engine.post("c", str(number))
            await engine.outcome(receipt.message_id)
            await trio.sleep(0.001 * (number % 3))
    assert texts(driver) == [str(number) for number in range(150)]


async def test_an_actor_stays_exactly_as_long_as_the_setting_says(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Counted from its last message, in virtual time."""
    del autojump_clock
    driver = InstantDriver()
    async with trio.open_nursery() as nursery:
        services = memory_services(driver, tmp_path, passivate_after=60.0)
        supervisor = Supervisor(services, nursery, 0, lambda: 0.0)
        for seconds, live in ((59.0, True), (59.0, True), (61.0, False), (0.5, True)):
            message = Message(message_id=new_id(), channel="c", text="hi", sequence=0, accepted_at=DAY)
            entry = (await supervisor.acceptance.accept(message)).message
            assert isinstance(entry, Entry)
            await entry.ended.wait()
            await trio.sleep(seconds)
            assert ("c" in supervisor.actors) is live
        nursery.cancel_scope.cancel()
    assert len(driver.requests) == 4


# -- the end of the engine


async def test_a_drain_lets_the_running_turn_end_and_keeps_the_rest_for_the_next_start(tmp_path: Path) -> None:
    """Nothing runs twice, and nothing is lost."""
    gate, settings = Gate(), plain_settings(tmp_path)
    first_driver, second_driver = InstantDriver(gate), InstantDriver()
    async with opened(settings, driver=first_driver) as engine:
        running = await engine.post("c", "hold")
        await gate.entered()
        waiting = [await engine.post("c", str(number)) for number in range(3)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.drain)
            await until(lambda: engine.status().closing)
            with pytest.raises(EngineClosed):
                await engine.post("c", "too late")
            gate.open()
        assert (await engine.outcome(running.message_id)).kind is OutcomeKind.ANSWERED
    assert texts(first_driver) == ["hold"]
    async with opened(settings, driver=second_driver) as engine:
        outcomes = [await engine.outcome(receipt.message_id) for receipt in waiting]
        assert (await engine.outcome(running.message_id)).kind is OutcomeKind.ANSWERED
    assert texts(second_driver) == ["0", "1", "2"]
    assert {(outcome.kind, outcome.attempts) for outcome in outcomes} == {(OutcomeKind.ANSWERED, 1)}


async def test_those_who_wait_for_a_queued_message_learn_that_the_engine_closed(tmp_path: Path) -> None:
    """A message that runs at the next start has no outcome yet."""
    gate, settings = Gate(), plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_closed, lambda: engine.ask("c", "waiting"))
            await until(lambda: engine.status().queued_messages == 1)
            nursery.start_soon(engine.drain)
            await until(lambda: engine.status().closing)
            gate.open()


async def test_a_turn_that_outlives_the_drain_is_cut_and_runs_again_without_a_counted_attempt(tmp_path: Path) -> None:
    """A clean drain does not bring a message nearer to its dead letter."""
    gate, settings = Gate(), plain_settings(tmp_path, drain_timeout=0.05)
    async with opened(settings, driver=InstantDriver(gate)) as engine:
        receipt = await engine.post("c", "hold")
        await gate.entered()
    async with opened(settings, driver=InstantDriver()) as engine:
        outcome = await engine.outcome(receipt.message_id)
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.ANSWERED, 1)


async def _expect_closed(call: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(EngineClosed):
        await call()


async def test_an_error_of_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    """Not wrapped in a group, and after the drain."""
    gate, settings = Gate(), plain_settings(tmp_path)
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:  # noqa: PT012 - that the whole block raises it is the point
        async with opened(settings, driver=InstantDriver(gate)) as engine:
            receipt = await engine.post("c", "hold")
            await gate.entered()
            gate.open()
            raise error
    assert caught.value is error
    async with opened(settings, driver=InstantDriver()) as engine:
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_of_the_program_drains(tmp_path: Path, error: type[BaseException]) -> None:
    """The running turn ends, and the directory is free for the next engine."""
    gate, settings = Gate(), plain_settings(tmp_path)
    driver = InstantDriver(gate)
    with pytest.raises(BaseException) as caught:  # noqa: PT011, PT012 - a nursery may wrap it
        async with opened(settings, driver=driver) as engine:
            receipt = await engine.post("c", "hold")
            await gate.entered()
            gate.open()
            raise error
    assert (
        caught.group_contains(error) if isinstance(caught.value, BaseExceptionGroup) else caught.errisinstance(error)
    )
    async with opened(settings, driver=InstantDriver()) as engine:
        outcome = await engine.outcome(receipt.message_id)
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.ANSWERED, 1)
    assert texts(driver) == ["hold"]


async def test_a_cancellation_of_the_block_drains(tmp_path: Path) -> None:
    """The drain is shielded and bounded, and the cancellation goes on afterwards."""
    gate, settings = Gate(), plain_settings(tmp_path)
    with trio.CancelScope() as scope:
        async with opened(settings, driver=InstantDriver(gate)) as engine:
            receipt = await engine.post("c", "hold")
            await gate.entered()
            gate.open()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    async with opened(settings, driver=InstantDriver()) as engine:
        outcome = await engine.outcome(receipt.message_id)
    assert (outcome.kind, outcome.attempts) == (OutcomeKind.ANSWERED, 1)


async def test_nothing_can_be_asked_of_a_closed_engine(tmp_path: Path) -> None:
    """Each call says so."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        pass
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: engine.post("c", "x"),
        lambda: engine.ask("c", "x"),
        lambda: engine.clear("c"),
        lambda: engine.set_model("c", "opus"),
    ]
    for call in calls:
        await _expect_closed(call)
    assert engine.status().closing
    assert not await engine.interrupt("c")


# -- outcomes


async def test_the_outcome_of_an_unknown_message_is_an_error(tmp_path: Path) -> None:
    """Waiting for it would never end."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        with pytest.raises(InvalidMessage, match="no message"):
            await engine.outcome(new_id())


async def test_an_outcome_outlives_the_engine(tmp_path: Path) -> None:
    """The same id again gives it too, and nothing runs."""
    settings, driver = plain_settings(tmp_path), InstantDriver()
    async with opened(settings, driver=InstantDriver()) as engine:
        receipt = await engine.post("c", "hello")
        before = await engine.outcome(receipt.message_id)
    async with opened(settings, driver=driver) as engine:
        assert await engine.outcome(receipt.message_id.upper()) == before
        assert await engine.ask("c", "hello", message_id=receipt.message_id) == before.reply
        assert (await engine.post("c", "hello", message_id=receipt.message_id)).sequence == receipt.sequence
    assert driver.requests == []


# -- subscribers


async def test_a_message_has_its_events_in_order(tmp_path: Path) -> None:
    """Accepted, started, its blocks, ended; each names channel and message."""
    async with (
        opened(plain_settings(tmp_path), driver=InstantDriver()) as engine,
        engine.subscribe("c") as subscription,
    ):
        receipt = await engine.post("c", "hello")
        events = []
        async for event in subscription:
            events.append(event)
            if isinstance(event, TurnEnded):
                break
    kinds = [type(event) for event in events if event.message_id == receipt.message_id]
    assert kinds == [Accepted, TurnStarted, BlockFinished, TurnEnded]
    assert {event.channel for event in events} == {"c"}
    cursors = [event.cursor for event in events]
    assert len(set(cursors)) == len(cursors)


async def test_a_subscriber_that_never_reads_slows_nobody_and_is_told_exactly_what_it_missed(tmp_path: Path) -> None:
    """The buffer is bounded; missed and read events add up to all."""
    settings = plain_settings(tmp_path, subscriber_buffer=10)
    async with (
        opened(settings, driver=InstantDriver()) as engine,
        engine.subscribe("c") as stuck,
    ):
        cursor = None
        for number in range(30):
            async with engine.stream("c", str(number)) as turn:
                async for event in turn:
                    cursor = event.cursor
        assert cursor is not None
        total = int(cursor.rpartition(":")[2])
        stuck.close()
        events = [event async for event in stuck]
    assert isinstance(events[0], Lagged)
    assert events[0].missed + len(events) - 1 == total
    assert len(events) == 11


async def test_a_subscriber_that_fails_or_leaves_breaks_no_turn(tmp_path: Path) -> None:
    """Its error is its own."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        with pytest.raises(KeyError):  # noqa: PT012 - that the whole block raises it is the point
            async with engine.subscribe("c") as subscription:
                receipt = await engine.post("c", "hold")
                async for _ in subscription:
                    raise KeyError
        async with engine.subscribe("c"):
            pass
        assert engine.status().subscribers == 0
        gate.open()
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED


async def test_a_subscription_ends_when_the_engine_closes(tmp_path: Path) -> None:
    """After the last event."""
    seen = []

    async def reader(engine: Engine, started: trio.Event) -> None:
        async with engine.subscribe() as subscription:
            started.set()
            seen.extend([event async for event in subscription])

    async with trio.open_nursery() as nursery, opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        started = trio.Event()
        nursery.start_soon(reader, engine, started)
        await started.wait()
        await engine.ask("c", "hello")
    assert isinstance(seen[-1], TurnEnded)


async def test_a_subscriber_goes_on_from_a_cursor(tmp_path: Path) -> None:
    """In the same run without loss; after a restart with a lag first."""
    settings = plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver()) as engine:
        async with engine.stream("c", "one") as turn:
            cursors = [event.cursor async for event in turn]
        await engine.ask("c", "two")
        async with engine.subscribe("c", since=cursors[-1]) as again:
            first = await anext(again)
    assert isinstance(first, Accepted)
    async with (
        opened(settings, driver=InstantDriver()) as engine,
        engine.subscribe("c", since=cursors[-1]) as later,
    ):
        assert isinstance(await anext(later), Lagged)


# -- streams


async def test_a_stream_has_its_own_messages_events_and_then_the_reply(tmp_path: Path) -> None:
    """Also when others wait in the same channel."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        async with engine.stream("c", "mine") as turn:
            await engine.post("c", "later")
            with pytest.raises(RuntimeError, match="not ended"):
                _ = turn.reply
            gate.open()
            events = [event async for event in turn]
            assert turn.reply.text == "echo: mine"
    assert {event.message_id for event in events} == {turn.message_id}
    assert isinstance(events[-1], TurnEnded)


async def test_a_stream_of_a_collected_message_has_the_events_of_the_common_turn(tmp_path: Path) -> None:
    """Though the blocks are published under the first of its messages."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        await engine.post("c", "hold")
        await gate.entered()
        first = await engine.post("c", "one", busy=BusyPolicy.COLLECT)
        async with engine.stream("c", "two", busy=BusyPolicy.COLLECT) as turn:
            gate.open()
            events = [event async for event in turn]
            reply = turn.reply
        other = (await engine.outcome(first.message_id)).reply
    assert next(type(event) for event in events if event.message_id == first.message_id) is BlockFinished
    assert other is not None
    assert (other.turn_id, other.text) == (reply.turn_id, reply.text)


async def test_a_stream_of_a_failed_turn_ends_and_its_reply_raises(tmp_path: Path) -> None:
    """As ``ask`` would."""
    driver = InstantDriver(lambda _: CLIFailed("it broke"))
    async with opened(plain_settings(tmp_path), driver=driver) as engine, engine.stream("c", "bad") as turn:
        events = [event async for event in turn]
        with pytest.raises(TurnFailed, match="it broke"):
            _ = turn.reply
    assert isinstance(events[-1], TurnEnded)


@pytest.mark.parametrize(
    ("on_cancel", "kind"), [("interrupt", OutcomeKind.CANCELLED), ("detach", OutcomeKind.ANSWERED)]
)
async def test_leaving_a_stream_early_does_what_was_asked(tmp_path: Path, on_cancel: Any, kind: OutcomeKind) -> None:
    """Interrupt the turn, or let it go on."""
    gate = Gate()
    driver = InstantDriver(gate)
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        async with engine.stream("c", "hold", on_cancel=on_cancel) as turn:
            async for event in turn:
                if isinstance(event, TurnStarted):
                    break
            await gate.entered()
        if on_cancel == "detach":
            gate.open()
        assert (await engine.outcome(turn.message_id)).kind is kind
    assert driver.interrupts == (["c"] if on_cancel == "interrupt" else [])


async def test_a_stream_of_a_known_message_has_its_reply_at_once(tmp_path: Path) -> None:
    """Nothing runs again, so no events come."""
    driver, message_id = InstantDriver(), new_id()
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        await engine.ask("c", "hello", message_id=message_id)
        async with engine.stream("c", "hello", message_id=message_id) as turn:
            assert [event async for event in turn] == []
            assert turn.reply.text == "echo: hello"
    assert len(driver.requests) == 1


async def test_a_stream_of_a_message_that_ended_while_nobody_looked_still_ends(tmp_path: Path) -> None:
    """Its events may all have been lost to a small buffer; the end is known all the same."""
    settings = plain_settings(tmp_path, subscriber_buffer=2)
    async with opened(settings, driver=InstantDriver()) as engine, engine.stream("c", "mine") as turn:
        await engine.outcome(turn.message_id)
        for number in range(5):
            await engine.ask("c", str(number))
        async for _ in turn:
            pass
        assert turn.reply.text == "echo: mine"


# -- sessions and operators


async def test_clear_begins_a_new_session_and_waits_for_the_running_turn(tmp_path: Path) -> None:
    """Messages that wait run in the new one."""
    gate = Gate()
    driver = InstantDriver(gate)
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        assert not await engine.clear("c")
        first = await engine.ask("c", "one")
        held = await engine.post("c", "hold")
        await gate.entered()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.clear, "c")
            await trio.testing.wait_all_tasks_blocked()
            gate.open()
        assert (await engine.outcome(held.message_id)).kind is OutcomeKind.ANSWERED
        assert await engine.session("c") is None
        third = await engine.ask("c", "three")
        snapshot = await engine.session("c")
    assert third.session_id != first.session_id
    assert snapshot is not None
    assert (snapshot.message_count, snapshot.session_id) == (1, third.session_id)
    assert driver.retired[-1] == ("c", "cleared")


async def test_a_chosen_model_holds_for_the_channel_and_outlives_the_engine(tmp_path: Path) -> None:
    """Other channels keep theirs."""
    settings, driver = plain_settings(tmp_path), InstantDriver()
    async with opened(settings, driver=driver) as engine:
        await engine.set_model("c", "opus")
        await engine.ask("c", "one")
        await engine.ask("other", "one")
    async with opened(settings, driver=driver) as engine:
        await engine.ask("c", "two")
    assert [request.launch.model for request in driver.requests] == ["opus", "sonnet", "opus"]


async def test_a_session_id_is_kept_only_after_a_turn_succeeded(tmp_path: Path) -> None:
    """A failed first turn leaves no session that cannot be resumed."""
    fails = True

    def answer(request: TurnRequest) -> Answer:
        return (
            CLIFailed("no")
            if fails
            else TurnResult(uuids=(request.turn_id,), session_id="changed-by-the-cli", text="yes", blocks=())
        )

    async with opened(plain_settings(tmp_path), driver=InstantDriver(answer)) as engine:
        with pytest.raises(TurnFailed):
            await engine.ask("c", "one")
        assert await engine.session("c") is None
        fails = False
        assert (await engine.ask("c", "two")).session_id == "changed-by-the-cli"
        snapshot = await engine.session("c")
    assert snapshot is not None
    assert snapshot.session_id == "changed-by-the-cli"


async def test_sessions_come_in_pages_by_name(tmp_path: Path) -> None:
    """Those behind the last name of the page before."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        for name in ("b", "a", "c"):
            await engine.ask(name, "hi")
        first = await engine.sessions(limit=2)
        second = await engine.sessions(after=first[-1].channel, limit=2)
    assert [each.channel for each in first + second] == ["a", "b", "c"]


async def test_the_status_counts_what_goes_on(tmp_path: Path) -> None:
    """And nothing when nothing does."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        idle = engine.status()
        await engine.post("c", "hold")
        await gate.entered()
        await engine.post("c", "waits")
        async with engine.subscribe():
            busy = engine.status()
        gate.open()
    assert (idle.live_channels, idle.running_turns, idle.queued_messages, idle.subscribers) == (0, 0, 0, 0)
    assert (busy.live_channels, busy.running_turns, busy.queued_messages, busy.subscribers) == (1, 1, 1, 1)
    assert (busy.closing, busy.suspended, busy.audit_problem) == (False, {}, None)
    assert engine.status().run_id == idle.run_id


async def test_an_answered_message_is_not_held_in_memory(tmp_path: Path) -> None:
    """What has ended is in the store alone."""
    async with opened(plain_settings(tmp_path, event_ring=1), driver=InstantDriver()) as engine:
        for number in range(20):
            await engine.ask("c", str(number))
        gc.collect()
        assert engine._supervisor._entries == {}


async def test_an_id_of_another_channel_is_refused(tmp_path: Path) -> None:
    """Its outcome would tell one channel what was said in another; a stream of it would wait for ever."""
    gate = Gate()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        ended, running = new_id(), new_id()
        await engine.ask("a", "for a alone", message_id=ended)
        await engine.post("a", "hold", message_id=running)
        await gate.entered()
        for message_id in (ended, running):
            with pytest.raises(InvalidMessage, match="another channel"):
                await engine.ask("b", "mine", message_id=message_id)
            with pytest.raises(InvalidMessage, match="another channel"):
                async with engine.stream("b", "mine", message_id=message_id):
                    pass
        gate.open()
        assert (await engine.outcome(running)).kind is OutcomeKind.ANSWERED


async def test_a_stream_may_be_left_after_the_engine_has_closed(tmp_path: Path) -> None:
    """There is nothing to withdraw any more; the message runs at the next start."""
    gate, entered, closed = Gate(), trio.Event(), trio.Event()

    async def watch(engine: Engine) -> None:
        async with engine.stream("c", "hold"):
            entered.set()
            await closed.wait()

    async with trio.open_nursery() as nursery:
        async with opened(plain_settings(tmp_path, drain_timeout=0.01), driver=InstantDriver(gate)) as engine:
            nursery.start_soon(watch, engine)
            await entered.wait()
            await gate.entered()
        closed.set()
    async with opened(plain_settings(tmp_path), driver=(driver := InstantDriver())) as engine:
        await until(lambda: texts(driver) == ["hold"])
