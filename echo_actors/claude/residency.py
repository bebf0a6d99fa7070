"""Residency: which channels have a CLI process, and for how long. The real driver.

A channel in use keeps its process warm: a turn then costs a tenth of a process start. The process of an idle channel
ends (it hibernates) and the next turn resumes its session. Only so many processes are kept; when one more is needed,
the least recently used idle one hibernates first.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from echo_actors.admission.slots import Slots
from echo_actors.audit import Record
from echo_actors.claude.command import FRESH_PROMPT_SINCE, command
from echo_actors.claude.driver import Phase, SessionLost, TurnListener, TurnRequest, TurnResult
from echo_actors.claude.environment import ChildEnvironment, ProcessMark, child_environment
from echo_actors.claude.locate import CLIVersion, find_cli, read_version
from echo_actors.claude.meter import Meter
from echo_actors.claude.process import CLIProcess, ProcessEnd
from echo_actors.claude.process_tree import Identity
from echo_actors.claude.resident import Resident
from echo_actors.claude.termination import ProcessLimits
from echo_actors.claude.transcript import Transcript
from echo_actors.claude.turn import TurnMachine
from echo_actors.claude.vitals import Vitals
from echo_actors.errors import CLIFailed
from echo_actors.safety.fence import defuse
from echo_actors.settings import Settings

COMPOSED_SINCE = (2, 1, 248)
"""The first CLI that takes ``client_composed``; text for an older one is defused instead."""


@attrs.define(eq=False)
class Residency:
    """Runs turns on CLI processes; made by ``open_residency``.

    Attributes:
        cli: The program.
        version: What it says it is.
    """

    settings: Settings
    run_id: str
    record: Record
    cli: Path
    version: CLIVersion
    environ: Mapping[str, str]
    nursery: trio.Nursery
    _residents: dict[str, Resident] = attrs.field(factory=dict, init=False)
    _ending: dict[str, set[CLIProcess]] = attrs.field(factory=dict, init=False)
    _room: trio.CapacityLimiter = attrs.field(init=False)
    _starts: Slots = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the limits that the settings name."""
        self._room = trio.CapacityLimiter(self.settings.max_residents)
        self._starts = Slots(self.settings.start_slots)

    # -- the driver's calls

    async def run_turn(self, request: TurnRequest, listener: TurnListener) -> TurnResult:
        """Run a turn on the channel's process, started or resumed if need be; see ``Driver``."""
        resident = await self._fitting(request)
        if resident is not None:
            try:
                return await self._run_on(resident, request, listener)
            except CLIFailed:
                if not resident.died_before(request.turn_id):
                    raise
                # It died while it was idle, which shows only now, and never began the message: a new one can have it.
        resident = await self._start(request, listener)
        return await self._run_on(resident, request, listener)

    async def _run_on(self, resident: Resident, request: TurnRequest, listener: TurnListener) -> TurnResult:
        resident.listener = listener
        try:
            if resident.launch.model != request.launch.model:
                listener.on_phase(Phase.STARTING)
                await resident.set_model(request.launch.model)
            if not resident.knows(request.turn_id):
                resident.write(request.turn_id, self._harmless(request.content))
            if not resident.machine.running:
                listener.on_phase(Phase.SENT)
            result = await resident.result(request.turn_id)
        except BaseException:
            await self._let_go(resident, "the turn was cut short", hurry=True)
            raise
        resident.rest(trio.current_time())
        if not self.settings.warm:
            await self._let_go(resident, "one process per message")
        elif self._room.statistics().tasks_waiting:
            self._hibernate_one()
        return result

    def interrupt(self, channel: str) -> None:
        """Ask the channel's running turn to end; see ``Driver``."""
        resident = self._residents.get(channel)
        if resident is not None and resident.listener is not None:
            resident.interrupt()

    def steer(self, channel: str, uuid: str, content: str) -> bool:
        """Give one more message to the running turn; see ``Driver``."""
        resident = self._residents.get(channel)
        if resident is None or not resident.machine.running:
            return False
        try:
            resident.write(uuid, self._harmless(content))
        except CLIFailed:
            return False
        return True

    async def recall(self, request: TurnRequest) -> TurnResult | None:
        """The answer that the transcript has to a request; see ``Driver``."""
        transcript = self._transcript(request)
        recorded = await trio.to_thread.run_sync(transcript.reply_to, request.turn_id)
        if recorded is None or not recorded.finished or not recorded.text:
            return None
        return TurnResult(
            uuids=(request.turn_id,), session_id=request.session_id, text=recorded.text, blocks=recorded.blocks
        )

    async def retire(self, channel: str, reason: str) -> None:
        """End the channel's process; see ``Driver``."""
        resident = self._residents.get(channel)
        if resident is not None:
            await self._let_go(resident, reason)

    # -- what an operator sees

    @property
    def residents(self) -> dict[str, int]:
        """The process ids of the residents, by channel."""
        return {name: each.process.pid for name, each in self._residents.items() if each.process is not None}

    # -- starting and ending

    async def _fitting(self, request: TurnRequest) -> Resident | None:
        """The channel's process if it can serve the request; one that cannot is ended."""
        resident = self._residents.get(request.channel)
        if resident is None:
            return None
        launch = attrs.evolve(resident.launch, model=request.launch.model)
        if resident.usable and resident.machine.session_id == request.session_id and launch == request.launch:
            return resident
        await self._let_go(resident, "it does not fit the next turn")
        return None

    async def _start(self, request: TurnRequest, listener: TurnListener) -> Resident:
        """Start the channel's process and give it the message, within the start ramp.

        Two processes on one session would fork its history, so an earlier one is waited for.
        """
        for process in tuple(self._ending.get(request.channel, ())):
            await process.ended.wait()
        token = object()
        await self._claim_room(token)
        mark = ProcessMark(self.run_id, uuid.uuid4().hex)
        environment = child_environment(
            self.environ, extra=self._extra_environment(), passthrough=self.settings.pass_environment, mark=mark
        )
        transcript = self._transcript(request)
        machine = TurnMachine(request.channel, request.session_id, Meter(transcript.total_cost))
        resident = Resident(request.channel, request.launch, machine, listener=listener)
        try:
            async with self._starts.hold():
                listener.on_phase(Phase.STARTING)
                argv = self._command(request, resume=_resumable(request, transcript))
                await self._spawn(resident, argv, environment, mark, lambda: self._room.release_on_behalf_of(token))
                resident.write(request.turn_id, self._harmless(request.content))
                await resident.first_frame()
        except BaseException:
            if resident.process is None:
                self._room.release_on_behalf_of(token)
            else:
                await self._let_go(resident, "it did not start", hurry=True)
            raise
        return resident

    async def _spawn(
        self,
        resident: Resident,
        argv: tuple[str, ...],
        environment: ChildEnvironment,
        mark: ProcessMark,
        gone: Callable[[], None],
    ) -> None:
        def on_end(end: ProcessEnd) -> None:
            resident.on_end(end)
            gone()

        resident.process = await CLIProcess.spawn(
            self.nursery,
            argv,
            environment=environment.variables,
            cwd=resident.launch.working_dir,
            mark=mark,
            on_frame=resident.on_frame,
            on_end=on_end,
            limits=ProcessLimits(write_timeout=self.settings.write_timeout),
        )
        self._residents[resident.channel] = resident
        self.record(
            "process.spawned",
            channel=resident.channel,
            session=resident.machine.session_id,
            process=mark.process_id,
            pid=resident.process.pid,
            resumed="--resume" in argv,
            model=resident.launch.model,
            withheld=",".join(environment.withheld),
        )

    def _part_with(self, resident: Resident) -> None:
        """From now on the resident serves nobody; whoever calls this also lets it go."""
        resident.mute()
        if self._residents.get(resident.channel) is resident:
            del self._residents[resident.channel]
        if resident.process is not None:
            self._ending.setdefault(resident.channel, set()).add(resident.process)

    async def _let_go(self, resident: Resident, reason: str, *, hurry: bool = False) -> None:
        """End a process and all that it started; bounded, and not to be cancelled."""
        self._part_with(resident)
        if resident.process is None:
            return
        if resident.failure is not None:
            reason = str(resident.failure)
        try:
            report = await resident.process.stop(reason, hurry=hurry)
        finally:
            ending = self._ending.get(resident.channel, set())
            ending.discard(resident.process)
            if not ending:
                self._ending.pop(resident.channel, None)
        self.record(
            "process.stopped",
            channel=resident.channel,
            process=resident.process.mark.process_id,
            pid=resident.process.pid,
            reason=reason,
            how=report.how,
            exit_code=report.exit_code,
            reaped=report.reaped,
        )

    # -- keeping and hibernating

    async def _claim_room(self, token: object) -> None:
        if self._room.available_tokens < 1:
            self._hibernate_one()
        await self._room.acquire_on_behalf_of(token)

    def _hibernate_one(self) -> None:
        idle = [each for each in self._residents.values() if each.listener is None]
        if idle:
            oldest = min(idle, key=lambda each: each.last_used)
            self._part_with(oldest)
            self.nursery.start_soon(self._let_go, oldest, "hibernated: another channel needs the room")

    async def hibernate_idle(self) -> None:
        """End processes that were idle for long; never returns unless idle processes are kept for ever."""
        patience = self.settings.hibernate_after
        while math.isfinite(patience):
            now = trio.current_time()
            idle = [each for each in self._residents.values() if each.listener is None]
            for resident in idle:
                if resident.failure is not None or (
                    resident.last_used + patience <= now and not resident.machine.background_tasks
                ):
                    self._part_with(resident)
                    self.nursery.start_soon(self._let_go, resident, "hibernated: idle")
            await trio.sleep(min(patience / 4, 5.0))

    # -- helpers

    def _transcript(self, request: TurnRequest) -> Transcript:
        where = {**self.environ, **self.settings.environment}
        return Transcript.of(request.session_id, request.launch.working_dir, where)

    def _command(self, request: TurnRequest, *, resume: bool) -> tuple[str, ...]:
        fresh_prompt = self.version.at_least(*FRESH_PROMPT_SINCE)
        return command(self.cli, request.launch, request.session_id, resume=resume, fresh_prompt=fresh_prompt)

    def _extra_environment(self) -> dict[str, str]:
        scrub = {"CLAUDE_CODE_SUBPROCESS_ENV_SCRUB": "1"} if self.settings.scrub_tool_environment else {}
        return {**self.settings.environment, **scrub}

    def _harmless(self, content: str) -> str:
        return content if self.version.at_least(*COMPOSED_SINCE) else defuse(content)

    def watched(self) -> Iterator[tuple[Identity, Callable[[], None]]]:
        """The processes of running turns, and who is told when one shows life."""
        for resident in self._residents.values():
            if resident.listener is not None and resident.process is not None:
                yield resident.process.identity, resident.listener.on_life

    async def let_all_go(self) -> None:
        """End every process."""
        async with trio.open_nursery() as nursery:
            for resident in list(self._residents.values()):
                nursery.start_soon(self._let_go, resident, "the engine closed")


def _resumable(request: TurnRequest, transcript: Transcript) -> bool:
    if transcript.exists():
        return True
    if request.established:
        raise SessionLost(f"the transcript of session {request.session_id} is gone")
    return False


@asynccontextmanager
async def open_residency(
    settings: Settings, run_id: str, record: Record, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Residency]:
    """Open the driver for the block; at its end every process is ended.

    Raises:
        CLINotFound: There is no usable CLI.
    """
    environ = os.environ if environ is None else environ
    cli = find_cli(settings.claude_bin, environ)
    version = await read_version(cli, {})
    record("cli.found", path=str(cli), version=version.text, defused=not version.at_least(*COMPOSED_SINCE))
    async with trio.open_nursery() as nursery:
        residency = Residency(settings, run_id, record, cli, version, environ, nursery)
        vitals = Vitals(residency.watched)
        nursery.start_soon(residency.hibernate_idle)
        nursery.start_soon(vitals.watch, min(2.0, settings.idle_timeout / 5))
        try:
            yield residency
        finally:
            with trio.CancelScope(shield=True):
                await residency.let_all_go()
            nursery.cancel_scope.cancel()
