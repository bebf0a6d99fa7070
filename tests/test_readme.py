"""The programs that pages show do what is said of them, and the tables there say what the code has."""

from __future__ import annotations

import json
import re
from enum import Enum
from pathlib import Path

import pytest
from pages import CLONE, PAGES, program_with, programs, relative
from reader import Reader, towards

from echo_actors import BusyPolicy, Clock, Engine, FullPolicy, OutcomeKind, Settings, SettingsError
from echo_actors.simulator.model import ModelServer

EMBEDDING = CLONE / "docs" / "embedding.md"


@pytest.mark.real_cli
async def test_the_example_runs_as_shown_with_the_real_cli(tmp_path: Path, cli: Path, model: ModelServer) -> None:
    """Somebody who copies it gets an answer, its cost and events, and no process stays behind."""
    reader = Reader(tmp_path, towards(model.url, cli))
    printed = (await reader.runs_program(programs()[0])).splitlines()
    assert printed[0] == "echo: Hello! (0.000400 USD)"
    assert [printed[1], printed[-1]] == ["Accepted", "TurnEnded"]
    assert {"TurnStarted", "TextDelta", "BlockFinished"} < set(printed[1:])
    assert [call.user_text for call in model.calls if call.asked] == ["Hello!", "And once more?"]
    assert reader.left_running() == []


@pytest.mark.real_cli
async def test_the_example_with_threads_runs_as_shown_with_the_real_cli(
    tmp_path: Path, cli: Path, model: ModelServer
) -> None:
    """Three threads have each their answer, in their order."""
    reader = Reader(tmp_path, towards(model.url, cli))
    printed = (await reader.runs_program(program_with("open_portal()"))).splitlines()
    assert printed[:3] == [f"echo: Hello, {number}!" for number in range(3)]
    assert [printed[3], printed[-1]] == ["Accepted", "TurnEnded"]
    assert reader.left_running() == []


@pytest.mark.real_cli
async def test_the_example_with_asyncio_runs_as_shown_with_the_real_cli(
    tmp_path: Path, cli: Path, model: ModelServer
) -> None:
    """The answer, and events."""
    reader = Reader(tmp_path, towards(model.url, cli))
    printed = (await reader.runs_program(program_with("open_async_portal()"))).splitlines()
    assert printed[:2] == ["echo: Hello!", "Accepted"]
    assert printed[-1] == "TurnEnded"
    assert reader.left_running() == []


async def test_the_program_for_tests_of_your_own_runs_as_shown(tmp_path: Path) -> None:
    """It needs nothing but the package: no CLI, no model, no key."""
    printed = (await Reader(tmp_path, {}).runs_program(program_with("Now die"))).splitlines()
    assert printed[0] == "echo: Hello!"
    assert printed[1].startswith("failed: ")
    assert "exit code 3" in printed[1]


async def test_the_program_for_chat_platforms_runs_as_shown(tmp_path: Path) -> None:
    """The first message is sent and grows; what is behind its limit becomes the second."""
    printed = (await Reader(tmp_path, {}).runs_program(program_with("coalesce("))).splitlines()
    assert printed[0] == "4 messages"
    assert printed[1].startswith("send 0 ")
    assert [line for line in printed if line.startswith("send")][1:] == ["send 1 Hello!"]
    assert printed[-1].split()[1:] == ["1", "Hello!"]


async def test_the_program_that_watches_runs_as_shown(tmp_path: Path) -> None:
    """An entry in the audit log's words, a line for the channel, its health, and text for Prometheus."""
    printed = (await Reader(tmp_path, {}).runs_program(program_with("structlog.configure"))).splitlines()
    entry = json.loads(printed[0])
    assert {"event", "time", "turn", "session"} == entry.keys()
    assert printed[1:3] == ["test idle 20 0.0004", "ready"]
    assert 'echo_actors_messages_ended_total{outcome="answered"} 1' in printed


def test_every_public_call_is_in_the_table() -> None:
    """And none that is not there."""
    shown = set(re.findall(r"`engine\.(\w+)\(", section("The calls")))
    calls = (name for name in dir(Engine) if not name.startswith("_") and callable(getattr(Engine, name)))
    assert shown == set(calls)


@pytest.mark.parametrize("kind", [OutcomeKind, Clock], ids=lambda kind: kind.__name__)
def test_every_outcome_and_every_clock_has_its_row(kind: type[Enum]) -> None:
    """In the section on both."""
    rows = re.findall(r"^\| `(\w+)` \|", section("Outcomes and clocks"), re.MULTILINE)
    assert {member.value for member in kind} <= set(rows)
    assert set(rows) == {member.value for each in (OutcomeKind, Clock) for member in each}


@pytest.mark.parametrize("kind", [BusyPolicy, FullPolicy], ids=lambda kind: kind.__name__)
def test_every_policy_is_explained(kind: type[Enum]) -> None:
    """Where messages are."""
    for member in kind:
        assert f"`{member.value}`" in section("Messages")


@pytest.mark.parametrize("page", ["docs/operating.md", "docs/settings.md"])
def test_the_settings_file_that_is_shown_can_be_used(page: str, tmp_path: Path) -> None:
    """As it is."""
    (shown,) = re.findall(
        r"^```toml\n(.*?)^```$", (CLONE / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    file = tmp_path / "echo_actors.toml"
    file.write_text(shown, encoding="utf-8")
    loaded = Settings.load({"ECHO_ACTORS_STATE_DIR": str(tmp_path / "state")})
    assert (loaded.model, loaded.channels["discord:42"].idle_timeout) == ("opus", 120)


def test_the_error_that_is_shown_is_the_one_that_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word."""
    monkeypatch.chdir(tmp_path)
    Path("echo_actors.toml").write_text('modle = "opus"\n', encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        Settings.load({})
    assert f"`{caught.value}`" in (CLONE / "docs" / "operating.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page",
    [*PAGES, *(CLONE / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "state/README.md"))],
    ids=relative,
)
def test_every_file_that_a_page_links_to_exists(page: Path) -> None:
    """A picture, or another page."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not page.parent.joinpath(link).exists()] == []


def section(title: str) -> str:
    """The part of the page on embedding under a heading."""
    return EMBEDDING.read_text(encoding="utf-8").split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
