"""What ``echo-actors audit verify`` does: checks all files of the log against the head that the store keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs
import orjson
import trio

from echo_actors.audit import Head, Verdict, log_files, verify
from echo_actors.commands.exits import Exit
from echo_actors.commands.terminal import visible, write
from echo_actors.commands.working import ShownProgress, work
from echo_actors.errors import StoreError
from echo_actors.settings import Settings
from echo_actors.state.peek import peek_note
from echo_actors.state.records import AUDIT_HEAD

_ATTEMPTS: Final = 5
"""How often the check begins anew, because files got other names meanwhile or went, before it takes what it found."""


@attrs.frozen
class _Kept:
    """The head that the store keeps, or why there is none to be had."""

    head: Head | None
    why: str


async def verify_log(settings: Settings, *, json: bool) -> int:
    """Check the log and print what was found.

    Raises:
        StoreError: A file of the log cannot be read.
    """
    # Before the log is read: it only grows meanwhile.
    kept = await trio.to_thread.run_sync(_kept, settings)
    files, verdict = await work(lambda progress: _verify(settings.audit_file, kept.head, progress))
    write(_as_json(files, verdict, kept) if json else _in_words(settings, files, verdict, kept))
    return Exit.DONE if verdict.ok else Exit.FAILED


def _kept(settings: Settings) -> _Kept:
    try:
        note = peek_note(settings.state_dir, AUDIT_HEAD)
        return _Kept(None, "the store knows of no line") if note is None else _Kept(Head(**note), "")
    except (StoreError, TypeError) as problem:
        return _Kept(None, str(problem))


def _verify(path: Path, known: Head | None, progress: ShownProgress) -> tuple[list[Path], Verdict]:
    try:
        for attempt in range(_ATTEMPTS):
            files = log_files(path)
            try:
                progress.begin("reading the audit log", sum(file.stat().st_size for file in files))
                verdict = verify(files, known_head=known, growing=True, progress=progress.advance)
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            if log_files(path) == files:
                break
    except OSError as problem:
        raise StoreError(f"the audit log cannot be read: {problem}") from problem
    return files, verdict


def _in_words(settings: Settings, files: list[Path], verdict: Verdict, kept: _Kept) -> str:
    lines = []
    bad = verdict.first_bad
    if bad is not None:
        where = f"{visible(bad.file)}, line {bad.number}" if bad.number else f"{visible(str(settings.audit_file))}"
        lines.append(f"broken: {where}: {bad.damage}: {bad.why}")
    elif verdict.cuts:
        lines.append(f"broken: {_times(verdict.cuts)}, lines that the store knew of were gone at a start (audit.cut)")
    else:
        lines.append(f"whole: {verdict.lines:,} records in {len(files)} {'file' if len(files) == 1 else 'files'}")
    if bad is not None:
        lines.append(f"{verdict.lines:,} records before that are as they were written")
    if verdict.begin.seq:
        lines.append(f"lines 1 to {verdict.begin.seq} were removed because of their age or number, as the log says")
    if verdict.torn:
        lines.append(f"unfinished lines that crashes left, and the log accounts for: {verdict.torn}")
    if verdict.lost:
        lines.append(f"records that the disk did not take, and the log accounts for: {verdict.lost}")
    if verdict.unfinished:
        lines.append(
            "the last line is not finished: it is being written, or a crash left it for the next start to record"
        )
    if bad is None:
        lines.append(_vouched(verdict, kept))
    return "".join(f"{line}\n" for line in lines)


def _vouched(verdict: Verdict, kept: _Kept) -> str:
    if verdict.known is None:
        why = kept.why or "the line that the store knows of was removed long ago"
        return f"nothing vouches for the end, where lines could have been cut off: {visible(why)}"
    behind = verdict.head.seq - verdict.known.seq
    after = f"; {behind:,} lines came since then" if behind else ""
    return f"the store vouches for line {verdict.known.seq} and all before it{after}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _as_json(files: list[Path], verdict: Verdict, kept: _Kept) -> str:
    bad = verdict.first_bad
    value = {
        "ok": verdict.ok,
        "records": verdict.lines,
        "files": list(map(str, files)),
        "removed_until": verdict.begin.seq,
        "head": attrs.asdict(verdict.head),
        "vouched_until": verdict.known.seq if verdict.known is not None else None,
        "not_vouched_because": None if verdict.known is not None else kept.why or "removed",
        "torn": verdict.torn,
        "cuts": verdict.cuts,
        "lost": verdict.lost,
        "unfinished": verdict.unfinished,
        "broken": None if bad is None else attrs.asdict(bad),
    }
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"
