"""What the machine has, as far as this program may use it: a container may have less memory than its host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

import psutil

CGROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")


def usable_memory(total: int | None = None, own_groups: Path = OWN_GROUPS, cgroups: Path = CGROUPS) -> int:
    """The bytes of memory that this program and what it starts may have together, others' needs apart.

    Args:
        total: What the machine has; asked of it by default.
        own_groups: Says which control groups this process is in; there is none but on Linux.
        cgroups: Where the limits of control groups are.
    """
    machine: int = psutil.virtual_memory().total if total is None else total
    return min([machine, *_limits(own_groups, cgroups)])


def _limits(own_groups: Path, cgroups: Path) -> Iterator[int]:
    """The limits of this process's groups and of all above them, each of which holds. See cgroups(7)."""
    lines: list[str] = []
    with suppress(OSError):
        lines = own_groups.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in lines:
        match line.split(":", 2):
            case ["0", "", path]:
                yield from _up_the_tree(cgroups, path, "memory.max")
            case [_, controllers, path] if "memory" in controllers.split(","):
                yield from _up_the_tree(cgroups / "memory", path, "memory.limit_in_bytes")
            case _:
                continue


def _up_the_tree(mount: Path, path: str, name: str) -> Iterator[int]:
    """The limits that are there; a container may see its own group as the root, under a path that its host knows."""
    group = PurePosixPath(path.lstrip("/"))
    for each in (group, *group.parents):
        # "max" is no limit, and the first version writes a number beyond any machine for it.
        with suppress(OSError, ValueError):
            yield int((mount / each / name).read_text(encoding="ascii"))
