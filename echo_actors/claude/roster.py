"""The roster: which channels have a CLI process now, how many there may be, and which goes when room is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import attrs
import trio

from echo_actors.audit import Record
from echo_actors.claude.driver import Launch, Processes, ProcessStatus
from echo_actors.claude.meter import Meter
from echo_actors.claude.process import CLIProcess
from echo_actors.claude.process_tree import Identity
from echo_actors.claude.resident import Resident

IDLE_LOOK = 5.0
"""The most seconds between looks at who has been idle for long."""


@attrs.define(eq=False)
class Roster:
    """The residents by channel, the spares, and those that are on their way out.

    Attributes:
        room: How many processes there may be, those that are ending included.
        patience: Seconds of idleness after which a process ends; infinite keeps it.
        nursery: Where those that hibernate are ended.
        spares: Those that wait for a channel, and one that is being started, the oldest first.
        spare_start: The start of that one, until it is up or has given way; cancelled when somebody needs its place.
        on_change: Called when there may be room that was not there before, or a process has died.
    """

    room: int
    patience: float
    record: Record
    nursery: trio.Nursery
    spares: list[Resident] = attrs.field(factory=list, init=False)
    spare_start: trio.CancelScope | None = attrs.field(default=None, init=False)
    on_change: Callable[[], None] = attrs.field(default=lambda: None, init=False)
    _owed: dict[str, Meter] = attrs.field(factory=dict, init=False)
    _residents: dict[str, Resident] = attrs.field(factory=dict, init=False)
    _ending: dict[str, set[CLIProcess]] = attrs.field(factory=dict, init=False)
    _places: trio.CapacityLimiter = attrs.field(init=False)
    _placed: set[Resident] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the places."""
        self._places = trio.CapacityLimiter(self.room)

    def get(self, channel: str) -> Resident | None:
        """The channel's resident."""
        return self._residents.get(channel)

    def pids(self) -> dict[str, int]:
        """The process ids by channel."""
        return {name: each.process.pid for name, each in self._residents.items() if each.process is not None}

    def everyone(self) -> list[Resident]:
        """All residents, spares among them, but none that is on its way out."""
        return [*self.spares, *self._residents.values()]

    def processes(self) -> Processes:
        """How many there are of each kind; what they have of memory is not known here."""
        up = [each for each in self.everyone() if each.up]
        return Processes(
            residents=sum(not each.spare for each in up),
            spares=sum(each.spare for each in up),
            starting=sum(not each.up and each.failure is None for each in self.everyone()),
            ending=sum(map(len, self._ending.values())),
        )

    def process(self, channel: str) -> ProcessStatus | None:
        """The channel's process, if it has one."""
        resident = self._residents.get(channel)
        if resident is None or resident.process is None:
            return None
        return ProcessStatus(resident.process.pid, resident.memory)

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
        """Wait for a place, and take it; a spare or an idle resident goes for it.

        It is known by its channel at once, so that an interrupt finds it; whoever admits it lets it go.
        """
        self._residents[resident.channel] = resident
        if (owed := self._owed.pop(resident.channel, None)) is not None:
            resident.machine.meter.take_over(owed)
        if not self.has_free_place():
            self._free(self._waiting + 1)
        await self._places.acquire_on_behalf_of(resident)
        self._placed.add(resident)

    def admit_spare(self, spare: Resident, start: trio.CancelScope) -> bool:
        """Take a place for a spare that is about to start; False when there is none that nobody waits for."""
        if not self.has_free_place():
            return False
        self._places.acquire_on_behalf_of_nowait(spare)
        self._placed.add(spare)
        self.spares.append(spare)
        self.spare_start = start
        return True

    def claim(self, channel: str, launch: Launch) -> Resident | None:
        """Make a spare that is ready, and can run like this, the channel's resident; None when there is none."""
        for spare in self.spares:
            if spare.listener is None and spare.usable and spare.launch.serves(launch):
                self.spares.remove(spare)
                spare.bind(channel, trio.current_time())
                self._residents[channel] = spare
                return spare
        return None

    def vacate(self, resident: Resident) -> None:
        """Give the resident's place and session back; its process is gone, or never came. Harmless when repeated."""
        if resident.lock is not None:
            resident.lock.release()
        if resident in self._placed:
            self._placed.remove(resident)
            self._places.release_on_behalf_of(resident)
        self.on_change()

    def has_free_place(self) -> bool:
        """Whether there is a place that nobody waits for: who waits is given one as soon as it is free."""
        return self._places.available_tokens > 0

    def can_make_room(self) -> bool:
        """Whether a place is free, or would be if a spare or an idle resident went."""
        return self.has_free_place() or bool(self.dispensable()) or self._spare_starts

    # -- going

    async def let_go(self, resident: Resident, reason: str, *, hurry: bool = False) -> None:
        """End a process and all that it started; bounded, and not to be cancelled."""
        if self._part_with(resident):
            await self._end(resident, reason, hurry=hurry)
        elif resident.process is not None:
            await resident.process.stop(reason, hurry=hurry)

    async def let_all_go(self, reason: str) -> None:
        """End every process."""
        async with trio.open_nursery() as nursery:
            for resident in self.everyone():
                nursery.start_soon(self.let_go, resident, reason)

    def hibernate(self, resident: Resident, reason: str) -> None:
        """End a process in the background."""
        if self._part_with(resident):
            self.nursery.start_soon(self._end, resident, reason)

    def make_room(self) -> None:
        """Let as many go as wait for a place, and no more."""
        if waiting := self._waiting:
            self._free(waiting)

    async def hibernate_idle(self) -> None:
        """End processes that were idle for long, or died; never returns."""
        while True:
            before = trio.current_time() - self.patience
            for resident in self.dispensable():
                if resident.spare:
                    continue  # they are there to be idle, and looked after by those who want them
                if resident.last_used <= before or not resident.usable:
                    self.hibernate(resident, "hibernated: idle")
            self.make_room()
            await trio.sleep(min(self.patience / 4, IDLE_LOOK))

    def dispensable(self) -> list[Resident]:
        """Those that may be ended, in the order in which they should be: spares, then the least recently used."""
        idle = [each for each in self.everyone() if each.dispensable]
        return sorted(idle, key=lambda each: -math.inf if each.spare else each.last_used)

    def stop_spare_start(self) -> bool:
        """Let the start of a spare give way to somebody who needs what it takes; False when there is none."""
        if self.spare_start is None or not self._spare_starts:
            return False
        self.spare_start.cancel()
        return True

    @property
    def _spare_starts(self) -> bool:
        return self.spare_start is not None and not self.spare_start.cancel_called

    @property
    def _waiting(self) -> int:
        """Who waits for a place, but not who was given one and has not run since: nobody need go for that one."""
        return self._places.statistics().tasks_waiting

    def _free(self, wanted: int) -> None:
        """Let some go until so many places are about to be free; those of the ones that go anyway count."""
        yielding = self.spare_start is not None and not self._spare_starts
        lacking = wanted - yielding - sum(each.muted for each in self._placed)
        if lacking > 0 and self.stop_spare_start():
            lacking -= 1
        if lacking > 0:
            # One that died by itself has no place to give.
            idle = [each for each in self.dispensable() if each in self._placed]
            for each in idle[:lacking]:
                self.hibernate(each, "hibernated: another channel needs the room")

    async def _end(self, resident: Resident, reason: str, *, hurry: bool = False) -> None:
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
            spare=resident.spare,
            reason=reason,
            how=report.how,
            exit_code=report.exit_code,
            reaped=report.reaped,
            seconds=report.seconds,
        )

    def _part_with(self, resident: Resident) -> bool:
        """From now on the resident serves nobody; whoever is told True ends it, others are too late for that."""
        if resident.muted:
            return False
        resident.mute()
        self._inherit(resident)
        if self._residents.get(resident.channel) is resident:
            del self._residents[resident.channel]
        if resident in self.spares:
            self.spares.remove(resident)
        if resident.process is not None:
            self._ending.setdefault(resident.channel, set()).add(resident.process)
        return True

    def _inherit(self, resident: Resident) -> None:
        """Keep what no turn of the process has carried, such as the cost of work in its background."""
        if resident.channel and resident.machine.meter.owes:
            self._owed.setdefault(resident.channel, Meter(float)).take_over(resident.machine.meter)

    def _forget(self, channel: str, process: CLIProcess) -> None:
        ending = self._ending.get(channel, set())
        ending.discard(process)
        if not ending:
            self._ending.pop(channel, None)
