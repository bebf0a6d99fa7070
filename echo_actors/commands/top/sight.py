"""What is seen of an engine at one moment."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import psutil

from echo_actors.control.protocol import Hello
from echo_actors.engine.channels import ChannelStatus
from echo_actors.engine.health import Health
from echo_actors.engine.remote_engine import RemoteEngine
from echo_actors.engine.status import EngineStatus
from echo_actors.models import Spending

_PAGE = 1000
"""Channels that the engine writes down at a time, so that it is never held up for long."""


@attrs.frozen(kw_only=True)
class Sight:
    """An engine and its channels.

    Attributes:
        at: When it was seen.
        began: When the engine's program began; None when the system does not tell.
        spending: Of all channels together.
    """

    at: datetime
    began: datetime | None
    hello: Hello
    status: EngineStatus
    health: Health
    spending: Spending
    channels: tuple[ChannelStatus, ...]


async def look(engine: RemoteEngine) -> Sight:
    """See what an engine does now.

    Raises:
        EngineClosed: It has gone.
    """
    channels: list[ChannelStatus] = []
    while True:
        page = await engine.channels(after=channels[-1].channel if channels else "", limit=_PAGE)
        channels += page
        if len(page) < _PAGE:
            break
    return Sight(
        at=datetime.now(UTC),
        began=_began(engine.hello.pid),
        hello=engine.hello,
        status=await engine.status(),
        health=await engine.health(),
        spending=await engine.spending(),
        channels=tuple(channels),
    )


def _began(pid: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
    except psutil.Error:
        return None
