"""Where a CLI runs that is measured or tested: fresh directories, a model on loopback, and no account of anybody."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import trio

_START_SECONDS = 30.0


@attrs.frozen
class Workplace:
    """Fresh directories, and the environment of the CLIs that are started in them.

    Attributes:
        state: For the engine's store and log; not there at first.
        work: What the CLIs run in.
        environment: Complete but for what the host has; its HOME is empty at first.
    """

    state: Path
    work: Path
    environment: Mapping[str, str]


@contextmanager
def open_workplace(model_url: str) -> Iterator[Workplace]:
    """Make a workplace for the block; nothing of it stays."""
    with tempfile.TemporaryDirectory(prefix="echo-actors-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        for part in ("work", "home"):
            (directory / part).mkdir()
        yield Workplace(directory / "state", directory / "work", cli_variables(directory / "home", model_url))


def cli_variables(home: Path, model_url: str) -> dict[str, str]:
    """What keeps a CLI to a home of its own and to the model at an address."""
    return {"HOME": str(home), "CLAUDE_CONFIG_DIR": str(home / ".claude"), **model_variables(model_url)}


def model_variables(model_url: str) -> dict[str, str]:
    """What sends a CLI to the model at an address, and nowhere else."""
    return {
        "ANTHROPIC_BASE_URL": model_url,
        "ANTHROPIC_API_KEY": "no-key",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "0",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
    }


@asynccontextmanager
async def model_process() -> AsyncIterator[str]:
    """Serve the scripted model from another process during the block, so that it takes no time of the measured one.

    Gives its address.

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
