"""The roster: which channels have a CLI process now, how many there may be, and which goes when room is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import attrs
import trio

from echo_actors.audit import Record
from echo_actors.claude.process import CLIProcess
from echo_actors.claude.process_tree import Identity
from echo_actors.claude.resident import Resident


@attrs.define(eq=False)
class Roster:
    """The residents by channel, and those that are on their way out.

    Attributes:
        room: How many processes there may be, those that are ending included.
        patience: Seconds of idleness after which a process ends; infinite keeps it.
        nursery: Where those that hibernate are ended.
    """

    room: int
    patience: float
    record: Record
    nursery: trio.Nursery
    _residents: dict[str, Resident] = attrs.field(factory=dict, init=False)
    _ending: dict[str, set[CLIProcess]] = attrs.field(factory=dict, init=False)
    _places: trio.CapacityLimiter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the places."""
        self._places = trio.CapacityLimiter(self.room)

    def get(self, channel: str) -> Resident | None:
        """The channel's resident."""
        return self._residents.get(channel)

    def pids(self) -> dict[str, int]:
        """The process ids by channel."""
        return {name: each.process.pid for name, each in self._residents.items() if each.process is not None}

    def watched(self) -> Iterator[tuple[Identity, Callable[[], None]]]:
        """The processes of running turns, and who is told when one shows life."""
        for resident in self._residents.values():
            if resident.listener is not None and resident.process is not None:
                yield resident.process.identity, resident.listener.on_life

    # -- coming

    async def gone(self, channel: str) -> None:
        """Wait for the end of a channel's earlier processes: two on one session would fork its history."""
        for process in tuple(self._ending.get(channel, ())):
            await process.ended.wait()

    async def admit(self, resident: Resident) -> None:
        """Wait for a place, and take it; an idle resident hibernates for it.

        It is known by its channel at once, so that an interrupt finds it; whoever admits it lets it go.
        """
        self._residents[resident.channel] = resident
        if self._places.available_tokens < 1:
            self._hibernate_one()
        await self._places.acquire_on_behalf_of(resident)

    def vacate(self, resident: Resident) -> None:
        """Give the resident's place and session back; its process is gone, or never came. Harmless when repeated."""
        if resident.lock is not None:
            resident.lock.release()
        if resident in self._places.statistics().borrowers:
            self._places.release_on_behalf_of(resident)

    # -- going

    async def let_go(self, resident: Resident, reason: str, *, hurry: bool = False) -> None:
        """End a process and all that it started; bounded, and not to be cancelled."""
        self._part_with(resident)
        if resident.process is None:
            self.vacate(resident)
            return
        if resident.failure is not None:
            reason = str(resident.failure)
        try:
            report = await resident.process.stop(reason, hurry=hurry)
        finally:
            self._forget(resident.channel, resident.process)
        self.record(
            "process.stopped",
            channel=resident.channel,
            process=resident.process.mark.process_id,
            pid=resident.process.pid,
            reason=reason,
            how=report.how,
            exit_code=report.exit_code,
            reaped=report.reaped,
            seconds=report.seconds,
        )

    async def let_all_go(self, reason: str) -> None:
        """End every process."""
        async with trio.open_nursery() as nursery:
            for resident in list(self._residents.values()):
                nursery.start_soon(self.let_go, resident, reason)

    def make_room(self) -> None:
        """Let an idle one hibernate if somebody waits for a place."""
        if self._places.statistics().tasks_waiting:
            self._hibernate_one()

    async def hibernate_idle(self) -> None:
        """End processes that were idle for long; never returns unless idle processes are kept for ever."""
        while math.isfinite(self.patience):
            before = trio.current_time() - self.patience
            for resident in self._idle():
                long_idle = resident.last_used <= before and not resident.machine.background_tasks
                if long_idle or not resident.usable:
                    self._hibernate(resident, "idle")
            await trio.sleep(min(self.patience / 4, 5.0))

    def _idle(self) -> list[Resident]:
        return [each for each in self._residents.values() if each.listener is None]

    def _hibernate_one(self) -> None:
        oldest = min(self._idle(), key=lambda each: each.last_used, default=None)
        if oldest is not None:
            self._hibernate(oldest, "another channel needs the room")

    def _hibernate(self, resident: Resident, why: str) -> None:
        self._part_with(resident)
        self.nursery.start_soon(self.let_go, resident, f"hibernated: {why}")

    def _part_with(self, resident: Resident) -> None:
        """From now on the resident serves nobody; whoever calls this also lets it go."""
        resident.mute()
        if self._residents.get(resident.channel) is resident:
            del self._residents[resident.channel]
        if resident.process is not None:
            self._ending.setdefault(resident.channel, set()).add(resident.process)

    def _forget(self, channel: str, process: CLIProcess) -> None:
        ending = self._ending.get(channel, set())
        ending.discard(process)
        if not ending:
            self._ending.pop(channel, None)
