"""The benchmarks' command line: ``python -m bench [SCENARIO ...] [--quick | --full]``, and ``--check``, the guard."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench import scenarios
from bench.guard import check, remember
from bench.harness import Harness, Size
from bench.pictures import RESULTS, ROOT, publish_all
from bench.report import Result, machine, save, show
from bench.summary import markdown, read_kept, rows, table
from bench.workplace import model_process
from echo_actors.claude.locate import find_cli
from echo_actors.simulator.cli import write_scripted_cli

UNPUBLISHED = ROOT / "state" / "bench"
"""Where the results of runs that are not for publishing are kept; git ignores it."""


def scenario_names() -> list[str]:
    """The scenarios there are, by the names that the command line takes."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(scenarios.__path__))


async def run(names: Sequence[str], *, size: Size, cli: Path, results: Path, console: Console) -> list[Result]:
    """Run scenarios one after the other; show and keep what each finds as soon as it is there, and all in the end."""
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
    kept = read_kept(results)
    (results / "summary.md").write_text(markdown(kept), encoding="utf-8")
    console.print(table(rows(kept)))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; give the exit code."""
    names = scenario_names()
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the engine against its peers.")
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(names)}; all by default")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    kind.add_argument("--full", action="store_true", help="the run whose figures are published, in the README too")
    kind.add_argument(
        "--check", action="store_true", help="compare what a turn costs with what is stored; 1 on a loss"
    )
    parser.add_argument("--update", action="store_true", help="with --check: measure five times, and store that")
    parser.add_argument("--drag", type=float, default=0.0, help="with --check: slow each turn down by so many ms")
    parser.add_argument("--rounds", type=int, help="how often each contender runs")
    parser.add_argument("--channels", type=int, help="how many channels")
    parser.add_argument("--messages", type=int, help="how many messages each channel gets")
    parser.add_argument("--minutes", type=float, help="how long the soak takes")
    parser.add_argument("--cli", type=Path, help="the Claude CLI; found as the engine finds it by default")
    parser.add_argument("--results", type=Path, help="where results are kept; then nothing is published")
    options = parser.parse_args(arguments)
    if unknown := set(options.scenario) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if not options.check and (options.update or options.drag):
        parser.error("--update and --drag go with --check")
    console = Console()
    if options.check:
        return remember(console) if options.update else check(console, drag=options.drag / 1000)
    size = Size(**{field.name: getattr(options, field.name) for field in attrs.fields(Size)})
    results = options.results or (RESULTS if options.full else UNPUBLISHED)
    cli = find_cli(options.cli, os.environ)
    trio.run(lambda: run(options.scenario or names, size=size, cli=cli, results=results, console=console))
    if options.full and not options.results:
        for path in publish_all():
            console.print(f"made {path}", soft_wrap=True)
    return 0


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
    sys.exit(main())
