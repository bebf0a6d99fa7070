"""Reads the audit log, all its files, into a ledger; without a lock, also while an engine writes."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from echo_actors.audit.files import log_files
from echo_actors.audit.reading import LogReader, Wanted
from echo_actors.statistics.ledger import KINDS, Ledger

EARLIER: Final = timedelta(days=1)
"""How much before the asked time reading begins, for messages that ended after it: one that began before that counts,
but how long it waited and took is not known."""


@attrs.frozen
class Gathered:
    """What was read.

    Attributes:
        broken: How many lines of the log are no records.
    """

    ledger: Ledger
    broken: int


def gather(
    path: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    channels: Sequence[str] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> Gathered:
    """Read a log once, from end to end.

    Args:
        path: The growing file.
        since: What ended before this is not counted.
        until: What ended then or later is not counted.
        channels: Names, or patterns for them such as ``discord:*``; all channels without any.
        advance: Told from time to time of how many further bytes were read.

    Raises:
        OSError: A file cannot be read.
    """
    ledger = Ledger(since, until, _choice(channels))
    reader = LogReader(path, Wanted(since=_earlier(since), kinds=KINDS))
    try:
        size = 0
        while (page := reader.page()) is not None:
            for each in page:
                ledger.take(each.record)
            advance(reader.size - size)
            size = reader.size
    finally:
        reader.close()
    return Gathered(ledger, reader.broken)


def size_of(path: Path) -> int:
    """How many bytes a log has now, in all its files, more or less: they may change meanwhile.

    Raises:
        OSError: They cannot be looked at.
    """
    size = 0
    for file in log_files(path):
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def _earlier(since: datetime | None) -> datetime | None:
    try:
        return None if since is None else since - EARLIER
    except OverflowError:
        return None  # since the year 1


def _choice(channels: Sequence[str]) -> Callable[[str], bool]:
    """Whether a channel is one of these. Its very name always means it, whatever that would mean as a pattern."""
    if not channels:
        return lambda _: True
    names = frozenset(channels)
    return lambda channel: channel in names or any(fnmatch.fnmatchcase(channel, each) for each in channels)
