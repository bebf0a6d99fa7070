"""The manifest of a backup: what is in it, and which files that are. Whoever can write the backup can forge it."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

from echo_actors.errors import BackupError
from echo_actors.regular_file import open_regular

FORMAT: Final = 1
NAME: Final = "manifest.json"
STORE: Final = "store.sqlite3"
SETTINGS: Final = "echo_actors.toml"
AUDIT: Final = "audit"
TRANSCRIPTS: Final = "transcripts"

_LONGEST: Final = 256 * 2**20
_AUDIT_FILE: Final = re.compile(r"audit/audit(\.\d{12,})?\.jsonl")
_SUM: Final = "sha256"
_DEPTH: Final = 3


@attrs.frozen
class File:
    """A file as it was copied."""

    size: int
    sha256: str


@attrs.frozen(kw_only=True)
class Manifest:
    """What a backup holds.

    Attributes:
        format: Of the manifest itself.
        made_at: The time, in UTC, as ISO 8601.
        version: Of the package that made it.
        schema: The version of the store's tables.
        conversations: How many channels have one.
        waiting: How many messages have no end yet.
        dead_letters: How many messages were started too often.
        sessions: How many sessions of the CLI have their transcript here.
        without_transcript: Sessions that the CLI had no transcript of.
        audit_records: How many records of the audit log are proven.
        audit_head: The hash of the last of them.
        audit_broken: What was wrong with the log already when it was copied; empty when nothing was.
        files: By name, with ``/`` between its parts.
    """

    format: int
    made_at: str
    version: str
    schema: int
    conversations: int
    waiting: int
    dead_letters: int
    sessions: int
    without_transcript: list[str]
    audit_records: int
    audit_head: str
    audit_broken: str
    files: dict[str, File]

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files.values())

    def text(self) -> str:
        """The manifest as it is written."""
        value = attrs.asdict(self)
        return json.dumps({**value, _SUM: _sum(value)}, indent=1, sort_keys=True) + "\n"


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a backup; every name in it stays within the backup.

    Raises:
        BackupError: There is none, or it cannot be used.
    """
    place = directory / NAME
    try:
        with open_regular(place) as file:
            content = file.read(_LONGEST + 1)
        value = json.loads(content) if len(content) <= _LONGEST else None
    except FileNotFoundError as problem:
        raise BackupError(str(directory), f"it is no whole backup: there is no {NAME}") from problem
    except (OSError, ValueError, RecursionError) as problem:
        raise BackupError(str(place), f"it cannot be read: {problem}") from problem
    if not isinstance(value, dict) or value.pop(_SUM, None) != _sum(value):
        raise BackupError(str(place), "it was changed or damaged after it was written")
    if value.get("format") != FORMAT:
        raise BackupError(str(place), f"it is of format {value.get('format')!r}, and this version knows {FORMAT}")
    try:
        manifest = cattrs.Converter(forbid_extra_keys=True).structure(value, Manifest)
    except (BaseValidationError, ForbiddenExtraKeysError, TypeError, ValueError) as problem:
        raise BackupError(str(place), f"it is no manifest: {problem}") from problem
    for name in manifest.files:
        if not is_name(name):
            raise BackupError(str(place), f"it names {name!r}, which no backup has")
    if STORE not in manifest.files:
        raise BackupError(str(place), "it names no store")
    return manifest


def is_name(name: str) -> bool:
    """Whether a file of a backup may be called so."""
    if name in {STORE, SETTINGS} or _AUDIT_FILE.fullmatch(name):
        return True
    parts = name.split("/")
    usable = not {"", ".", ".."} & set(parts) and "\0" not in name
    return usable and parts[0] == TRANSCRIPTS and len(parts) >= _DEPTH


def audit_name(number: int | None) -> str:
    """What a file of the log is called: after the number of its last record, or the one that grew."""
    return f"{AUDIT}/audit.jsonl" if number is None else f"{AUDIT}/audit.{number:012}.jsonl"


def _sum(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
