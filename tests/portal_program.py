"""Programs that end in every way there is with a portal open: ``python portal_program.py NAME SETTINGS.json``.

Each prints the engine's run first. The tests that run them look at what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from echo_actors import EngineClosed, Settings
from echo_actors.portal import BlockingEngine, open_async_portal, open_portal

LONG = "[[silence]]"
CHANNEL = "discord:1"
KEPT = contextlib.ExitStack()
"""Keeps what nobody leaves, as a global of a program does."""


def say(*words: object) -> None:
    """Print at once."""
    print(*words, flush=True)  # noqa: T201 - what the test reads


def begin(engine: Any) -> None:
    """Name the run."""
    say(engine.status().run_id)


def never_closed(settings: Settings) -> None:
    """The last line of the program is reached with a turn running."""
    engine = KEPT.enter_context(open_portal(settings))
    begin(engine)
    say(engine.ask(CHANNEL, "Hello").text)
    engine.post(CHANNEL, LONG)


def let_go(settings: Settings) -> None:
    """Nobody has the portal any more, and the garbage collector finds it."""
    manager = open_portal(settings)
    begin(manager.__enter__())
    del manager
    gc.collect()


def never_closed_async(settings: Settings) -> None:
    """The loop ends first, with a task that waits in the engine."""

    async def main() -> None:
        manager = open_async_portal(settings)
        engine = await manager.__aenter__()
        begin(engine)
        say((await engine.ask(CHANNEL, "Hello")).text)
        tasks.append(asyncio.create_task(engine.ask(CHANNEL, LONG)))
        await asyncio.sleep(0)
        managers.append(manager)

    tasks: list[object] = []
    managers: list[object] = []
    asyncio.run(main())


def loop_thrown_away(settings: Settings) -> None:
    """The loop is closed over the block; its task is never run again."""

    async def main() -> None:
        async with open_async_portal(settings) as engine:
            begin(engine)
            begun.append(True)
            await engine.ask(CHANNEL, LONG)

    begun: list[bool] = []
    loop = asyncio.new_event_loop()
    task = main()
    steps = loop.create_task(task)
    while not begun:
        loop.run_until_complete(asyncio.sleep(0.01))
    loop.run_until_complete(asyncio.sleep(0.1))
    steps._log_destroy_pending = False  # type: ignore[attr-defined]  # its complaint is right, and not what is tested
    loop.close()
    del steps
    task.close()


def exits_within(settings: Settings) -> None:
    """``sys.exit`` in the block."""
    with open_portal(settings) as engine:
        begin(engine)
        engine.post(CHANNEL, LONG)
        sys.exit(3)


def exits_within_async(settings: Settings) -> None:
    """``sys.exit`` in the block of a program of asyncio."""

    async def main() -> None:
        async with open_async_portal(settings) as engine:
            begin(engine)
            await engine.post(CHANNEL, LONG)
            sys.exit(3)

    asyncio.run(main())


def fails_within(settings: Settings) -> None:
    """An exception in the block."""
    with open_portal(settings) as engine:
        begin(engine)
        engine.post(CHANNEL, LONG)
        raise ZeroDivisionError("mine")


def interrupted(settings: Settings) -> None:
    """Ctrl-C while it waits for an answer; the outcome is told, and the program goes on."""
    with open_portal(settings) as engine:
        begin(engine)
        try:
            with contextlib.suppress(EngineClosed):
                engine.ask(CHANNEL, LONG, message_id=MESSAGE)
        except KeyboardInterrupt:
            say(engine.outcome(MESSAGE).kind.value)
        say(engine.ask(CHANNEL, "Hello").text)


MESSAGE = "11111111-2222-4333-8444-555555555555"


def interrupted_uncaught(settings: Settings) -> None:
    """Ctrl-C while it waits for an answer."""
    with open_portal(settings) as engine:
        begin(engine)
        engine.ask(CHANNEL, LONG)


def interrupted_async(settings: Settings) -> None:
    """Ctrl-C in a program of asyncio."""

    async def main() -> None:
        async with open_async_portal(settings) as engine:
            begin(engine)
            await engine.ask(CHANNEL, LONG)

    asyncio.run(main())


def interrupted_closing(settings: Settings) -> None:
    """Ctrl-C while it leaves the block, whose drain would take a minute."""
    with open_portal(settings) as engine:
        begin(engine)
        engine.ask(CHANNEL, "Hello")
        engine.post(CHANNEL, LONG)
        threading.Thread(target=_tell_when_closing, args=(engine,), daemon=True).start()


def _tell_when_closing(engine: BlockingEngine) -> None:
    pause = threading.Event()
    with contextlib.suppress(EngineClosed):
        while not engine.status().closing:
            pause.wait(0.01)
    say("closing")


def threads_go_on(settings: Settings) -> None:
    """The main thread has ended; a thread of the program's still asks."""
    engine = KEPT.enter_context(open_portal(settings))
    begin(engine)

    def work() -> None:
        threading.main_thread().join()
        threading.Event().wait(0.5)
        say(engine.ask(CHANNEL, "from a thread").text)

    threading.Thread(target=work).start()


def forked(settings: Settings) -> None:
    """A child of ``fork`` has no engine; its parent's goes on."""
    with open_portal(settings) as engine:
        begin(engine)
        with engine.subscribe():
            child = os.fork()
            if child == 0:
                try:
                    engine.ask(CHANNEL, "Hello")
                except EngineClosed:
                    say("child: closed")
                sys.exit(4)
        _, status = os.waitpid(child, 0)
        say("child exited with", os.waitstatus_to_exitcode(status))
        say(engine.ask(CHANNEL, "Hello").text)


PROGRAMS: dict[str, Callable[[Settings], None]] = {
    each.__name__: each
    for each in (
        never_closed,
        let_go,
        never_closed_async,
        loop_thrown_away,
        exits_within,
        exits_within_async,
        fails_within,
        interrupted,
        interrupted_uncaught,
        interrupted_async,
        interrupted_closing,
        threads_go_on,
        forked,
    )
}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    given = orjson.loads(Path(sys.argv[2]).read_bytes())
    given |= {name: Path(given[name]) for name in ("state_dir", "claude_bin", "working_dir")}
    PROGRAMS[sys.argv[1]](Settings(**given))
