"""What the store could not do."""

from __future__ import annotations

import attrs

from echo_actors.errors.root import EchoActorsError, Reasoned


@attrs.define(slots=False, eq=False)
class StoreError(Reasoned, EchoActorsError, RuntimeError):
    """The store could not do what was asked; nothing of that request was stored."""


@attrs.define(slots=False, eq=False)
class StoreLocked(StoreError):
    """Another engine owns the state directory.

    Attributes:
        pid: The owner's process id, 0 when it could not be read.
    """

    pid: int = 0


@attrs.define(slots=False, eq=False)
class StoreFull(StoreError):
    """The disk, or the store's own limit, is full. Acceptance resumes when there is room."""


@attrs.define(slots=False, eq=False)
class BackupError(EchoActorsError, RuntimeError):
    """A backup cannot be made, is not whole, or cannot be put back. What there was is as it was."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@attrs.define(slots=False, eq=False)
class NotStorable(StoreError):
    """A record holds what no store can keep, such as a number of more than 64 bits. Trying again will not help."""


@attrs.define(slots=False, eq=False)
class StaleRevision(StoreError):
    """A write was based on something older than what is stored: a snapshot's revision, a message, or a claim."""
