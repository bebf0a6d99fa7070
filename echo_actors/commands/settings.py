"""``echo-actors settings``: every setting, its value, and where that comes from."""

from __future__ import annotations

from typing import Annotated, Final

import attrs
import trio
from cyclopts import Group, Parameter
from cyclopts.validators import MutuallyExclusive

from echo_actors.commands.exits import Exit
from echo_actors.commands.options import EngineOptions, Running
from echo_actors.commands.terminal import write
from echo_actors.commands.values import as_json, setting_values, show_values
from echo_actors.settings import Settings
from echo_actors.settings.example import example as example_file
from echo_actors.settings.reference import markdown as reference

_FORMS: Final = Group(validator=MutuallyExclusive())  # type: ignore[no-untyped-call]  # it takes nothing


async def settings(
    *,
    json: Annotated[bool, Parameter(negative=(), group=_FORMS)] = False,
    example: Annotated[bool, Parameter(negative=(), group=_FORMS)] = False,
    markdown: Annotated[bool, Parameter(negative=(), group=_FORMS)] = False,
    options: EngineOptions | None = None,
    ending: Running,
) -> int:
    """Show each setting's value, and whether that is the default, the settings file's, a variable's or an option's.

    What may be a secret is shown as [secret NAME].

    Args:
        json: Print names, values and sources as JSON.
        example: Print a settings file with every setting in it instead.
        markdown: Print the reference of all settings instead.
        options: The settings that every engine takes.
        ending: How the command may be ended before its time.
    """
    del ending
    await trio.lowlevel.checkpoint()
    if example or markdown:
        write(example_file() if example else reference())
        return Exit.DONE
    gathered = (options or EngineOptions()).gathered()
    values = setting_values(gathered.build(Settings), gathered)
    if json:
        write(as_json(list(map(attrs.asdict, values))))
    else:
        show_values(values)
    return Exit.DONE
