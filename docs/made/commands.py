"""The page on the ``echo-actors`` command."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import attrs
from cyclopts import App, Parameter

from docs.made.docstring import docstring_of
from echo_actors.commands.app import application
from echo_actors.commands.exits import Exit
from echo_actors.commands.options import EngineOptions, StoreOptions

_INTRODUCTION = """\
# Commands

<!-- Made of the code by: python -m docs.made -->

`echo-actors COMMAND --help` says the same. What is for scripts goes to standard output, complaints to standard error.
[How to operate an engine with them](operating.md).

## Exit codes

| code | meaning |
|---|---|
"""

_SHARED = {
    EngineOptions: "the options of commands that open an engine",
    StoreOptions: "the options of commands that look into a store",
}

_CODES = {
    Exit.DONE: "it did what was asked",
    Exit.FAILED: "it failed, or found something wrong",
    Exit.USAGE: "the command line, or a setting, cannot be used",
    Exit.NO_CLI: "there is no usable Claude CLI",
    Exit.STORE: "the store cannot be used, or another engine has it",
    Exit.NOT_RUNNING: "it needs an engine that runs, and none does",
    Exit.INTERRUPTED: "it was interrupted: Ctrl-C",
    Exit.TERMINATED: "it was asked to end: SIGTERM",
}


def page() -> str:
    """Exit codes, shared options, and all commands in the order of their names."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


def names(app: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All commands below an app, as the words to type."""
    for name in sorted(app):
        if not name.startswith("-"):
            yield (*path, name)
            yield from names(app[name], (*path, name))


def _lines() -> Iterator[str]:
    yield _INTRODUCTION + "\n".join(f"| {code.value} | {_CODES[code]} |" for code in Exit) + "\n"
    for kind, words in _SHARED.items():
        yield f"## {words[0].upper()}{words[1:]}\n"
        yield "| option | meaning |"
        yield "|---|---|"
        hints = get_type_hints(kind, include_extras=True)
        for field in attrs.fields(kind):
            yield _row(_option(field.name, hints[field.name]), _help(hints[field.name]))
        yield ""
    app = application()
    for path in names(app):
        yield from _command(path, _below(app, path))


def _below(app: App, path: tuple[str, ...]) -> App:
    for name in path:
        app = app[name]
    return app


def _command(path: tuple[str, ...], app: App) -> Iterator[str]:
    yield f"{'#' * (len(path) + 1)} {' '.join(path)}\n"
    if app.default_command is None:
        yield f"{app.help}\n"
        return
    if app.help != app.default_command.__doc__:
        yield f"{app.help}\n"
    yield from _function(path, app.default_command)


def _function(path: tuple[str, ...], function: Callable[..., Any]) -> Iterator[str]:
    read = docstring_of(function)
    meanings = read.sections.get("Args", {})
    hints = get_type_hints(function, include_extras=True)
    rows, words, shared = list[str](), list[str](), ""
    for name, parameter in inspect.signature(function).parameters.items():
        kind = next((words for cls, words in _SHARED.items() if cls in (hints[name], *get_args(hints[name]))), "")
        if kind:
            shared = kind
        elif not _parsed(hints[name]):
            continue
        elif parameter.kind is parameter.KEYWORD_ONLY:
            meaning = _help(hints[name]) or meanings.get(name, "")
            rows.append(_row(_option(name, hints[name]), f"{meaning}{_values(hints[name], parameter.default)}"))
        else:
            required = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
            words.append(name.upper() if required else f"[{name.upper()}]")
            rows.append(_row(f"`{name.upper()}`", _help(hints[name]) or meanings.get(name, "")))
    yield f"`{' '.join(('echo-actors', *path, *words))}`\n"
    yield f"{read.text}\n"
    if rows:
        yield "| argument or option | meaning |"
        yield "|---|---|"
        yield from rows
        yield ""
    if shared:
        anchor = shared.lower().replace(" ", "-")
        yield f"It also takes [{shared}](#{anchor}).\n"


def _parameters(hint: Any) -> Iterator[Parameter]:
    if get_origin(hint) is Annotated:
        yield from (each for each in get_args(hint)[1:] if isinstance(each, Parameter))


def _parsed(hint: Any) -> bool:
    return all(each.parse is not False for each in _parameters(hint))


def _help(hint: Any) -> str:
    return next((str(each.help) for each in _parameters(hint) if each.help), "")


def _values(hint: Any, default: object) -> str:
    """What an option can be, where that is little, and what it is by itself."""
    kind = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    choices = list(kind) if isinstance(kind, enum.EnumMeta) else get_args(kind) if get_origin(kind) is Literal else ()
    chosen = f" One of {', '.join(f'`{each}`' for each in choices)}." if choices else ""
    return chosen if default in (None, False, "", ()) else f"{chosen} Default: `{default}`."


def _option(name: str, hint: Any) -> str:
    given = [first for each in _parameters(hint) for first in each.name or ()]
    return f"`{given[0] if given else '--' + name.replace('_', '-')}`"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
