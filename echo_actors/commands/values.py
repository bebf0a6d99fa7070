"""The settings in force, as they are shown: each with where it comes from."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import attrs
from rich.text import Text

from echo_actors.commands.masked import masked
from echo_actors.commands.terminal import console, visible
from echo_actors.engine.auditing import mask_of
from echo_actors.safety.redaction import Mask, hidden
from echo_actors.settings import Settings
from echo_actors.settings.sources import DEFAULT, Gathered

_SHOWN_VALUE: Final = 60
"""Characters of a value that are shown to people; JSON has all of it."""


@attrs.frozen
class SettingValue:
    """A setting in force. What may be a secret in it is not shown."""

    name: str
    value: Any
    source: str


def setting_values(settings: Settings, gathered: Gathered) -> list[SettingValue]:
    """Every setting, in the order in which documents have them."""
    mask = mask_of(settings)
    return [
        SettingValue(name, shown(name, getattr(settings, name), mask), gathered.sources[name])
        for name in attrs.fields_dict(Settings)
    ]


def shown(name: str, value: Any, mask: Mask) -> Any:
    """The value of a setting, or of a channel's option, as JSON has it. What may be a secret in it is not shown."""
    # No setting's own name says that it is a secret: `secrets` has names of variables.
    plain = _plain(value)
    return masked(plain, mask, name if isinstance(plain, dict) else "")


def _plain(value: Any) -> Any:
    """A value as JSON has it; of records, what is set in them."""
    match value:
        case enum.StrEnum() | Path():
            return str(value)
        case float() if math.isinf(value):
            return "inf"
        case tuple() | list():
            return [_plain(each) for each in value]
        case dict():
            return {str(_plain(name)): _plain(each) for name, each in value.items()}
        case _ if attrs.has(type(value)):
            given = {name: getattr(value, name) for name in attrs.fields_dict(type(value))}
            return {name: _plain(each) for name, each in given.items() if each is not None}
        case _:
            return value


def show_values(values: Iterable[SettingValue], indent: str = "") -> None:
    """Print settings, a line each; those that somebody has set stand out."""
    screen = console()
    for each in values:
        text = visible(as_text(each.value))
        line = Text(f"{indent}{each.name} = {text[:_SHOWN_VALUE]}{'...' if len(text) > _SHOWN_VALUE else ''}")
        if each.source != DEFAULT:
            line.stylize("bold")
        screen.print(line.append(f"  ({visible(each.source)})", style="dim not bold"), soft_wrap=True)


def as_text(value: Any) -> str:
    """A value for people: texts as they are, tables and lists as JSON; of a table that is hidden, the names."""
    if value is None:
        return "none"
    if isinstance(value, dict) and value and all(each == hidden(name) for name, each in value.items()):
        return ", ".join(sorted(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def as_json(content: Any) -> str:
    """Values for scripts: also numbers of any size, and paths that are no UTF-8, as JSON's escapes."""
    text = json.dumps(content, ensure_ascii=False, indent=2)
    return text.encode("utf-8", "backslashreplace").decode() + "\n"
