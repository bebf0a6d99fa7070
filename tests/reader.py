"""A reader of the pages: somebody who runs the programs and the commands that they show."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import orjson
import trio

from bench.workplace import model_variables
from echo_actors.claude.environment import RUN_VARIABLE
from echo_actors.claude.process_tree import marked

_AROUND_A_PIECE: Final = """\
from pathlib import Path

import trio
from echo_actors import *


async def main():
    async with open_engine(Settings.load(state_dir=Path("state-of-pieces"))) as engine:
{piece}

trio.run(main)
"""


def whole(text: str) -> str:
    """The program, or, where it is a piece of one, a program around it: a piece uses an ``engine`` that it has not."""
    names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name) and node.id == "engine"]
    if not names or any(isinstance(name.ctx, ast.Store) for name in names):
        return text
    return _AROUND_A_PIECE.format(piece=textwrap.indent(text, " " * 8))


@attrs.frozen
class Reader:
    """Somebody who tries the pages in a directory of their own, with a home of their own.

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
        with trio.fail_after(within):
            done = await trio.run_process(
                [sys.executable, "-W", "error", *arguments],
                cwd=self.directory,
                env=self._variables(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        said = done.stderr.decode()
        assert (done.returncode, said) == (0, ""), said
        return done.stdout.decode()

    async def runs_program(self, text: str) -> str:
        """Put a program, or a piece of one, into a file and run it."""
        file = self.directory / "program.py"
        file.write_text(whole(text), encoding="utf-8")
        return await self.runs(str(file))

    @asynccontextmanager
    async def shell(self) -> AsyncIterator[Shell]:
        """Have a shell for the block; what it left running in the background is asked to end."""
        process = await trio.lowlevel.open_process(
            ["bash", "--noprofile", "--norc"],
            cwd=self.directory,
            env=self._variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield Shell(process)
        finally:
            with trio.fail_after(30) as deadline:
                deadline.shield = True
                os.killpg(process.pid, signal.SIGTERM)
                # The end of its output is the end of all that has it open.
                assert process.stdout is not None
                async for _ in process.stdout:
                    pass
                await process.wait()

    def left_running(self) -> list[int]:
        """The processes that are still there of any engine that ran in this directory."""
        lines = [line for log in self.directory.glob("*/audit.jsonl") for line in log.read_bytes().splitlines()]
        runs = {orjson.loads(line)["run"] for line in lines}
        assert runs
        return [each.pid for run in runs for each in marked({RUN_VARIABLE: run})]

    def _variables(self) -> dict[str, str]:
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        return {"PATH": path, "HOME": str(home), **self.environment}


@attrs.define(eq=False)
class Shell:
    """A shell that commands are typed into, one after the other."""

    process: trio.Process
    _said: bytes = b""

    async def does(self, typed: str, *, enough: Callable[[str], bool], within: float = 60.0) -> tuple[str, int]:
        """Type a command; give what was printed, on both streams, and its exit code.

        Args:
            typed: The command. What it says goes on to the next one where it ends with ``&``.
            enough: Of one in the background: whether it has said what it is waited for.
            within: Seconds until then.
        """
        assert self.process.stdin is not None
        mark = f"end-{uuid.uuid4()}-"
        await self.process.stdin.send_all(f'{{ {typed}\n}} < /dev/null\necho "{mark}$?"\n'.encode())
        with trio.fail_after(within):
            while b"\n" not in self._said.partition(mark.encode())[2]:
                await self._listen()
            before, _, rest = self._said.partition(mark.encode())
            code, _, after = rest.partition(b"\n")
            self._said = before + after
            while typed.endswith("&") and not enough(self._said.decode()):
                await self._listen()
        printed, self._said = self._said.decode(), b""
        return printed, int(code)

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        heard = await self.process.stdout.receive_some()
        assert heard, f"the shell ended after {self._said.decode()}"
        self._said += heard


def towards(model_url: str, cli: Path) -> dict[str, str]:
    """The variables that send the real CLI to a simulated model."""
    return {"CLAUDE_BIN": str(cli), **model_variables(model_url)}
