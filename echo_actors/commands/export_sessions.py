"""``echo-actors export``: the store's sessions as Echo-Core's file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from echo_actors.commands.exits import Exit
from echo_actors.commands.options import Running, StoreOptions
from echo_actors.commands.stored import opened_store
from echo_actors.commands.terminal import write
from echo_actors.errors import StoreError
from echo_actors.state.active_json import to_json, write_file
from echo_actors.state.exchange import all_sessions

_STANDARD_OUTPUT = Path("-")


async def export_sessions(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)] = _STANDARD_OUTPUT,
    /,
    *,
    options: StoreOptions | None = None,
    ending: Running,
) -> int:
    """Write all sessions as JSON, a record for each channel, as `import` reads it; no engine may be running.

    Args:
        file: Written whole or not at all, in place of what is there; `-` is standard output.
        options: Where the store is.
        ending: How the command may be ended before its time.
    """
    del ending
    settings = (options or StoreOptions()).settings()
    async with opened_store(settings, owner="export") as store:
        if store is None:
            # An empty file in place of one with sessions would lose them.
            raise StoreError(f"there is no store in {settings.state_dir}")
        text = to_json([each async for each in all_sessions(store)])
    if file == _STANDARD_OUTPUT:
        write(text)
    else:
        write_file(file, text)
    return Exit.DONE
