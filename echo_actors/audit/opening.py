"""Opening an audit log: where its chain ends, in whichever file that is, and what is to be told of that end."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import attrs

from echo_actors.audit.chain import CUT, GENESIS, LOST, PRUNED, TORN, Head, Tail, sha256
from echo_actors.audit.files import closed_files, tail_of
from echo_actors.audit.log import AuditLog
from echo_actors.audit.record import Step, recorder
from echo_actors.audit.rotation import FLAGS, Keeping, LogFile, Old
from echo_actors.audit.writer import Writer

QUEUE_BYTES = 8 * 2**20
"""How much may wait for a disk that takes nothing: some 20,000 records."""

RETRY_DELAY = 1.0
"""Seconds between attempts to write to a disk that took nothing."""


def open_audit(
    path: Path,
    *,
    run_id: str,
    clock: Callable[[], datetime],
    content: bool = False,
    keeping: Keeping | None = None,
    known_head: Head | None = None,
    mask: Callable[[str], str] | None = None,
    write: Callable[[int, bytes | memoryview], int] = os.write,
    queue_bytes: int = QUEUE_BYTES,
    retry_delay: float = RETRY_DELAY,
) -> AuditLog:
    """Open a log to append to it, and make it when there is none. Only one may be open on a path at a time.

    What a crash left unfinished at the end is kept and recorded as ``audit.torn``. A log that lacks the known head is
    recorded as ``audit.cut``; it goes on from what was found, and from the known head where nothing was.

    Args:
        path: The growing file; its directory is made too. Full ones stay beside it, under names of their own.
        run_id: Names this run of the program in every record.
        clock: Gives aware times; called in two threads.
        content: Whether texts are written, for ``text_fields``.
        keeping: How large and how old files become, and how many are kept; one file without limits by default.
        known_head: A head that was kept elsewhere.
        mask: Replaces secret values in a field's text; called in the log's thread. A record for which it raises is
            lost, and counted in the log and in ``AuditLog.problem``.
        write: As ``os.write``.
        queue_bytes: How much may wait to be written before records are dropped and counted.
        retry_delay: Seconds between attempts at what the disk refused.

    Raises:
        OSError: A file cannot be opened or read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, FLAGS, 0o600)
    try:
        tail = _tail(path, fd, known_head)
        file = LogFile(path, keeping or Keeping(), clock, write, fd)
    except BaseException:
        os.close(fd)
        raise
    begun = known_head if known_head is not None and tail.empty else None
    unmasked = recorder(run_id, None)

    def render_own(event: str, **fields: str | int) -> bytes:
        return unmasked.render(Step(clock(), event, fields))

    def pruned(old: Old) -> bytes:
        return render_own(PRUNED, files=len(old.files), until_seq=old.until.seq, until_sha256=old.until.hash)

    writer = Writer(
        file=file,
        head=begun or tail.head,
        chain=begun or tail.chain,
        unfinished=b"" if tail.terminated else b"\n",
        limit=queue_bytes,
        retry=retry_delay,
        render=recorder(run_id, mask).render,
        lost=lambda records, problem: render_own(LOST, records=records, problem=problem),
        pruned=pruned,
    )
    log = AuditLog(clock, writer, content)
    _record_opening(log, tail, known_head)
    return log


def _tail(path: Path, fd: int, known: Head | None) -> Tail:
    """How the log ends: in the growing file, or when that has no record, in the one before it."""
    closed = closed_files(path)
    earlier = next((file for last, file in closed if known is not None and known.seq <= last), None)
    tail = tail_of(fd, known if earlier is None else None)
    if earlier is not None:
        found = tail_of(earlier, known)
        # What is older than the oldest file was removed when its time had come; a check of the log finds whether.
        tail = attrs.evolve(tail, holds_known=found.holds_known or (found.after_known and earlier == closed[0][1]))
    if tail.head == GENESIS and closed:
        before = tail_of(closed[-1][1], known)
        tail = attrs.evolve(tail, head=before.head, holds_known=tail.holds_known or before.holds_known)
    return tail


def _record_opening(log: AuditLog, tail: Tail, known: Head | None) -> None:
    if tail.torn is not None:
        log.record(TORN, bytes=len(tail.torn), sha256=sha256(tail.torn), after_sha256=tail.head.hash)
    if known is not None and not tail.holds_known:
        log.record(
            CUT,
            expected_seq=known.seq,
            expected_sha256=known.hash,
            found_seq=tail.head.seq,
            found_sha256=tail.head.hash,
        )
