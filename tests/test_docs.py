"""The documentation: every block of code in it does what it shows, and every link leads somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pages import CLONE, PAGES, Block, blocks, commands, relative, same
from reader import Reader, Shell

from docs.made import DOCS, pages
from echo_actors import Settings
from echo_actors.simulator.cli import write_scripted_cli

NOT_RUN = {"README.md": 1, "docs/tutorial.md": 1}
"""How many blocks of a page cannot be run; each says why."""


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
