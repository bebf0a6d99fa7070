"""How much memory there is to use: the machine's, or what control groups leave of it; on made-up files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from echo_actors import Settings
from echo_actors.settings.machine import usable_memory

MACHINE = 1000

Usable = Callable[[str, dict[str, str]], int]


@pytest.fixture
def usable(tmp_path: Path) -> Usable:
    """What a process may use that is in these groups, of which these files are there."""

    def ask(own_groups: str, files: dict[str, str]) -> int:
        (tmp_path / "own").write_text(own_groups, encoding="ascii")
        for name, text in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")
        return usable_memory(MACHINE, tmp_path / "own", tmp_path / "cgroup")

    return ask


def test_a_container_has_what_its_limit_says(usable: Usable) -> None:
    """It sees its own group as the root."""
    assert usable("0::/\n", {"memory.max": "400\n"}) == 400


def test_the_least_limit_of_all_groups_above_holds(usable: Usable) -> None:
    """A service may be in a slice that has less than it."""
    files = {"a.slice/memory.max": "300\n", "a.slice/b.service/memory.max": "500\n", "memory.max": "max\n"}
    assert usable("0::/a.slice/b.service\n", files) == 300


def test_the_first_version_of_control_groups_is_read_too(usable: Usable) -> None:
    """Under the path that the host knows, or where the container sees its own group."""
    own_groups = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n"
    assert usable(own_groups, {"memory/memory.limit_in_bytes": "600\n"}) == 600
    assert usable(own_groups, {"memory/docker/abc/memory.limit_in_bytes": "200\n"}) == 200


@pytest.mark.parametrize("limit", ["max\n", "9223372036854771712\n", "", "nonsense"])
def test_without_a_limit_the_machine_is_all_there_is(usable: Usable, limit: str) -> None:
    """Whatever is written for that, or cannot be read."""
    assert usable("0::/a\n4:memory:/a\n", {"a/memory.max": limit, "memory/a/memory.limit_in_bytes": limit}) == MACHINE


def test_a_machine_without_control_groups_has_its_memory(tmp_path: Path, usable: Usable) -> None:
    """Nor does a line that says something else do any harm."""
    assert usable_memory(MACHINE, tmp_path / "none", tmp_path / "none") == MACHINE
    assert usable("\nx\n1:name=systemd:/a\n", {"memory.max": "1"}) == MACHINE


def test_residents_may_have_half_of_it_by_default() -> None:
    """The rest is for the engine and everybody else."""
    assert Settings().max_resident_memory == usable_memory() // 2
    assert usable_memory() <= psutil.virtual_memory().total
