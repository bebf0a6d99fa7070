"""Every kind of record that the audit log has. Whoever records something new describes it here; a test asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from echo_actors.audit.kinds import Kind
from echo_actors.audit.vocabulary.channels import CHANNELS
from echo_actors.audit.vocabulary.engine import ENGINE
from echo_actors.audit.vocabulary.log import LOG
from echo_actors.audit.vocabulary.messages import MESSAGES
from echo_actors.audit.vocabulary.processes import PROCESSES
from echo_actors.audit.vocabulary.words import COMMON

__all__ = ["COMMON", "EVENTS"]

EVENTS: Final[Mapping[str, Kind]] = {**ENGINE, **MESSAGES, **CHANNELS, **PROCESSES, **LOG}
"""Every kind, by the name that is in its records."""
