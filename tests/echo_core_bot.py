"""A program that uses Echo-Core's functions, in a place of its own, on the scripted or the real CLI."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import attrs
import orjson

from echo_actors.claude.process_tree import Identity, marked
from echo_actors.echo_core.core import EchoCore
from echo_actors.simulator.cli import write_scripted_cli

T = TypeVar("T")

PERSONA = "I am Echo, and nobody else."


@attrs.define(eq=False)
class Bot:
    """The functions, and what became of what they were asked.

    Attributes:
        marker: In the environment of all that the CLI is and starts.
    """

    root: Path
    settings: dict[str, Any]
    core: EchoCore = attrs.Factory(EchoCore)
    marker: str = attrs.Factory(lambda: uuid.uuid4().hex)

    @property
    def home(self) -> Path:
        """The CLI's home directory."""
        return self.root / "home"

    def configure(self, **settings: Any) -> None:
        """Configure the functions for this place."""
        given = {**self.settings, **settings}
        variables = {
            "HOME": str(self.home),
            "SCRIPTED_CLI_ASKED": str(self.root / "asked"),
            "X_TEST": self.marker,
            **given.pop("environment", {}),
        }
        self.core.configure(self.root, environment=variables, **given)

    def reopen(self) -> None:
        """Close the engine, and let a new one open with the next call."""
        self.core.close()

    def asked(self) -> list[dict[str, Any]]:
        """What the scripted CLI was asked: text, session and pid of each, in order."""
        path = self.root / "asked"
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def audit(self, event: str) -> list[dict[str, Any]]:
        """The audit records of that event, once the engine is closed."""
        records = map(orjson.loads, (self.root / "state" / "audit.jsonl").read_bytes().splitlines())
        return [record for record in records if record["event"] == event]

    def transcripts(self) -> list[Path]:
        """The CLI's transcripts."""
        return sorted((self.home / ".claude" / "projects").rglob("*.jsonl"))

    def left(self) -> set[Identity]:
        """The living processes that are the CLI or were started by it."""
        return marked({"X_TEST": self.marker})


@contextmanager
def bot(root: Path, **settings: Any) -> Iterator[Bot]:
    """A program's place and functions for the block; at its end nothing may be left running.

    Args:
        root: An existing directory.
        **settings: The engine's; the scripted CLI by default.
    """
    for name in ("personality", "home", "bin"):
        (root / name).mkdir()
    (root / "personality" / "IDENTITY.md").write_text(PERSONA)
    found = Bot(root, {"claude_bin": write_scripted_cli(root / "bin"), "drain_timeout": 5.0, **settings})
    found.configure()
    try:
        yield found
    finally:
        found.core.close()
    assert found.left() == set()


def at_once(functions: list[Callable[[], T]]) -> list[T]:
    """Call functions in as many threads; give the results in order."""
    with ThreadPoolExecutor(len(functions)) as pool:
        futures: list[Future[T]] = [pool.submit(function) for function in functions]
        return [future.result(60) for future in futures]


def until(holds: Callable[[], bool], *, within: float = 30.0) -> None:
    """Wait for something that tells nobody: another process, or a thread's turn, has come so far."""
    pause, ends = threading.Event(), time.monotonic() + within
    while not holds():
        assert time.monotonic() < ends, "it did not come to that"
        pause.wait(0.01)


class Lines(logging.Handler):
    """Keeps the lines that a logger gets."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.lines.append(record.getMessage())


@contextmanager
def heard(name: str) -> Iterator[list[str]]:
    """The lines that a logger gets during the block."""
    logger, handler = logging.getLogger(name), Lines()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
