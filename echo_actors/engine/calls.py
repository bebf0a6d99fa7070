"""What all calls of an engine stand on."""

from __future__ import annotations

from echo_actors.actors.services import Services
from echo_actors.actors.supervisor import Supervisor
from echo_actors.audit import AuditLog
from echo_actors.engine.watch import Watch
from echo_actors.settings import Settings


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
