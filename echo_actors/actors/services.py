"""What all actors of an engine share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import attrs

from echo_actors.actors.suspension import Suspensions
from echo_actors.actors.topic import Hub
from echo_actors.admission.budgets import Budgets
from echo_actors.admission.gate import Gate
from echo_actors.admission.slots import Slots
from echo_actors.audit import Record
from echo_actors.claude.driver import Driver, Launch
from echo_actors.events import PermissionAsked
from echo_actors.models import Answer, Trust
from echo_actors.settings import Settings
from echo_actors.state.store import Store

Spawn = Callable[[Callable[[], Awaitable[None]]], None]
"""Runs an async function beside the one that asks for it."""

PermissionCallback = Callable[[PermissionAsked], Answer | Awaitable[Answer]]
"""Answers permission questions: a function, which must not wait, or an async one, which is cancelled when somebody
else has answered, or nobody needs the answer any more."""


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
        launch: How the CLI runs in a channel without options of its own, for people who are trusted.
        launches: The same by level of trust; filled as it is asked for.
        permissions: Answers permission questions; None leaves that to subscribers.
        suspensions: The channels that take nothing for now.
        audit_sync: With the setting of that name, has what was recorded on the disk, or gives up after a while.
    """

    settings: Settings
    store: Store
    driver: Driver
    hub: Hub
    record: Record
    turn_slots: Slots
    gate: Gate
    budgets: Budgets
    persona: Persona
    launch: Launch
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    permissions: PermissionCallback | None = None
    suspensions: Suspensions = attrs.field(factory=Suspensions)
    launches: dict[Trust, Launch] = attrs.field(factory=dict)
    audit_sync: Callable[[], Awaitable[None]] | None = None
