"""From records of the audit log to figures by channel and day: records in, figures out, no files.

All that is known of a message or a turn counts on the day, in UTC, on which it ended. A message's acceptance, the
start of its turn and its end are records of their own, brought together by its id. What a turn of several messages
took is in the record of each, and counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, TypeVar

import attrs

from echo_actors.audit.chain import time_of
from echo_actors.models import OutcomeKind
from echo_actors.statistics.figures import BUDGET, ERRORS, TOKENS, Figures, total

K = TypeVar("K", bound=Hashable)

_TOO_LARGE: Final = 2**53
"""No cost, time or number of tokens comes near that; sums of lesser numbers can be written as JSON."""

_OVER_BUDGET: Final = "budget_exceeded"
"""The kind of error in the record of a message whose turn could not begin."""


@attrs.define(eq=False)
class _Open:
    """A message that has no end yet.

    Attributes:
        wait: How long it was until its first turn, in seconds.
        started: When the last turn began.
        run: The run of the engine in which that was.
    """

    channel: str
    accepted: datetime | None = None
    wait: float | None = None
    started: datetime | None = None
    run: str = ""

    def measure_wait(self) -> None:
        """Know the wait when acceptance and first start are known, in whatever order they were recorded."""
        if self.wait is None and self.accepted is not None and self.started is not None:
            self.wait = _seconds(self.accepted, self.started)


@attrs.define(eq=False)
class Ledger:
    """Takes the records of a log, oldest first.

    It holds, besides the figures, what has not ended, and the last turn of each channel.

    Attributes:
        since: What ended before this is not counted.
        until: What ended then or later is not counted, nor is anything else known of it.
        chosen: Says of a channel whether it is counted.
        days: The figures, by channel and day.
    """

    since: datetime | None = None
    until: datetime | None = None
    chosen: Callable[[str], bool] = lambda _: True
    days: dict[tuple[str, date], Figures] = attrs.field(factory=dict, init=False)
    _open: dict[str, _Open] = attrs.field(factory=dict, init=False)
    _last_turns: dict[str, str] = attrs.field(factory=dict, init=False)
    _choices: dict[str, bool] = attrs.field(factory=dict, init=False)

    @property
    def unended(self) -> int:
        """How many messages had no end by the last record: they wait, or run, or a crash has left them."""
        return len(self._open)

    def take(self, record: dict[str, Any]) -> None:
        """Take the next record; one of a kind that is not in ``KINDS``, or that lacks what it should have, is none."""
        handle = _HANDLERS.get(str(record.get("event")))
        channel, time = record.get("channel"), time_of(record)
        if handle is None or time is None or not isinstance(channel, str) or not self._chooses(channel):
            return
        try:
            time = time.astimezone(UTC)
        except OverflowError:
            return  # at an end of the calendar, where UTC has no such day
        if self.until is None or time < self.until:
            handle(self, record, channel, time)

    def by(self, key: Callable[[str, date], K]) -> dict[K, Figures]:
        """The figures of those channels and days together that have the same key, in the order of the keys."""
        groups: dict[K, list[Figures]] = {}
        for (channel, day), figures in sorted(self.days.items(), key=lambda item: item[0]):
            groups.setdefault(key(channel, day), []).append(figures)
        return {name: total(parts) for name, parts in groups.items()}

    # -- the kinds of record

    def accepted(self, record: dict[str, Any], channel: str, time: datetime) -> None:
        """A message waits."""
        message = self._open.setdefault(str(record.get("message")), _Open(channel))
        message.accepted = time
        message.measure_wait()

    def started(self, record: dict[str, Any], channel: str, time: datetime) -> None:
        """A message is given to the CLI, for the first time or once more."""
        message = self._open.setdefault(str(record.get("message")), _Open(channel))
        message.started, message.run = time, str(record.get("run"))
        # Whoever knows only of a second attempt does not know how long the message waited for its first.
        if record.get("attempt") == 1:
            message.measure_wait()
        else:
            message.accepted = None

    def ended(self, record: dict[str, Any], channel: str, time: datetime) -> None:
        """A message has its end, and with the first one that shared it, the turn."""
        message = self._open.pop(str(record.get("message")), None)
        turn = record.get("turn")
        first_of_turn = isinstance(turn, str) and turn != self._last_turns.get(channel)
        if isinstance(turn, str):
            self._last_turns[channel] = turn
        figures = self._figures(channel, time)
        if figures is None:
            return
        figures.messages += 1
        error = _error_in(record)
        if error:
            figures.errors[error] += 1
        if message is not None and message.wait is not None:
            figures.waits.append(message.wait)
        if first_of_turn:
            figures.turns += 1
            _spend(figures, record)
            if (first_output := _number(record.get("first_output_ms"))) is not None:
                figures.first_outputs.append(first_output / 1000)
            # An end that a later run found in the transcript says nothing of how long the turn took.
            if message is not None and message.started is not None and message.run == record.get("run"):
                figures.durations.append(_seconds(message.started, time))

    def retried(self, record: dict[str, Any], channel: str, time: datetime) -> None:
        """A turn came to no end, and its messages are started again."""
        if (figures := self._figures(channel, time)) is not None:
            figures.retried += 1
            _spend(figures, record)

    def cut(self, record: dict[str, Any], channel: str, time: datetime) -> None:
        """A turn was cut because the engine closes."""
        if (figures := self._figures(channel, time)) is not None:
            figures.cut += 1
            _spend(figures, record)

    # -- within

    def _chooses(self, channel: str) -> bool:
        choice = self._choices.get(channel)
        if choice is None:
            choice = self._choices[channel] = self.chosen(channel)
        return choice

    def _figures(self, channel: str, time: datetime) -> Figures | None:
        if self.since is not None and time < self.since:
            return None
        key = (channel, time.date())
        figures = self.days.get(key)
        if figures is None:
            figures = self.days[key] = Figures()
        return figures


def _error_in(record: dict[str, Any]) -> str:
    """The kind of a message's error; empty for an answer."""
    outcome = record.get("outcome")
    if outcome == OutcomeKind.ANSWERED.value:
        return ""
    if outcome == OutcomeKind.FAILED.value and record.get("error") == _OVER_BUDGET:
        return BUDGET
    return outcome if outcome in ERRORS else OutcomeKind.FAILED.value


def _spend(figures: Figures, record: dict[str, Any]) -> None:
    figures.cost_usd += _number(record.get("cost_usd")) or 0.0
    for kind in TOKENS:
        if number := _number(record.get(kind)):
            figures.tokens[kind] += int(number)


def _number(value: object) -> float | None:
    """A number of a record; None for what is none, such as one that is too large to be meant or written as one."""
    return value if isinstance(value, int | float) and abs(value) < _TOO_LARGE else None


def _seconds(begin: datetime, end: datetime) -> float:
    """How long it was; nothing where the clock was set back meanwhile."""
    return max(0.0, (end - begin).total_seconds())


_HANDLERS: Final[Mapping[str, Callable[[Ledger, dict[str, Any], str, datetime], None]]] = {
    "message.accepted": Ledger.accepted,
    "turn.started": Ledger.started,
    "turn.ended": Ledger.ended,
    "turn.retried": Ledger.retried,
    "turn.cut": Ledger.cut,
}

KINDS: Final = frozenset(_HANDLERS)
"""The kinds of record that are counted."""
