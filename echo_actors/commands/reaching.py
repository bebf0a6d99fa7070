"""The engine that a command is about: one that runs, or none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from echo_actors.commands.options import EngineOptions
from echo_actors.commands.signals import Ending
from echo_actors.engine import Engine
from echo_actors.engine.remote import connect
from echo_actors.engine.remote_engine import RemoteEngine
from echo_actors.errors import EngineNotRunning, SettingsError

_OF_AN_ENGINE = ("personality_dir", "claude_bin", "working_dir")
"""Options that only the start of an engine can take."""


@asynccontextmanager
async def running_engine(state_dir: Path) -> AsyncIterator[RemoteEngine | None]:
    """Have the engine that runs on a state directory for the block; None where none runs.

    Raises:
        ControlError: One runs, and cannot be talked to.
    """
    async with AsyncExitStack() as stack:
        try:
            engine = await stack.enter_async_context(connect(state_dir))
        except EngineNotRunning:
            engine = None
        yield engine


@asynccontextmanager
async def any_engine(options: EngineOptions, ending: Ending) -> AsyncIterator[Engine | RemoteEngine]:
    """Have the engine that runs on the state directory for the block, or else one of the command's own.

    Raises:
        SettingsError: An option is for an engine that begins, and one runs.
    """
    settings = options.settings()
    async with running_engine(settings.state_dir) as running:
        if running is not None:
            given = [name for name in _OF_AN_ENGINE if getattr(options, name) is not None]
            if given:
                names = ", ".join("--" + name.replace("_", "-") for name in given)
                raise SettingsError(f"{names}: an engine is running already, with its own settings", given[0])
            yield running
            return
    async with ending.engine(settings) as engine:
        yield engine
