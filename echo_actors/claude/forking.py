"""A session copied on disk: a second conversation that begins as the first one is now.

The CLI copies one itself when it is started with ``--fork-session``, which is too late where the original goes on
first. What a copy needs was measured with CLI 2.1.330: the lines that make the conversation, each with the new
session's id in place of the old. Their uuids stay, as they do when the CLI copies. The session's saved cost does not
come along, so that the copy's own begins at nothing.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from echo_actors.claude.entries import CHAINED, lines_of, may_be_chained
from echo_actors.claude.transcript import Transcript
from echo_actors.regular_file import open_regular

_REPLACEMENT = b'"content-replacement"'
"""Says which results of tools were shown to the model shortened."""

_KEPT = CHAINED | {"content-replacement"}


def fork(transcript: Transcript, new_id: Callable[[], object] = uuid.uuid4) -> str:
    """Copy a session under a new id, which is given; it is there whole or not at all.

    Raises:
        OSError: It cannot be copied; ``FileNotFoundError`` when there is none.
    """
    session_id = str(new_id())
    target = transcript.path.with_name(f"{session_id}.jsonl")
    unfinished = target.with_suffix(".tmp")
    try:
        with open_regular(transcript.path) as source:
            unfinished.touch(mode=0o600, exist_ok=False)
            with unfinished.open("wb") as file:
                file.writelines(_lines(source, session_id))
                file.flush()
                os.fsync(file.fileno())
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_directory(target.parent)
    return session_id


def _lines(source: BinaryIO, session_id: str) -> Iterator[bytes]:
    """The lines of the copy; those that cannot be read are left out, as the CLI leaves them out when it resumes."""
    for _, line in lines_of(source):
        if not may_be_chained(line) and _REPLACEMENT not in line:
            continue
        try:
            # Not with orjson: what a CLI can write and this program otherwise would not read shall be in the copy too.
            entry = json.loads(line.decode(errors="replace"))
            if isinstance(entry, dict) and entry.get("type") in _KEPT:
                yield json.dumps({**entry, "sessionId": session_id}, separators=(",", ":")).encode() + b"\n"
        except (ValueError, RecursionError):
            continue


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
