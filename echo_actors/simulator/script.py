"""Directives: how a message scripts its own answer.

A directive stands anywhere in the user's newest words. What is none is plain text.

| directive | effect |
|---|---|
| `[[tool NAME {json}]]` | use the tool, then answer with what it printed; several are used one after the other |
| `[[delay SECONDS]]` | wait before the first byte |
| `[[stall SECONDS]]` | wait in the middle of the answer, after its first delta |
| `[[status CODE]]`, `[[status CODE xN]]` | fail with that HTTP status, always or for the text's first N requests |
| `[[cut]]`, `[[cut xN]]` | cut the connection after the first delta, always or for the text's first N requests |
| `[[say TEXT]]` | answer exactly this |
| `[[words N]]` | answer N words, each a delta |
| `[[empty]]` | answer with no content at all |
| `[[thinking]]` | think before answering |

`delay`, `status` and `cut` act on the request that brings the words, not on the one that brings a tool's result.
A client may never see what was sent right before a cut; `[[stall 0.2]] [[cut]]` gives it the time to.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

import attrs

_TOOL: Final = re.compile(r"\[\[tool ([\w.:-]+)\s*")
_NUMBER: Final = r"\d+(?:\.\d+)?"
_TIMES: Final = r"(?: x(?P<times>\d+))?"
_DELAY: Final = re.compile(rf"\[\[delay (?P<value>{_NUMBER})\]\]")
_STALL: Final = re.compile(rf"\[\[stall (?P<value>{_NUMBER})\]\]")
_STATUS: Final = re.compile(rf"\[\[status (?P<value>[45]\d\d){_TIMES}\]\]")
_CUT: Final = re.compile(rf"\[\[cut{_TIMES}\]\]")
_SAY: Final = re.compile(r"\[\[say (?P<value>.*?)\]\]", re.DOTALL)
_WORDS: Final = re.compile(r"\[\[words (?P<value>\d+)\]\]")


@attrs.frozen
class ToolUse:
    """A tool the model is to use."""

    name: str
    input: dict[str, Any]


@attrs.frozen
class Script:
    """The directives of one text. Durations are in seconds; `times` is how many requests are affected."""

    tools: tuple[ToolUse, ...] = ()
    delay: float = 0.0
    stall: float = 0.0
    status: int | None = None
    status_times: float = math.inf
    cut_times: float = 0
    say: str | None = None
    words: int | None = None
    empty: bool = False
    thinking: bool = False


def read_script(text: str) -> Script:
    """Read the directives in `text`; of several of a kind (but tools) the first counts."""
    status, cut, say, words = (pattern.search(text) for pattern in (_STATUS, _CUT, _SAY, _WORDS))
    return Script(
        tools=tuple(_tools(text)),
        delay=_seconds(_DELAY, text),
        stall=_seconds(_STALL, text),
        status=int(status["value"]) if status else None,
        status_times=_times(status),
        cut_times=_times(cut) if cut else 0,
        say=say["value"] if say else None,
        words=int(words["value"]) if words else None,
        empty="[[empty]]" in text,
        thinking="[[thinking]]" in text,
    )


def _seconds(pattern: re.Pattern[str], text: str) -> float:
    found = pattern.search(text)
    return float(found["value"]) if found else 0.0


def _times(found: re.Match[str] | None) -> float:
    return float(found["times"]) if found and found["times"] else math.inf


def _tools(text: str) -> Iterator[ToolUse]:
    """Find the tool directives; their JSON may itself hold brackets, so it is decoded in place."""
    decoder = json.JSONDecoder()
    for found in _TOOL.finditer(text):
        if text.startswith("]]", found.end()):
            yield ToolUse(found[1], {})
            continue
        try:
            value, end = decoder.raw_decode(text, found.end())
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict) and text[end:].lstrip().startswith("]]"):
            yield ToolUse(found[1], value)
