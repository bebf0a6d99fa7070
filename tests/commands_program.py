"""The command as a program of its own, with a home, a state directory and a CLI that are all temporary."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import orjson
import trio

from echo_actors.claude.process_tree import Identity, marked
from echo_actors.simulator.cli import write_scripted_cli

_IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "echo_actors", *sys.argv[1:]])
"""
"""Makes standard input the controlling terminal, so that its keys become signals, and then is the command."""

_STYLE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@attrs.frozen
class Finished:
    """How a program ended."""

    code: int
    out: str
    err: str


@attrs.define(eq=False)
class Running:
    """A program that runs, and what it has written so far."""

    process: trio.Process
    written: bytearray = attrs.Factory(bytearray)
    errors: bytearray = attrs.Factory(bytearray)
    keyboard: trio.abc.SendStream | None = None
    _news: trio.Event = attrs.Factory(trio.Event)

    async def see(self, text: str) -> None:
        """Wait until it has written this, after what was waited for before."""
        while text.encode() not in self.written:
            self._news = trio.Event()
            await self._news.wait()
        end = self.written.index(text.encode()) + len(text.encode())
        del self.written[:end]

    async def type(self, text: str) -> None:
        """Press keys."""
        assert self.keyboard is not None
        await self.keyboard.send_all(text.encode())

    async def hang_up(self) -> None:
        """Close the terminal."""
        assert self.keyboard is not None
        await self.keyboard.aclose()

    async def collect(self, stream: trio.abc.ReceiveStream, into: bytearray) -> None:
        """Keep what a stream brings, until it ends."""
        try:
            async for chunk in stream:
                into += chunk
                self._news.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # a terminal whose program has gone, or one that was closed


@attrs.define(eq=False)
class Program:
    """Runs the command where nothing is but what a test puts there."""

    root: Path
    marker: str = attrs.Factory(lambda: uuid.uuid4().hex)

    def __attrs_post_init__(self) -> None:
        """Make the directories."""
        for each in (self.home, self.temporary, self.root / "work", self.root / "bin"):
            each.mkdir()

    @property
    def home(self) -> Path:
        """The home directory."""
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        """Where the command may put temporary files."""
        return self.root / "temporary"

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.root / "state"

    def environment(self, given: dict[str, str], for_cli: dict[str, str]) -> dict[str, str]:
        """The whole environment of the command."""
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        cli = {"X_TEST": self.marker, "SCRIPTED_CLI_ASKED": str(self.root / "asked"), **for_cli}
        return {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "CLAUDE_BIN": str(write_scripted_cli(self.root / "bin")),
            "ECHO_ACTORS_STATE_DIR": str(self.state),
            "ECHO_ACTORS_WORKING_DIR": str(self.root / "work"),
            "ECHO_ACTORS_ENVIRONMENT": orjson.dumps(cli).decode(),
            **given,
        }

    async def run(
        self, *arguments: str, stdin: bytes = b"", for_cli: dict[str, str] | None = None, **environ: str
    ) -> Finished:
        """Run the command to its end; nothing that it started may be left."""
        finished = await self.run_beside(*arguments, stdin=stdin, for_cli=for_cli, **environ)
        assert self.left() == set()
        return finished

    async def run_beside(
        self, *arguments: str, stdin: bytes = b"", for_cli: dict[str, str] | None = None, **environ: str
    ) -> Finished:
        """Run the command to its end, while another one runs."""
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, "-m", "echo_actors", *arguments],
                stdin=stdin,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                cwd=self.root,
                env=self.environment(environ, for_cli or {}),
            )
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())

    @asynccontextmanager
    async def start(
        self, *arguments: str, beside: bool = False, within: float = 60, **environ: str
    ) -> AsyncIterator[Running]:
        """Run the command beside the block, on pipes; it must have ended when the block ends.

        Args:
            *arguments: Of the command.
            beside: Another one runs, so there may be processes in the end.
            within: Seconds that the block may take.
            **environ: Variables.
        """
        with trio.fail_after(within):
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "echo_actors", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.root,
                env=self.environment(environ, {}),
            )
            assert process.stdout is not None
            assert process.stderr is not None
            running = Running(process)
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(running.collect, process.stdout, running.written)
                    nursery.start_soon(running.collect, process.stderr, running.errors)
                    yield running
                    await process.wait()
            finally:
                await _end(process)
        assert beside or self.left() == set()

    @asynccontextmanager
    async def terminal(
        self, *arguments: str, beside: bool = False, columns: int = 80, **environ: str
    ) -> AsyncIterator[Running]:
        """Run the command beside the block, in a terminal of so many columns; as ``start``."""
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with trio.fail_after(60):
            process = await trio.lowlevel.open_process(
                [sys.executable, "-c", _IN_TERMINAL, *arguments],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                cwd=self.root,
                env=self.environment(environ, {}),
            )
            os.close(slave)
            stream = trio.lowlevel.FdStream(master)
            running = Running(process, keyboard=stream)
            try:
                async with stream, trio.open_nursery() as nursery:
                    nursery.start_soon(running.collect, stream, running.written)
                    yield running
                    await process.wait()
                    nursery.cancel_scope.cancel()
            finally:
                await _end(process)
        assert beside or self.left() == set()

    def asked(self) -> list[str]:
        """What the scripted CLI was asked, in order."""
        path = self.root / "asked"
        return [orjson.loads(line)["text"] for line in path.read_bytes().splitlines()] if path.exists() else []

    def audit(self) -> str:
        """The audit log so far."""
        path = self.state / "audit.jsonl"
        return path.read_text() if path.exists() else ""

    def left(self) -> set[Identity]:
        """The living processes that the command's CLI is or has started."""
        return marked({"X_TEST": self.marker})


async def _end(process: trio.Process) -> None:
    """Leave nothing behind when a test has failed."""
    if process.returncode is None:
        with trio.CancelScope(shield=True):
            process.send_signal(signal.SIGTERM)
            with trio.move_on_after(5):
                await process.wait()
            process.kill()
            await process.wait()


def plain(text: bytes | bytearray) -> str:
    """What a terminal was sent, without colours and movements of the cursor."""
    return _STYLE.sub("", text.decode(errors="replace"))


def said_besides(finished: Finished) -> str:
    """What a command said on standard error, besides that no engine runs and it has looked at the store."""
    return "".join(line for line in finished.err.splitlines(keepends=True) if "this is from its store" not in line)
