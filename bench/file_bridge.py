"""The peer that the engine replaces, in the style of Echo-Core's session manager: a small synchronous bridge.

A thread per channel; for each message a new CLI process, with the message as an argument, that resumes the session;
one JSON file with every channel's record, read and written as a whole after each message. A lock around that spares
it the lost updates of the original.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import trio

from bench.bare import BareCLI
from bench.contenders import Conversation
from bench.report import Round
from bench.workload import Ask, Conversations
from echo_actors.personality import build_system_prompt, packaged_personality

_SECONDS = 300.0


async def file_bridge(conversation: Conversation) -> Round:
    """Hold a conversation through the bridge."""
    harness = conversation.harness
    with harness.workplace() as workplace:
        cli = BareCLI.like(harness.settings(workplace), workplace)
        prompt = build_system_prompt(packaged_personality())
        bridge = _FileBridge(cli, prompt, workplace.state / "active.json")

        @asynccontextmanager
        async def channel(number: int) -> AsyncIterator[Ask]:
            threads = trio.CapacityLimiter(1)

            async def ask(text: str) -> str:
                return await trio.to_thread.run_sync(
                    bridge.send_message, f"bench:{number}", text, abandon_on_cancel=True, limiter=threads
                )

            yield ask

        return await Conversations(channel, conversation.channels, conversation.messages).run()


@attrs.frozen
class _FileBridge:
    """Sends messages; its calls are made from any thread."""

    cli: BareCLI
    prompt: str
    file: Path
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def send_message(self, channel: str, message: str) -> str:
        """Start a CLI for a message, read it to its end, and update the channel's record.

        Raises:
            RuntimeError: The CLI failed, or gave no answer.
        """
        record = self._records().get(channel)
        frames = self._run(message, record["session_id"] if record else None)
        result = next((frame for frame in frames if frame["type"] == "result"), None)
        if result is None:
            raise RuntimeError("the CLI ended without a result")
        texts = [
            block["text"].strip()
            for frame in frames
            if frame["type"] == "assistant"
            for block in frame["message"]["content"]
            if block["type"] == "text"
        ]
        self._update(channel, result)
        return "\n\n".join(text for text in texts if text) or str(result["result"])

    def _run(self, message: str, session_id: str | None) -> list[dict[str, Any]]:
        """Run a CLI with the message as an argument, and read its lines."""
        launch = self.cli.arguments
        session = ["--resume", session_id] if session_id else ["--model", launch.model, "--system-prompt", self.prompt]
        arguments = ["-p", message, "--output-format", "stream-json", "--verbose", *session]
        with subprocess.Popen(
            [self.cli.cli, *arguments, "--allowedTools", ",".join(launch.allowed_tools)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(self.cli.environment),
            cwd=launch.working_dir,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            frames = [json.loads(line) for line in process.stdout if line.startswith("{")]
            said = process.stderr.read()
            if process.wait(_SECONDS):
                raise RuntimeError(f"the CLI failed with {process.returncode}: {said[:500]}")
        return frames

    def _records(self) -> dict[str, Any]:
        try:
            records: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return records

    def _update(self, channel: str, result: dict[str, Any]) -> None:
        """Read all records, change one, and write all of them."""
        now, usage = datetime.now(UTC).isoformat(), result["usage"]
        with self._lock:
            records = self._records()
            record = records.setdefault(
                channel,
                {
                    "created_at": now,
                    "message_count": 0,
                    "total_input_tokens": 0,
                    "total_output_tokens": 0,
                    "total_cost_usd": 0.0,
                    "duration_ms": 0,
                },
            )
            record["session_id"], record["last_message_at"] = result["session_id"], now
            record["message_count"] += 1
            record["total_input_tokens"] += usage["input_tokens"]
            record["total_output_tokens"] += usage["output_tokens"]
            record["total_cost_usd"] += result["total_cost_usd"]
            record["duration_ms"] += result["duration_ms"]
            written = self.file.with_suffix(".tmp")
            written.write_text(json.dumps(records, indent=2), encoding="utf-8")
            written.replace(self.file)
