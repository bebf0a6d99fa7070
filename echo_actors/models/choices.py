"""The words that people choose by, and by which the engine says what happened."""

from __future__ import annotations

import enum


class Trust(enum.StrEnum):
    """How far a message's author is trusted; policy and fencing follow from it."""

    OWNER = "owner"
    MEMBER = "member"
    EXTERNAL = "external"


class BusyPolicy(enum.StrEnum):
    """What a message does when its channel is busy with another turn."""

    QUEUE = "queue"
    STEER = "steer"
    COLLECT = "collect"
    INTERRUPT = "interrupt"


class FullPolicy(enum.StrEnum):
    """What happens to a message that finds its channel's mailbox full."""

    REJECT = "reject"
    WAIT = "wait"
    DROP_OLDEST = "drop_oldest"


class SessionConflict(enum.StrEnum):
    """What a turn does when another engine, a terminal or another program has its session open."""

    WAIT = "wait"
    FORK = "fork"
    FAIL = "fail"


class Clock(enum.StrEnum):
    """The clocks of a message; each has a setting ``<clock>_timeout`` in seconds."""

    QUEUE = "queue"
    START = "start"
    FIRST_EVENT = "first_event"
    IDLE = "idle"
    TOTAL = "total"
    TEARDOWN = "teardown"


class OutcomeKind(enum.StrEnum):
    """The ways in which an accepted message can end; each message has exactly one."""

    ANSWERED = "answered"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    DROPPED = "dropped"
    DEAD_LETTERED = "dead_lettered"
