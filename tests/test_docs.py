"""The documentation: every block of code in it does what it shows, and it names nothing that is not there."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import pytest
from pages import CLONE, PAGES, Block, blocks, commands, same
from reader import Reader, Shell

from docs.made import DOCS, pages
from docs.made.commands import names
from echo_actors import ChannelOptions, Engine, Policy, Settings
from echo_actors.commands.app import application
from echo_actors.portal.blocking_engine import BlockingEngine
from echo_actors.settings.words import variable
from echo_actors.simulator.cli import write_scripted_cli

TEXTS = [*PAGES, *(CLONE / name for name in ("CONTRIBUTING.md", "examples/README.md", "examples/echo-actors.service"))]
"""All that tells people what to type."""

NOT_RUN = {"README.md": 1, "docs/tutorial.md": 1}
"""How many blocks of a page cannot be run; each says why."""

VARIABLES = {"ECHO_ACTORS_SETTINGS_FILE"}
"""Those that are no setting's."""


def relative(path: Path) -> str:
    """The name of a page in the clone."""
    return str(path.relative_to(CLONE))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=relative)
async def test_every_block_of_a_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    """One after the other, in one directory, as somebody would who reads it with the scripted CLI for Claude."""
    reader = Reader(tmp_path, {"CLAUDE_BIN": str(write_scripted_cli(tmp_path)), "COLUMNS": "100"})
    printed = ""
    async with AsyncExitStack() as stack:
        shell = await stack.enter_async_context(reader.shell())
        for block in blocks(page):
            if block.not_run:
                continue
            if block.file:
                file = tmp_path / block.file
                file.parent.mkdir(exist_ok=True)
                file.write_text(block.text, encoding="utf-8")
            if block.language == "toml":
                load_as_settings(block, tmp_path)
            elif block.language == "console":
                await type_all(block, shell)
            elif block.file:
                pass
            elif block.language == "python":
                printed = await reader.runs_program(block.text)
            elif block.language == "text":
                assert same(block.text, printed), f"{block}: {printed}"
            else:
                pytest.fail(f"{block}: nobody knows how to run {block.language!r}")
    if has_had_engines(tmp_path):
        assert reader.left_running() == []


def has_had_engines(directory: Path) -> bool:
    """Whether an engine ran there."""
    return any(directory.glob("*/audit.jsonl"))


def load_as_settings(block: Block, directory: Path) -> None:
    """Read a settings file, as it is shown."""
    file = directory / "shown.toml"
    file.write_text(block.text, encoding="utf-8")
    Settings.load({"ECHO_ACTORS_SETTINGS_FILE": str(file), "ECHO_ACTORS_STATE_DIR": str(directory / "elsewhere")})
    file.unlink()


async def type_all(block: Block, shell: Shell) -> None:
    """Type what a console's block shows; what is shown must come, and where nothing is, it must succeed."""
    for command in commands(block.text):
        printed, code = await shell.does(command.typed, enough=command.matches)
        if command.shown:
            assert command.matches(printed), f"{block}: {command.typed}: {printed}"
        else:
            assert code == 0, f"{block}: {command.typed}: {printed}"


def test_few_blocks_cannot_be_run() -> None:
    """And each of them says why."""
    left = [block for page in PAGES for block in blocks(page) if block.not_run]
    counted = {page: len([block for block in left if block.page == page]) for page in {block.page for block in left}}
    assert counted == NOT_RUN


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_that_is_made_of_the_code_says_what_the_code_does(name: str) -> None:
    """``python -m docs.made`` makes it again."""
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name]


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_a_text_names_only_commands_that_there_are(path: Path) -> None:
    """With all their words."""
    known = set(names(application()))
    groups = {path[:-1] for path in known if len(path) > 1} - {("audit",)}
    text = path.read_text(encoding="utf-8")
    named = [tuple(found.split()) for found in re.findall(r"echo-actors((?: (?:[a-z]+(?:-[a-z]+)*)\b)+)", code(text))]
    for words in named:
        assert words[:1] in known or words[:1] in groups, words
        if words[:1] in groups and len(words) > 1:
            assert words[:2] in known, words


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_a_text_names_only_modules_that_there_are(path: Path) -> None:
    """Those to be run by Python's ``-m``."""
    for module in re.findall(r"python3? -m ([\w.]+)", path.read_text(encoding="utf-8")):
        assert importlib.util.find_spec(module) is not None, module


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_a_text_names_only_settings_that_there_are(path: Path) -> None:
    """By their variables, and where it says that it names one."""
    text = path.read_text(encoding="utf-8")
    fields = {field.name for cls in (Settings, ChannelOptions, Policy) for field in attrs.fields(cls)}
    variables = {variable(name) for name in fields} | VARIABLES
    assert set(re.findall(r"\bECHO_ACTORS_[A-Z][A-Z_]*[A-Z]\b", text)) <= variables
    assert set(settings_named(text)) <= fields


def settings_named(text: str) -> Iterator[str]:
    """The names in ``the setting `a```, and in ``the settings `a`, `b` and `c```."""
    for found in re.findall(r"\bsettings?((?:(?:,| and|,? or)?\s+(?:the\s)?`[a-z_]+`)+)", text):
        yield from re.findall(r"`([a-z_]+)`", found)


@pytest.mark.parametrize("path", TEXTS, ids=relative)
def test_a_text_names_only_calls_that_there_are(path: Path) -> None:
    """Those of an engine, wherever it runs."""
    for call in re.findall(r"\bengine\.([a-z]\w*)\(", code(path.read_text(encoding="utf-8"))):
        assert hasattr(Engine, call) or hasattr(BlockingEngine, call), call


def code(text: str) -> str:
    """What of a text is code: blocks, and what is between backticks."""
    found = re.findall(r"^```\w*\n(.*?)^```$|`([^`\n]+)`", text, re.MULTILINE | re.DOTALL)
    return "\n".join("".join(each) for each in found)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("[a](nowhere.md)", "contains a link 'nowhere.md', but the target is not found"),
        ("[a](faq.md#nowhere)", "does not contain an anchor '#nowhere'"),
        ("[a](../NOWHERE.md)", "contains a link 'NOWHERE.md', but the target is not found"),
        ("![a](nowhere.svg)", "contains a link 'nowhere.svg', but the target is not found"),
    ],
    ids=["page", "anchor", "outside", "picture"],
)
def test_a_broken_link_fails_the_build(wrong: str, said: str, tmp_path: Path) -> None:
    """By the command that ``make check`` runs."""
    (command,) = re.findall(
        r"^DOCS := \$\(BIN\)/(.*)$", (CLONE / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    shutil.copytree(CLONE / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(CLONE / name, tmp_path)
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n{wrong}\n")
    done = subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert said in done.stderr
