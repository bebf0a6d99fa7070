"""The conversation on disk, in the place and shape in which the real CLI keeps it."""

from __future__ import annotations

import json
import os

from .frames import line, now

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the time its import takes
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .frames import Message


def path_of(session_id: str) -> str:
    """Where the transcript of a session in this working directory is."""
    home = os.environ.get("CLAUDE_CONFIG_DIR") or os.environ.get("HOME", "") + "/.claude"
    folder = "".join(char if char.isascii() and char.isalnum() else "-" for char in os.getcwd())  # noqa: PTH109 - pathlib costs a quarter of the start-up time
    return f"{home}/projects/{folder}/{session_id}.jsonl"


class Transcript:
    """Appends entries, each line with one write, and remembers which messages are done.

    `done` holds the uuids that will not run again: those followed by an answer or by an interruption. A message that
    is the last entry was cut off by the death of its process, and runs again.
    """

    def __init__(self, session_id: str, version: str) -> None:
        self._path = path_of(session_id)
        self._session_id = session_id
        self._version = version
        self._descriptor = -1
        self._leaf: str | None = None
        self.done: set[str] = set()
        self.unfinished: str | None = None
        self.cost_state: dict[str, Any] | None = None

    @property
    def exists(self) -> bool:
        """Whether the session has been used."""
        return os.access(self._path, os.F_OK)

    def load(self) -> None:
        """Read what an earlier process wrote."""
        for entry in self._entries():
            if entry.get("type") == "cost-state":
                self.cost_state = entry
            elif entry.get("type") in {"user", "assistant"}:
                if self.unfinished:
                    self.done.add(self.unfinished)
                self.unfinished = entry["uuid"] if entry["type"] == "user" else None
                self._leaf = entry["uuid"]

    def _entries(self) -> Iterator[dict[str, Any]]:
        with open(self._path, "rb") as file:  # noqa: PTH123 - pathlib costs a quarter of the start-up time
            for raw in file:
                try:
                    yield json.loads(raw)
                except ValueError:
                    continue  # a process killed while it wrote leaves a torn line

    def user(self, message: Message, content: Any) -> None:
        """Record a message at the start of its turn, once."""
        if message.uuid == self.unfinished:
            return
        self._chained("user", message.uuid, {"role": "user", "content": content})
        self.unfinished = message.uuid

    def assistant(self, uuid: str, message: dict[str, Any]) -> None:
        """Record a finished answer block."""
        self._chained("assistant", uuid, {**message, "stop_reason": "end_turn"})
        self.unfinished = None

    def interrupted(self, uuid: str, content: Any) -> None:
        """Record the user entry that marks an interruption."""
        self._chained("user", uuid, {"role": "user", "content": content})
        self.unfinished = None

    def costs(self, total_usd: float, model_usage: dict[str, Any]) -> None:
        """Save the totals, as a clean exit does."""
        self._append(
            {
                "type": "cost-state",
                "sessionId": self._session_id,
                "totalCostUSD": total_usd,
                "modelUsage": model_usage,
            }
        )

    def _chained(self, kind: str, uuid: str, message: dict[str, Any]) -> None:
        self._append(
            {
                "parentUuid": self._leaf,
                "isSidechain": False,
                "type": kind,
                "message": message,
                "uuid": uuid,
                "timestamp": now(),
                "userType": "external",
                "cwd": os.getcwd(),  # noqa: PTH109 - pathlib costs a quarter of the start-up time
                "sessionId": self._session_id,
                "version": self._version,
            }
        )
        self._leaf = uuid

    def _append(self, entry: dict[str, Any]) -> None:
        if self._descriptor < 0:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)  # noqa: PTH103, PTH120 - pathlib costs a quarter of the start-up time
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._descriptor, line(entry))
