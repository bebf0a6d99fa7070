"""Files that only this user can read, for what must not be seen in a list of processes."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

_PRIVATE_FILE = stat.S_IFREG | 0o600


def write_private_file(text: str, directory: Path, prefix: str, suffix: str) -> Path:
    """Put a text into a file that only this user can read.

    The file is named after its content, so one that is there already is used again, also by several processes at
    once. It appears whole or not at all; one that is not exactly what it should be is replaced.

    Args:
        text: The content.
        directory: Made if it is missing.
        prefix: How its name begins; the content's SHA-256 follows.
        suffix: How its name ends.

    Raises:
        OSError: The file cannot be written; nothing is left of it.
    """
    content = text.encode()
    path = directory / f"{prefix}{hashlib.sha256(content).hexdigest()}{suffix}"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_private_file_with(content, path):
        return path
    # Opened with O_EXCL and mode 0600.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{prefix}", dir=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
    return path


def remove_private_files(directory: Path, prefixes: Iterable[str], *, keep: Path) -> None:
    """Remove the files whose names begin like this, but for one; nobody may use them any more.

    Raises:
        OSError: One cannot be removed.
    """
    beginnings = tuple(prefixes)
    for path in directory.iterdir():
        if path != keep and path.name.removeprefix(".").startswith(beginnings):
            path.unlink(missing_ok=True)


def _is_private_file_with(content: bytes, path: Path) -> bool:
    try:
        return path.lstat().st_mode == _PRIVATE_FILE and path.read_bytes() == content
    except FileNotFoundError:
        return False
