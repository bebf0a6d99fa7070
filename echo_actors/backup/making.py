"""A backup, made beside a running engine: the store as it is at one point, then what it needs.

The store comes first. The audit log and the transcripts only grow, so what is copied of them later has all that the
store speaks of; what they have beyond that, an engine finds there as after a crash.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import attrs

from echo_actors._version import __version__
from echo_actors.backup import manifest as manifests
from echo_actors.backup.audit_set import open_log, state_of_log
from echo_actors.backup.checking import check_backup
from echo_actors.backup.copying import Progress, copy_file, create, measured
from echo_actors.backup.manifest import File, Manifest
from echo_actors.backup.sessions import files_of, transcript_of
from echo_actors.errors import BackupError
from echo_actors.regular_file import open_regular
from echo_actors.settings import Settings
from echo_actors.state.copying import StoreContents, contents_of, copy_store
from echo_actors.state.moves import JOURNAL, sync_directories
from echo_actors.state.sqlite import DATABASE_NAME


@attrs.frozen
class Source:
    """What is backed up.

    Attributes:
        settings: Say where everything is.
        environ: The environment that a CLI has, which says where its transcripts are.
        settings_file: The settings file, if there is one.
    """

    settings: Settings
    environ: Mapping[str, str]
    settings_file: Path | None = None


def make_backup(source: Source, directory: Path, progress: Progress) -> Manifest:
    """Make a backup, which is there whole and checked, or not at all.

    Args:
        source: What is backed up; an engine may be running on it.
        directory: The backup's; it must not exist, or be empty.
        progress: Is told how far it is.

    Raises:
        BackupError: It cannot be made.
        StoreError: The store cannot be read, or is damaged; or there is no room for its copy.
    """
    directory = directory.absolute()
    _check_place(directory, source.settings.state_dir)
    store = source.settings.state_dir / DATABASE_NAME
    if not store.exists():
        raise BackupError(str(source.settings.state_dir), "there is no store in it")
    if (source.settings.state_dir / JOURNAL).exists():
        raise BackupError(
            str(source.settings.state_dir), "a restore was cut in its midst; start an engine on it first"
        )
    try:
        with _unfinished(directory) as unfinished:
            manifest = _Making(source, unfinished, progress).make(store)
            with create(unfinished / manifests.NAME) as file:
                file.write(manifest.text().encode())
                file.flush()
                os.fsync(file.fileno())
            sync_directories(Path(place) for place, _, _ in os.walk(unfinished))
            check_backup(unfinished, progress)
            # What has come into the place meanwhile is an error, and not overwritten.
            unfinished.rename(directory)
        sync_directories([directory.parent])
    except OSError as problem:
        raise BackupError(str(directory), f"the backup cannot be made: {problem}") from problem
    return manifest


def _check_place(directory: Path, state_dir: Path) -> None:
    if directory.resolve().is_relative_to(state_dir.resolve()):
        raise BackupError(str(directory), "a backup must not be in the state directory itself")
    if directory.is_mount():
        # What is made beside it could not be renamed into its place.
        raise BackupError(str(directory), "it is a mount point; choose a directory in it")
    try:
        if directory.is_symlink() or any(directory.iterdir()):
            raise BackupError(str(directory), "it is not empty; choose another directory for the backup")
    except FileNotFoundError:
        return
    except OSError as problem:
        raise BackupError(str(directory), f"no backup can be made here: {problem.strerror}") from problem


@contextmanager
def _unfinished(directory: Path) -> Iterator[Path]:
    """A directory beside the backup's for the block, locked, so that others see that somebody works in it."""
    prefix = f".{directory.name}.unfinished-"
    directory.parent.mkdir(parents=True, exist_ok=True)
    for left in directory.parent.glob(f"{glob.escape(prefix)}*"):
        with suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent))
    try:
        with _locked(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@attrs.define
class _Making:
    source: Source
    target: Path
    progress: Progress
    files: dict[str, File] = attrs.field(factory=dict)

    def make(self, store: Path) -> Manifest:
        made_at = datetime.now(UTC)
        contents = self._store(store)
        with ExitStack() as log:
            opened = open_log(self.source.settings.audit_file, log)
            self.progress.begin("copying the audit log", sum(os.fstat(file.fileno()).st_size for _, file in opened))
            for name, file in opened:
                self.files[name] = copy_file(file, self.target / name, self.progress, lines=True)
        missing = self._transcripts(contents.sessions)
        if self.source.settings_file is not None:
            with open_regular(self.source.settings_file) as file:
                self.files[manifests.SETTINGS] = copy_file(file, self.target / manifests.SETTINGS, self.progress)
        state = state_of_log(self.target, contents.audit_head, self.progress)
        return Manifest(
            format=manifests.FORMAT,
            made_at=made_at.isoformat(timespec="seconds"),
            version=__version__,
            schema=contents.schema,
            conversations=contents.conversations,
            waiting=contents.waiting,
            dead_letters=contents.dead_letters,
            sessions=len(contents.sessions) - len(missing),
            without_transcript=missing,
            audit_records=state.records,
            audit_head=state.head,
            audit_broken=state.broken,
            files=self.files,
        )

    def _store(self, store: Path) -> StoreContents:
        target, before = self.target / manifests.STORE, 0
        create(target).close()

        def tell(done: int, total: int) -> None:
            nonlocal before
            if not before:
                self.progress.begin("copying the store", total)
            self.progress.advance(done - before)
            before = done

        copy_store(store, target, tell)
        with target.open("rb") as file:
            os.fsync(file.fileno())
        self.files[manifests.STORE] = measured(target, self.progress)
        return contents_of(target)

    def _transcripts(self, sessions: Mapping[str, str]) -> list[str]:
        """Copy the transcripts; give the sessions that have none."""
        self.progress.begin("copying the transcripts", 0)
        return [session for session, ran_in in sorted(sessions.items()) if not self._session(session, ran_in)]

    def _session(self, session: str, ran_in: str) -> bool:
        # A running engine may be moving it to where another working directory has it.
        for _ in range(2):
            transcript = transcript_of(session, ran_in, self.source.settings.working_dir, self.source.environ)
            if transcript is None:
                return False
            copied: dict[str, Path] = {}
            try:
                for name, path in files_of(transcript):
                    copied[name] = self.target / name
                    with open_regular(path) as file:
                        lines = path.suffix == ".jsonl"
                        self.files[name] = copy_file(file, self.target / name, self.progress, lines=lines)
            except FileNotFoundError:
                for name, path in copied.items():
                    self.files.pop(name, None)
                    path.unlink(missing_ok=True)
            else:
                return True
        return False
