"""A program that uses an engine and ends at a named point; the tests that kill it are its only users.

Run as ``python engine_program.py ORDERS.json`` it opens an engine, posts messages, writes one line per event to
standard output, and goes on until it is killed, or until SIGTERM makes it drain.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import attrs
import orjson
import trio

from echo_actors import Engine, Settings, open_engine
from echo_actors.claude import forking
from echo_actors.claude.driver import TurnRequest
from echo_actors.claude.residency import Residency
from echo_actors.errors import StoreError, StoreFull
from echo_actors.events import ToolStarted
from echo_actors.models import BusyPolicy
from echo_actors.state.sqlite import SQLiteStore
from echo_actors.testing.instant_driver import InstantDriver

_PATHS = ("state_dir", "working_dir", "claude_bin")

POINTS = {
    "accepted": ("accept", "after"),
    "started": ("start", "after"),
    "unstored": ("finish", "before"),
    "ended": ("finish", "after"),
    "copied": ("save", "before"),
    "forked": ("save", "after"),
}
"""Where the program can kill itself: before or after a write to the store. ``working`` is within a tool's use, and
``copying`` within the copy of a conversation."""


@attrs.frozen(kw_only=True)
class Orders:
    """What the program is to do.

    Attributes:
        posts: Messages as (id, channel, text), accepted one after the other.
        die_at: The point at which it kills itself; empty for never.
        nth: How often it passes the point before that.
        drain: Seconds for running turns when SIGTERM comes.
        stuck: Whether no turn ever ends; no CLI is started then.
        refuses: A method of the store that never finds room.
        busy: The busy policy of all but the first message.
        deadline: Seconds until the messages expire, if they have not begun.
        fork: A channel, and the one that it is forked into once the first message has ended.
        limit: Whether the program, instead of all that, lets its files not grow for a while, and ends by itself.
    """

    settings: dict[str, Any]
    posts: list[tuple[str, str, str]]
    die_at: str = ""
    nth: int = 1
    drain: float = 5.0
    stuck: bool = False
    refuses: str = ""
    busy: str = "queue"
    deadline: float | None = None
    fork: tuple[str, str] | None = None
    limit: bool = False


def portable(settings: Settings) -> dict[str, Any]:
    """Those settings that are not the defaults, as JSON takes them."""
    plain = attrs.asdict(Settings(), recurse=False)
    given = {name: value for name, value in attrs.asdict(settings, recurse=False).items() if value != plain[name]}
    return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}


async def killed(settings: Settings, *posts: tuple[str, str, str], at: str, nth: int = 1, **further: Any) -> None:
    """Run the program until it kills itself."""
    orders = Orders(settings=portable(settings), posts=list(posts), die_at=at, nth=nth, **further)
    with trio.fail_after(30):
        async with running(settings, orders) as process:
            assert await process.wait() == -signal.SIGKILL


@asynccontextmanager
async def running(settings: Settings, orders: Orders) -> AsyncIterator[trio.Process]:
    """Run the program; at the end of the block it is killed, if it has not ended."""
    path = settings.state_dir.with_suffix(".orders")
    path.write_bytes(orjson.dumps(attrs.asdict(orders)))
    process = await trio.lowlevel.open_process([sys.executable, __file__, str(path)], stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            if process.stdout is not None:
                await process.stdout.aclose()


async def tidings(process: trio.Process) -> AsyncGenerator[dict[str, Any], None]:
    """What the program tells, event by event."""
    assert process.stdout is not None
    line = bytearray()
    # Byte by byte, so that nothing is taken that is waited for later.
    while byte := await process.stdout.receive_some(1):
        line += byte
        if byte == b"\n":
            yield orjson.loads(line)
            line.clear()


async def told(process: trio.Process, kind: str) -> dict[str, Any]:
    """Wait until the program tells of an event; what it tells before is passed over."""
    async with aclosing(tidings(process)) as events:
        async for event in events:
            if event["kind"] == kind:
                return event
    raise AssertionError(f"the program ended before {kind}")


# -- the program itself


def _tell(kind: str, **what: Any) -> None:
    os.write(sys.stdout.fileno(), orjson.dumps({"kind": kind, **what}, option=orjson.OPT_APPEND_NEWLINE))


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _deadly(method: Callable[..., Awaitable[Any]], moment: str, nth: int) -> Callable[..., Awaitable[Any]]:
    """A method of the store that kills the program when it is called the n-th time."""
    passed = 0

    async def wrapped(*arguments: Any, **keywords: Any) -> Any:
        nonlocal passed
        passed += 1
        if passed == nth and moment == "before":
            _die()
        result = await method(*arguments, **keywords)
        if passed == nth and moment == "after":
            _die()
        return result

    return wrapped


def _first_line_and_death(source: BinaryIO, _: str) -> Iterator[bytes]:
    yield source.readline()
    _die()


async def _full(*_: Any, **__: Any) -> NoReturn:
    _tell("refused")
    raise StoreFull("there is no room")


async def _never(_: TurnRequest) -> NoReturn:
    await trio.sleep_forever()


async def _watch(engine: Engine, orders: Orders) -> None:
    tools = 0
    async with engine.subscribe(since="") as events:
        async for event in events:
            _tell(type(event).__name__, message_id=event.message_id)
            tools += isinstance(event, ToolStarted)
            if tools == orders.nth and orders.die_at == "working":
                _die()


async def _drain_on_signal(engine: Engine, orders: Orders, over: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        _tell("ready")
        async for _ in signals:
            await engine.drain(orders.drain)
            _tell("drained")
            over.cancel()


async def _spares_are_ready(engine: Engine) -> None:
    driver, wanted = engine._services.driver, engine.settings.spares
    if isinstance(driver, Residency):
        while [each.listener for each in driver.roster.spares] != [None] * wanted:  # noqa: ASYNC110 - they tell nobody
            await trio.sleep(0.01)
        # So that a test finds their sessions in the log: a kill does not wait for what is written later.
        assert await engine._audit.flush()


async def _post(engine: Engine, orders: Orders) -> None:
    deadline = None if orders.deadline is None else datetime.now(UTC) + timedelta(seconds=orders.deadline)
    for number, (message_id, channel, text) in enumerate(orders.posts):
        await engine.post(
            channel,
            text,
            message_id=message_id,
            busy=BusyPolicy(orders.busy if number else "queue"),
            deadline=deadline,
        )
    if orders.fork is not None:
        await engine.outcome(orders.posts[0][0])
        await engine.fork(*orders.fork)


def _settings(orders: Orders) -> Settings:
    paths = {name: Path(orders.settings[name]) for name in _PATHS if name in orders.settings}
    return Settings(**{**orders.settings, **paths})


async def _run(orders: Orders) -> None:
    settings = _settings(orders)
    if orders.limit:
        await _outlive_a_limit(settings)
        return
    driver = InstantDriver(_never) if orders.stuck else None
    async with open_engine(settings, driver=driver) as engine, trio.open_nursery() as nursery:
        nursery.start_soon(_drain_on_signal, engine, orders, nursery.cancel_scope)
        nursery.start_soon(_watch, engine, orders)
        await _spares_are_ready(engine)
        await _post(engine, orders)
    _tell("closed")


async def _outlive_a_limit(settings: Settings) -> None:
    """Let no file grow, then let them grow again; tell what the engine says meanwhile."""
    async with open_engine(settings, driver=InstantDriver()) as engine:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            await engine.post("limited", "meanwhile")
        except StoreError as error:
            _tell("refused", error=type(error).__name__)
        engine._services.record("test.meanwhile")
        while engine.status().audit_problem is None:  # noqa: ASYNC110 - the log's thread tells nobody
            await trio.sleep(0.01)
        _tell("audit", problem=engine.status().audit_problem)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        _tell("resumed", text=(await engine.ask("limited", "after")).text)
        while engine.status().audit_problem is not None:  # noqa: ASYNC110 - the log's thread tells nobody
            await trio.sleep(0.01)
        _tell("audit", problem=engine.status().audit_problem)


def _main() -> None:
    orders = Orders(**orjson.loads(Path(sys.argv[1]).read_bytes()))
    if orders.refuses:
        setattr(SQLiteStore, orders.refuses, _full)
    if orders.die_at in POINTS:
        name, moment = POINTS[orders.die_at]
        setattr(SQLiteStore, name, _deadly(getattr(SQLiteStore, name), moment, orders.nth))
    if orders.die_at == "copying":
        vars(forking)["_lines"] = _first_line_and_death
    trio.run(_run, orders)


if __name__ == "__main__":
    _main()
