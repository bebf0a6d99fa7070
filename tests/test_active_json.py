"""Echo-Core's file of sessions: read without loss or guess, into a store, out of it, and written whole."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from active_files import record, records, write
from hypothesis import assume, given
from hypothesis import strategies as st
from support import JSON

from echo_actors.engine.intake import check_channel
from echo_actors.errors import ActiveFileError, StoreFull
from echo_actors.models import Spent, Usage
from echo_actors.state import strict_json
from echo_actors.state.active_json import (
    Reading,
    exported,
    read_sessions,
    record_of,
    snapshot_of,
    to_json,
    write_file,
)
from echo_actors.state.codec import make_codec
from echo_actors.state.exchange import Imported, all_sessions, import_sessions
from echo_actors.state.records import SessionSnapshot
from echo_actors.state.sqlite import open_sqlite_store

MODELS = ("haiku", "sonnet", "opus")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def reading_of(path: Path) -> Reading:
    """What the file has, with the usual models."""
    return read_sessions(path, models=MODELS, working_dir=path.parent, check_channel=check_channel)


def snapshot(raw: Any, channel: str = "c") -> SessionSnapshot:
    """A record's snapshot, with the usual models."""
    return snapshot_of(channel, raw, models=MODELS, working_dir=Path("/srv/bot"))


async def through_a_store(state_dir: Path, path: Path, *, replace: bool = False) -> tuple[Imported, dict[str, Any]]:
    """Import a file into a store, and export what the store has then."""
    async with open_sqlite_store(state_dir, owner="test", now=lambda: NOW) as store:
        imported = await import_sessions(store, reading_of(path), replace=replace)
        return imported, json.loads(to_json([each async for each in all_sessions(store)]))


async def test_a_thousand_sessions_come_back_equal(tmp_path: Path) -> None:
    """With times in four ways to write them, numbers of two kinds, and what no snapshot has a field for."""
    given_records = records(1000)
    path = write(tmp_path / "active.json", given_records)
    imported, back = await through_a_store(tmp_path / "state", path)
    assert (len(imported.taken), imported.unchanged, imported.refused) == (1000, (), ())
    assert back == given_records
    assert {name: list(map(type, each.values())) for name, each in back.items()} == {
        name: [type(each[field]) for field in back[name]] for name, each in given_records.items()
    }


@given(extra=st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_whatever_else_a_record_has_survives(extra: dict[str, Any]) -> None:
    """Through the snapshot, its encoding, and the text of a file."""
    raw = strict_json.loads(json.dumps({**extra, **record()}))
    assume(not strict_json.flaw_in(raw, "the record"))
    codec = make_codec().snapshot
    again = codec.decode(codec.encode(snapshot(raw)))
    assert json.loads(to_json([again])) == {"c": raw}


def test_a_record_has_the_fields_of_the_contract() -> None:
    """And no others, for a session that was never imported."""
    ours = SessionSnapshot(
        channel="c",
        session_id="5f7c1e0a-7a9f-4f8e-9a43-1f7a5a6c0d11",
        model="opus",
        created_at=NOW,
        last_message_at=NOW + timedelta(microseconds=5),
        total_cache_read_tokens=7,
    )
    assert record_of(ours) == {
        "session_id": "5f7c1e0a-7a9f-4f8e-9a43-1f7a5a6c0d11",
        "model": "opus",
        "created_at": "2030-01-01T00:00:00+00:00",
        "last_message_at": "2030-01-01T00:00:00.000005+00:00",
        "message_count": 0,
        "total_input_tokens": 0,
        "total_output_tokens": 0,
        "total_cost_usd": 0.0,
        "duration_ms": 0,
        "context_tokens": 0,
    }


def test_what_only_the_engine_counts_is_exported_too() -> None:
    """So that another store gets it back."""
    ours = attrs.evolve(snapshot(record()), total_cache_read_tokens=7, total_cache_creation_tokens=9)
    again = snapshot(exported(ours))
    assert (again.total_cache_read_tokens, again.total_cache_creation_tokens, again.extra) == (7, 9, {})


def test_after_a_turn_the_new_figures_count() -> None:
    """What was written in another form gives way as soon as it does not hold any more."""
    before = snapshot(record(total_cost_usd=2, last_message_at="2025-03-02T09:00:00Z", note="kept"))
    after = before.after_turn(Spent(usage=Usage(10, 5), cost_usd=0.5, duration_ms=3), messages=1, now=NOW)
    found = record_of(after)
    assert found["total_cost_usd"] == 2.5
    assert found["last_message_at"] == "2030-01-01T00:00:00+00:00"
    assert (found["message_count"], found["note"]) == (4, "kept")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2025-03-01T08:30:00Z", datetime(2025, 3, 1, 8, 30, tzinfo=UTC)),
        ("2025-03-01T08:30:00.000001+00:00", datetime(2025, 3, 1, 8, 30, 0, 1, tzinfo=UTC)),
        ("2025-03-01T08:30:00", datetime(2025, 3, 1, 8, 30, tzinfo=UTC)),
        ("2025-03-01T10:30:00+02:00", datetime(2025, 3, 1, 8, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_what_it_says(text: str, meant: datetime) -> None:
    """In UTC where it names no zone, as the format has it; and it is written back as it was."""
    read = snapshot(record(created_at=text))
    assert (read.created_at, record_of(read)["created_at"]) == (meant, text)


REFUSED: list[tuple[str, Any, str]] = [
    ("no record at all", [], "the record is no object"),
    ("null", None, "the record is no object"),
    ("no session", {k: v for k, v in record().items() if k != "session_id"}, "the record has no session_id"),
    ("an empty session", record(session_id=""), "session_id is no text: ''"),
    ("a session that is a path", record(session_id="../../etc/passwd"), "session_id is no UUID in small letters"),
    ("an unknown model", record(model="gpt"), "model 'gpt' is none of the setting models: haiku, sonnet, opus"),
    ("a model that is no text", record(model=3), "model is no text: 3"),
    ("a negative count", record(message_count=-1), "message_count is negative: -1"),
    ("half a message", record(message_count=1.5), "message_count is no whole number"),
    ("a count that is a text", record(total_input_tokens="12"), "total_input_tokens is no number: '12'"),
    ("a count that is true", record(context_tokens=True), "context_tokens is no number: True"),
    ("a count that is null", record(duration_ms=None), "duration_ms is no number: None"),
    ("a negative cost", record(total_cost_usd=-0.1), "total_cost_usd is negative: -0.1"),
    ("a cost that is not a number", record(total_cost_usd=float("nan")), "the record.total_cost_usd is NaN"),
    ("a cost without end", record(total_cost_usd=float("inf")), "the record.total_cost_usd is Infinity"),
    ("a count beyond all sums", record(message_count=10**18), "message_count is too large to be true"),
    ("a number of more than 64 bits", record(more=2**70), "the record.more is a number of more than 64 bits"),
    ("no time", record(created_at="yesterday"), "created_at is no time in ISO 8601: 'yesterday'"),
    ("seconds", record(last_message_at=1740818000), "last_message_at is no time in ISO 8601: 1740818000"),
    ("a time before all times", record(created_at="0001-01-01T00:00:00+14:00"), "created_at is no time"),
    ("half a character", record(title="\ud800"), "the record.title has half of a surrogate pair"),
    ("half a character in a name", record(**{"\ud800": 1}), "a name has half of a surrogate pair"),
    ("nesting without end", record(more=json.loads("[" * 150 + "]" * 150)), "nested deeper than 100 levels"),
]


@pytest.mark.parametrize(("raw", "reason"), [each[1:] for each in REFUSED], ids=[each[0] for each in REFUSED])
async def test_a_damaged_record_is_refused_and_the_rest_imported(tmp_path: Path, raw: Any, reason: str) -> None:
    """With the channel and the reason; what is refused leaves no trace in the store."""
    good = {"before": record(), "after": record()}
    path = write(tmp_path / "active.json", {"before": good["before"], "bad": raw, "after": good["after"]})
    imported, back = await through_a_store(tmp_path / "state", path)
    assert [each.channel for each in imported.refused] == ["bad"]
    assert imported.refused[0].reason.startswith(reason) or reason in imported.refused[0].reason
    assert back == good


async def test_what_is_written_twice_is_refused(tmp_path: Path) -> None:
    """A channel, and a field within a record: nobody knows which one was meant."""
    path = tmp_path / "active.json"
    one, two = json.dumps(record()), json.dumps(record())
    path.write_text(f'{{"twice": {one}, "twice": {two}, "field": {one[:-1]}, "model": "opus"}}, "good": {two}}}')
    imported, back = await through_a_store(tmp_path / "state", path)
    assert {each.channel: each.reason for each in imported.refused} == {
        "twice": "the file has it more than once",
        "field": "the record has 'model' more than once",
    }
    assert list(back) == ["good"]


@pytest.mark.parametrize("channel", ["", "x" * 1025, "\ud800"])
async def test_what_can_be_no_channel_is_refused(tmp_path: Path, channel: str) -> None:
    """The engine could never be asked about it."""
    path = write(tmp_path / "active.json", {channel: record()})
    imported, back = await through_a_store(tmp_path / "state", path)
    assert [each.channel for each in imported.refused] == [channel.encode(errors="backslashreplace").decode()]
    assert back == {}


async def test_two_channels_do_not_get_one_session(tmp_path: Path) -> None:
    """Each would continue it without the other; that holds for a channel of the store as well."""
    first, second = record(), record()
    path = write(tmp_path / "active.json", {"a": first, "b": {**second, "session_id": first["session_id"]}})
    imported, back = await through_a_store(tmp_path / "state", path)
    assert [(each.channel, each.reason) for each in imported.refused] == [("b", "its session is that of channel 'a'")]
    assert list(back) == ["a"]
    write(path, {"z": first})
    again, _ = await through_a_store(tmp_path / "state", path)
    assert [each.reason for each in again.refused] == ["its session is that of channel 'a'"]


async def test_a_channel_keeps_its_session_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    """The same record again changes nothing, and is no refusal."""
    old, new = record(), record()
    path = write(tmp_path / "active.json", {"c": old})
    await through_a_store(tmp_path / "state", path)
    again, _ = await through_a_store(tmp_path / "state", path)
    assert (again.taken, again.unchanged, again.refused) == ((), ("c",), ())
    write(path, {"c": new})
    refused, back = await through_a_store(tmp_path / "state", path)
    assert [each.reason for each in refused.refused] == ["the channel has a session in the store already"]
    assert back == {"c": old}
    replaced, back = await through_a_store(tmp_path / "state", path, replace=True)
    assert ([each.revision for each in replaced.taken], back) == ([2], {"c": new})


async def test_a_full_disk_ends_the_import_and_leaves_whole_sessions(tmp_path: Path) -> None:
    """The error is the store's; with room again, the same import takes the rest."""
    path = write(tmp_path / "active.json", given_records := records(1000))
    with pytest.raises(StoreFull):
        async with open_sqlite_store(tmp_path / "state", owner="test", now=lambda: NOW, max_pages=60) as store:
            await import_sessions(store, reading_of(path))
    imported, back = await through_a_store(tmp_path / "state", path)
    assert 0 < len(imported.unchanged) < 1000
    assert (len(imported.unchanged) + len(imported.taken), back) == (1000, given_records)


DAMAGED = [
    (b"", "it is empty"),
    (b" \n", "it is empty"),
    (b'{"c": {"session_id"', "it is no JSON"),
    (b"\0" * 512, "NUL bytes"),
    (b'{"c": 1}\0\0', "NUL bytes"),
    (b"[]", "no JSON object of channels"),
    (b"null", "no JSON object of channels"),
    (b'{"c": "\xff"}', "not UTF-8: byte 7"),
    (b"[" * 100_000, "nested too deep"),
    (b'{"c": {}} {"d": {}}', "Extra data in line 1, column 11"),
]


@pytest.mark.parametrize(("data", "reason"), DAMAGED, ids=[each[1] for each in DAMAGED])
def test_a_damaged_file_is_an_error_and_not_an_empty_file(tmp_path: Path, data: bytes, reason: str) -> None:
    """The error names the file and what is wrong with it."""
    path = tmp_path / "active.json"
    path.write_bytes(data)
    with pytest.raises(ActiveFileError, match=reason) as caught:
        reading_of(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == data


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    """Neither a pipe that nobody writes to, nor a directory, nor nothing at all is waited for or believed."""
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("pipe", "no regular file"), (".", "regular file|directory"), ("nothing", "No such file")):
        with pytest.raises(ActiveFileError, match=reason):
            reading_of(tmp_path / name)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A sparse one of a terabyte takes no memory."""
    path = tmp_path / "active.json"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ActiveFileError, match="larger than 268435456 bytes"):
        reading_of(path)


def test_the_file_is_only_read(tmp_path: Path) -> None:
    """It may be read-only, and nothing about it changes."""
    path = write(tmp_path / "active.json", records(5))
    path.chmod(0o400)
    before = (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns, path.stat().st_ino)
    assert len(reading_of(path).snapshots) == 5
    assert (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk takes nothing, the old content stays, and nothing else is left."""
    path = tmp_path / "active.json"
    write_file(path, "old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ActiveFileError, match="No space left"):
            write_file(path, "new")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])
    write_file(path, "new")
    assert path.read_text() == "new"


def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    """What it points to is written; a directory is refused."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "active.json"
    link.symlink_to(tmp_path / "real" / "active.json")
    write_file(link, "text")
    assert link.is_symlink()
    assert (tmp_path / "real" / "active.json").read_text() == "text"
    with pytest.raises(ActiveFileError, match="it is a directory"):
        write_file(tmp_path, "text")


def test_an_imported_model_is_the_channels_own_choice() -> None:
    """Its next turn runs on it, not on the setting's."""
    snapshot = snapshot_of("c", record(model="opus"), models=("sonnet", "opus"), working_dir=Path())
    assert snapshot.options.model == "opus"
