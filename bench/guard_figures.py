"""What the guard measures: ratios of the least processor time that a turn takes, in many short goes by turns.

Processor time, because a busy machine stretches it less than it stretches waiting. The least of many short goes,
because whatever else runs only adds to it (by half, where the median was looked at), and a go of a few milliseconds
is often left alone. Ratios, because a faster machine is faster at both. One message at a time, because then each turn
is the same work: no commit is shared, nothing waits for a slot.
"""

from __future__ import annotations

import gc
import math
import sqlite3
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs
import orjson
import trio

from bench.bare import BareCLI
from bench.harness import Harness, Size
from echo_actors import Engine, open_engine
from echo_actors.claude.driver import TurnRequest
from echo_actors.simulator.cli import write_scripted_cli
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo

ALONE: Final = "engine alone : a fixed piece of work"
ON_A_CLI: Final = "engine : bare loop of five turns, on an instant CLI"
MANY_KNOWN: Final = "many known channels : few"

_WORK_PER_TURN: Final = 40
"""So much that it takes about as long as a turn."""

_BARE_PART: Final = 5
"""How many turns of the bare loop take about as long as one of an engine."""

Turns = Callable[[int], Awaitable[None]]
"""Does so many turns, one after the other."""


@attrs.frozen
class Extent:
    """How much is measured.

    Attributes:
        rounds: How many goes each has.
        turns: How many turns a go has.
        known: How many channels are many.
    """

    rounds: int = 60
    turns: int = 15
    known: int = 2000


async def measure(
    extent: Extent, *, drag: float = 0.0, on_step: Callable[[str, int, int], None] = lambda *_: None
) -> dict[str, float]:
    """Measure all figures at once.

    Args:
        extent: How much.
        drag: Seconds of work that each turn of an engine is slowed down by, to see that it shows.
        on_step: Told how far it is.
    """
    with TemporaryDirectory(prefix="echo-actors-guard-") as name:
        cli = write_scripted_cli(Path(name))
        harness = Harness(cli=cli, scripted_cli=cli, model_url="http://127.0.0.1:9", size=Size(), on_step=on_step)
        async with (
            _alone(harness, drag, known=10) as few,
            _alone(harness, drag, known=extent.known) as many,
            _on_a_cli(harness, drag) as engine,
            _bare(harness) as bare,
        ):
            contenders: dict[str, Turns] = {
                "few": few,
                "fixed": _fixed_work,
                "many": many,
                "engine": engine,
                "bare": bare,
            }
            for turns in contenders.values():
                await turns(extent.turns)
            cost = await _least_costs(contenders, extent, on_step)
    return {
        ALONE: cost["few"] / cost["fixed"],
        ON_A_CLI: cost["engine"] / cost["bare"],
        MANY_KNOWN: cost["many"] / cost["few"],
    }


async def _least_costs(
    contenders: Mapping[str, Turns], extent: Extent, on_step: Callable[[str, int, int], None]
) -> dict[str, float]:
    """The least that a go of each contender took of this process's time on the processor."""
    costs = dict.fromkeys(contenders, math.inf)
    for number in range(extent.rounds):
        on_step(f"round {number + 1}", number, extent.rounds)
        gc.collect()
        for name, turns in contenders.items():
            began = time.process_time()
            await turns(extent.turns)
            costs[name] = min(costs[name], time.process_time() - began)
    return costs


@asynccontextmanager
async def _alone(harness: Harness, drag: float, *, known: int) -> AsyncIterator[Turns]:
    """An engine whose driver answers at once, and that knows so many channels; their actors have left memory."""

    def answer(request: TurnRequest) -> Answer:
        _burn(drag)
        return echo(request)

    driver = InstantDriver(answer, requests=deque(maxlen=1))
    with harness.workplace() as workplace:
        settings = harness.settings(workplace)
        instant = InstantDriver(requests=deque(maxlen=1))
        async with open_engine(settings, driver=instant) as engine, trio.open_nursery() as nursery:
            for number in range(known):
                nursery.start_soon(engine.ask, f"known:{number}", "hello")
        async with open_engine(settings, driver=driver) as engine:
            yield _asking(engine, channels=10)


@asynccontextmanager
async def _on_a_cli(harness: Harness, drag: float) -> AsyncIterator[Turns]:
    """An engine on the scripted CLI."""
    with harness.workplace() as workplace:
        async with open_engine(harness.settings(workplace)) as engine:
            ask = _asking(engine, channels=1)

            async def turns(count: int) -> None:
                _burn(drag * count)
                await ask(count)

            yield turns


@asynccontextmanager
async def _bare(harness: Harness) -> AsyncIterator[Turns]:
    """The scripted CLI, written to and read from."""
    with harness.workplace() as workplace:
        async with BareCLI.like(harness.settings(workplace), workplace).process(str(uuid.uuid4())) as process:

            async def turns(count: int) -> None:
                for number in range(count * _BARE_PART):
                    await process.ask(f"message {number}")

            yield turns


def _asking(engine: Engine, *, channels: int) -> Turns:
    async def turns(count: int) -> None:
        for number in range(count):
            await engine.ask(f"known:{number % channels}", f"message {number}")

    return turns


async def _fixed_work(count: int) -> None:
    """Work of the kinds that a turn consists of, which no change of the engine changes."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.execute("CREATE TABLE work (id INTEGER PRIMARY KEY, channel TEXT, body BLOB)")
    for number in range(count * _WORK_PER_TURN):
        body = orjson.dumps({"channel": f"channel {number % 10}", "values": list(range(50)), "text": "x" * 200})
        database.execute("INSERT INTO work (channel, body) VALUES (?, ?)", (f"channel {number % 10}", body))
        (read,) = database.execute("SELECT body FROM work WHERE id = ?", (number + 1,)).fetchone()
        assert sum(orjson.loads(read)["values"]) == sum(value for value in range(50))
        await trio.lowlevel.checkpoint()
    database.close()


def _burn(seconds: float) -> None:
    ends = time.process_time() + seconds
    while time.process_time() < ends:
        pass
