"""The benchmarks' command line: ``python -m bench [SCENARIO ...] [--quick]``."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import scenarios
from bench.harness import Harness, Size, model_process
from bench.report import Result, machine, save, show
from echo_actors.claude.locate import find_cli
from echo_actors.simulator.cli import write_scripted_cli

RESULTS = Path(__file__).parent / "results"


def scenario_names() -> list[str]:
    """The scenarios there are, by the names that the command line takes."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(scenarios.__path__))


async def run(names: Sequence[str], *, size: Size, cli: Path, results: Path, console: Console) -> list[Result]:
    """Run scenarios one after the other; show and keep what each finds as soon as it is there."""
    about = {**machine(), "cli": _version(cli)}
    found = []
    with tempfile.TemporaryDirectory(prefix="echo-actors-bench-") as directory:
        scripted = write_scripted_cli(Path(directory))
        async with model_process() as model_url:
            for name in names:
                with _progress(console, name) as on_step:
                    harness = Harness(cli=cli, scripted_cli=scripted, model_url=model_url, size=size, on_step=on_step)
                    result = await _scenario(name)(harness)
                path = save(result, about, results)
                show(result, console)
                console.print(f"kept in {path}\n", soft_wrap=True)
                found.append(result)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line says."""
    names = scenario_names()
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the engine against its peers.")
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    parser.add_argument("--rounds", type=int, help="how often each contender runs")
    parser.add_argument("--channels", type=int, help="how many channels")
    parser.add_argument("--messages", type=int, help="how many messages each channel gets")
    parser.add_argument("--cli", type=Path, help="the Claude CLI; found as the engine finds it by default")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept")
    options = parser.parse_args(arguments)
    if unknown := set(options.scenario) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    size = Size(quick=options.quick, rounds=options.rounds, channels=options.channels, messages=options.messages)
    cli = find_cli(options.cli, os.environ)
    trio.run(lambda: run(options.scenario or names, size=size, cli=cli, results=options.results, console=Console()))


def _scenario(name: str) -> Callable[[Harness], Awaitable[Result]]:
    module = importlib.import_module(f"bench.scenarios.{name.replace('-', '_')}")
    scenario: Callable[[Harness], Awaitable[Result]] = module.run
    return scenario


@contextmanager
def _progress(console: Console, name: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show how far a scenario is; gives the function to tell it."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name, total=None)

        def on_step(what: str, done: int, total: int) -> None:
            progress.update(task, description=f"{name}: {what}", completed=done, total=total)

        yield on_step


def _version(cli: Path) -> str:
    return subprocess.run([cli, "--version"], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
