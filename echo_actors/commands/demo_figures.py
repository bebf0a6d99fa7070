"""The demo's figures, and what is wrong with them: functions of what was observed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import attrs

from echo_actors.events import Accepted, Event, Lagged, TurnEnded, TurnStarted
from echo_actors.models import OutcomeKind

COST_TOLERANCE: Final = 1e-9
"""USD; far below the price of one token."""

Load: TypeAlias = dict[str, list[str]]
"""The texts for each channel, in order."""


@attrs.frozen
class Heard:
    """What the model, or its stand-in, was asked.

    Attributes:
        history: What it was asked before in the same conversation, as it saw it.
    """

    text: str
    history: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Observed:
    """What was seen of a run, from outside of the engine where that is possible.

    Attributes:
        model_usd: What the model itself counted.
        recorded_usd: What the snapshots of all channels say.
        processes_left: How many processes of the run were alive after the engine had closed.
    """

    events: Sequence[Event]
    heard: Sequence[Heard]
    model_usd: float
    recorded_usd: float
    processes_left: int


@attrs.frozen
class Figure:
    """One result.

    Attributes:
        problem: Why it is wrong; empty if it is right.
    """

    name: str
    value: str
    problem: str = ""


def figures(load: Load, observed: Observed) -> list[Figure]:
    """All results of a run, in the order in which they are shown."""
    accepted = [event for event in observed.events if isinstance(event, Accepted)]
    started = [event for event in observed.events if isinstance(event, TurnStarted)]
    ended = [event for event in observed.events if isinstance(event, TurnEnded)]
    return [
        _turns(load, ended),
        _replies(load, accepted, ended),
        _latency("turn", started, ended, "its process's start included"),
        _latency("message", accepted, ended, "its waiting included"),
        _cost(observed),
        _events(load, observed.events, (accepted, started, ended)),
        _order(load, accepted, started, ended),
        _history(load, observed.heard),
        _processes(observed),
    ]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def _total(load: Load) -> int:
    return sum(map(len, load.values()))


def _turns(load: Load, ended: Sequence[TurnEnded]) -> Figure:
    answered = sum(event.outcome.kind is OutcomeKind.ANSWERED for event in ended)
    value = f"{answered} of {_total(load)} answered"
    if answered == _total(load):
        return Figure("turns", value)
    others = (event for event in ended if event.outcome.kind is not OutcomeKind.ANSWERED)
    first = next((f"{event.channel} {event.outcome.kind}: {event.outcome.reason}" for event in others), "no end seen")
    return Figure("turns", value, f"{value}; {first}")


def _replies(load: Load, accepted: Sequence[Accepted], ended: Sequence[TurnEnded]) -> Figure:
    """Whether every message got the answer to itself: the model repeats what it is asked."""
    ids = _by_channel(accepted)
    wanted = {
        message_id: f"echo: {text}"
        for channel, texts in load.items()
        for message_id, text in zip(ids[channel], texts, strict=False)
    }
    right = sum(
        event.outcome.reply is not None and event.outcome.reply.text == wanted.get(event.message_id) for event in ended
    )
    value = f"{right} of {_total(load)} are to their own message"
    return Figure("replies", value, "" if right == _total(load) else value)


def _latency(name: str, first: Sequence[Event], last: Sequence[Event], what: str) -> Figure:
    since = {event.message_id: event.time for event in first}
    seconds = [(event.time - since[event.message_id]).total_seconds() for event in last if event.message_id in since]
    if not seconds:
        return Figure(name, "not measured", "no message has a beginning and an end")
    return Figure(name, f"p50 {percentile(seconds, 50):.3f} s, p99 {percentile(seconds, 99):.3f} s, {what}")


def _cost(observed: Observed) -> Figure:
    value = f"{observed.model_usd:.6f} USD by the model, {observed.recorded_usd:.6f} USD in the snapshots"
    equal = math.isclose(observed.model_usd, observed.recorded_usd, rel_tol=0, abs_tol=COST_TOLERANCE)
    return Figure("cost", value, "" if equal else value)


def _events(load: Load, events: Sequence[Event], milestones: Sequence[Sequence[Event]]) -> Figure:
    lost = any(isinstance(event, Lagged) for event in events)
    value = f"{len(events)} delivered, {'some' if lost else 'none'} lost"
    counts = [Counter(event.message_id for event in kind) for kind in milestones]
    if not lost and all(len(count) == _total(load) and set(count.values()) == {1} for count in counts):
        return Figure("events", value)
    return Figure("events", value, f"{value}; not every message was accepted, started and ended exactly once")


def _order(load: Load, accepted: Sequence[Event], *others: Sequence[Event]) -> Figure:
    wanted = _by_channel(accepted)
    wrong = sorted({name for kind in others for name in load if _by_channel(kind)[name] != wanted[name]})
    if wrong:
        return Figure("order", f"broken in {len(wrong)} of {len(load)} channels", f"broken in {', '.join(wrong)}")
    return Figure("order", f"kept in {len(load)} of {len(load)} channels")


def _by_channel(events: Sequence[Event]) -> defaultdict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for event in events:
        found[event.channel].append(event.message_id)
    return found


def _history(load: Load, heard: Sequence[Heard]) -> Figure:
    wrong = sorted({channel for channel, _ in _missing(load, heard)})
    value = f"unbroken in {len(load) - len(wrong)} of {len(load)} channels"
    return Figure("history", value, f"the model did not see all of {', '.join(wrong)}" if wrong else "")


def _missing(load: Load, heard: Sequence[Heard]) -> Iterator[tuple[str, str]]:
    """The texts that the model was not asked exactly once, with all earlier ones of the channel before it."""
    asked: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    for each in heard:
        asked[each.text].append(each.history)
    for channel, texts in load.items():
        for number, text in enumerate(texts):
            if asked[text] != [tuple(texts[:number])]:
                yield channel, text


def _processes(observed: Observed) -> Figure:
    value = f"{observed.processes_left} left"
    return Figure("processes", value, f"{value} after the engine had closed" if observed.processes_left else "")
