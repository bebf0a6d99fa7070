"""The fields of attrs classes as Markdown."""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator
from typing import Any, Final

import attrs

from docs.made.docstring import docstring_of

_MODULE: Final = re.compile(r"\b(?:\w+\.)+(?=[A-Za-z])")


def class_lines(cls: type, *, without: Collection[str] = ()) -> Iterator[str]:
    """A heading with the class's name, what it is, and its fields or members.

    Args:
        cls: An attrs class, an enumeration, or one without fields.
        without: Fields that are told elsewhere.
    """
    yield f"## {cls.__name__}\n"
    read = docstring_of(cls)
    yield f"{read.text}\n"
    if issubclass(cls, enum.Enum):
        yield f"One of {', '.join(f'`{member.value}`' for member in cls)}.\n"
    if attrs.has(cls):
        meanings = read.sections.get("Attributes", {})
        rows = [field for field in attrs.fields(cls) if field.name not in without and not field.name.startswith("_")]
        if rows:
            yield "| field | type | meaning |"
            yield "|---|---|---|"
            for field in rows:
                yield f"| `{field.name}` | {type_words(field.type)} | {meanings.get(field.name, '')} |"
            yield ""


def type_words(kind: Any) -> str:
    """A type as code, in a table's cell."""
    words = kind if isinstance(kind, str) else kind.__name__ if isinstance(kind, type) else str(kind)
    return f"`{_MODULE.sub('', words)}`".replace("|", "\\|")
