"""The reference of all settings, as Markdown: docs/settings.md is made of the code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs

from echo_actors.settings.options import ChannelOptions, Policy
from echo_actors.settings.settings import Settings
from echo_actors.settings.tools import DEFAULT_TOOLS
from echo_actors.settings.words import default_words, unit, variable

_INTRODUCTION: Final = """\
# Settings

<!-- Made of the code by: echo-actors settings --markdown -->

A setting has the value that is found first: in the program's code (`Settings.load(model="opus")`) or a command's
option, in its variable, in the settings file, and else its default. `Settings(...)` takes what it is given and nothing
else. `open_engine()` without settings loads them. `echo-actors settings` shows each value and where it comes from;
`echo-actors settings --example` prints a file with every setting in it, to begin with.

An unknown name is an error that suggests the nearest one, and so is a value that cannot be used; the error names the
variable, or the file and the line. Nothing is started then, and commands exit with code 2.

## The settings file

The file is the one that is named, by `--settings FILE`, `Settings.load(settings_file=...)` or the variable
`ECHO_ACTORS_SETTINGS_FILE`. Otherwise it is `echo_actors.toml` beside the state directory that options and variables
name: in the current directory, if they name none. There need not be one there. With an empty
`ECHO_ACTORS_SETTINGS_FILE` none is read.

A file that nobody has named must belong to the user that reads it, or to root, and not everybody may write to it:
whoever writes it says which program is run as the CLI. A named one may be anybody's.

It is TOML, in UTF-8, of a mebibyte at most. Durations are numbers of seconds, `inf` is never; sizes are whole numbers
of bytes. Paths are relative to the directory of the file, and `~` is the home directory. (In variables and in code
they are relative to the current directory; `add_dirs`, which the CLI gets as they are, to `working_dir`.)

```toml
model = "opus"
turn_slots = 8
daily_budget_usd = 5

[policies.external]
available_tools = ["WebSearch"]
allowed_tools = ["WebSearch"]

[channels."discord:42"]
model = "haiku"
idle_timeout = 120
```

In variables, lists and tables are JSON.

## All settings
"""

_CHANNELS: Final = """
## Options of a channel

In a table `[channels."NAME"]`, or by `engine.configure()`. What is not set there is as the setting of that name.
"""

_POLICIES: Final = """
## Policies

What the messages of a level of trust may do, in `[policies.owner]`, `[policies.member]` or `[policies.external]`, or
in the `policies` of a channel. What is not set there is as in the channel.
"""

_TOOLS: Final = """
## The default of allowed_tools

"""


def markdown() -> str:
    """The reference."""
    return "".join(f"{line}\n" if not line.endswith("\n") else line for line in _lines())


def _lines() -> Iterator[str]:
    yield _INTRODUCTION + "\n"
    yield "| setting | default | unit | meaning | variable |"
    yield "|---|---|---|---|---|"
    for field in attrs.fields(Settings):
        name = (
            f"[`{field.name}`](#the-default-of-allowed_tools)" if field.name == "allowed_tools" else f"`{field.name}`"
        )
        yield _row(name, default_words(field), unit(field), _meaning(field), f"`{variable(field.name)}`")
    for heading, kind in ((_CHANNELS, ChannelOptions), (_POLICIES, Policy)):
        yield heading + "\n"
        yield "| option | unit | meaning |"
        yield "|---|---|---|"
        for field in attrs.fields(kind):
            yield _row(f"`{field.name}`", unit(field), _meaning(field))
    yield _TOOLS + ", ".join(f"`{tool}`" for tool in DEFAULT_TOOLS) + "."


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _meaning(field: attrs.Attribute[Any]) -> str:
    words = str(field.metadata["doc"]).removesuffix(".").replace("|", "\\|")
    # The same as in help texts, but for the first letter, where that is no name's.
    return words if words[1:2].isupper() else words[0].lower() + words[1:]
