"""The programs that the README shows, and how a reader would run them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs
import orjson
import trio

from bench.workplace import model_variables
from echo_actors.claude.environment import RUN_VARIABLE
from echo_actors.claude.process_tree import marked

CLONE = Path(__file__).resolve().parent.parent
README = CLONE / "README.md"
_PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs() -> list[str]:
    """The README's Python blocks, in order: how to embed the engine, and how to test with the scripted CLI."""
    return _PROGRAM.findall(README.read_text(encoding="utf-8"))


@attrs.frozen
class Reader:
    """Somebody who tries the README in a directory of their own, with a home of their own.

    Attributes:
        environment: Besides PATH and HOME.
    """

    directory: Path
    environment: Mapping[str, str]

    async def runs(self, *arguments: str, within: float = 60.0) -> str:
        """Run Python with these arguments; give what it printed on standard output.

        Raises:
            AssertionError: It failed, or said something on standard error, where warnings go.
        """
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), **self.environment}
        with trio.fail_after(within):
            done = await trio.run_process(
                [sys.executable, "-W", "error", *arguments],
                cwd=self.directory,
                env=environment,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        said = done.stderr.decode()
        assert (done.returncode, said) == (0, ""), said
        return done.stdout.decode()

    async def runs_program(self, text: str) -> str:
        """Put a program into a file and run it."""
        file = self.directory / "program.py"
        file.write_text(text, encoding="utf-8")
        return await self.runs(str(file))

    def left_running(self) -> list[int]:
        """The processes that are still there of any engine that ran in this directory."""
        lines = (self.directory / "state" / "audit.jsonl").read_bytes().splitlines()
        runs = {orjson.loads(line)["run"] for line in lines}
        assert runs
        return [each.pid for run in runs for each in marked({RUN_VARIABLE: run})]


def towards(model_url: str, cli: Path) -> dict[str, str]:
    """The variables that send the real CLI to a simulated model."""
    return {"CLAUDE_BIN": str(cli), **model_variables(model_url)}
