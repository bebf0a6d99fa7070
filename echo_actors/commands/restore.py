"""``echo-actors restore``: a backup checked, and put back where no engine runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from echo_actors.backup.checking import check_backup
from echo_actors.backup.manifest import SETTINGS
from echo_actors.backup.restoring import restore_backup
from echo_actors.commands.backup import as_json, in_words, source_of, tell_what_is_wrong
from echo_actors.commands.exits import Exit, complain
from echo_actors.commands.options import Json, Running, StoreOptions
from echo_actors.commands.terminal import visible, write
from echo_actors.commands.working import work

_TOLD = 5


async def restore(
    directory: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    check: Annotated[bool, Parameter(negative=())] = False,
    replace: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
    options: StoreOptions | None = None,
    ending: Running,
) -> int:
    """Check a backup and put it back; no engine may be running on the state directory.

    The settings file stays in the backup: put it in place yourself, if you want it.

    Args:
        directory: The backup.
        check: Only check it.
        replace: Set aside the state and the transcripts that are there, under names with the time in them.
        json: Print what the backup holds as JSON.
        options: Where the state belongs.
        ending: How the command may be ended before its time.
    """
    del ending
    if check:
        manifest = await work(lambda progress: check_backup(directory, progress))
        write(as_json(manifest, directory) if json else f"whole: {in_words(manifest)}\n")
        return Exit.DONE
    source = source_of(options or StoreOptions())
    restored = await work(lambda progress: restore_backup(source, directory, progress, replace=replace))
    aside = list(map(str, restored.set_aside))
    if json:
        write(as_json(restored.manifest, directory, state_dir=str(source.settings.state_dir), set_aside=aside))
    else:
        write(f"{visible(str(source.settings.state_dir))}: {in_words(restored.manifest)}\n")
        write("".join(f"set aside: {visible(each)}\n" for each in aside[:_TOLD]))
        if len(aside) > _TOLD:
            write(f"and {len(aside) - _TOLD} more transcripts beside those\n")
    if SETTINGS in restored.manifest.files:
        complain(f"the settings file stays in the backup: {directory / SETTINGS}")
    tell_what_is_wrong(restored.manifest)
    return Exit.DONE
