"""The engine for asyncio, in debug mode: the same calls, cancellation at every step and both ways, batches of events."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest
import trio
from portal_support import CHANNEL, WITHIN, engine_threads, finish, in_engine
from support import new_id, plain_settings

from echo_actors import (
    Engine,
    EngineClosed,
    InvalidMessage,
    Lagged,
    OutcomeKind,
    StoreLocked,
    TurnEnded,
    TurnFailed,
    WrongLoop,
)
from echo_actors.claude.driver import TurnRequest, TurnResult
from echo_actors.errors import CLIFailed
from echo_actors.models import Block
from echo_actors.portal import open_async_portal
from echo_actors.portal.callbacks import on_loop
from echo_actors.portal.lane import AT_A_TIME, Lane
from echo_actors.portal.pipe import AHEAD
from echo_actors.testing.instant_driver import InstantDriver, echo
from echo_actors.testing.puppet_driver import PuppetDriver

T = TypeVar("T")

Interrupted = Callable[[Engine], Awaitable[object]]


@pytest.fixture(autouse=True)
def nothing_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test leaves a thread of an engine, and asyncio complains of nothing."""
    caplog.set_level(logging.ERROR, logger="asyncio")
    yield
    gc.collect()
    assert engine_threads() == []
    assert [record.getMessage() for record in caplog.get_records("call")] == []


def runs(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a program of asyncio in debug mode; fails when it takes too long or leaves a task."""

    async def bounded() -> T:
        async with asyncio.timeout(WITHIN):
            result = await main()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    return asyncio.run(bounded(), debug=True)


def portal(tmp_path: Path, driver: Any = None, **overrides: Any) -> AbstractAsyncContextManager[Engine]:
    """An engine with a driver in this process."""
    return open_async_portal(plain_settings(tmp_path, **overrides), driver=driver or InstantDriver())


async def finished(engine: Engine, puppet: PuppetDriver, channel: str = CHANNEL) -> None:
    """Let the channel's turn be answered, once it has begun."""
    await asyncio.to_thread(finish, engine, puppet, channel)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what tells nobody."""
    while not holds():  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.002)


# -- calls


def test_a_program_of_asyncio_asks_and_gets_the_reply(tmp_path: Path) -> None:
    """Every kind of call: awaited ones, plain ones, properties."""

    async def main() -> None:
        async with portal(tmp_path) as engine:
            assert isinstance(engine, Engine)
            assert (await engine.ask(CHANNEL, "Hello")).text == "echo: Hello"
            receipt = await engine.post(CHANNEL, "And you?")
            assert (await engine.outcome(receipt.message_id)).kind is OutcomeKind.ANSWERED
            assert engine.status().live_channels == 1
            assert engine.settings.model == "sonnet"
            session = await engine.session(CHANNEL)
            assert await engine.sessions() == [session]

    runs(main)


def test_a_stream_is_an_async_iterator_of_the_loop(tmp_path: Path) -> None:
    """With the reply afterwards."""

    async def main() -> None:
        async with portal(tmp_path) as engine:
            async with engine.stream(CHANNEL, "Hello") as turn:
                kinds = [type(event).__name__ async for event in turn]
            assert kinds == ["Accepted", "TurnStarted", "BlockFinished", "TurnEnded"]
            assert turn.reply.text == "echo: Hello"

    runs(main)


def test_many_tasks_ask_at_once(tmp_path: Path) -> None:
    """Each gets its own answer."""

    async def main() -> None:
        async with portal(tmp_path) as engine, asyncio.TaskGroup() as group:
            asks = [group.create_task(engine.ask(f"discord:{number % 10}", str(number))) for number in range(100)]
        assert [each.result().text for each in asks] == [f"echo: {number}" for number in range(100)]

    runs(main)


def test_an_error_comes_with_its_traceback_from_the_engine(tmp_path: Path) -> None:
    """From who asked down to where it was raised."""

    async def main() -> None:
        async with portal(tmp_path, InstantDriver(answer=lambda _: CLIFailed("no"))) as engine:
            with pytest.raises(TurnFailed) as caught:
                await engine.ask(CHANNEL, "Hello")
            frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
            assert (frames[0], frames[-1]) == ("main", "answer")
            with pytest.raises(InvalidMessage):
                async with engine.stream("", "Hello"):
                    raise AssertionError

    runs(main)


def test_a_second_engine_on_the_same_state_is_refused_where_it_is_opened(tmp_path: Path) -> None:
    """And the first goes on."""

    async def main() -> None:
        async with portal(tmp_path) as engine:
            with pytest.raises(StoreLocked):
                async with portal(tmp_path):
                    raise AssertionError
            assert (await engine.ask(CHANNEL, "Hello")).text == "echo: Hello"

    runs(main)


def test_two_portals_live_side_by_side(tmp_path: Path) -> None:
    """Each with its own state."""

    async def main() -> None:
        async with portal(tmp_path / "a") as one, portal(tmp_path / "b") as other:
            await asyncio.gather(one.ask(CHANNEL, "Hello"), other.ask(CHANNEL, "Hello"))
            assert one.status().run_id != other.status().run_id

    runs(main)


def test_an_engine_belongs_to_the_loop_that_opened_it(tmp_path: Path) -> None:
    """Another loop, or none, is told so."""

    async def main() -> None:
        async with portal(tmp_path) as engine:

            async def ask() -> None:
                await engine.ask(CHANNEL, "Hello")

            with pytest.raises(WrongLoop):
                await asyncio.to_thread(asyncio.run, ask())
            with pytest.raises(WrongLoop):
                await asyncio.to_thread(engine.status)

    runs(main)


def test_the_context_of_the_caller_is_that_of_its_call(tmp_path: Path) -> None:
    """Tasks have each their own."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

    async def main() -> None:
        async with portal(tmp_path) as engine:

            async def look() -> str:
                return variable.get()

            async def ask(value: str) -> str:
                variable.set(value)
                return await asyncio.wrap_future(engine._thread.call(look).future)  # type: ignore[attr-defined]

            assert await asyncio.gather(ask("one"), ask("two")) == ["one", "two"]

    runs(main)


# -- cancellation


@attrs.frozen
class Ended:
    """How a task went that was to be cancelled at a step: the step, and whether it came to that."""

    step: int
    cancelled: bool


async def cancelled_at(step: int, call: Coroutine[Any, Any, object]) -> Ended:
    """Run a call in a task, and cancel it when the loop has gone so many rounds."""
    task = asyncio.create_task(call)
    for _ in range(step):
        await asyncio.sleep(0)
        if task.done():
            break
    cancelled = task.cancel()
    with suppress(asyncio.CancelledError, TurnFailed):
        await task
    return Ended(step, cancelled)


async def ask(engine: Engine) -> None:
    await engine.ask(CHANNEL, "Hello", message_id=IDS[-1])


async def stream(engine: Engine) -> None:
    async with engine.stream(CHANNEL, "Hello", message_id=IDS[-1]) as turn:
        async for _ in turn:
            await asyncio.sleep(0)


async def subscribe(engine: Engine) -> None:
    async with engine.subscribe() as events:
        await engine.ask(CHANNEL, "Hello", message_id=IDS[-1])
        async for event in events:
            if isinstance(event, TurnEnded):
                break


IDS: list[str] = []
