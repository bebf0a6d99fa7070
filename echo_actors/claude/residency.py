"""Residency: turns on CLI processes that stay with their channels. The real driver.

A channel in use keeps its process warm: a turn then costs a tenth of a process start. The process of an idle channel
ends (it hibernates) and the next turn resumes its session. Only so many processes are kept; when one more is needed,
the least recently used idle one hibernates first.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from echo_actors.claude.driver import (
    KeptSession,
    Launch,
    Phase,
    Processes,
    ProcessStatus,
    SessionLost,
    SessionRequest,
    Silence,
    TurnListener,
    TurnRequest,
    TurnResult,
)
from echo_actors.claude.forking import fork
from echo_actors.claude.history import read_history
from echo_actors.claude.memory import Memory
from echo_actors.claude.meter import Meter
from echo_actors.claude.ownership import Ownership
from echo_actors.claude.permissions import answer_frame
from echo_actors.claude.resident import Resident
from echo_actors.claude.roster import Roster
from echo_actors.claude.session_lock import SessionLock
from echo_actors.claude.spares import Spares
from echo_actors.claude.spawning import Spawner
from echo_actors.claude.transcript import Transcript
from echo_actors.claude.turn import TurnMachine
from echo_actors.errors import CLIFailed
from echo_actors.events import PermissionAsked
from echo_actors.history import History
from echo_actors.models import Answer
from echo_actors.safety.fence import defuse
from echo_actors.settings import Settings

COMPOSED_SINCE = (2, 1, 248)
"""The first CLI that takes ``client_composed``; text for an older one is defused instead."""

INTERRUPT_PATIENCE = 0.05
"""The share of the teardown timeout in which a turn may end by itself before its process is made to."""


@attrs.define(eq=False)
class Residency:
    """Runs turns on CLI processes; made by ``opening.open_residency``.

    Attributes:
        spawner: Starts the processes.
        roster: Those that it keeps.
        ownership: Of the sessions that they run.
        spares: Those that wait for a channel.
        memory: What all of them have of it.
    """

    settings: Settings
    spawner: Spawner
    roster: Roster
    ownership: Ownership
    spares: Spares
    memory: Memory
    _interrupted: set[str] = attrs.field(factory=set, init=False)

    # -- the driver's calls

    def new_session(self, channel: str, launch: Launch) -> str:
        """The id of a session that a process of the channel's, or a spare, was started for; else a fresh one."""
        resident = self.roster.get(channel)
        if resident is None:
            return self.spares.claim(channel, launch) or str(uuid.uuid4())
        if resident.fresh and resident.usable and resident.launch.serves(launch):
            return resident.machine.session_id
        return str(uuid.uuid4())

    async def prewarm(self, request: SessionRequest) -> bool:
        """Have the channel's process ready; see ``Driver``."""
        resident = await self._fitting(request)
        if resident is None:
            await self.roster.gone(request.channel)
            if not self.roster.can_make_room():
                return False
            lock = await self.ownership.take(request.session_id)
            if not isinstance(lock, SessionLock):
                raise CLIFailed(f"session {request.session_id} is in use by {lock}")
            resident = await self._start(request, lock, Silence(), Resident.initialize)
        resident.listener = Silence()
        try:
            await self._adapt(resident, request)
        finally:
            resident.rest(trio.current_time())
        self.roster.make_room()
        return True

    def is_warm(self, channel: str) -> bool:
        """Whether the channel has a process that can take a message; see ``Driver``."""
        resident = self.roster.get(channel)
        return resident is not None and resident.usable

    async def run_turn(self, request: TurnRequest, listener: TurnListener) -> TurnResult:
        """Run a turn on the channel's process, started or resumed if need be; see ``Driver``."""
        self._interrupted.discard(request.channel)
        try:
            return await self._run(request, listener)
        finally:
            self._interrupted.discard(request.channel)

    async def _run(self, request: TurnRequest, listener: TurnListener) -> TurnResult:
        resident = await self._fitting(request)
        if resident is not None:
            try:
                return await self._run_on(resident, request, listener)
            except CLIFailed:
                if not resident.died_before(request.turn_id):
                    raise
                # It refused to run like this, or died while it was idle, which shows only now. It never began the
                # message: a new one can have it.
        await self.roster.gone(request.channel)
        lock = await self.ownership.own(request, listener)

        async def give_message(resident: Resident) -> None:
            resident.write(request.turn_id, self._harmless(request.content))
            await resident.first_frame()

        resident = await self._start(request, lock, listener, give_message)
        return await self._run_on(resident, request, listener)

    async def _run_on(self, resident: Resident, request: TurnRequest, listener: TurnListener) -> TurnResult:
        resident.listener = listener
        try:
            if not resident.knows(request.turn_id):
                await self._adapt(resident, request)
                resident.write(request.turn_id, self._harmless(request.content))
            if not resident.machine.running:
                listener.on_phase(Phase.SENT)
            result = await resident.result(request.turn_id)
        except BaseException:
            with trio.CancelScope(shield=True):
                ended = await resident.ends_when_asked(INTERRUPT_PATIENCE * self.settings.teardown_timeout)
            if (last_word := resident.take(request.turn_id)) is not None:
                listener.on_last_word(last_word)
            await self.roster.let_go(resident, "the turn was cut short", hurry=not ended)
            raise
        resident.rest(trio.current_time())
        if not self.settings.warm:
            await self.roster.let_go(resident, "one process per message")
        else:
            self.roster.make_room()
            await self.memory.after_turn(resident)
        return result

    async def _adapt(self, resident: Resident, request: SessionRequest) -> None:
        if not resident.runs_like(request.launch):
            if resident.listener is not None:
                resident.listener.on_phase(Phase.STARTING)
            await resident.adapt(request.launch)

    def interrupt(self, channel: str) -> None:
        """Ask the channel's running turn to end; see ``Driver``."""
        resident = self.roster.get(channel)
        if resident is not None and resident.listener is not None:
            resident.interrupt()
        else:
            self._interrupted.add(channel)

    def steer(self, channel: str, uuid: str, content: str) -> bool:
        """Give one more message to the running turn; see ``Driver``."""
        resident = self.roster.get(channel)
        if resident is None or not resident.machine.running:
            return False
        try:
            resident.write(uuid, self._harmless(content))
        except CLIFailed:
            return False
        return True

    def answer_permission(self, question: PermissionAsked, answer: Answer) -> bool:
        """Answer a question of a turn; see ``Driver``."""
        frame = answer_frame(question, answer)
        resident = self.roster.get(question.channel)
        return resident is not None and resident.reply(frame)

    async def recall(self, request: TurnRequest) -> TurnResult | None:
        """The answer that the transcript has to a request; see ``Driver``."""
        where = request.launch.working_dir
        transcript = Transcript.kept(request.session_id, where, self.spawner.cli_environment)
        recorded = await trio.to_thread.run_sync(transcript.reply_to, request.turn_id)
        if recorded is None or not recorded.finished or not recorded.text:
            return None
        return TurnResult(
            uuids=(request.turn_id,),
            session_id=request.session_id,
            text=recorded.text,
            blocks=recorded.blocks,
            structured_output=recorded.structured_output,
        )

    async def history(self, session: KeptSession, *, limit: int | None, before: str | None) -> History | None:
        """A page of what the transcript has of the conversation; see ``Driver``."""
        read = partial(read_history, session, self.spawner.cli_environment, limit=limit, before=before)
        # It changes nothing, so nobody needs to wait for it who does not want it any more.
        return await trio.to_thread.run_sync(read, abandon_on_cancel=True)

    async def fork(self, session: KeptSession) -> str:
        """Copy the session's transcript; see ``Driver``."""
        transcript = Transcript.kept(session.session_id, session.working_dir, self.spawner.cli_environment)
        try:
            return await trio.to_thread.run_sync(fork, transcript)
        except FileNotFoundError as problem:
            raise SessionLost(f"the transcript of session {session.session_id} is gone") from problem
        except OSError as problem:
            raise CLIFailed(f"session {session.session_id} cannot be copied: {problem}") from problem

    async def retire(self, channel: str, reason: str) -> None:
        """End the channel's process; see ``Driver``."""
        resident = self.roster.get(channel)
        if resident is not None:
            await self.roster.let_go(resident, reason)

    # -- what an operator sees

    def processes(self) -> Processes:
        """What runs at this moment; see ``Driver``."""
        return attrs.evolve(self.roster.processes(), memory=self.memory.total)

    def process(self, channel: str) -> ProcessStatus | None:
        """The channel's process; see ``Driver``."""
        return self.roster.process(channel)

    def problem(self) -> str:
        """Whether the CLI is still there; see ``Driver``."""
        return self.spawner.problem()

    @property
    def residents(self) -> dict[str, int]:
        """The process ids of the residents, by channel."""
        return self.roster.pids()

    # -- starting and ending

    async def _fitting(self, request: SessionRequest) -> Resident | None:
        """The channel's process if it can serve the request; one that cannot is ended."""
        resident = self.roster.get(request.channel)
        if resident is None:
            return None
        same_session = resident.machine.session_id == request.session_id
        fits = same_session and resident.serves(request.launch)
        if resident.usable and fits and resident.machine.meter.affords(request.launch.turn_budget_usd):
            return resident
        await self.roster.let_go(
            resident, "it has spent too much for a turn" if fits else "it does not fit the next turn"
        )
        return None

    async def _start(
        self,
        request: SessionRequest,
        lock: SessionLock,
        listener: TurnListener,
        greet: Callable[[Resident], Awaitable[None]],
    ) -> Resident:
        """Start the channel's process on the session that is owned, and greet it, within the start ramp."""
        transcript = self.spawner.transcript(request)
        machine = TurnMachine(request.channel, lock.session_id, Meter(transcript.total_cost))
        resident = Resident(request.channel, request.launch, machine, listener=listener, lock=lock)
        if request.channel in self._interrupted:
            resident.interrupt()
        try:
            await self.roster.admit(resident)
            if not self.spawner.starts.free:
                self.roster.stop_spare_start()
            async with self.spawner.starts.hold():
                listener.on_phase(Phase.STARTING)
                owned = lock.session_id == request.session_id
                earlier = request.session_id if self.spawner.resumable(request, owned=owned) else None
                resident.fresh = earlier is None
                await self.spawner.spawn(resident, earlier)
                await greet(resident)
        except BaseException:
            await self.roster.let_go(resident, "it did not start", hurry=True)
            raise
        finally:
            self.roster.on_change()
        return resident

    def _harmless(self, content: str) -> str:
        return content if self.spawner.version.at_least(*COMPOSED_SINCE) else defuse(content)
