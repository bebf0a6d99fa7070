"""Where the CLI is found, and what its version is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from echo_actors.claude.locate import CLIVersion, find_cli, read_version
from echo_actors.errors import CLINotFound


def program(path: Path, script: str = "exit 0") -> Path:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the SDK's package, which fails when it is imported; returns the place of its binary."""
    root = tmp_path / "site" / "claude_agent_sdk"
    root.mkdir(parents=True)
    (root / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(root.parent)
    # Another test may have imported the real one.
    monkeypatch.delitem(sys.modules, "claude_agent_sdk", raising=False)
    return root / "_bundled" / "claude"


def test_the_places_are_tried_in_order(tmp_path: Path, package: Path) -> None:
    """The setting, then CLAUDE_BIN, then PATH, then the SDK's own."""
    setting, named, on_path = (program(tmp_path / name / "claude") for name in ("setting", "named", "path"))
    program(package)
    environ = {"PATH": str(on_path.parent), "CLAUDE_BIN": str(named)}
    assert find_cli(setting, environ) == setting
    assert find_cli(None, environ) == named
    assert find_cli(None, {"PATH": environ["PATH"]}) == on_path
    assert find_cli(None, {"PATH": ""}) == package


def test_claude_bin_may_be_a_bare_name(tmp_path: Path) -> None:
    """It is then looked up on PATH."""
    found = program(tmp_path / "claude-next")
    assert find_cli(None, {"PATH": str(tmp_path), "CLAUDE_BIN": "claude-next"}) == found


@pytest.mark.parametrize("named", ["{here}/gone", "{here}/plain", "{here}", "gone"])
def test_a_named_cli_that_cannot_run_is_an_error(tmp_path: Path, named: str) -> None:
    """It is never passed over for another one."""
    program(tmp_path / "claude")
    (tmp_path / "plain").touch(mode=0o600)
    with pytest.raises(CLINotFound, match="CLAUDE_BIN"):
        find_cli(None, {"PATH": str(tmp_path), "CLAUDE_BIN": named.format(here=tmp_path)})


def test_a_setting_that_cannot_run_is_an_error(tmp_path: Path) -> None:
    """The error names the setting and the file."""
    with pytest.raises(CLINotFound, match="claude_bin") as caught:
        find_cli(tmp_path / "gone", {"PATH": str(program(tmp_path / "claude").parent)})
    assert caught.value.searched == (str(tmp_path / "gone"),)


def test_no_cli_anywhere_is_an_error(tmp_path: Path, package: Path) -> None:
    """The error says where it was looked for."""
    with pytest.raises(CLINotFound) as caught:
        find_cli(None, {"PATH": str(tmp_path)})
    assert caught.value.searched == (str(tmp_path), str(package))


async def test_the_version_is_what_the_cli_says(tmp_path: Path) -> None:
    """With whatever it says besides."""
    path = program(tmp_path / "claude", "echo '2.1.330 (Claude Code)'")
    assert await read_version(path) == CLIVersion("2.1.330 (Claude Code)", (2, 1, 330))
    program(path, "echo 10.0.0-beta")
    assert (await read_version(path)).numbers == (10, 0, 0)


async def test_the_version_is_asked_with_an_almost_empty_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret is needed for it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "hidden")
    path = program(tmp_path / "claude", 'echo "1.2.3 $ANTHROPIC_API_KEY"')
    assert (await read_version(path)).text == "1.2.3"


@pytest.mark.parametrize("script", ["echo 2.1.330; exit 1", "exec sleep 987"])
async def test_a_cli_that_does_not_answer_counts_as_old(tmp_path: Path, script: str) -> None:
    """Its text is then defused, which does no harm to a newer one."""
    version = await read_version(program(tmp_path / "claude", script), seconds=0.2)
    assert version == CLIVersion("", None)
    assert not version.at_least(0)


async def test_a_cli_that_is_gone_is_not_found(tmp_path: Path) -> None:
    """Between finding it and asking it, it can be removed."""
    with pytest.raises(CLINotFound):
        await read_version(tmp_path / "claude")


@pytest.mark.parametrize(
    ("text", "new_enough"),
    [
        ("2.1.248", True),
        ("2.1.330 (Claude Code)", True),
        ("2.2", True),
        ("3.0.0", True),
        ("2.1.247", False),
        ("2.1", False),
        ("1.9.999", False),
        ("nightly", False),
        ("", False),
    ],
)
def test_versions_compare_by_their_numbers(text: str, new_enough: bool) -> None:
    """What is unknown counts as old."""
    assert CLIVersion.parse(text).at_least(2, 1, 248) is new_enough
