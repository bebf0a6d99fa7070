"""The CLI's transcripts as a backup has them: by the folder and the name that the CLI looks for them under."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from echo_actors.backup.manifest import TRANSCRIPTS
from echo_actors.claude.transcript import Transcript, config_dir

_SESSION: Final = re.compile(r"[A-Za-z0-9_-]+")
_PROJECTS: Final = "projects"


def transcript_of(session: str, ran_in: str, working_dir: Path, environ: Mapping[str, str]) -> Path | None:
    """A session's transcript; None when there is none."""
    if not _SESSION.fullmatch(session):
        return None
    found = Transcript.kept(session, Path(ran_in) if ran_in else working_dir, environ)
    return found.path if found.exists() else None


def files_of(transcript: Path) -> Iterator[tuple[str, Path]]:
    """The files of a session, each with its name in a backup: the transcript, and what the CLI keeps beside it."""
    folder = transcript.parent
    yield _name(transcript, folder), transcript
    for place, _, names in os.walk(transcript.with_suffix("")):
        for each in map(Path(place).joinpath, sorted(names)):
            if each.is_file() and not each.is_symlink():
                yield _name(each, folder), each


def place_of(name: str, environ: Mapping[str, str]) -> Path:
    """Where a file of a backup belongs."""
    return config_dir(environ).joinpath(_PROJECTS, *name.split("/")[1:])


def session_of(name: str) -> str:
    """The session that a file of a backup is of."""
    return name.split("/")[2].removesuffix(".jsonl")


def is_transcript(name: str) -> bool:
    """Whether a file of a backup is a session's transcript itself."""
    parts = name.split("/")
    return parts[0] == TRANSCRIPTS and len(parts) == 3 and name.endswith(".jsonl")  # noqa: PLR2004 - folder and file


def _name(file: Path, folder: Path) -> str:
    return "/".join((TRANSCRIPTS, folder.name, *file.relative_to(folder).parts))
