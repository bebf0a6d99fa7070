"""The conversation among the lines of a transcript: which of them belong to it, and to which entry of the history.

Each line names the one before it. Two CLIs on one session, or a person who goes back in a terminal, make branches; the
CLI goes on from the last line, so the conversation is what leads to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from echo_actors.claude.entries import Entry, Kind, answer_id, kind_of, parent_of, results_in


@attrs.frozen
class Row:
    """What is remembered of a line while the rest of it stays on disk.

    Attributes:
        offset: Where it begins in the file, in bytes.
        parent: As ``entries.parent_of`` gives it.
        answer: The answer of the API that it is a part of.
        results: The uses of tools that it has results of.
    """

    offset: int
    kind: Kind
    uuid: str
    parent: str | None
    answer: str | None
    results: tuple[str, ...]

    @classmethod
    def of(cls, entry: Entry, offset: int) -> Row:
        """The row of a chained entry."""
        results = tuple(str(block.get("tool_use_id")) for block in results_in(entry))
        return cls(offset, kind_of(entry), entry["uuid"], parent_of(entry), answer_id(entry), results)


def current(rows: Sequence[Row]) -> list[Row]:
    """The rows of the branch that ends in the last one, in the order written.

    A row whose parent is missing, because its line was damaged, follows the one before it. Results of tools that ran
    side by side make short branches of their own, as do the blocks that were written after the one that the answer
    went on from: an answer's blocks all belong to it.
    """
    chosen = set(_back_from_the_end(rows))
    answers = {rows[place].answer for place in chosen} - {None}
    siblings = (place for place, row in enumerate(rows) if row.answer in answers and row.kind is Kind.ASSISTANT)
    return [rows[place] for place in sorted(chosen.union(siblings))]


def grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows by the entry of the history that they make: what the assistant said without being spoken to is one."""
    groups: list[list[Row]] = []
    for row in rows:
        if row.kind is Kind.ASSISTANT and groups and groups[-1][0].kind is Kind.ASSISTANT:
            groups[-1].append(row)
        elif row.kind is not Kind.LINK:
            groups.append([row])
    return groups


def result_offsets(rows: Sequence[Row], branch: Sequence[Row]) -> dict[str, int]:
    """Where the result of each use of a tool is; where branches have one each, that of the given one."""
    return {use: row.offset for each in (rows, branch) for row in each for use in row.results}


def _back_from_the_end(rows: Sequence[Row]) -> Iterator[int]:
    places: dict[str, int] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.uuid, place)
    here = len(rows) - 1
    while here >= 0:
        yield here
        parent = rows[here].parent
        if parent is None:
            return
        found = places.get(parent, here)
        here = found if found < here else here - 1
