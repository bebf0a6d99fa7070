"""JSON that others wrote, read so that nothing in it is lost or guessed.

Python's reader keeps the last of repeated names, knows numbers that JSON has not, and takes halves of surrogate pairs.
Here each of these leaves a mark at its place, so that who reads a file can refuse the part that has it, and say why.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import attrs

DEEPEST = 100
"""How deep a value may be nested; what is much deeper cannot be written again."""

_LEAST, _MOST = -(2**63), 2**64 - 1
_MOST_DIGITS = 20


@attrs.frozen
class Flaw:
    """Stands where a value was that cannot be kept.

    Attributes:
        reason: Why not, in words that follow the value's name: "is NaN".
    """

    reason: str


class Table(dict[str, Any]):
    """An object; ``repeated`` has the names that it had more than once."""

    repeated: frozenset[str] = frozenset()


def loads(text: str) -> Any:
    """Read a text, with a ``Flaw`` for each number that is none and a ``Table`` for each object.

    Raises:
        ValueError: It is no JSON; the text says where.
    """
    try:
        return json.loads(
            text, parse_constant=_no_number, parse_float=_float, parse_int=_int, object_pairs_hook=_table
        )
    except json.JSONDecodeError as problem:
        raise ValueError(f"no JSON: {problem.msg} in line {problem.lineno}, column {problem.colno}") from problem
    except RecursionError as problem:
        raise ValueError("no JSON that can be read: it is nested too deep") from problem


def flaw_in(value: Any, name: str) -> str:
    """What makes a value unfit to be kept, in words; empty when nothing does.

    Args:
        value: As ``loads`` gave it.
        name: What it is called there.
    """
    level: list[tuple[str, Any]] = [(name, value)]
    for _ in range(DEEPEST):
        inner: list[tuple[str, Any]] = []
        for place, each in level:
            if flaw := _flaw_of(each):
                return f"{place} {flaw}"
            if isinstance(each, dict):
                inner += ((f"{place}.{key}", part) for key, part in each.items())
                inner += (("a name", key) for key in each)
            elif isinstance(each, list):
                inner += ((place, part) for part in each)
        if not inner:
            return ""
        level = inner
    return f"{name} is nested deeper than {DEEPEST} levels"


def _flaw_of(value: Any) -> str:
    if isinstance(value, Flaw):
        return value.reason
    if isinstance(value, Table) and value.repeated:
        return f"has {', '.join(sorted(map(repr, value.repeated)))} more than once"
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        return "has half of a surrogate pair in it, which no encoding can carry"
    return ""


def _no_number(text: str) -> Flaw:
    return Flaw(f"is {text}, which is no number of JSON")


def _float(text: str) -> float | Flaw:
    value = float(text)
    return value if math.isfinite(value) else Flaw("is a number too large to be kept")


def _int(text: str) -> int | Flaw:
    # Python itself refuses to read numbers of thousands of digits.
    if len(text.lstrip("-")) > _MOST_DIGITS or not _LEAST <= int(text) <= _MOST:
        return Flaw("is a number of more than 64 bits")
    return int(text)


def _table(pairs: list[tuple[str, Any]]) -> Table:
    table = Table(pairs)
    if len(table) < len(pairs):
        table.repeated = frozenset(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return table
