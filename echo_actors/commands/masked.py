"""Settings as they may be shown: without what is, or may be, a secret.

What is one is decided by ``safety/redaction.py``. Here is where settings have names for values: in tables, in options
of command lines (``--api-key=...``, ``--api-key ...``), in variables before them, in headers and queries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from echo_actors.safety.redaction import Mask, hidden, sounds_secret

_SECRET_TABLES: Final = frozenset({"environment", "env", "headers"})
"""Tables of which no value is shown, whatever its name: variables, and headers of requests."""

_NAME: Final = re.compile(r"""(?<![\w-])([\w-]++)(?:\\*["']?(=|:\ *)\\*["']?|\ +["']?)""")
"""A name, and what may be between it and its value."""

_TO_LINE_END: Final = re.compile(r"""(?:[^"'\\\r\n]|\\(?!["']))+""")
_TO_SPACE: Final = re.compile(r"""(?:[^"'\\\s&]|\\(?!["']))+""")
"""Values, which end at a quote, also at an escaped one."""


def masked(value: Any, mask: Mask, name: str = "") -> Any:
    """A setting's value, or one within it, with ``[secret NAME]`` in place of what may be a secret.

    Args:
        value: As JSON has it.
        mask: What masks the secrets that are known, or known by their form.
        name: The name in a table that it is the value of.
    """
    match value:
        case dict() if name.lower() in _SECRET_TABLES:
            return {key: hidden(key) for key in value}
        case dict():
            return {key: masked(each, mask, key) for key, each in value.items()}
        case list():
            return [masked(each, mask, _option(before, each) or name) for before, each in pairwise(["", *value])]
        case str() if value and sounds_secret(name):
            return hidden(name)
        case str():
            return mask("".join(_without_named(value)))
        case _:
            return value


def _option(before: object, argument: object) -> str:
    """The option that an argument of a command line is the value of, if that tells of a secret."""
    match before, argument:
        case str(), str() if before.startswith("-") and not argument.startswith("-") and sounds_secret(before):
            return before.lstrip("-")
        case _:
            return ""


def _without_named(text: str) -> Iterator[str]:
    """The text in parts, without the values whose names say that they are secrets."""
    end = 0
    for found in _NAME.finditer(text):
        name, between = found.groups()
        if found.start() < end or not sounds_secret(name) or not (between or name.startswith("--")):
            continue
        value = (_TO_LINE_END if between and between.startswith(":") else _TO_SPACE).match(text, found.end())
        if value is not None:
            yield text[end : found.end()] + hidden(name.lstrip("-"))
            end = value.end()
    yield text[end:]
