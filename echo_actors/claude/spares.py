"""Spares: processes started ahead, so that the first turn of a new channel need not wait for a start.

A spare is a CLI that runs as for a member, in a channel without options of its own, under the id of a new session, and
has answered a first request. It is claimed when a channel asks for the id of its new session: the id is stored before
the turn begins, so a crash in that turn finds the transcript. A channel's model and permission mode are set live;
nothing else of a running CLI can be changed.
"""

from __future__ import annotations

import math

import attrs
import trio

from echo_actors.audit import Record
from echo_actors.claude.driver import Launch, Silence
from echo_actors.claude.memory import Memory
from echo_actors.claude.meter import Meter
from echo_actors.claude.ownership import Ownership
from echo_actors.claude.resident import Resident
from echo_actors.claude.roster import Roster
from echo_actors.claude.spawning import Spawner
from echo_actors.claude.turn import TurnMachine
from echo_actors.errors import CLIFailed, CLINotFound

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before the next attempt after a spare failed, doubled each time until one has served."""

BREATH = 0.5
"""Seconds after a claim before the next start: the claimed CLI's first turn takes all of a core for 0.15 s, and beside
the start of another one the first reply took a third longer (measured with CLI 2.1.330 on 2 cores)."""


@attrs.define(eq=False)
class Spares:
    """Keeps so many spares ready, as long as there is room for them.

    Attributes:
        wanted: How many.
        launch: How they run.
        start_timeout: Seconds that the start of one may take.
    """

    wanted: int
    launch: Launch
    start_timeout: float
    roster: Roster
    spawner: Spawner
    ownership: Ownership
    memory: Memory
    record: Record
    _pause: float = attrs.field(default=FIRST_PAUSE, init=False)
    _not_before: float = attrs.field(default=-math.inf, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _closed: trio.Event = attrs.field(factory=trio.Event, init=False)

    def claim(self, channel: str, launch: Launch) -> str | None:
        """Bind a spare that can run like this to a channel; give the id of its session, None when there is none."""
        spare = self.roster.claim(channel, launch)
        if spare is None:
            return None
        self._pause = FIRST_PAUSE
        self._not_before = trio.current_time() + BREATH
        process = "" if spare.process is None else spare.process.mark.process_id
        self.record("spare.claimed", channel=channel, session=spare.machine.session_id, process=process)
        self.nudge()
        return spare.machine.session_id

    def nudge(self) -> None:
        """Something has changed that may make room for a spare, or the need of one."""
        self._news.set()

    async def keep(self) -> None:
        """Start spares whenever some are lacking and nobody else needs what they take, until ``close``."""
        try:
            with self._scope:
                while True:
                    self._news = trio.Event()
                    await trio.sleep_until(self._not_before)
                    reason = await self._start() if self._may_start() else self._bury()
                    if reason:
                        self.record("spare.failed", reason=reason, retry_in=self._pause)
                        await trio.sleep(self._pause)
                        self._pause = min(2 * self._pause, LONGEST_PAUSE)
                    elif not self._may_start():
                        await self._news.wait()
        finally:
            self._closed.set()

    async def close(self) -> None:
        """Start none any more; what there is remains."""
        self._scope.cancel()
        await self._closed.wait()

    def _may_start(self) -> bool:
        starts = self.spawner.starts
        lacking = len(self.roster.spares) < self.wanted
        return lacking and self.roster.has_free_place() and starts.free > 0 and not self.memory.tight

    def _bury(self) -> str:
        """Let a spare go that died while it waited; why it did."""
        for spare in self.roster.spares:
            if spare.failure is not None:
                self.roster.hibernate(spare, "it ended by itself")
                return str(spare.failure)
        return ""

    async def _start(self) -> str:
        """Start one; why it did not come up, or nothing when it did or had to give way."""
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + self.start_timeout
            try:
                await self._bring_up(scope)
            except (CLINotFound, CLIFailed) as error:
                return str(error)
        late = scope.cancelled_caught and trio.current_time() >= scope.deadline
        return f"the start took longer than {self.start_timeout:g} s" if late else ""

    async def _bring_up(self, scope: trio.CancelScope) -> None:
        lock = await self.ownership.own_new()
        machine = TurnMachine("", lock.session_id, Meter(float))
        spare = Resident("", self.launch, machine, listener=Silence(), lock=lock, fresh=True)
        try:
            if not self.roster.admit_spare(spare, scope):
                return
            async with self.spawner.starts.hold():
                await self.spawner.spawn(spare, None)
                await spare.initialize()
            spare.rest(trio.current_time())
        finally:
            self.roster.spare_start = None
            if spare.listener is not None:
                await self.roster.let_go(spare, "it did not start", hurry=True)
        self.roster.make_room()
