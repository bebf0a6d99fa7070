"""When the machine has nothing left to give, or the ground is taken away: bounded, told, and nothing left running."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from support import opened, plain_settings

from echo_actors import StoreError
from echo_actors.claude.environment import ProcessMark
from echo_actors.claude.process import CLIProcess, ProcessEnd
from echo_actors.claude.process_tree import Identity, marked
from echo_actors.claude.termination import ProcessLimits
from echo_actors.testing.instant_driver import InstantDriver

DEAF = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('{"ready":1}', flush=True)
time.sleep(987)
"""
LIMITS = ProcessLimits(stdin_grace=0.1, term_grace=0.1, kill_grace=0.5, end_grace=0.1)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Nothing can be opened in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_that_cannot_be_looked_at_is_not_taken_for_gone() -> None:
    """Without descriptors nobody knows whether it lives; to say no would leave it running."""
    me = Identity.of(os.getpid())
    assert me is not None
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        me.alive()


async def test_a_cli_ends_also_when_no_descriptor_is_left(tmp_path: Path) -> None:
    """Its end needs no look at the machine's processes, and is bounded."""
    mark, ends, ready = ProcessMark("run", uuid.uuid4().hex), list[ProcessEnd](), trio.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            process = await CLIProcess.spawn(
                nursery,
                [sys.executable, "-c", DEAF],
                environment={"PATH": os.environ["PATH"], **mark.variables()},
                cwd=tmp_path,
                mark=mark,
                on_frame=lambda _: ready.set(),
                on_end=ends.append,
                limits=LIMITS,
            )
            await ready.wait()
            with no_descriptors():
                report = await process.stop("no descriptors")
    assert (report.how, report.exit_code) == ("killed", -signal.SIGKILL)
    assert [end.reason for end in ends] == ["no descriptors"]
    assert marked(mark.variables()) == set()


async def test_an_engine_whose_state_directory_was_removed_accepts_nothing(tmp_path: Path) -> None:
    """What it wrote would be lost, and another engine may have the place by now."""
    settings = plain_settings(tmp_path)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.ask("c", "before")
        shutil.rmtree(settings.state_dir)
        with pytest.raises(StoreError, match="removed or replaced"):
            await engine.post("c", "after")
