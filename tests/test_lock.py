"""One owner for a state directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from echo_actors.errors import StoreError, StoreLocked
from echo_actors.state.lock import LOCK_NAME, lock_directory
from echo_actors.testing.store_kit import NOON


def test_a_second_owner_is_refused_and_told_the_first(tmp_path: Path) -> None:
    """Within one process too; after the release the directory is free."""
    lock = lock_directory(tmp_path / "new", now=NOON)
    with pytest.raises(StoreLocked, match=f"process {os.getpid()} on") as locked:
        lock_directory(tmp_path / "new", now=NOON)
    assert locked.value.pid == os.getpid()
    lock.release()
    lock.release()
    lock_directory(tmp_path / "new", now=NOON).release()


def test_a_started_program_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """A child that outlives the owner, with every descriptor it may keep, holds nothing."""
    lock = lock_directory(tmp_path, now=NOON)
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as child:
        assert child.stdout is not None
        child.stdout.readline()  # until then the interpreter opens and closes files of its own
        links = [str(entry.readlink()) for entry in Path(f"/proc/{child.pid}/fd").iterdir()]
        child.communicate(b"\n")
    lock.release()
    assert str(tmp_path / LOCK_NAME) not in links


def test_an_owner_without_a_name_yet_is_pid_zero(tmp_path: Path) -> None:
    """The text is read as far as it is written."""
    lock = lock_directory(tmp_path, now=NOON)
    lock.path.write_text("")
    with pytest.raises(StoreLocked, match="another process") as locked:
        lock_directory(tmp_path, now=NOON)
    lock.release()
    assert locked.value.pid == 0


def test_a_directory_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    """The text says what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="choose another state_dir"):
        lock_directory(tmp_path / "file" / "state", now=NOON)
