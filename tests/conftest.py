"""Fixtures shared by the tests: a CLI, a model on loopback, and the settings that join them."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import hypothesis
import orjson
import psutil
import pytest
import trio
from support import until

from bench.workplace import cli_variables
from echo_actors import Engine, PermissionCallback, Settings, open_engine
from echo_actors.claude.environment import RUN_VARIABLE
from echo_actors.claude.process_tree import marked
from echo_actors.claude.residency import Residency
from echo_actors.events import Event
from echo_actors.simulator.cli import write_scripted_cli
from echo_actors.simulator.model import ModelServer, open_model_server

# How long an example takes says more of the machine than of the code; speed is judged by the benchmarks.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

# A shell that runs the tests in the background lets them, and all that they start, ignore Ctrl-C; the programs under
# test respect that, so the tests must not inherit it.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

MakeSettings = Callable[..., Settings]


@attrs.define(eq=False)
class Host:
    """A machine for real CLIs: a home, a working directory, a state directory and the model they talk to.

    Attributes:
        bodies: The whole of every request that the model got.
    """

    settings: MakeSettings
    model: ModelServer
    home: Path
    work: Path
    state: Path
    bodies: list[bytes] = attrs.Factory(list)

    @asynccontextmanager
    async def engine(
        self, *, within: float = 40.0, permissions: PermissionCallback | None = None, **overrides: Any
    ) -> AsyncIterator[Engine]:
        """Open an engine for the block; at its end nothing that it started may be alive.

        Args:
            within: Seconds that the block may take.
            permissions: Answers permission questions.
            **overrides: Settings.
        """
        with trio.fail_after(within):
            async with open_engine(self.settings(**overrides), permissions=permissions) as engine:
                run_id = engine.status().run_id
                yield engine
            left = marked({RUN_VARIABLE: run_id})
            assert not left, [psutil.Process(each.pid).cmdline() for each in left]

    def audit(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The audit records of this kind with these fields, of all runs, once their engines are closed."""
        lines = (self.state / "audit.jsonl").read_bytes().splitlines()
        records: list[dict[str, Any]] = [orjson.loads(line) for line in lines]
        wanted = {"event": event, **fields}.items()
        return [
            record for record in records if wanted <= {k: v for k, v in record.items() if k in dict(wanted)}.items()
        ]

    def asked(self, channel_text: str) -> list[str]:
        """The texts that the model was asked and that have this in them, in order."""
        return [call.user_text for call in self.model.calls if call.asked and channel_text in call.user_text]


async def eventually(holds: Callable[[], bool], *, within: float = 10.0) -> None:
    """Wait until something outside of this program holds: a process is there, or gone."""
    with trio.fail_after(within):
        await until(holds)


async def first(events: AsyncIterator[Event], kind: type[Event]) -> Event:
    """Wait for the first event of a kind."""
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} came")


def residents(engine: Engine) -> dict[str, int]:
    """The process ids of the channels that have a CLI."""
    driver = engine._services.driver
    assert isinstance(driver, Residency)
    return driver.residents


def processes_with(argument: str) -> list[psutil.Process]:
    """The living processes that have exactly this argument, wherever they are in the tree."""
    table = psutil.process_iter(["cmdline", "status"])
    found = [process for process in table if argument in (process.info["cmdline"] or ())]
    return [process for process in found if process.info["status"] != psutil.STATUS_ZOMBIE]


@pytest.fixture
def cli() -> Path:
    """The real CLI, from the SDK's wheel."""
    spec = importlib.util.find_spec("claude_agent_sdk")
    assert spec is not None, "these tests need the real CLI: pip install -e '.[claude]'"
    assert spec.origin is not None
    path = Path(spec.origin).parent / "_bundled" / "claude"
    assert path.is_file(), "the SDK's wheel for this platform carries no CLI"
    return path


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    """A running model."""
    async with open_model_server() as server:
        yield server


@pytest.fixture
def real_settings(tmp_path: Path, cli: Path, model: ModelServer) -> MakeSettings:
    """Makes settings for the real CLI in temporary directories, against the model; takes overrides."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    environment = cli_variables(home, model.url)

    def make(**overrides: Any) -> Settings:
        return Settings(
            **{
                "claude_bin": cli,
                "environment": environment,
                "state_dir": tmp_path / "state",
                "working_dir": work,
                **overrides,
            }
        )

    return make


@pytest.fixture
def scripted_settings(tmp_path: Path) -> MakeSettings:
    """Makes settings for the scripted CLI in temporary directories; takes overrides."""
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    cli = write_scripted_cli(home)

    def make(**overrides: Any) -> Settings:
        return Settings(
            **{
                "claude_bin": cli,
                "environment": {"HOME": str(home), "CLAUDE_CONFIG_DIR": str(home / ".claude")},
                "state_dir": tmp_path / "state",
                "working_dir": work,
                **overrides,
            }
        )

    return make


@pytest.fixture
def host(tmp_path: Path, real_settings: MakeSettings, model: ModelServer) -> Host:
    """A machine for real CLIs."""
    host = Host(real_settings, model, tmp_path / "home", tmp_path / "work", tmp_path / "state")
    model.on_request = host.bodies.append
    return host
