"""Kill a program that uses the engine, again and again, and see whether the engine kept its promises.

``python -m bench.crash [--kills 50] [--channels 20] [--cli scripted|real] [--seed N]``

A program opens an engine and sends messages over many channels; it is killed with SIGKILL at a random moment and
started again on the same directories. In the end it may finish, and all that it was promised is compared with what
is there. A run that finds a broken promise names it and exits with 1.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import attrs
import orjson
import trio
from rich.console import Console
from rich.progress import Progress

from bench.crash_child import ALIVE, Life, Planned
from bench.crash_evidence import Evidence, gather
from bench.report import Check, Result, Target, machine, save, show
from bench.statistics import summarize
from bench.workplace import cli_variables
from echo_actors.claude.locate import find_cli
from echo_actors.claude.process_tree import marked
from echo_actors.simulator.cli import write_scripted_cli
from echo_actors.simulator.model import ModelServer, open_model_server

CLI = Literal["scripted", "real"]

_ROOT = Path(__file__).parent.parent
_RESULTS = _ROOT / "state" / "bench"
_START_SECONDS = 30.0
_TOOL_EVERY = 4
_COLLECTED = 0.8
_WHOLE_MACHINE = 0.5
"""How often the CLIs die with the program, as when the machine fails; else they may still end their turns."""


@attrs.frozen(kw_only=True)
class Plan:
    """How a run is to go.

    Attributes:
        longest: Seconds that a life may last at most before it is killed, counted from the engine's opening.
        share: How many messages one life sends.
        slowest: Seconds that an answer takes at most.
        seconds: After so many no further life begins but the last.
        patience: Seconds that the last life has to answer what is left.
    """

    kills: int
    channels: int
    cli: CLI
    seed: int
    longest: float
    share: int
    slowest: float
    seconds: float = 600.0
    patience: float = 120.0

    def messages(self) -> list[Planned]:
        """All messages of all lives, each with a text of its own and a time that its answer takes."""
        chance = random.Random(self.seed)  # noqa: S311 - repeatable, not secret
        return [
            Planned(
                str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                f"crash:{chance.randrange(self.channels)}",
                f"message {number} [[{self._work(number, chance.uniform(0, self.slowest))}]]",
                # The scripted CLI echoes all that a turn was asked, so it shows who got which answer.
                "collect" if self.cli == "scripted" and chance.random() < _COLLECTED else "queue",
            )
            for number in range((self.kills + 1) * self.share)
        ]

    def _work(self, number: int, seconds: float) -> str:
        """What a message makes the model do: take its time to answer, or use a tool that takes its time."""
        if number % _TOOL_EVERY:
            return f"delay {seconds:.3f}"
        if self.cli == "scripted":
            return f"hold {seconds:.3f}"
        return f'tool Bash {{"command": "echo started; sleep {seconds:.3f}; echo message {number}"}}'


@attrs.frozen
class Place:
    """The directories of one run."""

    directory: Path

    @property
    def asked(self) -> Path:
        """Where the scripted CLI notes what its model was asked."""
        return self.directory / "asked"

    def life(self, plan: Plan, model: ModelServer, messages: Sequence[Planned], *, last: bool) -> Life:
        """One life of the program in this place."""
        home, work = self.directory / "home", self.directory / "work"
        for each in (home, work):
            each.mkdir(exist_ok=True)
        real = plan.cli == "real"
        scripted = {"HOME": str(home), "SCRIPTED_CLI_ASKED": str(self.asked)}
        return Life(
            settings={
                "state_dir": str(self.directory / "state"),
                "working_dir": str(work),
                "claude_bin": str(find_cli(None, os.environ) if real else write_scripted_cli(home)),
                "environment": cli_variables(home, model.url) if real else scripted,
                "allowed_tools": ("Bash",),
                "mailbox_size": 100_000,
                "max_attempts": 1000,
                "stream_deltas": False,
            },
            plan=tuple(messages),
            notes=self.directory / "notes",
            share=plan.share,
            last=last,
        )


@attrs.define(eq=False)
class Run:
    """A run of the plan; its figures grow as it goes.

    Attributes:
        on_kill: Told how many lives have been ended.
        kills: How many lives were ended by SIGKILL.
    """

    plan: Plan
    place: Place
    on_kill: Callable[[int], None]
    kills: int = 0

    async def go(self) -> Evidence:
        """Kill as often as planned, let the last life finish, and look at what is left.

        Raises:
            RuntimeError: A life ended by itself.
            trio.TooSlowError: The last life did not finish in time.
        """
        chance = random.Random(self.plan.seed + 1)  # noqa: S311 - repeatable, not secret
        messages = self.plan.messages()
        async with open_model_server() as model:
            begun = trio.current_time()
            while self.kills < self.plan.kills and trio.current_time() - begun < self.plan.seconds:
                life = self.place.life(self.plan, model, messages, last=False)
                async with self._living(life) as process:
                    await trio.sleep(chance.uniform(0, self.plan.longest))
                    if process.poll() is not None:
                        raise RuntimeError(f"the program ended by itself with {process.returncode}")
                    process.kill()
                    if chance.random() < _WHOLE_MACHINE:
                        self._kill_clis(life)
                self.kills += 1
                self.on_kill(self.kills)
            messages = messages[: (self.kills + 1) * self.plan.share]
            last = attrs.evolve(self.place.life(self.plan, model, messages, last=True), share=len(messages))
            with trio.fail_after(self.plan.patience):
                async with self._living(last) as process:
                    if await process.wait():
                        raise RuntimeError(f"the last life failed with {process.returncode}")
            asked = self._asked(model)
        return await gather(last.engine_settings(), messages, last.notes, asked)

    @asynccontextmanager
    async def _living(self, life: Life) -> AsyncIterator[trio.Process]:
        """Start the program, wait until it opens the engine, and kill it at the end of the block."""
        path = self.place.directory / "life.json"
        life.save(path)
        command = [sys.executable, "-m", "bench.crash_child", str(path)]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=_ROOT)
        try:
            assert process.stdout is not None
            with trio.fail_after(_START_SECONDS):
                if await process.stdout.receive_some(len(ALIVE)) != ALIVE:
                    raise RuntimeError("the program did not start")
            yield process
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
                if process.stdout is not None:
                    await process.stdout.aclose()

    def _kill_clis(self, life: Life) -> None:
        for each in marked({"HOME": life.settings["environment"]["HOME"]}):
            each.send(signal.SIGKILL)

    def _asked(self, model: ModelServer) -> list[str]:
        """What the model was asked, in order; messages that shared a turn one by one."""
        if self.plan.cli == "real":
            return [call.user_text for call in model.calls if call.asked]
        texts = [orjson.loads(line)["text"] for line in self.place.asked.read_bytes().splitlines()]
        return [message for text in texts for message in text.split("\n\n")]


def result_of(plan: Plan, kills: int, evidence: Evidence) -> Result:
    """What a run found, as the benchmarks keep it: every promise is a target of no exceptions."""
    problems = evidence.problems()
    return Result(
        scenario=f"crash {plan.cli}",
        parameters={"kills": kills, "channels": plan.channels, "seed": plan.seed},
        full=True,
        rounds={"engine": [{"kills": kills, **evidence.counts()}]},
        checks=[Check(Target(name, "<=", 0), summarize([len(found)])) for name, found in problems.items()],
    )


def _plan(options: argparse.Namespace) -> Plan:
    real = options.cli == "real"
    return Plan(
        kills=options.kills,
        channels=options.channels or (4 if real else 20),
        cli=options.cli,
        seed=random.randrange(2**32) if options.seed is None else options.seed,  # noqa: S311 - not secret
        longest=6.0 if real else 1.5,
        share=8 if real else 16,
        slowest=1.5 if real else 0.5,
        seconds=options.seconds,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.crash", description="Kill a program that uses the engine.")
    parser.add_argument("--kills", type=int, default=50, help="how often it is killed")
    parser.add_argument("--channels", type=int, help="how many channels it uses; 20, or 4 with the real CLI")
    parser.add_argument("--cli", choices=["scripted", "real"], default="scripted")
    parser.add_argument("--seed", type=int, help="of the random moments; a random one by default")
    parser.add_argument("--seconds", type=float, default=600.0, help="after so many, it may finish")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="where the result is kept")
    options = parser.parse_args(arguments)
    plan, console = _plan(options), Console()
    with tempfile.TemporaryDirectory(prefix="echo-actors-crash-", ignore_cleanup_errors=True) as directory:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("kills", total=plan.kills)
            run = Run(plan, Place(Path(directory)), lambda kills: progress.update(task, completed=kills))
            evidence = trio.run(run.go)
        result = result_of(plan, run.kills, evidence)
        show(result, console)
        console.print(f"kept in {save(result, machine(), options.results)}", soft_wrap=True)
        for name, found in evidence.problems().items():
            for each in found[:5]:
                console.print(f"{name}: {each}", markup=False, soft_wrap=True)
    return 0 if all(check.passed for check in result.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
