"""Echo-Core's functions on the real CLI."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
import trio
from active_files import record, write
from conftest import Host, processes_with
from echo_core_bot import PERSONA, Bot, bot

from bench.workplace import cli_variables
from echo_actors.simulator.prices import cost_usd

pytestmark = pytest.mark.real_cli

T = TypeVar("T")

THREADS, CHANNELS, ROUNDS = 32, 8, 3
PRICE = cost_usd("sonnet")


@pytest.fixture
def place(tmp_path: Path, host: Host, cli: Path) -> Iterator[Bot]:
    """A program on the real CLI."""
    root = tmp_path / "bot"
    root.mkdir()
    variables = cli_variables(root / "home", host.model.url)
    with bot(root, claude_bin=cli, total_timeout=90.0, environment=variables) as found:
        yield found


async def call(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call a function in a thread, while the model serves here."""
    with trio.fail_after(90):
        return await trio.to_thread.run_sync(functools.partial(function, *args, **kwargs), limiter=_LIMITER)


_LIMITER = trio.CapacityLimiter(THREADS)


async def test_thirty_two_threads_at_once_lose_and_miscount_nothing(place: Bot, host: Host) -> None:
    """Four of them in each channel: one session and one process per channel, and every count and cost right."""
    answers: dict[str, str] = {}

    async def talk(thread: int) -> None:
        for number in range(ROUNDS):
            text = f"thread {thread} message {number}"
            answers[text] = await call(place.core.send_message, f"c{thread % CHANNELS}", text)

    async with trio.open_nursery() as nursery:
        for thread in range(THREADS):
            nursery.start_soon(talk, thread)
    found = await call(place.core.list_sessions)
    processes = {name: len(processes_with(each["session_id"])) for name, each in found.items()}
    await call(place.core.close)

    total = THREADS * ROUNDS
    assert answers == {text: f"echo: {text}" for text in answers}
    assert len(answers) == total
    assert processes == {f"c{number}": 1 for number in range(CHANNELS)}
    assert len(place.audit("process.spawned")) == CHANNELS
    for each in found.values():
        calls = [one for one in host.model.calls if one.session_id == each["session_id"]]
        # One history: every message is asked with all those before it.
        assert [len(one.history) for one in calls] == list(range(total // CHANNELS))
        assert each["message_count"] == total // CHANNELS
        assert each["total_cost_usd"] == pytest.approx(total // CHANNELS * PRICE, abs=1e-9)
    assert sum(each["total_cost_usd"] for each in found.values()) == pytest.approx(host.model.cost_usd, abs=1e-9)


async def test_an_imported_session_goes_on_and_its_cost_is_not_counted_twice(place: Bot, host: Host) -> None:
    """The transcript is found from the working directory that the settings name."""
    _, session_id = await call(place.core.start_session, "c", "my name is Ana")
    await call(place.core.close)
    (place.root / "state").rename(place.root / "state-of-before")
    # The old program had counted three times too much; its figures are taken as they are.
    write(place.root / "sessions" / "active.json", {"c": record(session_id=session_id, total_cost_usd=9.5)})
    await call(place.core.send_message, "c", "what is my name?")
    await call(place.core.send_message, "c", "and now?")
    found = await call(place.core.get_active_session, "c")
    assert found is not None
    assert (found["session_id"], found["message_count"]) == (session_id, 5)
    assert found["total_cost_usd"] == pytest.approx(9.5 + 2 * PRICE, abs=1e-9)
    assert "my name is Ana" in host.model.calls[-1].history


async def test_fault_8_a_resumed_session_has_its_model_and_its_system_prompt(place: Bot, host: Host) -> None:
    """Each turn is asked with them."""
    _, session_id = await call(place.core.start_session, "c", "hello")
    assert await call(place.core.set_session_model, "c", "opus")
    await call(place.core.send_message, "c", "next")
    await call(place.core.close)
    await call(place.core.resume_session, session_id, "resumed")
    asked = [one for one in host.model.calls if one.asked]
    assert ["opus" in one.model for one in asked] == [False, True, True]
    assert all(PERSONA in one.system for one in asked)


async def test_fault_9_a_path_in_a_message_attaches_no_file(place: Bot, host: Host) -> None:
    """Nor does a slash run a command."""
    secret = place.root / "secret.txt"
    secret.write_text("hunter2")
    await call(place.core.send_message, "c", f"look: @{secret} @secret.txt")
    await call(place.core.send_message, "c", "/clear")
    assert not [body for body in host.bodies if b"hunter2" in body]
    found = await call(place.core.get_active_session, "c")
    assert found is not None
    assert found["message_count"] == 2
    assert host.model.calls[-1].user_text == "/clear"


async def test_fault_10_the_clis_tools_see_no_secrets(place: Bot, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a tool prints of its environment has none of them."""
    for name in ("OPENAI_API_KEY", "DATABASE_URL", "BOT_TOKEN"):
        monkeypatch.setenv(name, "hunter2")
    tool = orjson.dumps({"command": "python3 -c 'import os; print(os.environ)'"}).decode()
    answer = await call(place.core.send_message, "c", f"[[tool Bash {tool}]]")
    assert "X_TEST" in answer
    assert "hunter2" not in answer
    assert not [body for body in host.bodies if b"hunter2" in body]


async def test_fault_13_a_session_whose_transcript_is_gone_is_not_lost_for_ever(place: Bot) -> None:
    """It goes on as a new one, which the record shows."""
    _, lost = await call(place.core.start_session, "c", "hello")
    await call(place.core.close)
    for transcript in place.transcripts():
        transcript.unlink()
    assert await call(place.core.send_message, "c", "again") == "echo: again"
    found = await call(place.core.get_active_session, "c")
    assert found is not None
    assert found["session_id"] != lost
    assert await call(place.core.send_message, "c", "and again") == "echo: and again"
