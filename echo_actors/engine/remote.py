"""Finding the engine that runs on a state directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from echo_actors.control.client import connected
from echo_actors.engine.remote_engine import RemoteEngine


@asynccontextmanager
async def connect(state_dir: Path) -> AsyncIterator[RemoteEngine]:
    """Have the engine that runs on a state directory, for the block; leaving the block leaves it as it is.

    Raises:
        EngineNotRunning: There is none, or its setting ``control_socket`` is off.
        ControlError: It is none that this program can talk to.
    """
    async with connected(state_dir) as client:
        yield RemoteEngine(client)
