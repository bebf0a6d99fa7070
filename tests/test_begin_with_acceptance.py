"""A message's acceptance and its turn's start reach the disk together; neither is believed before it has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
import trio
from support import memory_services, new_id, opened, plain_settings

from echo_actors import Accepted, StoreError, TurnStarted
from echo_actors.actors.channel import ChannelActor
from echo_actors.actors.idleness import Idleness
from echo_actors.actors.mailbox import Entry
from echo_actors.actors.supervisor import Supervisor
from echo_actors.engine.intake import new_message
from echo_actors.errors import StoreFull
from echo_actors.models import BusyPolicy, Message, OutcomeKind
from echo_actors.state.records import Claim, End, StoredMessage
from echo_actors.testing.instant_driver import InstantDriver
from echo_actors.testing.memory_store import MemoryStore


@attrs.define(eq=False)
class SlowStore(MemoryStore):
    """A store whose acceptances wait for the test, and then succeed or fail with all that was asked meanwhile.

    Attributes:
        asked: What was asked, in order.
    """

    fails: bool = False
    asked: list[str] = attrs.field(factory=list)
    let_go: trio.Event = attrs.field(factory=trio.Event)

    async def accept(self, message: Message, *, ends: Sequence[End] = ()) -> StoredMessage | None:
        """Wait, then accept."""
        self.asked.append("accept")
        with trio.CancelScope(shield=True):
            await self.let_go.wait()
        if self.fails:
            raise StoreFull("no room")
        return await super().accept(message, ends=ends)

    async def start(self, claim: Claim, messages: Sequence[Message], *, turn_id: str, session_id: str) -> None:
        """Wait for the acceptance before it, then start."""
        self.asked.append("start")
        with trio.CancelScope(shield=True):
            await self.let_go.wait()
            await trio.testing.wait_all_tasks_blocked()
        await super().start(claim, messages, turn_id=turn_id, session_id=session_id)


async def _run(store: SlowStore, tmp_path: Path) -> tuple[InstantDriver, StoreError | None, OutcomeKind | None]:
    """Accept one message on this store; give what its turn and its sender got."""
    driver, error, kind = InstantDriver(), None, None
    services = attrs.evolve(memory_services(driver, tmp_path), store=store)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(services, nursery, 0, lambda: 0.0)
            message = new_message("c", "hello", {}, now=services.now(), max_bytes=100, new_id=new_id)

            async def release() -> None:
                await trio.testing.wait_all_tasks_blocked()
                assert driver.requests == []
                store.let_go.set()

            nursery.start_soon(release)
            try:
                entry = (await supervisor.acceptance.accept(message)).message
            except StoreError as problem:
                error = problem
            else:
                await entry.ended.wait()  # type: ignore[union-attr]  # it was not known before
                kind = entry.outcome.kind if entry.outcome else None
            await trio.testing.wait_all_tasks_blocked()
            assert supervisor.actors["c"].mailbox.depth == 0
            await supervisor.drain(1.0)
            nursery.cancel_scope.cancel()
    return driver, error, kind


async def test_the_start_is_asked_for_before_the_acceptance_is_done(tmp_path: Path) -> None:
    """So that both share a commit; the CLI sees nothing before that."""
    store = SlowStore()
    driver, error, kind = await _run(store, tmp_path)
    assert store.asked == ["accept", "start"]
    assert (error, kind, len(driver.requests)) == (None, OutcomeKind.ANSWERED, 1)


async def test_a_message_whose_acceptance_failed_is_not_run(tmp_path: Path) -> None:
    """Its sender is told, its channel goes on, and the CLI never sees it."""
    store = SlowStore(fails=True)
    driver, error, _ = await _run(store, tmp_path)
    assert isinstance(error, StoreFull)
    assert store.asked == ["accept", "start"]
    assert driver.requests == []
    assert store.disk.messages == {}


async def test_no_message_joins_one_that_may_still_be_refused(tmp_path: Path) -> None:
    """It would be lost with it; once that is on disk they share a turn."""
    services = memory_services(InstantDriver(), tmp_path)
    actor = ChannelActor("c", services, lambda _: None, Entry.of, lambda _: None, Idleness(60))
    first, second = (
        Entry(
            new_message(
                "c", text, {"busy": BusyPolicy.COLLECT}, now=services.now(), max_bytes=100, new_id=new_id
            ).numbered(number)
        )
        for number, text in enumerate(("one", "two"))
    )
    actor.mailbox.offer(first)
    actor.mailbox.offer(second)
    second.commit()
    assert await actor.mailbox.next() is first
    assert actor.mailbox.begin(first)
    assert actor.runner.beginnings.gather(first) == [first]
    first.commit()
    assert actor.runner.beginnings.gather(first) == [first, second]


async def test_acceptance_is_announced_before_the_start(tmp_path: Path) -> None:
    """Whichever of the two tasks runs first."""
    driver = InstantDriver()
    async with opened(plain_settings(tmp_path), driver=driver) as engine, engine.subscribe() as events:
        for _ in range(40):
            await engine.ask("c", "hello")
        order = [type(await anext(events)) for _ in range(150)]
    kinds = [kind for kind in order if kind in (Accepted, TurnStarted)]
    assert kinds[:20] == [Accepted, TurnStarted] * 10
    assert kinds == [(Accepted, TurnStarted)[place % 2] for place in range(len(kinds))]


async def test_an_id_that_waits_in_another_channel_is_started_there_only(tmp_path: Path) -> None:
    """The second use of the id counts no attempt of the first."""
    message_id = new_id()
    async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
        await engine.ask("one", "hello", message_id=message_id)
        with pytest.raises(ValueError, match="another channel"):
            await engine.ask("two", "hello", message_id=message_id)
        assert (await engine.outcome(message_id)).attempts == 1
        assert (await engine.ask("two", "again")).text == "echo: again"
