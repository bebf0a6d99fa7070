"""The check of a backup: that it has the files that its manifest names and no others, as they were written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from echo_actors.backup import manifest as manifests
from echo_actors.backup.audit_set import LogState, state_of_log
from echo_actors.backup.copying import Progress, measured
from echo_actors.backup.manifest import File, Manifest, read_manifest
from echo_actors.errors import BackupError, StoreError
from echo_actors.state.copying import contents_of

_TOLD: Final = 5
"""How many things that are wrong are named."""


def check_backup(directory: Path, progress: Progress) -> Manifest:
    """Check a backup; nothing is changed.

    Raises:
        BackupError: It is not whole, or not as it was written; the text names what is wrong.
    """
    try:
        if directory.is_symlink() or not directory.is_dir():
            raise BackupError(str(directory), "it is no backup: it is no directory")
        manifest = read_manifest(directory)
        # What is in files that were changed is not even read.
        problems = list(_wrong_files(directory, manifest, progress)) or list(
            _wrong_inside(directory, manifest, progress)
        )
    except OSError as problem:
        raise BackupError(str(directory), f"it cannot be read: {problem}") from problem
    if problems:
        more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        raise BackupError(str(directory), "; ".join(problems[:_TOLD]) + more)
    return manifest


def _wrong_files(directory: Path, manifest: Manifest, progress: Progress) -> Iterator[str]:
    progress.begin("checking the files", manifest.bytes)
    found = dict(_entries(directory))
    found.pop(manifests.NAME, None)
    for name in sorted(found.keys() | manifest.files.keys()):
        if name not in found:
            yield f"{name} is missing"
        elif not found[name]:
            yield f"{name} is no regular file"
        elif name not in manifest.files:
            yield f"{name} does not belong to it"
        elif _changed(directory / name, manifest.files[name], progress):
            yield f"{name} was changed"


def _changed(path: Path, written: File, progress: Progress) -> bool:
    return path.stat().st_size != written.size or measured(path, progress) != written


def _wrong_inside(directory: Path, manifest: Manifest, progress: Progress) -> Iterator[str]:
    """What is wrong with the store and the audit log as such."""
    try:
        contents = contents_of(directory / manifests.STORE)
    except StoreError as problem:
        yield f"{manifests.STORE}: {problem}"
        return
    holds = (contents.schema, contents.conversations, contents.waiting, contents.dead_letters)
    if holds != (manifest.schema, manifest.conversations, manifest.waiting, manifest.dead_letters):
        yield f"{manifests.STORE} does not hold what {manifests.NAME} says"
    log = state_of_log(directory, contents.audit_head, progress)
    if log != LogState(manifest.audit_records, manifest.audit_head, manifest.audit_broken):
        yield f"the audit log is not what {manifests.NAME} says: {log.broken or f'it has {log.records} records'}"


def _entries(directory: Path, within: str = "") -> Iterator[tuple[str, bool]]:
    """All that there is but directories, by name; whether it is a regular file. No link is followed."""
    with os.scandir(directory) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            name = within + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from _entries(Path(entry.path), f"{name}/")
            else:
                yield name, stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)
