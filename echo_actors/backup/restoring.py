"""A backup put back: everything is laid ready first, and then renamed into its places all at once."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import attrs

from echo_actors.audit import log_files
from echo_actors.backup import audit_set, sessions
from echo_actors.backup import manifest as manifests
from echo_actors.backup.checking import check_backup
from echo_actors.backup.copying import Progress, copy_file, measured
from echo_actors.backup.making import Source
from echo_actors.backup.manifest import Manifest
from echo_actors.claude.session_lock import Holder, lock_session
from echo_actors.claude.session_users import open_sessions
from echo_actors.claude.transcript import config_dir
from echo_actors.errors import BackupError
from echo_actors.regular_file import open_regular
from echo_actors.state.copying import put_note_in
from echo_actors.state.lock import LOCK_NAME, lock_directory
from echo_actors.state.moves import JOURNAL, Move, finish_moves, move_all, sync_directories
from echo_actors.state.records import RESTORED
from echo_actors.state.sqlite import DATABASE_NAME

_READY: Final = "restoring-"
_ASIDE: Final = "replaced-"

_NO_STATE: Final = (LOCK_NAME, "control.sock", ".control-*", f"{_ASIDE}*", f".{_READY}*")
"""What may be in a state directory that is empty otherwise."""


@attrs.frozen
class Restored:
    """What was put back.

    Attributes:
        set_aside: Where there is now what was there before.
    """

    manifest: Manifest
    set_aside: list[Path]


def restore_backup(source: Source, backup: Path, progress: Progress, *, replace: bool = False) -> Restored:
    """Put a backup back; a kill in the midst of it leaves the state as it was, or as it is to be.

    Args:
        source: Where everything belongs.
        backup: The backup, which is checked first.
        progress: Is told how far it is.
        replace: Set aside what is there, under names with the time in them.

    Raises:
        BackupError: It is not whole, or there is something in its place. Nothing was changed.
        StoreLocked: An engine is running on the state directory.
        StoreError: The state directory cannot be used; or the renames could not be finished, and the next start of
            an engine finishes them.
    """
    state_dir = source.settings.state_dir
    if backup.resolve().is_relative_to(state_dir.resolve()):
        raise BackupError(str(backup), "it is in the state directory itself; move it elsewhere first")
    with ExitStack() as held:
        # Before the check, which may take long: an engine that runs is what mostly is in the way.
        owned = state_dir.exists()
        if owned:
            _own(state_dir, held)
        manifest = check_backup(backup, progress)
        if not owned:
            _own(state_dir, held)
        try:
            return _Restoring(source, backup, manifest, progress).run(replace=replace)
        except OSError as problem:
            raise BackupError(str(backup), f"it cannot be restored: {problem}") from problem


def _own(state_dir: Path, held: ExitStack) -> None:
    held.callback(lock_directory(state_dir, now=datetime.now(UTC)).release)
    finish_moves(state_dir)


@attrs.define
class _Restoring:
    source: Source
    backup: Path
    manifest: Manifest
    progress: Progress
    aside: list[Move] = attrs.field(factory=list, init=False)
    ready: list[Move] = attrs.field(factory=list, init=False)
    replaced: set[str] = attrs.field(factory=set, init=False)
    state_dir: Path = attrs.field(init=False)
    beside: str = attrs.field(init=False)
    stamp: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Choose names."""
        self.state_dir = self.source.settings.state_dir.absolute()
        # By the state directory, so that what a killed restore left ready is found again, and no other one's.
        self.beside = f"{_READY}{hashlib.sha256(os.fsencode(self.state_dir)).hexdigest()[:12]}"
        stamp = f"{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        taken = {path.name for path in self.state_dir.glob(f"{_ASIDE}*")}
        names = (stamp, *(f"{stamp}-{number}" for number in range(2, len(taken) + 3)))
        self.stamp = next(name for name in names if name not in taken)

    def run(self, *, replace: bool) -> Restored:
        """Lay everything ready, and rename it into place."""
        places = {name: place for name in self.manifest.files if (place := self._place(name)) is not None}
        state = self._old_state()
        if state and not replace:
            raise BackupError(str(self.state_dir), "there is a state already; --replace sets it aside")
        wanted = self._wanted(places)
        if self.replaced and not replace:
            session = sessions.session_of(min(self.replaced))
            raise BackupError(
                str(places[min(self.replaced)]),
                f"the conversation {session} went on, or is another than in the backup; --replace sets it aside",
            )
        self.aside = [*state, *((places[name], self._named_aside(places[name])) for name in sorted(self.replaced))]
        with self._sessions_owned():
            try:
                self._lay_ready(wanted)
                move_all(self.state_dir, [*self.aside, *self.ready])
            except BaseException:
                # What is written down needs what is ready: the next start finishes it.
                if not (self.state_dir / JOURNAL).exists():
                    self._clear()
                raise
        shutil.rmtree(self._ready_dir, ignore_errors=True)
        within = self.state_dir / self.stamp
        set_aside = {within if target.is_relative_to(within) else target for _, target in self.aside}
        return Restored(self.manifest, sorted(set_aside))

    @property
    def _ready_dir(self) -> Path:
        return self.state_dir / f".{self.beside}"

    def _place(self, name: str) -> Path | None:
        """Where a file of the backup belongs; None for one that stays in it."""
        match name.partition("/")[0]:
            case manifests.STORE:
                return self.state_dir / DATABASE_NAME
            case manifests.AUDIT:
                return audit_set.place_of(name, self.source.settings.audit_file.absolute())
            case manifests.TRANSCRIPTS:
                return sessions.place_of(name, self.source.environ).absolute()
        return None

    def _old_state(self) -> list[Move]:
        """What is there of a state, and where it would be set aside."""
        entries = [
            path
            for path in sorted(self.state_dir.iterdir())
            if not any(fnmatch.fnmatch(path.name, known) for known in _NO_STATE)
        ]
        log = [path for path in log_files(self.source.settings.audit_file.absolute()) if not self._is_within(path)]
        return [
            *((path, self.state_dir / self.stamp / path.name) for path in entries),
            *((path, self._named_aside(path)) for path in log),
        ]

    def _wanted(self, places: dict[str, Path]) -> list[str]:
        """The files to put into place; a transcript that is there already need not be, and another one is noted."""
        wanted = []
        self.progress.begin("looking for transcripts", 0)
        for name, place in places.items():
            if name.startswith(f"{manifests.TRANSCRIPTS}/") and os.path.lexists(place):
                if place.is_file() and not place.is_symlink():
                    size = place.stat().st_size
                    file = self.manifest.files[name]
                    if size == file.size and measured(place, self.progress) == file:
                        continue
                self.replaced.add(name)
            wanted.append(name)
        return wanted

    def _lay_ready(self, names: list[str]) -> None:
        """Copy files to where a rename brings them into place."""
        shutil.rmtree(self._ready_dir, ignore_errors=True)
        self.progress.begin("copying the files", sum(self.manifest.files[name].size for name in names))
        for name in names:
            place = self._place(name)
            assert place is not None  # noqa: S101 - only those are wanted
            inside = self._is_within(place)
            ready = self._ready_dir / name if inside else place.with_name(f".{place.name}.{self.beside}")
            ready.unlink(missing_ok=True)
            self.ready.append((ready, place))
            with open_regular(self.backup / name) as file:
                if copy_file(file, ready, self.progress) != self.manifest.files[name]:
                    raise BackupError(str(self.backup), f"{name} was changed while it was restored")
            if name == manifests.STORE:
                restored_at = datetime.now(UTC).isoformat(timespec="seconds")
                put_note_in(ready, RESTORED, {"made_at": self.manifest.made_at, "restored_at": restored_at})
        sync_directories(path.parent for path, _ in self.ready)

    def _clear(self) -> None:
        for path, _ in self.ready:
            path.unlink(missing_ok=True)
        shutil.rmtree(self._ready_dir, ignore_errors=True)

    def _is_within(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.state_dir.resolve())

    def _named_aside(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.{self.stamp}")

    @contextmanager
    def _sessions_owned(self) -> Iterator[None]:
        """Own the sessions whose transcripts are replaced, for the block.

        Raises:
            BackupError: Somebody has one open.
        """
        config = config_dir(self.source.environ)
        with ExitStack() as held:
            for session in sorted({sessions.session_of(name) for name in self.replaced}):
                lock = lock_session(session, config)
                if isinstance(lock, Holder):
                    raise BackupError(str(self.backup), f"the conversation {session} is in use by {lock}")
                held.callback(lock.release)
            used = open_sessions(config, "") if self.replaced else {}
            for name in self.replaced:
                if (user := used.get(sessions.session_of(name))) is not None:
                    raise BackupError(
                        str(self.backup), f"the conversation {sessions.session_of(name)} is in use by {user}"
                    )
            yield
