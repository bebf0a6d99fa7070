"""Conversations of drivers that keep no transcript: entries of what was said, and pages of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from echo_actors.claude.driver import KeptSession
from echo_actors.errors import InvalidMessage
from echo_actors.history import History, HistoryEntry, HistoryRole
from echo_actors.models import Block
from echo_actors.safety.unfence import unfence


def exchange(uuid: str, content: str, answer: str | None) -> Iterator[HistoryEntry]:
    """What was said under a uuid, and the answer to it once there is one."""
    for place, part in enumerate(unfence(content)):
        yield HistoryEntry(
            entry_id=f"{uuid}/{place}" if place else uuid,
            role=HistoryRole.USER,
            text=part.text,
            author=part.author,
            trust=part.trust,
            uuids=(uuid,),
        )
    if answer:
        yield HistoryEntry(
            entry_id=f"{uuid}/answer", role=HistoryRole.ASSISTANT, text=answer, blocks=(Block("text", answer),)
        )


def page_of(session: KeptSession, said: Sequence[HistoryEntry], *, limit: int | None, before: str | None) -> History:
    """A page of what was said in a session; see ``Driver.history``.

    Raises:
        InvalidMessage: There is no such entry.
    """
    ids = [entry.entry_id for entry in said]
    if before is not None and before not in ids:
        raise InvalidMessage(f"the conversation has no entry {before}")
    end = len(said) if before is None else ids.index(before)
    begin = 0 if limit is None else max(0, end - limit)
    history = History(channel=session.channel, session_id=session.session_id, entries=tuple(said[begin:end]))
    return attrs.evolve(history, earlier=ids[begin]) if begin else history
