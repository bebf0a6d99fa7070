"""SQLite's failures as the store's errors, each with a text that says what to do."""

from __future__ import annotations

import sqlite3

from echo_actors.errors import NotStorable, StaleRevision, StoreError, StoreFull

_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

_ASKED_WRONG = frozenset({sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT})

_ADVICE = {
    sqlite3.SQLITE_READONLY: "the store cannot be written; make its file and directory writable for this user",
    sqlite3.SQLITE_PERM: "the store cannot be written; make its file and directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "the store cannot be opened; make its file and directory readable and writable",
    sqlite3.SQLITE_BUSY: "another program keeps the store locked; close it and try again",
    sqlite3.SQLITE_LOCKED: "another program keeps the store locked; close it and try again",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; check the disk, its quota and the system log",
    sqlite3.SQLITE_CORRUPT: "the store is damaged; restart, and it is checked and set aside",
    sqlite3.SQLITE_NOTADB: "the store is damaged; restart, and it is checked and set aside",
    sqlite3.SQLITE_TOOBIG: "a text is longer than the store can hold",
    sqlite3.SQLITE_NOMEM: "there was not enough memory",
}


def is_damage(problem: Exception) -> bool:
    """Whether it says that the file is not, or no longer, a sound database."""
    return isinstance(problem, sqlite3.Error) and _primary(problem) in _DAMAGE


def is_busy(problem: Exception) -> bool:
    """Whether it says that another program has the database locked."""
    return isinstance(problem, sqlite3.Error) and _primary(problem) == sqlite3.SQLITE_BUSY


def is_the_stores_fault(problem: Exception) -> bool:
    """Whether the store is what failed, and not what was asked of it."""
    if isinstance(problem, sqlite3.Error):
        return _primary(problem) not in _ASKED_WRONG
    return isinstance(problem, StoreError) and not isinstance(problem, StaleRevision | NotStorable)


def translated(problem: Exception) -> Exception:
    """The store's error for SQLite's; an error that is not of the database stays as it is."""
    if isinstance(problem, UnicodeEncodeError):
        return StoreError(f"a text cannot be stored because it is not valid Unicode: {problem.reason}")
    if not isinstance(problem, sqlite3.Error):
        return problem
    code = _primary(problem)
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"there is no room in the store; free some disk space ({problem})")
    return StoreError(f"{_ADVICE.get(code, 'the store refused')} ({problem})")


def _primary(problem: sqlite3.Error) -> int:
    # The module's own errors (a closed connection, a wrong thread) carry no code; extended codes keep the
    # primary one in the low byte.
    return int(getattr(problem, "sqlite_errorcode", sqlite3.SQLITE_ERROR)) & 0xFF
