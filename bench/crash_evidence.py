"""What is left after a program was killed again and again, and what in it contradicts the engine's promises."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import psutil
import trio

from bench.crash_child import Planned, read_notes
from echo_actors import Settings
from echo_actors.audit import Head, Verdict, log_files, verify
from echo_actors.claude.process_tree import marked
from echo_actors.claude.transcript import Transcript
from echo_actors.models import OutcomeKind
from echo_actors.state.records import AUDIT_HEAD, SessionSnapshot, StoredMessage
from echo_actors.state.sqlite import open_sqlite_store


@attrs.frozen(kw_only=True)
class Evidence:
    """All that can be seen from outside once the program has ended.

    Attributes:
        notes: What the lives of the program were promised.
        stored: The messages by id, as the store has them.
        asked: What the model was asked, in order.
        left: The command lines of processes that were left behind.
        set_aside: Where a damaged store was moved.
    """

    settings: Settings
    plan: Sequence[Planned]
    notes: Sequence[Mapping[str, Any]]
    stored: Mapping[str, StoredMessage]
    snapshots: Mapping[str, SessionSnapshot]
    asked: Sequence[str]
    audit: Verdict
    left: Sequence[str]
    set_aside: Path | None

    def problems(self) -> dict[str, list[str]]:
        """What contradicts the engine's promises, by what was promised."""
        checks: dict[str, Callable[[], Iterator[str]]] = {
            "messages without exactly one outcome": self._ends,
            "messages asked more often than started": self._repeats,
            "messages out of order": self._disorder,
            "damaged snapshots": self._snapshots,
            "answers that their session lacks": self._sessions,
            "breaks in the audit log": self._audit,
            "processes left": lambda: iter(self.left),
        }
        return {name: list(check()) for name, check in checks.items()}

    def counts(self) -> dict[str, float]:
        """How much there was of everything."""
        asked, attempts = self._asked_times(), [each.attempts for each in self.stored.values()]
        return {
            "messages": len(self.plan),
            "accepted": len(self.stored),
            "noted_accepted": len({note["id"] for note in self.notes if note["did"] == "accepted"}),
            "answered": sum(_answered(each) for each in self.stored.values()),
            "turns_shared": sum(each > 1 for each in Counter(_turns(self.stored.values())).values()),
            "started_again": sum(each > 1 for each in attempts),
            "most_starts": max(attempts, default=0),
            "asked_again": sum(each > 1 for each in asked.values()),
            "most_asked": max(asked.values(), default=0),
            "started_again_asked_once": sum(
                each.attempts > 1 and asked[each.message.text] == 1 for each in self.stored.values()
            ),
            "audit_lines": self.audit.lines,
            "audit_lines_torn": self.audit.torn,
        }

    # -- the promises

    def _ends(self) -> Iterator[str]:
        announced = Counter(note["id"] for note in self.notes if note["did"] == "announced")
        promised, sequences = defaultdict(set), defaultdict(set)
        for note in self.notes:
            if note["did"] == "ended":
                promised[note["id"]].add(tuple(note["end"]))
            elif note["did"] == "accepted":
                sequences[note["id"]].add(note["sequence"])
        for planned in self.plan:
            key, stored = planned.message_id, self.stored.get(planned.message_id)
            if stored is None:
                yield f"{planned.text!r} is not in the store"
            elif not _answered(stored):
                yield f"{planned.text!r} ended as {stored.outcome}"
            elif sequences[key] - {stored.message.sequence}:
                yield f"{planned.text!r} was accepted as {sequences[key]} and stored as {stored.message.sequence}"
            if announced[key] > 1:
                yield f"the end of {planned.text!r} was announced {announced[key]} times"
            if len(promised[key]) != 1:
                yield f"{planned.text!r} was said to have ended as {promised[key]}"

    def _repeats(self) -> Iterator[str]:
        asked = self._asked_times()
        for each in self.stored.values():
            if not 1 <= asked[each.message.text] <= each.attempts:
                yield f"{each.message.text!r} was asked {asked[each.message.text]} times in {each.attempts} starts"

    def _disorder(self) -> Iterator[str]:
        channel_of = {each.text: each.channel for each in self.plan}
        place = {each.message.text: each.message.sequence for each in self.stored.values()}
        for channel, texts in _grouped((channel_of[text], text) for text in dict.fromkeys(self.asked)).items():
            for before, after in itertools.pairwise(texts):
                if place[before] > place[after]:
                    yield f"in {channel}, {after!r} was asked after {before!r}"
        sent = {each.text: number for number, each in enumerate(self.plan)}
        for channel, messages in _grouped((each.message.channel, each.message) for each in self._in_order()).items():
            for earlier, later in itertools.pairwise(messages):
                if sent[earlier.text] > sent[later.text]:
                    yield f"in {channel}, {earlier.text!r} was accepted before {later.text!r}"

    def _snapshots(self) -> Iterator[str]:
        if self.set_aside is not None:
            yield f"the store was found damaged and moved to {self.set_aside}"
        answered = Counter(each.message.channel for each in self.stored.values() if _answered(each))
        for channel, count in answered.items():
            snapshot = self.snapshots.get(channel)
            if snapshot is None or snapshot.message_count != count:
                yield f"{channel} has {count} answers and the snapshot {snapshot}"

    def _sessions(self) -> Iterator[str]:
        for each in self.stored.values():
            reply = each.outcome.reply if each.outcome else None
            if reply is None:
                continue
            transcript = Transcript.of(reply.session_id, self.settings.working_dir, self.settings.environment)
            recorded = transcript.reply_to(reply.turn_id)
            if recorded is None or recorded.text != reply.text or _subject(each) not in reply.text:
                yield f"{each.message.text!r} was answered {reply.text!r}, its session has {recorded}"
            elif reply.session_id != self.snapshots[each.message.channel].session_id:
                yield f"{each.message.text!r} was answered in another session than the channel's"

    def _audit(self) -> Iterator[str]:
        if not self.audit.ok:
            yield f"{self.audit.first_bad}, {self.audit.cuts} cuts"
        if self.audit.lost:
            yield f"{self.audit.lost} records were never written"

    # -- within

    def _asked_times(self) -> Counter[str]:
        return Counter(self.asked)

    def _in_order(self) -> list[StoredMessage]:
        return sorted(self.stored.values(), key=lambda each: each.message.sequence)


async def gather(settings: Settings, plan: Sequence[Planned], notes: Path, asked: Sequence[str]) -> Evidence:
    """Look at what is left; ``asked`` is what the model was asked, in order."""
    async with open_sqlite_store(settings.state_dir, owner="evidence", now=lambda: datetime.now(UTC)) as store:
        stored = {each.message_id: await store.message(each.message_id) for each in plan}
        channels = {each.channel for each in plan}
        snapshots = {channel: await store.snapshot(channel) for channel in channels}
        head = await store.note(AUDIT_HEAD)
        set_aside = store.set_aside
    known = Head(**head) if head else None
    left = marked({"HOME": settings.environment["HOME"]})
    return Evidence(
        settings=settings,
        plan=plan,
        notes=read_notes(notes),
        stored={key: each for key, each in stored.items() if each is not None},
        snapshots={channel: each for channel, each in snapshots.items() if each is not None},
        asked=asked,
        audit=await trio.to_thread.run_sync(lambda: verify(log_files(settings.audit_file), known_head=known)),
        left=[" ".join(psutil.Process(each.pid).cmdline()) for each in left],
        set_aside=set_aside or next(iter(settings.state_dir.glob("*.damaged-*")), None),
    )


def _turns(messages: Iterable[StoredMessage]) -> Iterator[str]:
    """The turn that answered each message."""
    return (each.outcome.reply.turn_id for each in messages if each.outcome and each.outcome.reply)


def _subject(stored: StoredMessage) -> str:
    """What a message is about, without what it makes the model do."""
    return stored.message.text.partition(" [[")[0]


def _answered(stored: StoredMessage) -> bool:
    return stored.outcome is not None and stored.outcome.kind is OutcomeKind.ANSWERED


def _grouped(pairs: Iterator[tuple[str, Any]]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups
