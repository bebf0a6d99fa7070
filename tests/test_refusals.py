"""What is taken in twice, cannot be kept, or cannot be run: each ends, and only its own message pays for it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing
from support import DAY, Gate, memory_services, new_id, opened, plain_settings

from echo_actors import Block, CLIFailed, Engine, OutcomeKind, StoreFull, TurnFailed
from echo_actors.actors.supervisor import Supervisor
from echo_actors.claude.driver import Phase, TurnListener, TurnRequest, TurnResult
from echo_actors.models import Message
from echo_actors.testing.instant_driver import InstantDriver, echo
from echo_actors.testing.memory_store import MemoryDisk


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
    """The first call's commit is refused: the second tries for itself, and nobody waits for ever."""
    disk = MemoryDisk(full=True)
    async with trio.open_nursery() as nursery:
        services = memory_services(InstantDriver(), tmp_path, disk=disk)
        supervisor = Supervisor(services, nursery, 0, lambda: 0.0)
        message = Message(message_id=new_id(), channel="c", text="hi", sequence=0, accepted_at=DAY)
        refused = 0
        for _ in range(2):
            with pytest.raises(StoreFull):
                await supervisor.acceptance.accept(message)
            refused += 1
        disk.full = False
        taken = await supervisor.acceptance.accept(message)
        assert taken.new
        nursery.cancel_scope.cancel()
    assert refused == 2


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
