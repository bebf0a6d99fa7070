"""What every scenario stands on: the CLI, a model in a process of its own, fresh homes, and rounds that alternate."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from bench.report import Round
from echo_actors import Settings

_START_SECONDS = 30.0

Contender = Callable[[], Awaitable[Round]]
"""Runs once, from nothing to its figures."""


@attrs.frozen(kw_only=True)
class Size:
    """How large a run is to be; None where the scenario shall say.

    Attributes:
        quick: A small run, which says whether a scenario works and not what it reaches.
        rounds: How often each contender runs.
        channels: How many channels there are.
        messages: How many messages each channel gets.
    """

    quick: bool = False
    rounds: int | None = None
    channels: int | None = None
    messages: int | None = None

    def of(self, name: str, *, full: int, quick: int) -> int:
        """The number that was asked for, else the one for this kind of run."""
        asked: int | None = getattr(self, name)
        if asked is not None:
            return asked
        return quick if self.quick else full


@attrs.frozen
class Workplace:
    """Fresh directories of one contender's round, and the environment of the CLIs that it starts.

    Attributes:
        state: For the engine's store and log.
        work: What the CLIs run in.
        environment: Complete but for what the host has; its HOME is empty at first.
    """

    state: Path
    work: Path
    environment: Mapping[str, str]


@attrs.frozen(kw_only=True)
class Harness:
    """Given to each scenario.

    Attributes:
        cli: The CLI that the contenders run.
        model_url: Where the scripted model listens, in a process of its own.
        scripted_cli: A CLI that answers at once and asks no model.
        on_step: Told of each step before it begins: what runs, how many steps are done, and how many there are.
    """

    cli: Path
    model_url: str
    scripted_cli: Path
    size: Size
    on_step: Callable[[str, int, int], None]

    async def alternate(self, contenders: Mapping[str, Contender]) -> dict[str, list[Round]]:
        """Run the contenders in turn, round after round, each round beginning with another one."""
        names = list(contenders)
        rounds = self.size.of("rounds", full=5, quick=1)
        results: dict[str, list[Round]] = {name: [] for name in names}
        total = rounds * len(names)
        for number in range(rounds):
            first = number % len(names)
            for place, name in enumerate(names[first:] + names[:first]):
                self.on_step(f"{name}, round {number + 1}", number * len(names) + place, total)
                results[name].append(await contenders[name]())
        self.on_step("done", total, total)
        return results

    @contextmanager
    def workplace(self) -> Iterator[Workplace]:
        """Make a workplace for the block; nothing of it stays."""
        with tempfile.TemporaryDirectory(prefix="echo-actors-bench-", ignore_cleanup_errors=True) as name:
            directory = Path(name)
            for part in ("work", "home"):
                (directory / part).mkdir()
            yield Workplace(directory / "state", directory / "work", self._environment(directory / "home"))

    def settings(self, workplace: Workplace, **overrides: Any) -> Settings:
        """Settings for an engine in a workplace: the defaults, but for what would get in a measurement's way."""
        return Settings(
            **{
                "state_dir": workplace.state,
                "working_dir": workplace.work,
                "environment": dict(workplace.environment),
                "claude_bin": self.cli,
                "mailbox_size": 100_000,
                **overrides,
            }
        )

    def _environment(self, home: Path) -> dict[str, str]:
        return {
            "HOME": str(home),
            "CLAUDE_CONFIG_DIR": str(home / ".claude"),
            "ANTHROPIC_BASE_URL": self.model_url,
            "ANTHROPIC_API_KEY": "no-key",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_TELEMETRY": "1",
        }


@asynccontextmanager
async def model_process() -> AsyncIterator[str]:
    """Serve the scripted model from another process during the block; gives its address.

    Raises:
        RuntimeError: It did not start.
    """
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "echo_actors.simulator.model"], stdout=subprocess.PIPE
    )
    try:
        with trio.fail_after(_START_SECONDS):
            line = await _first_line(process)
        if not line.startswith("http://"):
            raise RuntimeError("the scripted model did not start")
        yield line
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            await process.wait()


async def _first_line(process: trio.Process) -> str:
    """Read the address that the model prints; all that it ever prints."""
    data = b""
    if process.stdout is not None:
        while not data.endswith(b"\n") and (more := await process.stdout.receive_some()):
            data += more
    return data.decode().strip()
