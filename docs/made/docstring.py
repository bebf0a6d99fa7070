"""Docstrings as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

_SECTION: Final = re.compile(r"^(Args|Attributes|Raises):$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^ {4}(?P<name>[\w*]+): ")


@attrs.frozen
class Docstring:
    """The parts of a docstring in Google's style.

    Attributes:
        text: What is before the sections, as Markdown.
        sections: The entries of ``Args``, ``Attributes`` and ``Raises``: name and meaning.
    """

    text: str
    sections: Mapping[str, Mapping[str, str]]

    def entries(self, section: str) -> Iterator[str]:
        """The items of a section as a list of Markdown."""
        for name, meaning in self.sections.get(section, {}).items():
            yield f"- `{name}`: {meaning}"


def docstring_of(thing: Any) -> Docstring:
    """Read the docstring of a function or a class; that of an attrs class that has none of its own is empty."""
    text, *rest = _SECTION.split(_prose(inspect.cleandoc(vars(thing).get("__doc__") or thing.__doc__ or "")))
    return Docstring(
        text.strip(), {name: dict(_entries(body)) for name, body in zip(rest[::2], rest[1::2], strict=True)}
    )


def signature_of(function: Any) -> str:
    """The arguments and the result of a function as they are written, without ``self``."""
    signature = inspect.signature(inspect.unwrap(function))
    kept = [
        each.replace(annotation=_Written(each.annotation))
        for name, each in signature.parameters.items()
        if name != "self"
    ]
    return str(signature.replace(parameters=kept, return_annotation=_Written(signature.return_annotation)))


class _Written(str):
    """An annotation that is shown as it is written: without quotation marks."""

    __slots__ = ()
    __repr__ = str.__str__


def _prose(text: str) -> str:
    return text.replace("``", "`").replace("::\n", ":\n")


def _entries(body: str) -> Iterator[tuple[str, str]]:
    name, words = "", list[str]()
    for line in body.splitlines():
        if found := _ENTRY.match(line):
            if name:
                yield name, " ".join(words)
            name, words = found["name"], [line[found.end() :]]
        elif line.strip():
            words.append(line.strip())
    if name:
        yield name, " ".join(words)
