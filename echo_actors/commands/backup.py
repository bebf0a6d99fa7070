"""``echo-actors backup``: the state copied into a directory, also while an engine runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import attrs
import orjson
from cyclopts import Parameter

from echo_actors.backup.making import Source, make_backup
from echo_actors.backup.manifest import Manifest
from echo_actors.commands.exits import Exit, complain
from echo_actors.commands.options import Json, Running, StoreOptions, gathered
from echo_actors.commands.terminal import visible, write
from echo_actors.commands.working import work
from echo_actors.settings import Settings


async def backup(
    directory: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    json: Json = False,
    options: StoreOptions | None = None,
    ending: Running,
) -> int:
    """Copy the state into a directory and check the copy, also while an engine runs.

    That is the store, the audit log, the CLI's transcripts, and the settings file, with what is secret in it.

    Args:
        directory: Where to; it must not exist, or be empty. It is there whole or not at all.
        json: Print what the backup holds as JSON.
        options: Where the state is.
        ending: How the command may be ended before its time.
    """
    del ending
    source = source_of(options or StoreOptions())
    made = await work(lambda progress: make_backup(source, directory, progress))
    write(as_json(made, directory) if json else f"{visible(str(directory))}: {in_words(made)}\n")
    tell_what_is_wrong(made)
    return Exit.DONE


def source_of(options: StoreOptions) -> Source:
    """Where the state is, and the settings that say so.

    Raises:
        SettingsError: One cannot be used.
    """
    found = gathered(options.settings_file, state_dir=options.state_dir)
    settings = found.build(Settings)
    return Source(settings, {**os.environ, **settings.environment}, None if found.file is None else found.file.path)


def in_words(manifest: Manifest) -> str:
    """What a backup holds."""
    return (
        f"{manifest.conversations:,} conversations, {manifest.sessions:,} transcripts, {manifest.waiting:,} waiting "
        f"messages, {manifest.dead_letters:,} dead letters, {manifest.audit_records:,} audit records; "
        f"{len(manifest.files):,} files of {manifest.bytes / 1e6:,.1f} MB, from {visible(manifest.made_at)}"
    )


def tell_what_is_wrong(manifest: Manifest) -> None:
    """Say on standard error what a backup that is whole does not have, because it was not there."""
    if manifest.without_transcript:
        complain(
            f"of {len(manifest.without_transcript)} sessions the CLI has no transcript, such as "
            f"{manifest.without_transcript[0]}: their next message begins a new one"
        )
    if manifest.audit_broken:
        complain(f"the audit log was broken already: {manifest.audit_broken}")


def as_json(manifest: Manifest, directory: Path, **further: object) -> str:
    """What a backup holds, for scripts."""
    value = {"path": str(directory), **attrs.asdict(manifest), "files": len(manifest.files), "bytes": manifest.bytes}
    return orjson.dumps(value | further, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
