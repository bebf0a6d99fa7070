"""The messages of one turn, by the uuid under which the CLI knows each.

Usually it is one message. Collected messages share one uuid, because the CLI gets them as one; steered ones keep their
own, because they reach it while the turn runs, and it says of each whether this turn answered it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import attrs
import trio

from echo_actors.actors.mailbox import Entry
from echo_actors.models import BusyPolicy, Message, Trust
from echo_actors.safety.fence import fence, needs_fence, new_nonce

LONG = 64 * 2**10
"""Characters from which on text is fenced in a thread: a megabyte of short lines takes half a second."""


async def content_of(messages: Iterable[Message]) -> str:
    """Messages as the model shall see them, as one text."""
    shown = list(messages)
    if sum(len(message.text) for message in shown) < LONG:
        return "\n\n".join(map(_shown, shown))
    return await trio.to_thread.run_sync(lambda: "\n\n".join(map(_shown, shown)))


def _shown(message: Message) -> str:
    author = message.author
    if not needs_fence(message.trust, author.name if author else None, message.text):
        return message.text
    return fence(
        message.text,
        author_name=author.name if author else None,
        author_id=author.id if author else None,
        trust=message.trust.value,
        nonce=new_nonce(),
    )


@attrs.define(eq=False)
class Batch:
    """One turn's messages.

    Attributes:
        trust: Of all of them, since the turn runs under the policy of one level.
        members: All that ever joined.
        started: When the first of them was given to the CLI; None before that.
    """

    trust: Trust
    members: list[Entry] = attrs.Factory(list)
    started: datetime | None = None
    _by_uuid: dict[str, list[Entry]] = attrs.Factory(dict)

    def __bool__(self) -> bool:
        return bool(self._by_uuid)

    @property
    def entries(self) -> list[Entry]:
        """All messages that are in the turn and have not ended, in order."""
        return [entry for entries in self._by_uuid.values() for entry in entries]

    @property
    def turn_id(self) -> str:
        """The uuid of the first of them."""
        return next(iter(self._by_uuid))

    async def content(self) -> str:
        """What the CLI gets under ``turn_id``."""
        return await content_of(entry.message for entry in self._by_uuid[self.turn_id])

    def add(self, uuid: str, entries: Iterable[Entry]) -> None:
        """Take messages into the turn, under one uuid."""
        entries = list(entries)
        self._by_uuid.setdefault(uuid, []).extend(entries)
        self.members.extend(entry for entry in entries if entry not in self.members)

    def take(self, uuids: Iterable[str]) -> list[Entry]:
        """Take the messages of these uuids out."""
        return [entry for uuid in uuids for entry in self._by_uuid.pop(uuid, ())]

    def uuids_of(self, entry: Entry) -> list[str]:
        """The uuid that a message is in the turn under, if it is."""
        return [uuid for uuid, entries in self._by_uuid.items() if entry in entries]

    def take_all(self) -> list[Entry]:
        """Take all messages out."""
        return self.take(list(self._by_uuid))

    def may_steer(self, entry: Entry) -> bool:
        """Whether a message asks to join the running turn and may."""
        return entry.message.busy is BusyPolicy.STEER and entry.message.trust is self.trust

    def may_interrupt(self, entry: Entry) -> bool:
        """Whether a message asks to stop the running turn and may."""
        return entry.message.busy is BusyPolicy.INTERRUPT and entry.message.trust is self.trust


def collectable(first: Entry, entry: Entry) -> bool:
    """Whether a message can share the turn of the one before it: both ask for it, and neither was started before."""
    both = BusyPolicy.COLLECT
    return (
        first.message.busy is both
        and entry.message.busy is both
        and first.message.trust is entry.message.trust
        and not entry.attempts
    )


def cut_together(first: Entry, entry: Entry) -> bool:
    """Whether two messages shared a turn whose end nobody knows: run apart, one would be given the other's answer."""
    return first.recovered and entry.recovered and first.turn_id == entry.turn_id
