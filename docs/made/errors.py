"""The page on errors."""

from __future__ import annotations

from collections.abc import Iterator

from docs.made.fields import class_lines
from echo_actors import errors

_INTRODUCTION = """\
# Errors

<!-- Made of the code by: python -m docs.made -->

Everything that the package raises on purpose. All can be imported from `echo_actors`, and all are an
`EchoActorsError`. Where one of Python's own errors says the same, the class is one of those too. Each has fields for
programs, and its text says what to do. [Which ones to expect](embedding.md#errors).
"""


def page() -> str:
    """All errors, by their names, the root first."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    for name in sorted(errors.__all__, key=lambda name: (name != "EchoActorsError", name)):
        cls = getattr(errors, name)
        yield from class_lines(cls)
        bases = [base.__name__ for base in cls.__bases__ if base.__name__ != "Reasoned"]
        yield f"Bases: {', '.join(f'`{base}`' for base in bases)}.\n"
