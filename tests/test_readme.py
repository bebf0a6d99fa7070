"""The README: its programs run exactly as they are shown, and its tables say what the code has."""

from __future__ import annotations

import json
import re
from enum import Enum
from pathlib import Path

import attrs
import pytest
from readme import CLONE, README, Reader, programs, towards

from echo_actors import BusyPolicy, Clock, Engine, FullPolicy, OutcomeKind, Settings
from echo_actors.simulator.model import ModelServer

TEXT = README.read_text(encoding="utf-8")


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
    printed = (await reader.runs_program(programs()[1])).splitlines()
    assert printed[:3] == [f"echo: Hello, {number}!" for number in range(3)]
    assert [printed[3], printed[-1]] == ["Accepted", "TurnEnded"]
    assert reader.left_running() == []


@pytest.mark.real_cli
async def test_the_example_with_asyncio_runs_as_shown_with_the_real_cli(
    tmp_path: Path, cli: Path, model: ModelServer
) -> None:
    """The answer, and events."""
    reader = Reader(tmp_path, towards(model.url, cli))
    printed = (await reader.runs_program(programs()[2])).splitlines()
    assert printed[:2] == ["echo: Hello!", "Accepted"]
    assert printed[-1] == "TurnEnded"
    assert reader.left_running() == []


async def test_the_program_for_tests_of_your_own_runs_as_shown(tmp_path: Path) -> None:
    """It needs nothing but the package: no CLI, no model, no key."""
    printed = (await Reader(tmp_path, {}).runs_program(programs()[4])).splitlines()
    assert printed[0] == "echo: Hello!"
    assert printed[1].startswith("failed: ")
    assert "exit code 3" in printed[1]


async def test_the_program_for_chat_platforms_runs_as_shown(tmp_path: Path) -> None:
    """The first message is sent and grows; what is behind its limit becomes the second."""
    printed = (await Reader(tmp_path, {}).runs_program(programs()[3])).splitlines()
    assert printed[0] == "4 messages"
    assert printed[1].startswith("send 0 ")
    assert [line for line in printed if line.startswith("send")][1:] == ["send 1 Hello!"]
    assert printed[-1].split()[1:] == ["1", "Hello!"]


async def test_the_program_that_watches_runs_as_shown(tmp_path: Path) -> None:
    """An entry in the audit log's words, a line for the channel, its health, and text for Prometheus."""
    printed = (await Reader(tmp_path, {}).runs_program(programs()[5])).splitlines()
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
        assert f"`{member.value}`" in section("The calls")


@pytest.mark.parametrize("setting", attrs.fields(Settings), ids=lambda field: field.name)
def test_every_setting_has_its_row(setting: attrs.Attribute[object]) -> None:
    """With the words that the code has for it."""
    words = setting.metadata["doc"].removesuffix(".")
    rows = [line for line in section("Configuration").splitlines() if line.startswith(f"| `{setting.name}` |")]
    assert len(rows) == 1, f"README.md lacks a row for {setting.name}: {words}"
    assert words[1:] in rows[0]


def test_no_setting_is_shown_that_there_is_not() -> None:
    """A renamed one leaves no row behind."""
    shown = re.findall(r"^\| `(\w+)` \|", section("Configuration"), re.MULTILINE)
    assert shown == [field.name for field in attrs.fields(Settings)]


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "state/README.md"]
)
def test_every_file_that_a_page_links_to_exists(page: str) -> None:
    """A picture, or another page."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (CLONE / page).read_text(encoding="utf-8"))
    assert [link for link in links if not (CLONE / page).parent.joinpath(link).exists()] == []


def section(title: str) -> str:
    """The part of the README under a heading."""
    return TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
