"""The examples: each runs as it is, and the pages that show them are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import CLONE, programs
from reader import Reader, towards

from echo_actors.simulator.model import ModelServer

EXAMPLES = CLONE / "examples"
PARTS = {"fake_discord.py", "tryout.py"}
"""What examples use, and is none."""

STREAMED = ["Accepted", "TurnStarted", "TextDelta", "BlockFinished", "TurnEnded"]


async def printed_by(name: str, tmp_path: Path) -> list[str]:
    """What an example prints; it leaves nothing behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    printed = await Reader(tmp_path, {"TMPDIR": str(temporary)}).runs(str(EXAMPLES / name))
    assert list(temporary.iterdir()) == []
    return printed.splitlines()


async def test_ten_lines_of_trio(tmp_path: Path) -> None:
    """An answer, and one as it comes."""
    assert await printed_by("trio_ten_lines.py", tmp_path) == ["echo: Hello! (0.000400 USD)", *STREAMED]


@pytest.mark.parametrize("name", ["asyncio_ten_lines.py", "threads_ten_lines.py"])
async def test_ten_lines_of_another_world(tmp_path: Path, name: str) -> None:
    """Two answers at once, and one as it comes."""
    answers = ["echo: Hello! (0.000400 USD)", "echo: Good day! (0.000400 USD)"]
    assert await printed_by(name, tmp_path) == [*answers, *STREAMED]


@pytest.mark.real_cli
async def test_ten_lines_of_asyncio_on_the_real_cli(tmp_path: Path, cli: Path, model: ModelServer) -> None:
    """As somebody runs them who has an account."""
    reader = Reader(tmp_path, towards(model.url, cli))
    printed = (await reader.runs(str(EXAMPLES / "asyncio_ten_lines.py"), "--claude")).splitlines()
    assert printed[:2] == ["echo: Hello! (0.000400 USD)", "echo: Good day! (0.000400 USD)"]
    assert [printed[2], printed[-1]] == ["Accepted", "TurnEnded"]
    assert sorted(call.user_text for call in model.calls if call.asked) == ["And once more?", "Good day!", "Hello!"]
    assert reader.left_running() == []


async def test_many_channels(tmp_path: Path) -> None:
    """Every channel gets its answers in order, and what is delivered twice is answered once."""
    printed = await printed_by("many_channels.py", tmp_path)
    assert [line for line in printed if line.startswith("discord:1")] == [
        "discord:1: echo: Good morning.",
        "discord:1: echo: How are you?",
    ]
    assert "slack:2: echo: Hello!" in printed
    assert "telegram:3: answered, 1 answered" in printed
    assert printed.count("log: discord:1: answered") == 2


async def test_the_discord_bot(tmp_path: Path) -> None:
    """It answers, says in words what went wrong, and finishes an answer when it is told to stop."""
    printed = await printed_by("discord_bot.py", tmp_path)
    assert [line.partition(":")[2][:1] for line in printed] == ["7", "7", "8", "8"]
    assert "| Hello!" in printed[0]
    assert "Can you finish this when you are told to stop?" in printed[1]
    assert "Are you there?" in printed[2]
    assert "Something went wrong" in printed[3]


async def test_the_writer_of_files(tmp_path: Path) -> None:
    """A channel's name cannot lead out of the directory."""
    printed = await printed_by("write_files.py", tmp_path)
    assert [re.sub(r"-[0-9a-f]{16}\.jsonl", "", line) for line in printed] == [
        f"{name}: Accepted, TurnStarted, BlockFinished, SessionChanged, TurnEnded"
        for name in ("channel", "discord-42", "etc-passwd")
    ]


def test_the_first_lines_of_the_readme_are_an_example() -> None:
    """But for the settings, which let it run at once."""
    example = (EXAMPLES / "trio_ten_lines.py").read_text(encoding="utf-8").partition(" prints\n")[2]
    tried = example.replace("from tryout import tryout_settings\n", "").replace("tryout_settings()", "")
    assert tried.split() == programs()[0].split()


def test_every_example_is_in_the_list() -> None:
    """And none that is not there."""
    shown = set(re.findall(r"^\| \[(\w+\.py)\]", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert shown == {path.name for path in EXAMPLES.glob("*.py")} - PARTS
