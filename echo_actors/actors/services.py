"""What all actors of an engine share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import attrs

from echo_actors.actors.topic import Hub
from echo_actors.admission.gate import Gate
from echo_actors.admission.slots import Slots
from echo_actors.audit import Record
from echo_actors.claude.driver import Driver, Launch
from echo_actors.settings import Settings
from echo_actors.state.store import Store


@attrs.frozen
class Persona:
    """The system prompt in force.

    Attributes:
        file: Where the CLI reads it.
        digest: Its SHA-256, by which a change is seen.
    """

    file: Path
    digest: str


@attrs.frozen(kw_only=True)
class Services:
    """The rooms below the actors, and the two sources of chance: time and ids.

    Attributes:
        launch: How a channel's CLI runs, with the default model.
        audit_sync: With the setting of that name, has what was recorded on the disk, or gives up after a while.
    """

    settings: Settings
    store: Store
    driver: Driver
    hub: Hub
    record: Record
    turn_slots: Slots
    gate: Gate
    persona: Persona
    launch: Launch
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    audit_sync: Callable[[], Awaitable[None]] | None = None
