"""The peers: the same CLI without an engine, one warm process per channel, or one process per message.

They do the least that gets an answer: write a message, read lines until its result. No journal, no audit, no clocks,
no supervision. They are started with the engine's own arguments and environment, so that only the engine differs.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import orjson
import trio

from bench.workplace import Workplace
from echo_actors import Settings
from echo_actors.claude.command import command
from echo_actors.claude.driver import Launch
from echo_actors.claude.environment import ProcessMark, child_environment
from echo_actors.personality import build_system_prompt, packaged_personality, write_prompt_file


@attrs.define(eq=False)
class BareProcess:
    """A CLI that is written to and read from."""

    process: trio.Process
    _unread: bytearray = attrs.field(factory=bytearray, init=False)

    async def ask(self, text: str) -> str:
        """Send a message and read on to its result.

        Raises:
            RuntimeError: The process ended, or the result is no answer.
        """
        message = {"type": "user", "uuid": str(uuid.uuid4()), "message": {"role": "user", "content": text}}
        frame = {**message, "parent_tool_use_id": None, "client_composed": True}
        assert self.process.stdin is not None
        await self.process.stdin.send_all(orjson.dumps(frame, option=orjson.OPT_APPEND_NEWLINE))
        while True:
            read = orjson.loads(await self._line())
            if read["type"] == "result":
                if read["is_error"]:
                    raise RuntimeError(f"the CLI gave no answer: {read}")
                return str(read["result"])

    async def _line(self) -> bytes:
        assert self.process.stdout is not None
        searched = 0
        while (end := self._unread.find(b"\n", searched)) < 0:
            searched = len(self._unread)
            data = await self.process.stdout.receive_some()
            if not data:
                raise RuntimeError("the CLI ended without a result")
            self._unread += data
        line = bytes(self._unread[: end + 1])
        del self._unread[: end + 1]
        return line


@attrs.frozen(kw_only=True)
class BareCLI:
    """How the peers start a CLI."""

    arguments: Launch
    cli: Path
    environment: Mapping[str, str]

    @classmethod
    def like(cls, settings: Settings, workplace: Workplace) -> BareCLI:
        """Start them as an engine with these settings does."""
        assert settings.claude_bin is not None
        prompt = build_system_prompt(packaged_personality())
        mark = ProcessMark("bench", uuid.uuid4().hex)
        environment = child_environment(os.environ, extra=workplace.environment, passthrough=(), mark=mark)
        launch = Launch(
            model=settings.model,
            working_dir=workplace.work,
            allowed_tools=settings.allowed_tools,
            permission_mode=settings.permission_mode,
            prompt_file=write_prompt_file(prompt, workplace.state),
            partial_messages=settings.stream_deltas,
        )
        return cls(arguments=launch, cli=settings.claude_bin, environment=environment.variables)

    @asynccontextmanager
    async def process(self, session_id: str, *, resume: bool = False) -> AsyncIterator[BareProcess]:
        """Run a CLI for the block; at its end the CLI is given the time to leave by itself."""
        process = await trio.lowlevel.open_process(
            command(self.cli, self.arguments, session_id, resume=resume),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            cwd=self.arguments.working_dir,
        )
        try:
            async with process.stdin, process.stdout:  # type: ignore[union-attr]  # both are pipes, as asked for above
                yield BareProcess(process)
                await process.stdin.aclose()  # type: ignore[union-attr]  # as above
                await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
