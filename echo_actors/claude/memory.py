"""Memory: idle processes hibernate when all together have too much, and one that has grown too big is recycled.

Measured is the private memory of each CLI and of its tools, in a thread, with one reading of the process table for
all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from echo_actors.claude.process_tree import Scan
from echo_actors.claude.resident import Resident
from echo_actors.claude.roster import Roster

EVERY = 5.0
"""Seconds between looks. A CLI that grows by 100 MB between two is nothing unusual: leave the limit some room."""

PATIENCE = 1.0
"""Seconds that the measuring after a turn waits for a thread; the next look measures anyway."""


@attrs.define(eq=False)
class Memory:
    """Keeps the residents' memory within its limits; all sizes are bytes.

    Attributes:
        limit: For all residents together; above it idle ones hibernate, spares first, then the least recently used.
        recycle_above: For one resident; above it, its process ends when its turn is over.
        total: What they had at the last look.
    """

    roster: Roster
    limit: int
    recycle_above: int
    total: int = attrs.field(default=0, init=False)
    _residents: int = attrs.field(default=0, init=False)

    @property
    def tight(self) -> bool:
        """Whether one more process like the others would be too much."""
        return self.total + self.total // max(1, self._residents) > self.limit

    async def watch(self) -> None:
        """Look at intervals, for ever."""
        while True:
            await trio.sleep(EVERY)
            await self.look()

    async def look(self) -> None:
        """Measure every resident, busy or idle, and let those go that are too much."""
        if not await self._measure([each for each in self.roster.everyone() if each.process is not None]):
            return
        for resident in self.roster.dispensable():
            self._recycle(resident)
        # Those that are recycled now are on their way out.
        excess = sum(each.memory for each in self.roster.everyone()) - self.limit
        for resident in self.roster.dispensable():
            if excess <= 0:
                break
            excess -= resident.memory
            self.roster.hibernate(resident, f"hibernated: all processes together have {self.total} bytes")
        self.roster.on_change()

    async def after_turn(self, resident: Resident) -> None:
        """Recycle a resident that was too big in its turn and still is: its tools may have had the memory.

        Not to be cancelled, because the turn's answer would be lost with it; it waits for a thread, but not for long.
        """
        if resident.memory > self.recycle_above:
            with trio.move_on_after(PATIENCE, shield=True):
                if await self._measure([resident], alone=True):
                    self._recycle(resident)

    def _recycle(self, resident: Resident) -> None:
        if resident.memory > self.recycle_above and resident.dispensable and not resident.muted:
            self.roster.hibernate(resident, f"recycled: it has {resident.memory} bytes")

    async def _measure(self, residents: Sequence[Resident], *, alone: bool = False) -> bool:
        pids = [each.process.pid for each in residents if each.process is not None]
        try:
            sizes = await trio.to_thread.run_sync(_sizes, pids) if pids else []
        except (OSError, RuntimeError):
            return False  # no descriptor or no thread is left for it; the next look may succeed
        for resident, size in zip(residents, sizes, strict=True):
            resident.memory = size
        if not alone:
            self.total, self._residents = sum(sizes), len(sizes)
        return True


def _sizes(pids: Sequence[int]) -> list[int]:
    scan = Scan.take()
    return [scan.resident_bytes(pid) for pid in pids]
