"""The page on events."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from docs.made.fields import class_lines
from echo_actors import events

_INTRODUCTION = """\
# Events

<!-- Made of the code by: python -m docs.made -->

What `engine.stream()` and `engine.subscribe()` give. All are immutable, and can be imported from `echo_actors`.
[How to follow them](embedding.md#follow-what-happens).
"""


def page() -> str:
    """All events, in the order in which they are usually seen."""
    return "\n".join(_lines()).rstrip("\n") + "\n"


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    common = [field.name for field in attrs.fields(events.Event)]
    for cls in vars(events).values():
        if isinstance(cls, type) and issubclass(cls, events.Event):
            if cls is events.Event:
                yield from class_lines(cls)
                yield "Every event has these fields. A turn may serve several messages; `cursor` is for `since=`.\n"
            else:
                yield from class_lines(cls, without=common)
