"""A conversation as a document: JSON for programs, Markdown for people. The same history always gives the same text.

In Markdown every text is a quotation that shows it as it was written, character for character: its own marks are
escaped, so that nothing in it becomes a heading, a link, an image or HTML, nor ends the quotation. What tools got and
gave stands in code fences, each longer than any that it holds. What would control a terminal is made visible.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import attrs

from echo_actors.history import History, HistoryEntry, HistoryRole, ToolCall
from echo_actors.safety.fence import lines_of, visible

_TITLES = {
    HistoryRole.USER: "Person",
    HistoryRole.ASSISTANT: "Assistant",
    HistoryRole.SUMMARY: "Summary of what was said before",
    HistoryRole.NOTE: "Note",
}

_MARK = re.compile(r"[\\`*_\[\]<>~|$]")
_MARK_AT_THE_START = re.compile(r"(?:[#+=:-]|\d+(?=[.)]))")
_BACKTICKS = re.compile("`+")


def to_json(history: History) -> str:
    """A history as a JSON object with the fields of ``History``; times are ISO 8601 in UTC."""
    return json.dumps(attrs.asdict(history), default=_plain, ensure_ascii=False, indent=2) + "\n"


def to_markdown(history: History) -> str:
    """A history as Markdown (CommonMark): a heading of the second level for each entry, and below it what was said.

    What the assistant thought is left out, as is what a person sent besides text, but for a word on its kind.
    """
    parts = [f"# {_in_line(history.channel)}", *_about(history)]
    for number, entry in enumerate(history.entries, start=1):
        parts += [f"## {number}. {_heading(entry)}", *_body(entry)]
    return "\n\n".join(parts) + "\n"


def _about(history: History) -> Iterator[str]:
    if history.session_id is None:
        yield "There is no conversation."
        return
    yield f"Session {_in_line(history.session_id)}, entries: {len(history.entries)}."
    if history.earlier is not None:
        yield "There are earlier entries."
    if history.damaged:
        yield f"Lines of the transcript that could not be read: {history.damaged}."


def _heading(entry: HistoryEntry) -> str:
    who = [_TITLES[entry.role]]
    if entry.author is not None and entry.author.name:
        # After the word, so that a name cannot pass for another role.
        who.append(_in_line(entry.author.name))
    details = [entry.author.id if entry.author is not None else None, entry.trust, entry.model]
    who += [f"({_in_line(detail)})" for detail in details if detail]
    return " ".join(who) + (f", {entry.time:%Y-%m-%d %H:%M:%S} UTC" if entry.time is not None else "")


def _body(entry: HistoryEntry) -> Iterator[str]:
    if entry.role is not HistoryRole.ASSISTANT:
        if entry.text:
            yield _quotation(entry.text)
        yield from (f"With it: {_in_line(block.kind)}." for block in entry.blocks)
        return
    calls = iter(entry.tool_calls)
    for block in entry.blocks:
        if block.kind == "text" and block.text.strip():
            yield _quotation(block.text.strip())
        elif block.kind == "tool_use":
            yield from (part for call in (next(calls, None),) if call is not None for part in _tool(call))


def _tool(call: ToolCall) -> Iterator[str]:
    yield f"Tool {_in_line(call.name)}, given:"
    yield _fenced(json.dumps(call.input, ensure_ascii=False, indent=2), "json")
    if call.result is None:
        yield "It has no result."
    else:
        yield "It failed:" if call.is_error else "It gave:"
        yield _fenced(call.result, "text")


def _quotation(text: str) -> str:
    """A block quotation that shows the text's lines as they are."""
    lines = [_escaped(line) for line in lines_of(text)]
    following = [*lines[1:], ""]
    # A backslash at its end lets a line end there; an empty line ends the paragraph by itself.
    return "\n".join(
        f"> {line}\\" if line and after else f"> {line}".rstrip() for line, after in zip(lines, following, strict=True)
    )


def _escaped(line: str) -> str:
    """A line of text as Markdown that shows it, and begins no block."""
    shown = visible(line)
    text = shown.lstrip(" \t")
    if not text:
        return ""
    indent = shown[: len(shown) - len(text)].replace("\t", "    ")
    start = _MARK_AT_THE_START.match(text) if not indent else None
    if start is not None:
        # Of a number, what follows it is what makes a list.
        place = start.end() if start[0].isdigit() else 0
        return f"{text[:place]}\\{text[place]}{_unmarked(text[place + 1 :])}"
    return "&nbsp;" * len(indent) + _unmarked(text)


def _unmarked(text: str) -> str:
    return _MARK.sub(lambda found: "\\" + found[0], text.replace("&", "&amp;"))


def _in_line(text: str) -> str:
    """Text within a line of the document's own."""
    return _escaped(" ".join(lines_of(text)).strip()) or "-"


def _fenced(content: str, language: str) -> str:
    shown = "\n".join(map(visible, lines_of(content)))
    longest = max(map(len, _BACKTICKS.findall(shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} is no JSON")
