"""Where a demo plays: temporary directories, a simulated model, and nothing of the user's account."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import attrs
import orjson

from echo_actors.claude.locate import find_cli
from echo_actors.commands.demo_figures import Heard
from echo_actors.personality import packaged_personality
from echo_actors.settings import Settings
from echo_actors.simulator.calls import Call
from echo_actors.simulator.cli import write_scripted_cli
from echo_actors.simulator.model import open_model_server
from echo_actors.simulator.scripted.ledger import COST_USD

_QUIET: Final = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
}
_FOREIGN: Final = ("ANTHROPIC_", "CLAUDE_CODE_", "CLAUDE_CONFIG_DIR", "SCRIPTED_CLI_")
"""What would lead the CLI to an account, another model or the user's own conversations."""


@attrs.frozen
class Stage:
    """A place to play.

    Attributes:
        heard: What the model was asked so far.
        cost_usd: What the model counted so far.
    """

    settings: Settings
    heard: Callable[[], Sequence[Heard]]
    cost_usd: Callable[[], float]


@asynccontextmanager
async def open_stage(configured: Settings, *, scripted: bool, messages: int) -> AsyncIterator[Stage]:
    """Make a stage for the block; nothing of it is left afterwards.

    Args:
        configured: The user's settings, of which the CLI, the model and the harmless variables are taken.
        scripted: Play with the scripted CLI instead of the real one.
        messages: How many messages may wait in one channel.

    Raises:
        CLINotFound: There is no real CLI.
    """
    cli = None if scripted else find_cli(configured.claude_bin, os.environ)
    with tempfile.TemporaryDirectory(prefix="echo-actors-demo-") as name, _without_account(os.environ):
        root = Path(name)
        for each in ("home", "work"):
            (root / each).mkdir()
        open_play = _scripted_play if cli is None else _real_play
        variables = {name: value for name, value in configured.environment.items() if not _is_foreign(name)}
        settings = Settings(
            state_dir=root / "state",
            working_dir=root / "work",
            personality_dir=packaged_personality(),
            claude_bin=cli or write_scripted_cli(root),
            model=configured.model,
            models=configured.models,
            environment={**variables, "HOME": str(root / "home")},
            mailbox_size=messages,
            subscriber_buffer=100_000,
            total_timeout=120.0,
            # Nobody waits for what a demo that was ended early has not done.
            drain_timeout=0.5,
        )
        async with open_play(settings, root) as stage:
            yield stage


@asynccontextmanager
async def _real_play(settings: Settings, root: Path) -> AsyncIterator[Stage]:
    """The real CLI on the simulated model, which says itself what it was asked."""
    del root
    async with open_model_server() as model:
        address = {"ANTHROPIC_BASE_URL": model.url, "ANTHROPIC_API_KEY": "simulated"}
        environment = {**settings.environment, **_QUIET, **address}
        yield Stage(
            attrs.evolve(settings, environment=environment),
            lambda: [_heard(call) for call in model.calls if call.asked],
            lambda: model.cost_usd,
        )


def _heard(call: Call) -> Heard:
    return Heard(call.user_text, call.history)


@asynccontextmanager
async def _scripted_play(settings: Settings, root: Path) -> AsyncIterator[Stage]:
    """The scripted CLI, which is its own model, and keeps a list of what it was asked."""
    asked = root / "asked.jsonl"
    asked.touch()
    environment = {**settings.environment, "SCRIPTED_CLI_ASKED": str(asked)}
    yield Stage(
        attrs.evolve(settings, environment=environment),
        lambda: list(_conversations(asked.read_bytes().splitlines())),
        lambda: len(asked.read_bytes().splitlines()) * COST_USD,
    )


def _conversations(lines: Sequence[bytes]) -> Iterator[Heard]:
    """What was asked, with what was asked before it in the same session."""
    earlier: dict[str, tuple[str, ...]] = {}
    for line in map(orjson.loads, lines):
        history = earlier.get(line["session_id"], ())
        yield Heard(line["text"], history)
        earlier[line["session_id"]] = (*history, line["text"])


@contextmanager
def _without_account(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Take out of this process's environment what the CLI must not get, for the block."""
    hidden = {name: environ.pop(name) for name in list(environ) if _is_foreign(name)}
    try:
        yield
    finally:
        environ.update(hidden)


def _is_foreign(name: str) -> bool:
    # A proxy would be asked for the way to loopback.
    return name.startswith(_FOREIGN) or name.lower().endswith("_proxy")
