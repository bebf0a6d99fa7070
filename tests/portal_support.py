"""What the tests of the portals share: settings, a driver to puppet from other threads, and what may not be left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from echo_actors.portal.asynchronous import AsyncEngine
from echo_actors.portal.blocking import Blocking
from echo_actors.portal.thread import OWN_THREADS
from echo_actors.testing.puppet_driver import Decision, PuppetDriver

T = TypeVar("T")

CHANNEL = "discord:1"
WITHIN = 20.0
"""Seconds after which a test that waits has failed."""


def engine_threads() -> list[str]:
    """The threads of engines that run."""
    return [each.name for each in threading.enumerate() if each.name.startswith(OWN_THREADS)]


def eventually(holds: Callable[[], bool]) -> None:
    """Wait, in a thread, for something that tells nobody."""
    pause = threading.Event()
    for _ in range(int(WITHIN / 0.005)):
        if holds():
            return
        pause.wait(0.005)
    raise AssertionError("it did not come to that")


def in_engine(engine: Any, function: Callable[[], T]) -> T:
    """Call something in the engine's thread."""
    assert isinstance(engine, Blocking | AsyncEngine)
    return engine._thread.direct(function).result(WITHIN)


def finish(engine: Any, puppet: PuppetDriver, channel: str = CHANNEL) -> None:
    """Let the channel's turn be answered, once it has begun."""
    eventually(lambda: in_engine(engine, lambda: puppet.decide(channel, Decision())))
