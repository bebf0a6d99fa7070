"""A look at a store that an engine may be using: read only, without the lock on the state directory."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from echo_actors.errors import StoreError
from echo_actors.state import statements
from echo_actors.state.codec import decode_note
from echo_actors.state.records import Note
from echo_actors.state.schema import BUSY_SECONDS, check_owner
from echo_actors.state.sqlite import DATABASE_NAME


def peek_note(state_dir: Path, key: str) -> Note | None:
    """A fact that an engine keeps; None where there is none, or no store.

    Raises:
        StoreError: The store cannot be read like this.
    """
    path = state_dir / DATABASE_NAME
    if not path.exists():
        return None
    try:
        with closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        ) as connection:
            check_owner(connection, path)
            value = statements.note(connection, key)
    except sqlite3.Error as problem:
        raise StoreError(f"the store {path} cannot be read: {problem}") from problem
    return None if value is None else decode_note(value)
