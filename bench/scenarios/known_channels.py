"""Many known channels on disk against few: the cost of a message, of starting, and of listing the sessions.

A known channel has a snapshot and some ended messages in the store. The same number of channels talks in both stores,
chosen at random from all. Each engine runs in a process of its own; the driver answers at once.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
from collections import deque
from contextlib import AbstractAsyncContextManager, closing
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from bench.apart import apart
from bench.harness import Harness
from bench.memory import own_bytes, settle
from bench.report import Result, Round, Target
from bench.seed import channel_name, seed_store
from bench.statistics import percentile
from echo_actors import Engine, Settings, open_engine
from echo_actors.state.sqlite import DATABASE_NAME
from echo_actors.testing.instant_driver import InstantDriver

KNOWN: Final = 100_000
FEW: Final = 100
ENDED: Final = 2
TALKING: Final = 100
MESSAGES: Final = 50

_PAGE: Final = 100
_PAGES: Final = 20

COST: Final = Target(f"CPU per turn, {KNOWN:,} known channels : {FEW}", "<=", 1.2)


async def run(harness: Harness) -> Result:
    """Seed two stores, then measure on copies of them in alternation."""
    known = harness.size.of("channels", full=KNOWN, quick=1000)
    messages = harness.size.of("messages", full=MESSAGES, quick=5)
    talking = min(TALKING, known)
    with tempfile.TemporaryDirectory(prefix="echo-actors-bench-") as name:
        stores = Path(name)
        for channels in (known, FEW):
            harness.on_step(f"seeding {channels:,} channels", 0, 1)
            await trio.to_thread.run_sync(
                partial(seed_store, stores / str(channels), channels=channels, messages=ENDED)
            )

        async def contend(channels: int) -> Round:
            with harness.workplace() as workplace:
                shutil.copytree(stores / str(channels), workplace.state)
                return await _measure(workplace.state, channels=channels, talking=talking, messages=messages)

        many, few = f"{known:,} known", f"{FEW} known"
        result = Result(
            scenario="known channels",
            parameters={"known channels": known, "talking channels": talking, "messages": messages},
            full=(known, messages) == (KNOWN, MESSAGES),
            rounds=await harness.alternate({many: partial(contend, known), few: partial(contend, FEW)}),
        )
    return attrs.evolve(result, checks=[result.ratio(COST, many, few, "own_cpu_ms_per_turn")])


async def _measure(state: Path, **sizes: int) -> Round:
    """Start on a store that was closed properly and talk; then start on it once more, as after a crash."""
    figures = await apart(talk, state_dir=str(state), **sizes)
    with closing(sqlite3.connect(state / DATABASE_NAME)) as connection, connection:
        connection.execute("UPDATE meta SET clean = 0")
    crashed = await apart(start, state_dir=str(state))
    return {**figures, "start_after_crash_ms": crashed["start_ms"]}


async def start(state_dir: str) -> Round:
    """Time an engine's start."""
    began = time.perf_counter()
    async with _engine(state_dir):
        return {"start_ms": (time.perf_counter() - began) * 1000}


async def talk(state_dir: str, channels: int, talking: int, messages: int) -> Round:
    """Time an engine's start, its listing and its turns; see what memory it takes."""
    began = time.perf_counter()
    async with _engine(state_dir) as engine:
        started = time.perf_counter() - began
        settle()
        memory = own_bytes()
        page = percentile([await _timed(engine, channels, number) for number in range(_PAGES)], 50)
        began = time.perf_counter()
        assert await _walk(engine) == channels
        walked = time.perf_counter() - began
        chosen = random.Random(1).sample(range(channels), talking)  # noqa: S311 - a load, not a secret
        await _converse(engine, chosen, 2)
        began, cpu_began = time.perf_counter(), time.process_time()
        await _converse(engine, chosen, messages)
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        settle()
        return {
            "own_cpu_ms_per_turn": cpu / (talking * messages) * 1000,
            "turns_per_s": talking * messages / elapsed,
            "start_ms": started * 1000,
            "page_ms": page * 1000,
            "walk_ms_per_1000": walked / channels * 1_000_000,
            "own_mb_at_start": memory / 1e6,
            "own_mb_after": own_bytes() / 1e6,
        }


def _engine(state_dir: str) -> AbstractAsyncContextManager[Engine]:
    driver = InstantDriver(requests=deque(maxlen=1))
    return open_engine(Settings(state_dir=Path(state_dir)), driver=driver)


async def _timed(engine: Engine, channels: int, number: int) -> float:
    """Seconds that a page takes, somewhere in the list."""
    after = channel_name(number * max(0, channels - _PAGE) // _PAGES)
    began = time.perf_counter()
    assert await engine.sessions(after=after, limit=_PAGE)
    return time.perf_counter() - began


async def _walk(engine: Engine) -> int:
    """Go through all sessions, page by page; give how many there are."""
    found, after = 0, ""
    while page := await engine.sessions(after=after, limit=_PAGE):
        found, after = found + len(page), page[-1].channel
    return found


async def _converse(engine: Engine, chosen: list[int], messages: int) -> None:
    """Let some channels talk at the same time."""

    async def one(channel: str) -> None:
        for turn in range(messages):
            await engine.ask(channel, f"message {turn}")

    async with trio.open_nursery() as nursery:
        for number in chosen:
            nursery.start_soon(one, channel_name(number))
