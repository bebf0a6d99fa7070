"""The page on the public calls, and on the values that they take and give."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_type_hints

import echo_actors
from docs.made.docstring import docstring_of, signature_of
from docs.made.fields import class_lines, type_words
from echo_actors import Engine, MessageOptions, connect, open_engine
from echo_actors.errors import EchoActorsError
from echo_actors.events import Event
from echo_actors.portal import open_async_portal, open_portal
from echo_actors.shape import Kind, kind_of, public

_INTRODUCTION = """\
# Calls

<!-- Made of the code by: python -m docs.made -->

An engine has these calls wherever it is used. On trio and asyncio those that say so are awaited; in a program with
threads they block. Another program has them by `connect`, all awaited. [How to use them](embedding.md).
"""

_HOW = {
    Kind.AWAITED: "awaited",
    Kind.ENTERED: "in an `async with`",
    Kind.DIRECT: "at once",
    Kind.READ: "a value",
    Kind.ANYWHERE: "at once, in any thread",
}

_TOLD_ELSEWHERE = ("Settings", "ChannelOptions", "Policy", "OptionChanges", "MessageOptions", "Engine", "RemoteEngine")
"""What has a page of its own, or is on this one already."""


def page() -> str:
    """Ways to open an engine, its calls, and values."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    yield "## Ways to an engine\n"
    for opener in (open_engine, connect, open_portal, open_async_portal):
        where = "echo_actors" if hasattr(echo_actors, opener.__name__) else "echo_actors.portal"
        yield from _call(opener.__name__, opener, f"of `{where}`")
    yield "## The calls of an engine\n"
    for name, value in public(Engine).items():
        if kind_of(value) is not Kind.READ:
            yield from _call(f"engine.{name}", value, _HOW[kind_of(value)])
    yield "## MessageOptions\n"
    yield f"{docstring_of(MessageOptions).text}\n"
    yield "| option | type | meaning |"
    yield "|---|---|---|"
    meanings = docstring_of(MessageOptions).sections.get("Attributes", {})
    for name, kind in get_type_hints(MessageOptions).items():
        yield f"| `{name}` | {type_words(kind)} | {meanings.get(name, '')} |"
    yield ""
    for cls in _values():
        yield from class_lines(cls)


def _call(name: str, function: Any, how: str) -> Iterator[str]:
    read = docstring_of(inspect.unwrap(function))
    yield f"### {name.removeprefix('engine.')}\n"
    yield f"`{name}{signature_of(function)}`, {how}\n"
    yield f"{read.text}\n"
    for section, title in (("Args", "Arguments"), ("Raises", "Errors")):
        if section in read.sections:
            yield f"{title}:\n"
            yield from read.entries(section)
            yield ""


def _values() -> Iterator[type]:
    for name in echo_actors.__all__:
        each = getattr(echo_actors, name)
        if isinstance(each, type) and not issubclass(each, EchoActorsError | Event) and name not in _TOLD_ELSEWHERE:
            yield each
