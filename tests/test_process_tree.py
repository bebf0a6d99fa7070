"""Which processes are a CLI's, and whether they live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator

import attrs
import pytest

from echo_actors.claude.process_table import ProcessTable, ProcTable, PsutilTable
from echo_actors.claude.process_tree import Identity, Scan, descendants, marked

TREE = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "987"], start_new_session=True)
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""
BURN = "import time\nwhile time.process_time() < 0.2: pass\nprint('done', flush=True)\ninput()"


@pytest.fixture(params=[ProcTable, PsutilTable])
def table(request: pytest.FixtureRequest) -> ProcessTable:
    """Both ways to read the machine's processes."""
    made: ProcessTable = request.param()
    return made


@attrs.frozen
class Family:
    """A process with one child, and what both are marked with."""

    parent: subprocess.Popen[bytes]
    child: int
    mark: dict[str, str]


@pytest.fixture
def family() -> Iterator[Family]:
    """A process with a child in another session, both marked."""
    mark = {"ECHOACTORS_RUN": uuid.uuid4().hex, "ECHOACTORS_PROCESS": uuid.uuid4().hex}
    with subprocess.Popen(
        [sys.executable, "-c", TREE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **mark}
    ) as parent:
        assert parent.stdout is not None
        yield Family(parent, int(parent.stdout.readline()), mark)


def identify(pid: int, table: ProcessTable) -> Identity:
    """The identity of a process that is known to be there."""
    identity = Identity.of(pid, table)
    assert identity is not None
    return identity


def test_descendants_are_found_across_sessions(family: Family, table: ProcessTable) -> None:
    """The tree counts, not the session; the process itself is not its descendant."""
    child = identify(family.child, table)
    assert descendants(family.parent.pid, table=table) == {child}
    assert child in descendants(os.getpid(), table=table)


def test_marked_processes_are_found_by_process_and_by_run(family: Family, table: ProcessTable) -> None:
    """Each variable finds both, a part of its value finds none."""
    both = {identify(family.parent.pid, table), identify(family.child, table)}
    for name, value in family.mark.items():
        assert marked({name: value}, table=table) == both
        assert marked({name: value[:-1]}, table=table) == set()


def test_a_signal_reaches_the_process_it_was_meant_for(family: Family, table: ProcessTable) -> None:
    """An identity whose start differs is another process with the same pid."""
    identity = identify(family.parent.pid, table)
    other = attrs.evolve(identity, started=identity.started + 1)
    assert not other.alive()
    assert not other.send(signal.SIGKILL)
    assert identity.alive()


def test_a_zombie_is_not_alive(table: ProcessTable) -> None:
    """A process that has ended but was not waited for takes no signal and is nobody's descendant."""
    with subprocess.Popen(["sleep", "987"]) as process:
        identity = identify(process.pid, table)
        assert identity.send(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not identity.alive()
        assert not identity.send(signal.SIGKILL)
        assert identity not in descendants(os.getpid(), table=table)


def test_nobody_has_the_pid_of_a_process_that_is_gone(table: ProcessTable) -> None:
    """Its identity is dead and cannot be made anew."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert Identity.of(process.pid, table) is None
    assert not Identity(process.pid, 0, table).alive()
    assert Scan.take(table).cpu_seconds(Identity(process.pid, 0, table)) == 0


def test_cpu_time_adds_up(table: ProcessTable) -> None:
    """What a process computed is counted for it and not for a namesake."""
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        identity = identify(process.pid, table)
        assert Scan.take(table).cpu_seconds(identity) >= 0.15
        assert Scan.take(table).cpu_seconds(attrs.evolve(identity, started=-1)) == 0
        process.kill()


def test_memory_is_the_whole_trees(table: ProcessTable) -> None:
    """Private memory of a process and of its children."""
    block = 50_000_000
    child = f"x = b'x' * {block}; print(1, flush=True); input()"
    parent = f"import subprocess, sys; x = b'x' * {block}; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert 2 * block <= Scan.take(table).resident_bytes(process.pid) < 4 * block
        process.communicate(b"\n")
