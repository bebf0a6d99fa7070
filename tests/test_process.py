"""One CLI process: whatever it does, its frames arrive, its end is told once, and nothing of it is left."""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from echo_actors.claude.environment import ProcessMark
from echo_actors.claude.process import CLIProcess, ProcessEnd
from echo_actors.claude.process_tree import Identity, marked
from echo_actors.claude.termination import ProcessLimits
from echo_actors.claude.wire import BadLine, Frame
from echo_actors.errors import CLIFailed, CLINotFound

PRELUDE = """
import json, os, signal, subprocess, sys, time
def say(**frame):
    sys.stdout.write(json.dumps(frame) + "\\n")
    sys.stdout.flush()
def sleeper(**options):
    return subprocess.Popen(["sleep", "987"], **options)
"""
ECHO = "for line in sys.stdin: say(echo=json.loads(line))"
STAY = "time.sleep(987)"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
DOUBLE_FORK = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "987"])
    os._exit(0)
os.wait()
say(ready=True)
"""
LATE = """
late = "import os, time\\nwhile os.getppid() == PARENT: pass\\ntime.sleep(0.1)\\nprint('{\\"late\\":1}')"
subprocess.Popen([sys.executable, "-c", late.replace("PARENT", str(os.getpid()))], env={}, stderr=subprocess.DEVNULL)
"""
QUICK = ProcessLimits(stdin_grace=0.2, term_grace=0.2, end_grace=0.2)


@attrs.define(eq=False)
class Bench:
    """Starts scripts as if they were CLIs and records what they tell."""

    nursery: trio.Nursery
    cwd: Path
    items: list[Frame | BadLine] = attrs.field(factory=list)
    ends: list[ProcessEnd] = attrs.field(factory=list)
    heard: trio.Event = attrs.field(factory=trio.Event)
    mark: ProcessMark = attrs.field(factory=lambda: ProcessMark("run", uuid.uuid4().hex))

    def on_frame(self, item: Frame | BadLine) -> None:
        """Record what was read."""
        self.items.append(item)
        self.heard.set()

    async def run(self, script: str, limits: ProcessLimits | None = None) -> CLIProcess:
        """Start a script."""
        return await self.spawn([sys.executable, "-c", PRELUDE + script], limits)

    async def spawn(self, argv: list[str], limits: ProcessLimits | None = None) -> CLIProcess:
        """Start a program."""
        return await CLIProcess.spawn(
            self.nursery,
            argv,
            environment={"PATH": os.environ["PATH"], **self.mark.variables()},
            cwd=self.cwd,
            mark=self.mark,
            on_frame=self.on_frame,
            on_end=self.ends.append,
            limits=limits,
        )

    def left(self) -> set[Identity]:
        """What carries the mark and runs."""
        return marked(self.mark.variables())


@pytest.fixture
async def bench(nursery: trio.Nursery, tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench whose processes end with the test."""
    bench = Bench(nursery, tmp_path)
    yield bench
    for identity in bench.left():
        identity.send(signal.SIGKILL)


async def test_frames_go_in_and_come_out(bench: Bench) -> None:
    """What is sent is read by the process, and what it writes is told; closing its input ends it."""
    process = await bench.run(ECHO)
    process.send({"n": 1})
    process.send({"n": 2})
    report = await process.stop("done", hurry=False)
    assert bench.items == [{"echo": {"n": 1}}, {"echo": {"n": 2}}]
    assert (report.how, report.exit_code, report.reaped) == ("stdin closed", 0, 0)
    assert bench.ends == [ProcessEnd(exit_code=0, reason="done", stderr_tail="")]


@pytest.mark.parametrize(
    ("script", "code", "reason"),
    [
        ("sys.exit(0)", 0, "the CLI exited with status 0"),
        ("sys.exit(3)", 3, "the CLI exited with status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, "the CLI was ended by signal 9"),
    ],
)
async def test_an_exit_is_told(bench: Bench, script: str, code: int, reason: str) -> None:
    """An end that nobody asked for has its exit code and reason."""
    process = await bench.run(script)
    await process.ended.wait()
    assert bench.ends == [ProcessEnd(exit_code=code, reason=reason, stderr_tail="")]
    assert (await process.stop("late")).how == "exited"


async def test_frames_before_the_exit_are_not_lost(bench: Bench) -> None:
    """What is in the pipe when the process ends is still told, before the end is."""
    process = await bench.run("for n in range(2000): sys.stdout.write(json.dumps({'n': n}) + '\\n')\nsys.exit(1)")
    await process.ended.wait()
    assert bench.items == [{"n": n} for n in range(2000)]


async def test_output_is_read_to_its_end_for_a_while(bench: Bench) -> None:
    """What comes shortly after the exit, through a pipe that something else still holds, is told."""
    process = await bench.run(LATE, ProcessLimits(end_grace=30))
    await process.ended.wait()
    assert bench.items == [{"late": 1}]


async def test_a_megabyte_of_stderr_is_drained(bench: Bench) -> None:
    """The process does not hang, and the end of what it said is kept."""
    process = await bench.run("sys.stderr.write('x' * 1_000_000 + 'last words')\nsys.stderr.flush()\nsay(done=1)")
    await process.ended.wait()
    assert bench.items == [{"done": 1}]
    assert len(bench.ends[0].stderr_tail) == ProcessLimits().stderr_bytes
    assert bench.ends[0].stderr_tail.endswith("last words")


async def test_a_grandchild_that_holds_the_output_delays_no_end(bench: Bench) -> None:
    """The exit of the CLI is the end, and the grandchild is killed."""
    process = await bench.run("sleeper()\nsay(ready=1)\nsys.exit(0)")
    await process.ended.wait()
    report = await process.stop("late")
    assert (report.how, report.exit_code, report.reaped) == ("exited", 0, 1)
    assert bench.items == [{"ready": 1}]
    assert bench.left() == set()


async def test_a_double_forked_tool_is_found_by_its_mark(bench: Bench) -> None:
    """What left the tree and the session is killed too."""
    process = await bench.run(DOUBLE_FORK + ECHO)
    await bench.heard.wait()
    assert len(bench.left()) == 2
    report = await process.stop("done")
    assert (report.how, report.reaped) == ("stdin closed", 1)
    assert bench.left() == set()


async def test_a_tool_without_the_mark_is_found_below_the_cli(bench: Bench) -> None:
    """A tool that cleared its environment is known from the tree, listed before the first signal."""
    process = await bench.run("child = sleeper(env={}, start_new_session=True)\nsay(pid=child.pid)\n" + ECHO)
    await bench.heard.wait()
    frame = bench.items[0]
    assert isinstance(frame, dict)
    tool = Identity.of(frame["pid"])
    assert tool is not None
    report = await process.stop("done")
    assert report.reaped == 1
    assert not tool.alive()


async def test_a_process_that_outstays_its_input_is_terminated(bench: Bench) -> None:
    """SIGTERM follows a closed stdin."""
    process = await bench.run("say(ready=1)\n" + STAY, QUICK)
    await bench.heard.wait()
    report = await process.stop("done")
    assert (report.how, report.exit_code) == ("terminated", -signal.SIGTERM)


async def test_a_process_that_ignores_sigterm_is_killed(bench: Bench) -> None:
    """SIGKILL follows SIGTERM, for the CLI and its tools."""
    process = await bench.run(DEAF + "sleeper(start_new_session=True)\nsay(ready=1)\n" + STAY, QUICK)
    await bench.heard.wait()
    report = await process.stop("done")
    assert (report.how, report.exit_code, report.reaped) == ("killed", -signal.SIGKILL, 1)
    assert bench.left() == set()


async def test_hurry_leaves_out_the_clean_exit(bench: Bench) -> None:
    """A stop in a hurry begins at SIGTERM, also when another stop is already waiting for a clean exit."""
    process = await bench.run("say(ready=1)\n" + STAY, ProcessLimits(stdin_grace=3600))
    await bench.heard.wait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.stop, "patient")
        await trio.testing.wait_all_tasks_blocked()
        report = await process.stop("impatient", hurry=True)
    assert report.how == "terminated"
    assert bench.ends[0].reason == "patient"


async def test_concurrent_stops_are_one(bench: Bench) -> None:
    """All callers get the same report, and the end is told once."""
    process = await bench.run("say(ready=1)\n" + STAY, QUICK)
    await bench.heard.wait()
    reports = []

    async def stop() -> None:
        reports.append(await process.stop("done"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop)
        nursery.start_soon(stop)
    assert reports[0] is reports[1]
    assert len(bench.ends) == 1


async def test_a_cancelled_stop_is_still_a_stop(bench: Bench) -> None:
    """Cancelling the caller leaves nothing half ended."""
    process = await bench.run("sleeper()\nsay(ready=1)\n" + STAY, QUICK)
    await bench.heard.wait()
    with trio.CancelScope() as scope:
        scope.cancel()
        await process.stop("cancelled")
    assert process.ended.is_set()
    assert bench.left() == set()


async def test_cancelling_the_nursery_ends_the_process(bench: Bench) -> None:
    """An owner that is cancelled leaves no process."""
    async with trio.open_nursery() as owner:
        bench.nursery = owner
        await bench.run("sleeper(start_new_session=True)\nsay(ready=1)\n" + STAY)
        await bench.heard.wait()
        owner.cancel_scope.cancel()
    assert bench.left() == set()
    assert [end.reason for end in bench.ends] == ["the engine is closing"]


async def test_a_process_that_reads_nothing_is_ended(bench: Bench) -> None:
    """A write has a deadline, and its end says so."""
    process = await bench.run(STAY, attrs.evolve(QUICK, write_timeout=0.1))
    process.send({"text": "x" * 1_000_000})
    await process.ended.wait()
    assert bench.ends[0].reason == "the CLI read no input for 0.1 s"


async def test_a_process_that_closes_its_output_is_ended(bench: Bench) -> None:
    """A CLI that can say nothing more is of no use."""
    process = await bench.run(DEAF + "os.close(1)\n" + STAY, QUICK)
    await process.ended.wait()
    assert bench.ends[0].reason == "the CLI closed its output"
    assert bench.ends[0].exit_code == -signal.SIGKILL


async def test_a_process_that_closes_its_input_is_ended(bench: Bench) -> None:
    """A broken pipe is an end, not an exception."""
    process = await bench.run("os.close(0)\nsay(ready=1)\n" + STAY, QUICK)
    await bench.heard.wait()
    process.send({"n": 1})
    await process.ended.wait()
    assert bench.ends[0].reason == "the CLI closed its input"


async def test_a_handler_that_fails_ends_its_process_alone(bench: Bench) -> None:
    """The nursery goes on when the handler of a frame raises."""

    def fail(item: Frame | BadLine) -> None:
        raise ValueError(item)

    process = await CLIProcess.spawn(
        bench.nursery,
        [sys.executable, "-c", PRELUDE + "say(n=1)\n" + STAY],
        environment=bench.mark.variables(),
        cwd=bench.cwd,
        mark=bench.mark,
        on_frame=fail,
        on_end=bench.ends.append,
    )
    await process.ended.wait()
    assert "ValueError({'n': 1})" in bench.ends[0].reason


async def test_too_many_frames_are_refused(bench: Bench) -> None:
    """The queue to a process that reads nothing is bounded."""
    process = await bench.run(STAY, attrs.evolve(QUICK, queued_frames=2))
    process.send({"text": "x" * 1_000_000})
    await trio.testing.wait_all_tasks_blocked()  # the writer holds that one, the next two wait
    process.send({"n": 1})
    process.send({"n": 2})
    with pytest.raises(CLIFailed, match="2 frames wait"):
        process.send({"n": 3})
    await process.stop("done", hurry=True)


async def test_nothing_is_sent_to_an_ended_process(bench: Bench) -> None:
    """The error carries how the process ended."""
    process = await bench.run("sys.stderr.write('No conversation found')\nsys.exit(1)")
    await process.ended.wait()
    with pytest.raises(CLIFailed) as caught:
        process.send({"n": 1})
    assert (caught.value.exit_code, caught.value.stderr_tail) == (1, "No conversation found")


async def test_a_missing_program_is_not_found(bench: Bench) -> None:
    """ENOENT is a typed error."""
    with pytest.raises(CLINotFound, match="No such file"):
        await bench.spawn([str(bench.cwd / "claude")])


async def test_a_program_that_cannot_be_executed_is_not_found(bench: Bench) -> None:
    """EACCES is a typed error."""
    (bench.cwd / "claude").touch()
    with pytest.raises(CLINotFound, match="Permission denied"):
        await bench.spawn([str(bench.cwd / "claude")])


async def test_a_missing_working_directory_is_told(bench: Bench) -> None:
    """It is not mistaken for a missing program."""
    bench.cwd /= "gone"
    with pytest.raises(CLIFailed, match="working directory") as caught:
        await bench.run(ECHO)
    assert (caught.value.exit_code, caught.value.stderr_tail) == (None, "")
