"""A page of a conversation, read from its transcript.

A transcript can be large, and most of it is no conversation. It is gone through once, line by line; what is remembered
of a line is where it is and what it follows. Then only the lines of the page are read again. All this belongs in a
thread. A CLI may be writing meanwhile: it only appends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import attrs

from echo_actors.claude.branch import Row, current, grouped, result_offsets
from echo_actors.claude.content import block_of, contents, items, reply_text, table
from echo_actors.claude.driver import KeptSession
from echo_actors.claude.entries import (
    LONGEST_LINE,
    Entry,
    Kind,
    is_chained,
    lines_of,
    looks_whole,
    may_be_chained,
    noted,
    parsed,
    said,
    time_of,
    uuids_of,
)
from echo_actors.claude.meter import request_usage
from echo_actors.claude.transcript import Transcript
from echo_actors.errors import CLIFailed, InvalidMessage
from echo_actors.history import History, HistoryEntry, HistoryRole, ToolCall
from echo_actors.models import Block, Usage
from echo_actors.regular_file import open_regular
from echo_actors.safety.unfence import unfence


def read_history(
    session: KeptSession, environment: Mapping[str, str], *, limit: int | None, before: str | None
) -> History | None:
    """A page of a session's conversation; see ``Driver.history``.

    Args:
        session: Which.
        environment: Of the CLI that kept it.
        limit: The most entries.
        before: The id of an entry that the page shall end before.

    Raises:
        InvalidMessage: The conversation has no such entry.
        CLIFailed: The transcript cannot be read.
    """
    transcript = Transcript.kept(session.session_id, session.working_dir, environment)
    try:
        with open_regular(transcript.path) as file:
            return _Reader.of(file).page(session, limit, before)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise CLIFailed(f"the transcript of session {session.session_id} cannot be read: {problem}") from problem


@attrs.frozen
class _Reader:
    """An open transcript, gone through once.

    Attributes:
        groups: Its rows by the entry that they make.
        results: Where the result of each use of a tool is.
        damaged: How many lines could not be read.
    """

    file: BinaryIO
    groups: Sequence[Sequence[Row]]
    results: Mapping[str, int]
    damaged: int

    @classmethod
    def of(cls, file: BinaryIO) -> _Reader:
        rows: list[Row] = []
        damaged = 0
        for offset, line in lines_of(file):
            entry = parsed(line) if may_be_chained(line) else None
            if entry is not None and is_chained(entry):
                rows.append(Row.of(entry, offset))
            elif entry is None:
                damaged += not looks_whole(line) or may_be_chained(line)
        branch = current(rows)
        return cls(file, grouped(branch), result_offsets(rows, branch), damaged)

    def page(self, session: KeptSession, limit: int | None, before: str | None) -> History:
        found: list[HistoryEntry] = []
        backwards = reversed(self.groups) if before is None else self._before(before, found)
        for group in backwards:
            if limit is not None and len(found) > limit:
                break
            found[:0] = self._entries(group)
        shown = found if limit is None else found[-limit:]
        return History(
            channel=session.channel,
            session_id=session.session_id,
            entries=tuple(shown),
            earlier=shown[0].entry_id if len(shown) < len(found) else None,
            damaged=self.damaged,
        )

    def _before(self, before: str, found: list[HistoryEntry]) -> Iterator[Sequence[Row]]:
        """The groups before an entry's own; what stands before it in that one is put into what was found."""
        uuid = before.partition("/")[0]
        for place, group in enumerate(self.groups):
            names = [entry.entry_id for entry in self._entries(group)] if group[0].uuid == uuid else []
            if before in names:
                found += self._entries(group)[: names.index(before)]
                return reversed(self.groups[:place])
        raise InvalidMessage(f"the conversation has no entry {before}")

    def _read(self, offset: int) -> Entry:
        self.file.seek(offset)
        return parsed(self.file.readline(LONGEST_LINE)) or {}

    def _entries(self, group: Sequence[Row]) -> list[HistoryEntry]:
        read = [self._read(row.offset) for row in group]
        match group[0].kind:
            case Kind.ASSISTANT:
                return self._answer(read)
            case Kind.PERSON:
                return _persons(read[0])
            case Kind.SUMMARY:
                return _words(read[0], HistoryRole.SUMMARY, said(read[0])[0])
            case _:
                return _words(read[0], HistoryRole.NOTE, noted(read[0]))

    def _answer(self, entries: Sequence[Entry]) -> list[HistoryEntry]:
        messages = [table(entry, "message") for entry in entries]
        raw = [block for message in messages for block in contents(message)]
        blocks = tuple(block for block in map(block_of, raw) if block.kind not in {"text", "thinking"} or block.text)
        if not blocks:
            return []
        return [
            HistoryEntry(
                entry_id=uuids_of(entries[0])[0],
                role=HistoryRole.ASSISTANT,
                text=reply_text(blocks),
                time=time_of(entries[0]),
                blocks=blocks,
                tool_calls=tuple(self._tool_call(block) for block in raw if block.get("type") == "tool_use"),
                model=str(messages[-1].get("model", "")),
                usage=_usage(messages),
                uuids=tuple(uuids_of(entry)[0] for entry in entries),
            )
        ]

    def _tool_call(self, use: dict[str, Any]) -> ToolCall:
        block, use_id = block_of(use), str(use.get("id"))
        call = ToolCall(tool_use_id=use_id, name=block.name or "", input=block.data or {})
        if use_id not in self.results:
            return call
        results = contents(table(self._read(self.results[use_id]), "message"))
        given = next((each for each in results if each.get("tool_use_id") == use_id), {})
        return attrs.evolve(call, result=_result_text(given), is_error=given.get("is_error") is True)


def _persons(entry: Entry) -> list[HistoryEntry]:
    """The entries of what people said in one message; only collected messages are several."""
    text, others = said(entry)
    blocks = tuple(map(_outline, others))
    parts = unfence(text)
    uuids = uuids_of(entry)
    common = HistoryEntry(
        entry_id=uuids[0], role=HistoryRole.USER, text="", time=time_of(entry), blocks=blocks, uuids=uuids
    )
    if not parts:
        return [common] if blocks else []
    return [
        attrs.evolve(
            common,
            entry_id=f"{uuids[0]}/{place}" if place else uuids[0],
            text=part.text,
            author=part.author,
            trust=part.trust,
            blocks=() if place else blocks,
        )
        for place, part in enumerate(parts)
    ]


def _words(entry: Entry, role: HistoryRole, text: str) -> list[HistoryEntry]:
    uuids = uuids_of(entry)
    return [HistoryEntry(entry_id=uuids[0], role=role, text=text, time=time_of(entry), uuids=uuids[:1])]


def _usage(messages: Sequence[Mapping[str, Any]]) -> Usage:
    """What an answer took; each request to the model is written with every block that it gave."""
    by_request = {str(message.get("id")): request_usage(table(message, "usage")) for message in messages}
    counts = zip(*map(attrs.astuple, by_request.values()), strict=True)
    return Usage(*map(sum, counts))


def _outline(block: dict[str, Any]) -> Block:
    """A block that is no text, without the bytes of an image or a file."""
    kind, source = str(block.get("type")), table(block, "source")
    if "data" in source:
        return Block(kind, data={"media_type": str(source.get("media_type", "")), "base64": len(str(source["data"]))})
    return block_of(block)


def _result_text(result: Mapping[str, Any]) -> str:
    content = result.get("content")
    if isinstance(content, str):
        return content
    parts = [part for part in items(result, "content") if isinstance(part, dict)]
    return "\n".join(str(part["text"]) if "text" in part else f"[{part.get('type')}]" for part in parts)
