"""Where the keys of a TOML document are: the standard library's parser gives values, and no lines."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

Key = tuple[str, ...]
"""A key with the tables that it is in, the outermost first; the places in arrays are left out."""

_TOKEN: Final = re.compile(
    r"""
      \"{3} (?: \\. | [^\\] )*? \"{3,5}      # a text of many lines may end with two quotes of its own
    | '{3} .*? '{3,5}
    | \" (?: \\. | [^"\\\n] )* \"
    | ' [^'\n]* '
    | \# [^\n]*
    | [\[\]{}\n]
    """,
    re.VERBOSE | re.DOTALL,
)
"""What a line's end may be hidden in, what may hide it, and the end itself."""


def key_lines(text: str) -> dict[Key, int]:
    """Give the line, counted from one, on which each key of a document begins, and that of each table.

    Args:
        text: The document, which ``tomllib`` has read without error.
    """
    lines: dict[Key, int] = {}
    table: Key = ()
    for line, statement in _statements(text):
        content = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            # A header says nothing but the table's name.
            table = max(_keys(content), key=len)
        for key in [table] if statement.lstrip().startswith("[") else [(*table, *key) for key in _keys(content)]:
            for end in range(1, len(key) + 1):
                lines.setdefault(key[:end], line)
    return lines


def line_of(key: Key, lines: Mapping[Key, int]) -> int:
    """The line of a key, else that of the innermost table around it that the document has; 0 for none."""
    return next((lines[key[:end]] for end in range(len(key), 0, -1) if key[:end] in lines), 0)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """The lines that belong together, each with the number of the first; those without content are left out."""
    depth, begin, line, first = 0, 0, 1, 1
    for token in _TOKEN.finditer(text + "\n"):
        match token[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
            case found:
                line += found.count("\n")
                if found == "\n" and not depth:
                    statement = text[begin : token.end()]
                    if statement.strip() and not statement.lstrip().startswith("#"):
                        yield first, statement
                    begin, first = token.end(), line


def _keys(value: Any) -> Iterator[Key]:
    """All keys in a value."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield (name,)
            yield from ((name, *key) for key in _keys(each))
    elif isinstance(value, list):
        for each in value:
            yield from _keys(each)
