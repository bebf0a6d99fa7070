"""Residency: turns on CLI processes that stay with their channels. The real driver.

A channel in use keeps its process warm: a turn then costs a tenth of a process start. The process of an idle channel
ends (it hibernates) and the next turn resumes its session. Only so many processes are kept; when one more is needed,
the least recently used idle one hibernates first.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from echo_actors.admission.slots import Slots
from echo_actors.audit import Record
from echo_actors.claude.command import FRESH_PROMPT_SINCE, command
from echo_actors.claude.driver import Phase, SessionLost, TurnListener, TurnRequest, TurnResult
from echo_actors.claude.environment import ProcessMark, child_environment
from echo_actors.claude.locate import CLIVersion, find_cli, read_version
from echo_actors.claude.meter import Meter
from echo_actors.claude.ownership import Ownership
from echo_actors.claude.process import CLIProcess, ProcessEnd
from echo_actors.claude.resident import Resident
from echo_actors.claude.roster import Roster
from echo_actors.claude.termination import ProcessLimits
from echo_actors.claude.transcript import Transcript
from echo_actors.claude.turn import TurnMachine
from echo_actors.claude.vitals import Vitals
from echo_actors.errors import CLIFailed
from echo_actors.safety.fence import defuse
from echo_actors.settings import Settings

COMPOSED_SINCE = (2, 1, 248)
"""The first CLI that takes ``client_composed``; text for an older one is defused instead."""

INTERRUPT_PATIENCE = 0.05
"""The share of the teardown timeout in which a turn may end by itself before its process is made to."""


@attrs.define(eq=False)
class Residency:
    """Runs turns on CLI processes; made by ``open_residency``.

    Attributes:
        cli: The program.
        version: What it says it is.
        nursery: Where its processes live.
        roster: The processes that it keeps.
        ownership: Of the sessions that they run.
    """

    settings: Settings
    run_id: str
    record: Record
    cli: Path
    version: CLIVersion
    environ: Mapping[str, str]
    nursery: trio.Nursery
    roster: Roster
    ownership: Ownership
    _interrupted: set[str] = attrs.field(factory=set, init=False)
    _starts: Slots = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the ramp that the settings name."""
        self._starts = Slots(self.settings.start_slots)

    # -- the driver's calls

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
            with trio.CancelScope(shield=True):
                ended = await resident.ends_when_asked(INTERRUPT_PATIENCE * self.settings.teardown_timeout)
            await self.roster.let_go(resident, "the turn was cut short", hurry=not ended)
            raise
        resident.rest(trio.current_time())
        if not self.settings.warm:
            await self.roster.let_go(resident, "one process per message")
        else:
            self.roster.make_room()
        return result

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
        resident = self.roster.get(channel)
        if resident is not None:
            await self.roster.let_go(resident, reason)

    # -- what an operator sees

    @property
    def residents(self) -> dict[str, int]:
        """The process ids of the residents, by channel."""
        return self.roster.pids()

    # -- starting and ending

    async def _fitting(self, request: TurnRequest) -> Resident | None:
        """The channel's process if it can serve the request; one that cannot is ended."""
        resident = self.roster.get(request.channel)
        if resident is None:
            return None
        launch = attrs.evolve(resident.launch, model=request.launch.model)
        if resident.usable and resident.machine.session_id == request.session_id and launch == request.launch:
            return resident
        await self.roster.let_go(resident, "it does not fit the next turn")
        return None

    async def _start(self, request: TurnRequest, listener: TurnListener) -> Resident:
        """Start the channel's process and give it the message, within the start ramp."""
        await self.roster.gone(request.channel)
        lock = await self.ownership.own(request, listener)
        transcript = self._transcript(request)
        machine = TurnMachine(request.channel, lock.session_id, Meter(transcript.total_cost))
        resident = Resident(request.channel, request.launch, machine, listener=listener, lock=lock)
        if request.channel in self._interrupted:
            resident.interrupt()
        try:
            await self.roster.admit(resident)
            async with self._starts.hold():
                listener.on_phase(Phase.STARTING)
                await self._spawn(resident, request.session_id if _resumable(request, transcript) else None)
                resident.write(request.turn_id, self._harmless(request.content))
                await resident.first_frame()
        except BaseException:
            await self.roster.let_go(resident, "it did not start", hurry=True)
            raise
        return resident

    async def _spawn(self, resident: Resident, earlier: str | None) -> None:
        """Start the process of a resident that has its place, on an earlier session or on a copy of it."""
        settings, launch, session_id = self.settings, resident.launch, resident.machine.session_id
        mark = ProcessMark(self.run_id, uuid.uuid4().hex)
        environment = child_environment(
            self.environ, extra=self._extra_environment(), passthrough=settings.pass_environment, mark=mark
        )

        def on_end(end: ProcessEnd) -> None:
            resident.on_end(end)
            self.roster.vacate(resident)

        resident.process = await CLIProcess.spawn(
            self.nursery,
            command(
                self.cli,
                launch,
                session_id,
                resume=earlier == session_id,
                fork_of=earlier if earlier != session_id else None,
                fresh_prompt=self.version.at_least(*FRESH_PROMPT_SINCE),
            ),
            environment=environment.variables,
            cwd=launch.working_dir,
            mark=mark,
            on_frame=resident.on_frame,
            on_end=on_end,
            limits=_limits(settings),
        )
        self.record(
            "process.spawned",
            channel=resident.channel,
            session=session_id,
            process=mark.process_id,
            pid=resident.process.pid,
            resumed=earlier is not None,
            model=launch.model,
            withheld=",".join(environment.withheld),
        )

    # -- within

    def _transcript(self, request: TurnRequest) -> Transcript:
        where = {**self.environ, **self.settings.environment}
        return Transcript.of(request.session_id, request.launch.working_dir, where)

    def _extra_environment(self) -> dict[str, str]:
        scrub = {"CLAUDE_CODE_SUBPROCESS_ENV_SCRUB": "1"} if self.settings.scrub_tool_environment else {}
        return {**self.settings.environment, **scrub}

    def _harmless(self, content: str) -> str:
        return content if self.version.at_least(*COMPOSED_SINCE) else defuse(content)


def _limits(settings: Settings) -> ProcessLimits:
    """What a process may take; its end takes at most the teardown timeout."""
    return ProcessLimits(
        stdin_grace=0.1 * settings.teardown_timeout,
        term_grace=0.2 * settings.teardown_timeout,
        kill_grace=0.2 * settings.teardown_timeout,
        end_grace=0.05 * settings.teardown_timeout,
        write_timeout=settings.write_timeout,
        max_line_bytes=settings.max_line_bytes,
    )


def _resumable(request: TurnRequest, transcript: Transcript) -> bool:
    if transcript.exists():
        return True
    if request.established:
        if not transcript.path.parents[1].exists():
            raise CLIFailed(f"the CLI keeps no sessions in {transcript.path.parents[1]}: its home is away, or another")
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
    version = await read_version(cli)
    record("cli.found", path=str(cli), version=version.text, defused=not version.at_least(*COMPOSED_SINCE))
    error: BaseException | None = None
    async with trio.open_nursery() as nursery:
        roster = Roster(settings.max_residents, settings.hibernate_after, record, nursery)
        nursery.start_soon(roster.hibernate_idle)
        nursery.start_soon(Vitals(roster.watched).watch, min(2.0, settings.idle_timeout / 5))
        try:
            ownership = Ownership(run_id, settings.session_conflict, record, {**environ, **settings.environment})
            yield Residency(settings, run_id, record, cli, version, environ, nursery, roster, ownership)
        except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001 - raised again below, outside of the nursery's exception group
            error = caught
        finally:
            with trio.CancelScope(shield=True):
                await roster.let_all_go("the engine closed")
            nursery.cancel_scope.cancel()
    if error is not None:
        raise error
