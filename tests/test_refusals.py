"""What is taken in twice, cannot be kept, or cannot be run: each ends, and only its own message pays for it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from support import DAY, Gate, memory_services, new_id, opened, plain_settings, until

from echo_actors import Block, BusyPolicy, CLIFailed, Engine, OutcomeKind, StoreFull, TurnFailed
from echo_actors.actors.acceptance import Taken
from echo_actors.actors.supervisor import Supervisor
from echo_actors.claude.driver import Phase, TurnListener, TurnRequest, TurnResult
from echo_actors.models import Message
from echo_actors.state.records import End, StoredMessage
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo
from echo_actors.testing.memory_store import MemoryStore


async def test_who_repeats_a_message_does_not_take_it_back(tmp_path: Path) -> None:
    """A second call with the same id may be cancelled; the message belongs to the first."""
    gate, message_id = Gate(), new_id()
    async with opened(plain_settings(tmp_path), driver=InstantDriver(gate)) as engine:
        async with trio.open_nursery() as nursery:
            await engine.post("c", "hold", message_id=message_id)
            await gate.entered()
            nursery.start_soon(partial(engine.ask, "c", "hold", message_id=message_id))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        gate.open()
        assert (await engine.outcome(message_id)).kind is OutcomeKind.ANSWERED


async def test_a_repeated_message_is_acknowledged_only_once_it_is_on_disk(tmp_path: Path) -> None:
    """It came again while the first was being stored; that fails, so the second is stored for itself."""
    writing, release, taken = trio.Event(), trio.Event(), list[Taken]()

    class RefusingOnce(MemoryStore):
        async def accept(self, message: Message, *, ends: Sequence[End] = ()) -> StoredMessage | None:
            if writing.is_set():
                return await super().accept(message, ends=ends)
            writing.set()
            await release.wait()
            raise StoreFull("no room")

    store = RefusingOnce()
    async with trio.open_nursery() as nursery:
        services = attrs.evolve(memory_services(InstantDriver(), tmp_path), store=store)
        supervisor = Supervisor(services, nursery, 0, lambda: 0.0)
        message = Message(message_id=new_id(), channel="c", text="hi", sequence=0, accepted_at=DAY)

        async def first() -> None:
            with pytest.raises(StoreFull):
                await supervisor.acceptance.accept(message)

        async def second() -> None:
            taken.append(await supervisor.acceptance.accept(message))

        nursery.start_soon(first)
        await writing.wait()
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        too_early = list(taken)
        release.set()  # before anything is asserted: the store's call is shielded, and would hold a failing test
        await until(lambda: bool(taken))
        assert too_early == []
        assert taken[0].new
        assert await store.message(message.message_id) is not None
        nursery.cancel_scope.cancel()


async def test_one_who_gives_up_does_not_end_a_turn_that_others_share(tmp_path: Path) -> None:
    """Collected messages are one turn; cancelling one of two callers leaves the other's answer alone."""
    busy, shared = Gate("first"), Gate("pair")

    def answer(request: TurnRequest) -> Answer | Awaitable[Answer]:
        return busy(request) if "first" in request.content else shared(request)

    driver = InstantDriver(answer)
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        await engine.post("c", "first")
        await busy.entered()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(engine.ask, "c", "pair a", busy=BusyPolicy.COLLECT))
            await until(lambda: engine.status().queued_messages == 1)
            receipt = await engine.post("c", "pair b", busy=BusyPolicy.COLLECT)
            busy.open()
            await shared.entered()
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        shared.open()
        assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
    assert driver.interrupts == []


async def test_a_reply_that_no_store_can_keep_fails_its_message_and_not_the_channel(tmp_path: Path) -> None:
    """A number of more than 64 bits will not fit at the second try either."""

    def answer(request: TurnRequest) -> TurnResult:
        block = Block("tool_use", name="T", data={"n": 2**70 if "huge" in request.content else 1})
        return attrs.evolve(echo(request), blocks=(block,))

    async with opened(plain_settings(tmp_path), driver=InstantDriver(answer)) as engine:
        with pytest.raises(TurnFailed) as caught:
            await engine.ask("c", "huge")
        assert caught.value.outcome.error == "not_storable"
        assert (await engine.ask("c", "small")).text == "echo: small"


async def test_starts_that_the_machine_refused_do_not_cost_the_session(tmp_path: Path) -> None:
    """Only a CLI that ran, and gave up by itself, may be saying something of the session."""
    codes = iter((None, None, -9, -9, 1, 1))

    class Refusing(InstantDriver):
        async def run_turn(self, request: TurnRequest, listener: TurnListener) -> TurnResult:
            code = next(codes, 0) if "refuse" in request.content else 0
            if code != 0:
                listener.on_phase(Phase.STARTING)
                raise CLIFailed("no", code)
            return await super().run_turn(request, listener)

    async def refused(engine: Engine, times: int) -> None:
        for _ in range(times):
            with pytest.raises(TurnFailed):
                await engine.ask("c", "refuse")

    async with opened(plain_settings(tmp_path), driver=Refusing()) as engine:
        session = (await engine.ask("c", "one")).session_id
        await refused(engine, 4)
        assert (await engine.ask("c", "two")).session_id == session
        await refused(engine, 1)
        # The second in a row is tried once more, in a fresh session.
        assert (await engine.ask("c", "refuse once")).session_id != session


async def test_an_interrupt_of_the_program_comes_out_as_it_is(tmp_path: Path) -> None:
    """``except KeyboardInterrupt`` around the engine's block is how programs expect Ctrl-C."""

    async def program() -> None:
        async with opened(plain_settings(tmp_path), driver=InstantDriver()) as engine:
            await engine.ask("c", "hello")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await program()
