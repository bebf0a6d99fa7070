"""The CLI's transcript: where it is, and what it says about a message.

It is ``$CLAUDE_CONFIG_DIR (or ~/.claude)/projects/<working directory>/<session>.jsonl``, where every character of the
working directory's real path that is no ASCII letter or digit is written ``-`` (measured with CLI 2.1.330). A user
entry keeps the uuid that its message was sent under.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import orjson

from echo_actors.claude.content import block_of, contents, reply_text, table
from echo_actors.claude.entries import SYNTHETIC, lines_of, parsed, results_in
from echo_actors.claude.meter import number
from echo_actors.models import Block
from echo_actors.regular_file import open_regular


def config_dir(environment: Mapping[str, str]) -> Path:
    """Where a CLI with this environment keeps its state."""
    home = Path(environment.get("HOME", "~")).expanduser()
    return Path(environment.get("CLAUDE_CONFIG_DIR") or home / ".claude")


@attrs.frozen
class RecordedReply:
    """What the transcript has of a message's answer.

    Attributes:
        finished: Whether the answer came to its end; an unfinished one is not to be relied on.
        structured_output: What the model gave by a schema, which ends an answer.
    """

    text: str
    blocks: tuple[Block, ...]
    finished: bool
    structured_output: dict[str, Any] | None = None


@attrs.frozen
class Transcript:
    """One session's transcript, which may not exist."""

    path: Path

    @classmethod
    def of(cls, session_id: str, working_dir: Path, environment: Mapping[str, str]) -> Transcript:
        """The transcript of a session as a CLI with this working directory and environment keeps it."""
        folder = re.sub(r"[^a-zA-Z0-9]", "-", str(working_dir.resolve()))
        return cls(config_dir(environment) / "projects" / folder / f"{session_id}.jsonl")

    @classmethod
    def kept(cls, session_id: str, working_dir: Path, environment: Mapping[str, str]) -> Transcript:
        """The transcript of a session that ran in this working directory, or in another one since or before."""
        place = cls.of(session_id, working_dir, environment)
        return place if place.exists() else place.elsewhere() or place

    def elsewhere(self) -> Transcript | None:
        """The session's newest transcript of another working directory; None when there is none."""
        found = [path for path in self.path.parents[1].glob(f"*/{glob.escape(self.path.name)}") if path != self.path]
        return Transcript(max(found, key=lambda path: path.stat().st_mtime)) if found else None

    def move_to(self, place: Transcript) -> None:
        """Move it, and what the CLI keeps beside it, to where another working directory has it.

        Raises:
            OSError: It cannot be moved.
        """
        place.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside, there = self.path.with_suffix(""), place.path.with_suffix("")
        if beside.is_dir() and not there.exists():
            beside.rename(there)
        self.path.rename(place.path)

    def exists(self) -> bool:
        """Whether the CLI could resume the session."""
        return self.path.is_file()

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries, in the order written; none of a file that cannot be read.

        Lines that cannot be read are passed over: the last one may be torn.
        """
        try:
            with open_regular(self.path) as file:
                for _, line in lines_of(file):
                    entry = parsed(line)
                    if entry is not None:
                        yield entry
        except OSError:
            return

    def total_cost(self) -> float:
        """The session's cost in USD as the CLI last saved it, 0.0 when it never did."""
        total = 0.0
        for entry in self.entries():
            if entry.get("type") == "cost-state":
                total = number(entry.get("totalCostUSD"))
        return total

    def reply_to(self, uuid: str) -> RecordedReply | None:
        """The answer to the message sent under this uuid; None when the transcript does not have the message.

        Entries form a chain by ``parentUuid``; the answer is what the assistant said between this message and the next
        one of a person. The answer is finished when its last assistant entry stopped for another reason than to use
        a tool.
        """
        found = False
        structured: dict[str, Any] | None = None
        stop_reason: object = None
        blocks: list[Block] = []
        for entry in self.entries():
            if entry.get("isSidechain"):
                continue
            if entry.get("type") == "user" and entry.get("uuid") == uuid:
                found, structured, stop_reason, blocks = True, None, None, []
            elif found and entry.get("type") == "user" and not results_in(entry):
                break
            elif found and entry.get("type") == "assistant":
                message = table(entry, "message")
                if message.get("model") != SYNTHETIC:
                    blocks += [block_of(raw) for raw in contents(message)]
                    stop_reason = message.get("stop_reason")
            elif found and table(entry, "attachment").get("type") == "structured_output":
                structured = table(table(entry, "attachment"), "data")
        if not found:
            return None
        finished = structured is not None or stop_reason not in (None, "tool_use", "pause_turn")
        # The CLI's own result has such an answer as its text too, when there is no other.
        text = reply_text(blocks) or ("" if structured is None else orjson.dumps(structured).decode())
        return RecordedReply(text, tuple(blocks), finished, structured)
