"""The watch: whether the loop turns, whether a store that failed has recovered, and what others measure by."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import attrs
import trio

from echo_actors.errors import StoreError
from echo_actors.state.store import Store
from echo_actors.telemetry.metric import Metric
from echo_actors.telemetry.telemetry import Telemetry

BEAT = 1.0
"""Seconds between two beats."""

PROBE = "probe"
PROBE_EVERY = 5.0
"""Seconds between attempts to write into a store that failed: without them, one that waits for the engine to be ready
before it brings a message would wait for ever."""


@attrs.define(eq=False)
class Watch:
    """Beats as long as the engine's loop turns.

    Attributes:
        telemetry: None when the setting is off.
    """

    telemetry: Telemetry | None = None
    _last_beat: float = attrs.field(factory=time.monotonic, init=False)

    @property
    def stood_still(self) -> float:
        """Seconds since the last beat. May be asked in any thread."""
        return time.monotonic() - self._last_beat

    async def beat(self, measure: Callable[[], tuple[Metric, ...]]) -> None:
        """Beat, and let telemetry have what is measured now; never returns."""
        while True:
            self._last_beat = time.monotonic()
            if self.telemetry is not None:
                self.telemetry.observe(measure())
            await trio.sleep(BEAT)

    async def probe(self, store: Store) -> None:
        """Try to write into a store that failed, until it takes it; never returns."""
        while True:
            await trio.sleep(PROBE_EVERY)
            if store.health.problem:
                with suppress(StoreError):
                    await store.put_note(PROBE, {})
