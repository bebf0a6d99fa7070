"""Echo-Core's file of sessions, ``sessions/active.json``: ``{channel: record}``.

A record becomes a snapshot and a snapshot a record, and neither way loses anything: what a record has that a snapshot
has no field for, and whatever was written in another form than it would be here, is kept in the snapshot's ``extra``.
A record that cannot be read is refused by itself, with the reason; a file that cannot be read is an error, and never
taken for an empty one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import attrs

from echo_actors.errors import ActiveFileError
from echo_actors.regular_file import open_regular
from echo_actors.settings import ChannelOptions
from echo_actors.state import strict_json
from echo_actors.state.records import SessionSnapshot

MOST_BYTES = 256 * 2**20
"""The largest file that is read; half a million sessions."""

MOST_COUNTED = 10**15
"""The largest count that is believed: sums of much larger ones could not be stored."""

Record = dict[str, Any]


@attrs.frozen
class Refusal:
    """A channel whose record was not taken, and why."""

    channel: str
    reason: str


@attrs.frozen
class Reading:
    """What a file has."""

    snapshots: tuple[SessionSnapshot, ...]
    refused: tuple[Refusal, ...]


# -- values; each raises a ValueError that says what the value is not


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is no text")
    return value


def _session_id(value: Any) -> str:
    text = _text(value)
    try:
        # It becomes an argument of the CLI and the name of a file, so nothing else may pass.
        usual = str(UUID(text)) == text
    except ValueError:
        usual = False
    if not usual:
        raise ValueError("is no UUID in small letters")
    return text


def _count(value: Any) -> int:
    number = _number(value)
    if number != int(number) or number > MOST_COUNTED:
        raise ValueError(f"is no whole number up to {MOST_COUNTED}")
    return int(number)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is no number")  # noqa: TRY004 - one kind of error for whatever is wrong with a value
    if not 0 <= value <= MOST_COUNTED:
        raise ValueError("is negative" if value < 0 else "is too large to be true")
    return value


def _time(value: Any) -> datetime:
    try:
        time = datetime.fromisoformat(_text(value))
        # The format says UTC; a time that names no zone is in it.
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no time in ISO 8601") from None


_FIELDS: Final[dict[str, Callable[[Any], Any]]] = {
    "session_id": _session_id,
    "model": _text,
    "created_at": _time,
    "last_message_at": _time,
    "message_count": _count,
    "total_input_tokens": _count,
    "total_output_tokens": _count,
    "total_cost_usd": lambda value: float(_number(value)),
    "duration_ms": _count,
    "context_tokens": _count,
}
"""What every record has, and what reads it."""

_OURS: Final[dict[str, Callable[[Any], Any]]] = {
    "total_cache_read_tokens": _count,
    "total_cache_creation_tokens": _count,
}
"""What an exported record has besides, where it is not zero, so that another store gets it back."""


def record_of(snapshot: SessionSnapshot) -> Record:
    """The channel's record, as Echo-Core's functions give it."""
    record: Record = {}
    for name in _FIELDS:
        value = getattr(snapshot, name)
        record[name] = value.isoformat() if isinstance(value, datetime) else value
    for name, value in snapshot.extra.items():
        read = _FIELDS.get(name) or _OURS.get(name)
        if read is None or read(value) == getattr(snapshot, name):
            record[name] = value
    return record


def exported(snapshot: SessionSnapshot) -> Record:
    """The channel's record, as it is written to a file."""
    return {**{name: count for name in _OURS if (count := getattr(snapshot, name))}, **record_of(snapshot)}


def snapshot_of(channel: str, raw: Any, *, models: Collection[str], working_dir: Path) -> SessionSnapshot:
    """The snapshot of a record.

    Args:
        channel: Whose it is.
        raw: As ``strict_json.loads`` gave it.
        models: Those that a channel may have.
        working_dir: Where the session's transcript is to be found from.

    Raises:
        ValueError: It cannot be read; the text says what is wrong.
    """
    if not isinstance(raw, dict):
        raise ValueError("the record is no object")  # noqa: TRY004 - as above
    if flaw := strict_json.flaw_in(raw, "the record"):
        raise ValueError(flaw)
    if missing := [name for name in _FIELDS if name not in raw]:
        raise ValueError(f"the record has no {', '.join(missing)}")
    values: dict[str, Any] = {}
    for name, read in {**_FIELDS, **_OURS}.items():
        if name in raw:
            try:
                values[name] = read(raw[name])
            except ValueError as problem:
                raise ValueError(f"{name} {problem}: {_shown(raw[name])}") from None
    if values["model"] not in models:
        raise ValueError(f"model {_shown(values['model'])} is none of the setting models: {', '.join(models)}")
    # Its channel had chosen it there; without the option, it would go over to the setting's.
    options = ChannelOptions(model=values["model"])
    snapshot = SessionSnapshot(channel=channel, working_dir=str(working_dir.resolve()), options=options, **values)
    written = exported(snapshot)
    extra = {name: value for name, value in raw.items() if name not in written or not _same(written[name], value)}
    return attrs.evolve(snapshot, extra=extra)


def _same(ours: Any, theirs: Any) -> bool:
    return type(ours) is type(theirs) and bool(ours == theirs)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - a line's worth


# -- files


def read_file(path: Path) -> bytes:
    """The content of a file, which is only read.

    Raises:
        ActiveFileError: It cannot be read, or is no file that could be one of sessions.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as problem:
        raise ActiveFileError(str(path), f"it cannot be read: {problem.strerror}") from problem
    if len(data) > MOST_BYTES:
        raise ActiveFileError(str(path), f"it is larger than {MOST_BYTES} bytes")
    return data


def read_sessions(
    path: Path, *, models: Collection[str], working_dir: Path, check_channel: Callable[[str], object]
) -> Reading:
    """What a file of sessions has.

    Args:
        path: The file, which is only read.
        models: Those that a channel may have.
        working_dir: Where the sessions' transcripts are to be found from.
        check_channel: Raises a ValueError for what can be no channel's name.

    Raises:
        ActiveFileError: It cannot be read as a whole.
    """
    snapshots: list[SessionSnapshot] = []
    refused: list[Refusal] = []
    records = _records(path, read_file(path))
    for channel, raw in records.items():
        try:
            check_channel(channel)
            if channel in records.repeated:
                raise ValueError("the file has it more than once")  # noqa: TRY301 - one place for every refusal
            snapshots.append(snapshot_of(channel, raw, models=models, working_dir=working_dir))
        except ValueError as problem:
            refused.append(Refusal(channel.encode(errors="backslashreplace").decode(), str(problem)))
    return Reading(tuple(snapshots), tuple(refused))


def _records(path: Path, data: bytes) -> strict_json.Table:
    if not data.strip():
        raise ActiveFileError(str(path), "it is empty; a file without sessions is {}")
    if b"\0" in data:
        raise ActiveFileError(str(path), "there are NUL bytes in it, as after a crash of the machine")
    try:
        value = strict_json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        raise ActiveFileError(str(path), f"it is not UTF-8: byte {problem.start} cannot be decoded") from problem
    except ValueError as problem:
        raise ActiveFileError(str(path), f"it is {problem}") from problem
    if not isinstance(value, strict_json.Table):
        raise ActiveFileError(str(path), "it is no JSON object of channels")
    return value


def to_json(snapshots: Iterable[SessionSnapshot]) -> str:
    """Sessions as the text of a file, in ASCII: the old program may read it in any encoding."""
    return json.dumps({each.channel: exported(each) for each in snapshots}, indent=2) + "\n"


def write_file(path: Path, text: str) -> None:
    """Put a text into a file that only this user can read; it is there whole, or as it was before.

    Raises:
        ActiveFileError: It cannot be written.
    """
    try:
        # A link stays a link.
        target = path.resolve()
        if target.is_dir():
            raise ActiveFileError(str(path), "it is a directory")
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}-", dir=target.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink()
            raise
        _sync(target.parent)
    except OSError as problem:
        raise ActiveFileError(str(path), f"it cannot be written: {problem.strerror}") from problem


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
