"""What several test modules use: engines with a driver in this process, and engines on the scripted CLI."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import orjson
import trio
from hypothesis import strategies as st

from echo_actors import Engine, Settings, open_engine
from echo_actors.actors.services import Persona, Services
from echo_actors.actors.topic import Hub
from echo_actors.admission.budgets import Budgets
from echo_actors.admission.gate import Gate as AccountGate
from echo_actors.admission.slots import Slots
from echo_actors.claude.driver import Driver, Launch, TurnRequest
from echo_actors.claude.process_tree import Identity, marked
from echo_actors.simulator.cli import write_scripted_cli
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo
from echo_actors.testing.memory_store import MemoryDisk, MemoryStore

DAY = datetime(2030, 1, 1, tzinfo=UTC)

_NAMES = st.sampled_from(["type", "text", "content", "usage", "uuid", "message", "id", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)
"""Any value of JSON, small."""


def new_id() -> str:
    """A fresh message id."""
    return str(uuid.uuid4())


def plain_settings(tmp_path: Path, **overrides: Any) -> Settings:
    """Settings for an engine with a driver in this process; the drain is short."""
    return Settings(**{"state_dir": tmp_path / "state", "drain_timeout": 5.0, **overrides})


def scripted_settings(tmp_path: Path, *, variables: dict[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings for an engine on the scripted CLI, whose home and working directory are temporary; clocks are short."""
    for name in ("bin", "home", "work"):
        (tmp_path / name).mkdir(exist_ok=True)
    values = {
        "state_dir": tmp_path / "state",
        "claude_bin": write_scripted_cli(tmp_path / "bin"),
        "working_dir": tmp_path / "work",
        "environment": {
            "HOME": str(tmp_path / "home"),
            "SCRIPTED_CLI_ASKED": str(tmp_path / "asked"),
            **(variables or {}),
        },
        "start_timeout": 5.0,
        "teardown_timeout": 3.0,
        "interrupt_grace": 0.5,
        "write_timeout": 2.0,
        "drain_timeout": 5.0,
    }
    return Settings(**{**values, **overrides})


def asked(tmp_path: Path) -> list[str]:
    """The texts that the scripted CLI's model was really asked, in order."""
    path = tmp_path / "asked"
    return [orjson.loads(line)["text"] for line in path.read_bytes().splitlines()] if path.exists() else []


def audit_records(settings: Settings, event: str = "") -> list[dict[str, Any]]:
    """The audit records of that event, or all of them."""
    records = [orjson.loads(line) for line in settings.audit_file.read_bytes().splitlines()]
    return [record for record in records if not event or record["event"] == event]


def left_running(run_id: str) -> set[Identity]:
    """What an engine's run has started and is still alive."""
    return marked({"ECHOACTORS_RUN": run_id})


@asynccontextmanager
async def scripted_engine(settings: Settings, *, seconds: float = 30.0) -> AsyncIterator[Engine]:
    """An engine on the scripted CLI for the block; it fails when anything it started is left at the end."""
    with trio.fail_after(seconds):
        async with open_engine(settings) as engine:
            yield engine
            run_id = engine.status().run_id
        assert left_running(run_id) == set()


@asynccontextmanager
async def opened(settings: Settings, *, driver: Driver, seconds: float = 15.0) -> AsyncIterator[Engine]:
    """An engine with this driver for the block, which fails when it takes longer."""
    with trio.fail_after(seconds):
        async with open_engine(settings, driver=driver) as engine:
            yield engine


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that gives no event of its own; the test's own deadline bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await trio.sleep(0.005)


@attrs.define(eq=False)
class Gate:
    """An answer for ``InstantDriver`` that keeps chosen messages waiting until they are let through.

    Attributes:
        held: A message whose text contains this waits.
        answer: Gives the answer afterwards.
    """

    held: str = "hold"
    answer: Callable[[TurnRequest], Answer] = echo
    _opened: trio.Event = attrs.Factory(trio.Event)
    _entered: trio.Event = attrs.Factory(trio.Event)

    def __call__(self, request: TurnRequest) -> Answer | Awaitable[Answer]:
        """Answer, at once or when the gate is open."""
        return self._wait(request) if self.held in request.content else self.answer(request)

    async def entered(self) -> None:
        """Wait until a message is kept waiting."""
        await self._entered.wait()

    def open(self) -> None:
        """Let every message through from now on."""
        self._opened.set()

    async def _wait(self, request: TurnRequest) -> Answer:
        self._entered.set()
        await self._opened.wait()
        return self.answer(request)


def unrecorded(event: str, /, **fields: object) -> None:
    """Record nothing."""
    del event, fields


def memory_services(
    driver: InstantDriver, tmp_path: Path, disk: MemoryDisk | None = None, **overrides: Any
) -> Services:
    """The rooms below a supervisor without any thread or process, so that time may be virtual."""
    settings = plain_settings(tmp_path, **overrides)
    return Services(
        settings=settings,
        store=MemoryStore(disk=disk or MemoryDisk()),
        driver=driver,
        hub=Hub("run", 100, 100, lambda: DAY),
        record=unrecorded,
        turn_slots=Slots(4),
        gate=AccountGate(trio.current_time),
        budgets=Budgets.under(settings),
        persona=Persona(tmp_path / "prompt.md", "digest"),
        launch=Launch(
            model="sonnet", working_dir=tmp_path, allowed_tools=(), permission_mode="default", prompt_file=None
        ),
        now=lambda: DAY,
        new_id=new_id,
    )
