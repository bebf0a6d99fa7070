"""What all calls of an engine stand on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from echo_actors.actors.services import Services
from echo_actors.actors.supervisor import Supervisor
from echo_actors.audit import AuditLog
from echo_actors.engine.watch import Watch
from echo_actors.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

ANY_THREAD = "for_any_thread"
"""The attribute of a call that reads only, and so may be made in any thread, also while the loop is stuck."""


def for_any_thread(call: F) -> F:
    """Mark a call as one that any thread may make."""
    setattr(call, ANY_THREAD, True)
    return call


class Calls:
    """A group of an engine's calls, over the rooms that they go to."""

    def __init__(
        self, services: Services, supervisor: Supervisor, audit: AuditLog, watch: Watch | None = None
    ) -> None:
        self._services = services
        self._supervisor = supervisor
        self._audit = audit
        self._watch = watch or Watch()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._services.settings
