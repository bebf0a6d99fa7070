"""Backups: consistent under load, whole or not there, and never put back when something in them is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import backup_program
import orjson
import pytest
import trio
import trio.lowlevel
from backup_program import Quiet
from conftest import Host
from support import audit_records, new_id, opened, plain_settings, scripted_engine, scripted_settings

from echo_actors import BackupError, OutcomeKind, Settings, StoreError, StoreLocked, open_engine
from echo_actors.audit import log_files, verify
from echo_actors.backup import copying, manifest, restoring
from echo_actors.backup.checking import check_backup
from echo_actors.backup.making import Source, make_backup
from echo_actors.backup.restoring import restore_backup
from echo_actors.claude.session_lock import SessionLock, lock_session
from echo_actors.models import Message, Outcome
from echo_actors.state.moves import JOURNAL, finish_moves
from echo_actors.state.records import Charge, End, SessionSnapshot
from echo_actors.state.sqlite import DATABASE_NAME, open_sqlite_store
from echo_actors.testing.instant_driver import InstantDriver

SESSION = "0b54a9c4-3b39-4a5f-9a51-0e62f3c1a1c1"
FOLDER = "-work"


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def source(settings: Settings) -> Source:
    """What a test backs up."""
    return Source(settings, settings.environment)


def dump(database: Path) -> list[str]:
    """All that is in a database but the run's own marks."""
    with closing(sqlite3.connect(database)) as connection:
        return [line for line in connection.iterdump() if '"meta"' not in line and "'restored'" not in line]


def tree(directory: Path) -> dict[str, bytes]:
    """All files below a directory, but locks."""
    files = (
        path
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name != "lock"
    )
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def names(directory: Path) -> str:
    """The names of all that is below a directory."""
    return " ".join(map(str, directory.rglob("*")))


def beside(directory: Path) -> list[str]:
    """What there is of backups in a directory."""
    return [path.name for path in directory.iterdir() if "backup" in path.name]


def transcript_in(directory: Path) -> Path:
    """The transcript somewhere below a directory."""
    (found,) = directory.rglob(f"{SESSION}.jsonl")
    return found


def set_aside(state_dir: Path) -> list[list[str]]:
    """What the stores hold that were set aside."""
    return [dump(path) for path in state_dir.glob("replaced-*/store.sqlite3")]


async def fill(settings: Settings, *, further: int = 0) -> None:
    """Make a state of every kind: a conversation with its transcript, what waits, a dead letter, what was spent."""
    home = Path(settings.environment["HOME"])
    transcript = home / ".claude" / "projects" / FOLDER / f"{SESSION}.jsonl"
    async with open_engine(settings, driver=InstantDriver()) as engine:
        await engine.ask("spoken", "hello")
    async with open_sqlite_store(settings.state_dir, owner="test", now=now) as store:
        claim = await store.claim("c")
        last = await store.last_sequence()
        messages = [
            Message(
                message_id=new_id(), channel="c", text=f"text {number}", sequence=last + number + 1, accepted_at=now()
            )
            for number in range(3 + further)
        ]
        for message in messages:
            await store.accept(message)
        await store.start(claim, messages[:1], turn_id="t", session_id=SESSION)
        outcome = Outcome(kind=OutcomeKind.DEAD_LETTERED, reason="too often", attempts=1)
        snapshot = await store.snapshot("c") or SessionSnapshot(
            channel="c",
            session_id=SESSION,
            model="opus",
            created_at=now(),
            last_message_at=now(),
            working_dir="/work",
        )
        charge = Charge(channel="c", day=now().date(), cost_usd=0.25)
        await store.finish(
            claim, [End(message_id=messages[0].message_id, outcome=outcome, ended_at=now())], snapshot, charge
        )
    transcript.parent.mkdir(parents=True, exist_ok=True)
    with transcript.open("a") as file:
        file.write('{"type": "user"}\n' * (1 + further))
    beside = transcript.with_suffix("") / "tool-results" / "one.txt"
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text("a result without a newline")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A filled state."""
    (tmp_path / "home").mkdir()
    settings = plain_settings(tmp_path, environment={"HOME": str(tmp_path / "home")})
    trio.run(fill, settings)
    return settings


@pytest.fixture
def backup(settings: Settings, tmp_path: Path) -> Path:
    """A backup of it."""
    make_backup(source(settings), tmp_path / "backup", Quiet())
    return tmp_path / "backup"


def elsewhere(settings: Settings, tmp_path: Path, *, home: str = "home2") -> Settings:
    """Another state directory, by default with another home."""
    return attrs.evolve(settings, state_dir=tmp_path / "state2", environment={"HOME": str(tmp_path / home)})


# -- what is in it, and comes back


async def test_all_that_the_store_holds_comes_back(settings: Settings, backup: Path, tmp_path: Path) -> None:
    """Conversations, waiting messages, dead letters, what was spent, notes; and the audit log goes on whole."""
    there = elsewhere(settings, tmp_path)
    restored = restore_backup(source(there), backup, Quiet())
    held = restored.manifest
    assert (held.waiting, held.dead_letters, held.sessions, held.audit_broken) == (2, 1, 1, "")
    assert restored.set_aside == []
    assert dump(there.state_dir / DATABASE_NAME) == dump(settings.state_dir / DATABASE_NAME)
    assert tree(tmp_path / "home2") == tree(tmp_path / "home")
    for _ in range(2):
        async with opened(there, driver=InstantDriver()) as engine:
            assert (await engine.dead_letters())[0].message.text == "text 0"
            # What waited runs now, and costs as well.
            assert (await engine.spending("c")).today_usd >= 0.25
    (told,) = audit_records(there, "store.restored")
    assert told["made_at"] == held.made_at <= told["restored_at"]
    verdict = verify(log_files(there.audit_file))
    assert verdict.ok
    assert verdict.lines > held.audit_records


def test_a_backup_is_for_its_owner_alone(backup: Path) -> None:
    """Transcripts and settings may hold secrets."""
    paths = [backup, *backup.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o600}


async def test_the_settings_file_is_kept_and_not_put_back(settings: Settings, tmp_path: Path) -> None:
    """It says which program is run as the CLI, and where the state is: nobody wants to find another one there."""
    file = tmp_path / "some.toml"
    file.write_text('model = "opus"\n')
    make_backup(attrs.evolve(source(settings), settings_file=file), tmp_path / "backup", Quiet())
    restore_backup(source(elsewhere(settings, tmp_path)), tmp_path / "backup", Quiet())
    assert (tmp_path / "backup" / "echo_actors.toml").read_text() == file.read_text()
    assert not (tmp_path / "echo_actors.toml").exists()
    assert "echo_actors.toml" not in tree(tmp_path / "state2")


async def test_a_log_in_many_files_and_of_another_name_comes_back(tmp_path: Path) -> None:
    """Under the names that the setting of the place gives them."""
    (tmp_path / "home").mkdir()
    (tmp_path / "logs").mkdir()
    settings = plain_settings(
        tmp_path,
        environment={"HOME": str(tmp_path / "home")},
        audit_path=tmp_path / "logs" / "steps.log",
        audit_max_bytes=2000,
    )
    await fill(settings)
    await fill(settings)
    names = [path.name for path in log_files(settings.audit_file)]
    assert len(names) > 2
    make_backup(source(settings), tmp_path / "backup", Quiet())
    there = attrs.evolve(elsewhere(settings, tmp_path), audit_path=tmp_path / "logs2" / "other.txt")
    restore_backup(source(there), tmp_path / "backup", Quiet())
    found = log_files(there.audit_file)
    assert [path.name for path in found] == [name.replace("steps", "other").replace(".log", ".txt") for name in names]
    assert verify(found).ok
    with pytest.raises(BackupError, match="there is a state already"):
        restore_backup(source(attrs.evolve(there, state_dir=tmp_path / "state3")), tmp_path / "backup", Quiet())
    again = restore_backup(source(there), tmp_path / "backup", Quiet(), replace=True)
    assert len(again.set_aside) == len(found) + 1
    assert [path.read_bytes() for path in log_files(there.audit_file)] == [
        path.read_bytes() for path in log_files(settings.audit_file)
    ]


async def test_lines_that_are_being_written_stay_behind(settings: Settings, tmp_path: Path) -> None:
    """Of the log and of transcripts; other files have no lines."""
    transcript = transcript_in(tmp_path / "home")
    for path in (settings.audit_file, transcript):
        with path.open("ab") as file:
            file.write(b'{"half": "')
    found = make_backup(source(settings), tmp_path / "backup", Quiet())
    assert found.audit_broken == ""
    assert transcript_in(tmp_path / "backup").read_bytes() == b'{"type": "user"}\n'
    assert (tmp_path / "backup" / "audit" / "audit.jsonl").read_bytes().endswith(b"}\n")


async def test_a_log_that_was_tampered_with_before_can_be_backed_up(settings: Settings, tmp_path: Path) -> None:
    """The backup says so, and is whole all the same."""
    content = settings.audit_file.read_bytes()
    settings.audit_file.write_bytes(content.replace(b"engine.started", b"engine.sturted", 1))
    assert "line 1" in make_backup(source(settings), tmp_path / "backup", Quiet()).audit_broken
    assert check_backup(tmp_path / "backup", Quiet()).audit_broken


async def test_a_session_without_a_transcript_is_named(settings: Settings, tmp_path: Path) -> None:
    """And is no reason to have no backup."""
    shutil.rmtree(tmp_path / "home" / ".claude")
    found = make_backup(source(settings), tmp_path / "backup", Quiet())
    assert SESSION in found.without_transcript


async def test_a_backup_under_load_has_every_message_that_was_accepted_before(tmp_path: Path) -> None:
    """Five of them, while twenty channels talk: each is sound, and its log has all that its store vouches for."""
    settings = plain_settings(tmp_path, environment={"HOME": str(tmp_path)}, audit_max_bytes=20_000)
    accepted: list[str] = []
    over = False

    async with opened(settings, driver=InstantDriver(), seconds=60) as engine, trio.open_nursery() as nursery:

        async def talk(channel: str) -> None:
            while not over:
                receipt = await engine.post(channel, "hello")
                accepted.append(receipt.message_id)
                await engine.outcome(receipt.message_id)

        for number in range(20):
            nursery.start_soon(talk, f"chat:{number}")
        for number in range(5):
            while len(accepted) < 200 * (number + 1):
                await trio.lowlevel.checkpoint()
            before = list(accepted)
            target = tmp_path / f"backup{number}"
            made = await trio.to_thread.run_sync(make_backup, source(settings), target, Quiet())
            assert (made.audit_broken, made.conversations) == ("", 20)
            with closing(sqlite3.connect(target / "store.sqlite3")) as connection:
                kept = {key for (key,) in connection.execute("SELECT message_id FROM messages")}
            assert set(before) <= kept
        over = True


# -- where it goes


@pytest.mark.parametrize("place", ["full", "link", "file", "state/within"])
async def test_a_backup_goes_where_nothing_is(settings: Settings, tmp_path: Path, place: str) -> None:
    """What is there stays as it is."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("1")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "file").write_text("2")
    before = tree(tmp_path)
    with pytest.raises(BackupError):
        make_backup(source(settings), tmp_path / place, Quiet())
    assert {name: each for name, each in tree(tmp_path).items() if "-shm" not in name and "-wal" not in name} == before


async def test_no_backup_is_begun_that_could_not_be_put_in_its_place(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory cannot be renamed over a mount point, but into one."""
    (tmp_path / "mount").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "mount")
    with pytest.raises(BackupError, match="mount point; choose a directory in it"):
        make_backup(source(settings), tmp_path / "mount", Quiet())
    make_backup(source(settings), tmp_path / "mount" / "monday", Quiet())


async def test_an_empty_directory_may_be_there(settings: Settings, tmp_path: Path) -> None:
    """And those above it are made."""
    (tmp_path / "empty").mkdir()
    make_backup(source(settings), tmp_path / "empty", Quiet())
    make_backup(source(settings), tmp_path / "new" / "one", Quiet())
    assert check_backup(tmp_path / "new" / "one", Quiet()).waiting == 2


def test_without_a_store_there_is_no_backup(tmp_path: Path) -> None:
    """A mistyped state directory is not made."""
    with pytest.raises(BackupError, match="no store"):
        make_backup(source(plain_settings(tmp_path, environment={"HOME": "/"})), tmp_path / "backup", Quiet())
    assert list(tmp_path.iterdir()) == []


async def test_a_damaged_store_makes_no_backup(settings: Settings, tmp_path: Path) -> None:
    """Rather than one that cannot be used."""
    database = settings.state_dir / DATABASE_NAME
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        make_backup(source(settings), tmp_path / "backup", Quiet())
    assert beside(tmp_path) == []


# -- what is wrong with it


def resummed(backup: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest as somebody would who knows how it is made."""
    path = backup / manifest.NAME
    value = orjson.loads(path.read_bytes())
    del value["sha256"]
    change(value)
    value["sha256"] = manifest._sum(value)
    path.write_bytes(orjson.dumps(value))


def renamed(old: str, new: str) -> Callable[[Path], None]:
    """Let a manifest name a file otherwise."""
    return lambda backup: resummed(backup, lambda value: value["files"].update({new: value["files"].pop(old)}))


def _flip(backup: Path, name: str) -> None:
    content = bytearray((backup / name).read_bytes())
    content[len(content) // 2] ^= 1
    (backup / name).write_bytes(content)


def _replace(backup: Path, name: str, make: Callable[[Path], None]) -> None:
    path = backup / name
    path.unlink()
    make(path)


def _transcript(backup: Path) -> str:
    return str(transcript_in(backup).relative_to(backup))


TAMPERINGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "store changed": (lambda backup: _flip(backup, "store.sqlite3"), "store.sqlite3 was changed"),
    "log changed": (lambda backup: _flip(backup, "audit/audit.jsonl"), "audit/audit.jsonl was changed"),
    "transcript changed": (lambda backup: _flip(backup, _transcript(backup)), f"{SESSION}.jsonl was changed"),
    "cut": (lambda backup: os.truncate(backup / "audit/audit.jsonl", 100), "audit/audit.jsonl was changed"),
    "missing": (lambda backup: (backup / _transcript(backup)).unlink(), f"{SESSION}.jsonl is missing"),
    "extra": (lambda backup: (backup / "audit" / "x").write_text(""), "audit/x does not belong to it"),
    "link": (
        lambda backup: _replace(backup, "store.sqlite3", lambda path: path.symlink_to(backup.parent / "state")),
        "store.sqlite3 is no regular file",
    ),
    "linked folder": (
        lambda backup: (backup / "more").symlink_to(backup.parent),
        "more is no regular file",
    ),
    "pipe": (lambda backup: _replace(backup, "audit/audit.jsonl", os.mkfifo), "audit/audit.jsonl is no regular file"),
    "manifest is a pipe": (lambda backup: _replace(backup, "manifest.json", os.mkfifo), "manifest.json: it cannot"),
    "manifest changed": (lambda backup: _flip(backup, "manifest.json"), "manifest.json: it"),
    "no manifest": (lambda backup: (backup / "manifest.json").unlink(), "no whole backup"),
    "manifest is no JSON": (lambda backup: (backup / "manifest.json").write_text("[" * 99999), "cannot be read"),
    "another format": (lambda backup: resummed(backup, lambda value: value.update(format=2)), "of format 2"),
    "another field": (lambda backup: resummed(backup, lambda value: value.update(x=2)), "no manifest"),
    "no number": (lambda backup: resummed(backup, lambda value: value.update(waiting="many")), "no manifest"),
    "other contents": (lambda backup: resummed(backup, lambda value: value.update(waiting=7)), "does not hold"),
    "other log": (lambda backup: resummed(backup, lambda value: value.update(audit_records=77)), "audit log is not"),
    "no store": (lambda backup: resummed(backup, lambda value: value["files"].pop("store.sqlite3")), "no store"),
    "out of it": (renamed("audit/audit.jsonl", "../audit.jsonl"), "which no backup has"),
    "absolute": (renamed("audit/audit.jsonl", "/tmp/audit.jsonl"), "which no backup has"),
    "out of the transcripts": (renamed("audit/audit.jsonl", "transcripts/../../../x.jsonl"), "which no backup has"),
    "beside the transcripts": (renamed("audit/audit.jsonl", "transcripts/x.jsonl"), "which no backup has"),
    "elsewhere": (renamed("audit/audit.jsonl", "other/audit.jsonl"), "which no backup has"),
}


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_what_was_changed_in_a_backup_is_named_and_nothing_is_put_back(
    settings: Settings, backup: Path, tmp_path: Path, what: str
) -> None:
    """Of a backup on a disk that decays, or that somebody else can write."""
    tamper, told = TAMPERINGS[what]
    tamper(backup)
    there = elsewhere(settings, tmp_path)
    with pytest.raises(BackupError) as check:
        check_backup(backup, Quiet())
    assert told in str(check.value)
    with pytest.raises(BackupError) as restore:
        restore_backup(source(there), backup, Quiet())
    assert str(restore.value) == str(check.value)
    assert not there.state_dir.exists()
    assert not (tmp_path / "home2").exists()


async def test_a_store_that_is_damaged_and_has_the_right_hash_is_found(backup: Path) -> None:
    """Its pages are read."""
    (backup / "store.sqlite3").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    resummed(
        backup,
        lambda value: value["files"].update(
            {"store.sqlite3": attrs.asdict(copying.measured(backup / "store.sqlite3", Quiet()))}
        ),
    )
    with pytest.raises(BackupError, match=r"store\.sqlite3: "):
        check_backup(backup, Quiet())


def test_many_things_that_are_wrong_are_counted(tmp_path: Path) -> None:
    """A backup of something else altogether."""
    assert not manifest.is_name("transcripts/a/./b")
    with pytest.raises(BackupError, match="no directory"):
        check_backup(tmp_path / "nothing", Quiet())


async def test_of_many_changed_files_some_are_named(backup: Path) -> None:
    """And the others counted."""
    for number in range(9):
        (backup / f"x{number}").write_text("")
    with pytest.raises(BackupError, match=r"x0 does not belong to it; .*; and 4 more"):
        check_backup(backup, Quiet())


# -- where it is put back


async def test_nothing_is_put_back_while_an_engine_runs(settings: Settings, backup: Path) -> None:
    """Whatever was asked for."""
    async with opened(settings, driver=InstantDriver()):
        with pytest.raises(StoreLocked, match="in use by process"):
            restore_backup(source(settings), backup, Quiet(), replace=True)


async def test_a_state_that_is_there_is_set_aside_when_asked(settings: Settings, backup: Path, tmp_path: Path) -> None:
    """And else left as it is. What is set aside is all that there was, and can be looked at."""
    await fill(settings, further=1)
    before, home = tree(settings.state_dir), tree(tmp_path / "home")
    with pytest.raises(BackupError, match="--replace"):
        restore_backup(source(settings), backup, Quiet())
    assert (tree(settings.state_dir), tree(tmp_path / "home")) == (before, home)
    restored = restore_backup(source(settings), backup, Quiet(), replace=True)
    transcript, state = sorted(restored.set_aside, key=lambda path: "home" not in str(path))
    assert tree(state) == before
    assert transcript.read_bytes() == home[_transcript(backup).replace("transcripts", ".claude/projects")]
    again = restore_backup(source(settings), backup, Quiet(), replace=True)
    assert len(again.set_aside) == 1
    assert tree(state) == before


async def test_a_conversation_that_went_on_is_not_cut(settings: Settings, backup: Path, tmp_path: Path) -> None:
    """Not for a state elsewhere either, unless that is asked for."""
    there = elsewhere(settings, tmp_path, home="home")
    restore_backup(source(there), backup, Quiet())
    shutil.rmtree(there.state_dir)
    transcript = transcript_in(tmp_path / "home")
    with transcript.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(BackupError, match=f"{SESSION} went on"):
        restore_backup(source(there), backup, Quiet())
    assert transcript.read_bytes().endswith(b"{}\n")
    assert [path.name for path in there.state_dir.iterdir()] == ["lock"]
    lock = lock_session(SESSION, tmp_path / "home" / ".claude")
    assert isinstance(lock, SessionLock)
    with pytest.raises(BackupError, match="in use by another engine"):
        restore_backup(source(there), backup, Quiet(), replace=True)
    lock.release()
    assert restore_backup(source(there), backup, Quiet(), replace=True).set_aside[0].read_bytes().endswith(b"{}\n")
    assert not transcript.read_bytes().endswith(b"{}\n")


def test_a_backup_within_the_state_directory_is_not_put_over_it(settings: Settings, backup: Path) -> None:
    """It would be set aside while it is read."""
    inside = settings.state_dir / "backup"
    backup.rename(inside)
    with pytest.raises(BackupError, match="move it elsewhere"):
        restore_backup(source(settings), inside, Quiet(), replace=True)


async def test_a_file_that_changes_after_the_check_is_not_put_back(
    settings: Settings, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left of what was laid ready."""
    held = check_backup(backup, Quiet())
    _flip(backup, _transcript(backup))
    monkeypatch.setattr(restoring, "check_backup", lambda *_: held)
    there = elsewhere(settings, tmp_path)
    with pytest.raises(BackupError, match="was changed while it was restored"):
        restore_backup(source(there), backup, Quiet())
    assert tree(there.state_dir) == tree(tmp_path / "home2") == {}


# -- killed, or without room


def run(action: str, settings: Settings, backup: Path, *, die_at: int = 0, limit: int = 0) -> tuple[int, str]:
    """Run the program; how it ended, and what it said."""
    done = subprocess.run(
        [
            *(sys.executable, backup_program.__file__, action),
            *(settings.state_dir, backup, settings.environment["HOME"], str(die_at), str(limit)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


async def test_a_backup_that_was_killed_is_no_backup(settings: Settings, tmp_path: Path) -> None:
    """At every step; the next one takes away what it left, and what is there in the end is whole."""
    target, steps = tmp_path / "backup", 0
    while True:
        steps += 1
        code, _ = run("backup", settings, target, die_at=steps)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        if target.exists():
            check_backup(target, Quiet())
            shutil.rmtree(target)
    assert steps > 8
    assert beside(tmp_path) == ["backup"]
    check_backup(target, Quiet())


async def test_a_restore_that_was_killed_leaves_the_old_state_or_the_new(
    settings: Settings, backup: Path, tmp_path: Path
) -> None:
    """At every step; the next start finishes what was begun, and nothing that was there is lost."""
    await fill(settings, further=1)
    places = (settings.state_dir, tmp_path / "home")
    for place in places:
        shutil.copytree(place, tmp_path / "kept" / place.name)
    old = dump(settings.state_dir / DATABASE_NAME), tree(tmp_path / "home")
    new = dump(backup / "store.sqlite3"), (backup / _transcript(backup)).read_bytes()
    steps, finished, seen = 0, 0, set()
    while True:
        steps += 1
        code, _ = run("restore", settings, backup, die_at=steps)
        finished += (settings.state_dir / JOURNAL).exists()
        async with open_sqlite_store(settings.state_dir, owner="test", now=now) as store:
            assert store.set_aside is None
        is_new = dump(settings.state_dir / DATABASE_NAME) == new[0]
        home = tree(tmp_path / "home")
        if is_new:
            transcript = transcript_in(tmp_path / "home")
            assert transcript.read_bytes() == new[1]
            assert set(old[1].values()) <= set(home.values())
            assert old[0] in set_aside(settings.state_dir)
        else:
            assert dump(settings.state_dir / DATABASE_NAME) == old[0]
            assert {name: each for name, each in home.items() if "restoring" not in name} == old[1]
        seen.add(is_new)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        for place in places:
            shutil.rmtree(place)
            shutil.copytree(tmp_path / "kept" / place.name, place)
    assert seen == {False, True}
    assert finished > 3
    assert "restoring" not in names(tmp_path)


async def test_after_a_killed_restore_another_one_does_all_of_it(
    settings: Settings, backup: Path, tmp_path: Path
) -> None:
    """Also over what was laid ready and never used."""
    there = elsewhere(settings, tmp_path)
    assert run("restore", there, backup, die_at=3)[0] == -signal.SIGKILL
    assert "restoring" in names(tmp_path)
    restore_backup(source(there), backup, Quiet())
    assert "restoring" not in names(tmp_path)
    assert tree(tmp_path / "home2") == tree(tmp_path / "home")


async def test_no_backup_is_made_of_a_half_restored_state(settings: Settings, tmp_path: Path) -> None:
    """Its store and its log may be of different times."""
    (settings.state_dir / JOURNAL).write_text("[]")
    with pytest.raises(BackupError, match="a restore was cut"):
        make_backup(source(settings), tmp_path / "backup", Quiet())


def test_renames_that_cannot_be_finished_are_told_and_kept(tmp_path: Path) -> None:
    """The next start tries again."""
    (tmp_path / JOURNAL).write_bytes(orjson.dumps([[str(tmp_path / "gone"), str(tmp_path / "there")]]))
    with pytest.raises(StoreError, match="cannot be finished"):
        finish_moves(tmp_path)
    (tmp_path / "gone").write_text("back")
    assert finish_moves(tmp_path)
    assert (tmp_path / "there").read_text() == "back"
    assert not finish_moves(tmp_path)


@pytest.mark.parametrize("limit", [0.5, 0.02, 0.005])
async def test_a_backup_for_which_there_is_no_room_is_not_there(
    settings: Settings, tmp_path: Path, limit: float
) -> None:
    """Whichever file it is that does not fit; the error says so, and nothing is left."""
    size = int((settings.state_dir / DATABASE_NAME).stat().st_size * limit)
    code, said = run("backup", settings, tmp_path / "backup", limit=size)
    assert code == 1
    assert said
    assert beside(tmp_path) == []


@pytest.mark.parametrize("limit", [0.5, 0.1, 0.0001])
async def test_a_restore_for_which_there_is_no_room_changes_nothing(
    settings: Settings, backup: Path, tmp_path: Path, limit: float
) -> None:
    """What was there is there, and nothing else."""
    size = max(100, int((backup / "store.sqlite3").stat().st_size * limit))
    before = tree(settings.state_dir)
    code, said = run("restore", settings, backup, limit=size)
    assert (code, "cannot be restored" in said) == (1, True)
    assert tree(settings.state_dir) == before
    assert "restoring" not in names(tmp_path)


# -- and the conversations go on


async def test_conversations_go_on_from_the_backup(tmp_path: Path) -> None:
    """With another home, in the sessions that they were, and without what was said after it."""
    settings = scripted_settings(tmp_path)
    async with scripted_engine(settings) as engine:
        before = await engine.ask("c", "one")
        await trio.to_thread.run_sync(make_backup, source(settings), tmp_path / "backup", Quiet())
        await engine.ask("c", "two")
    (tmp_path / "home2").mkdir()
    there = attrs.evolve(
        settings,
        state_dir=tmp_path / "state2",
        environment={**settings.environment, "HOME": str(tmp_path / "home2")},
    )
    restore_backup(source(there), tmp_path / "backup", Quiet())
    async with scripted_engine(there) as engine:
        after = await engine.ask("c", "three")
        assert after.session_id == before.session_id
        texts = [entry.text for entry in (await engine.history("c")).entries]
    assert texts == ["one", "echo: one", "three", "echo: three"]


@pytest.mark.real_cli
@pytest.mark.parametrize("home", ["home", "home2"])
async def test_the_real_cli_remembers_what_was_said_before_the_backup(host: Host, tmp_path: Path, home: str) -> None:
    """Put back elsewhere on the same machine, or on another one: the model sees the words before, and none after."""
    async with host.engine() as engine:
        first = await engine.ask("c", "the word is heron")
        settings = engine.settings
        await trio.to_thread.run_sync(make_backup, source(settings), tmp_path / "backup", Quiet())
        await engine.ask("c", "forget-this-later")
    (tmp_path / home).mkdir(exist_ok=True)
    environment = {
        name: value.replace(str(host.home), str(tmp_path / home)) for name, value in settings.environment.items()
    }
    there = attrs.evolve(settings, state_dir=tmp_path / "state2", environment=environment)
    restore_backup(source(there), tmp_path / "backup", Quiet(), replace=True)
    host.bodies.clear()
    async with host.engine(state_dir=there.state_dir, environment=environment) as engine:
        after = await engine.ask("c", "which word")
    assert after.session_id == first.session_id
    asked = next(body for body in host.bodies if b"which word" in body)
    assert b"the word is heron" in asked
    assert b"forget-this-later" not in asked
