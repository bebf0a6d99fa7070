"""Spawning: the process of a resident, with the arguments, environment and limits that the settings name."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import trio

from echo_actors.admission.slots import Slots
from echo_actors.audit import Record
from echo_actors.claude.command import FRESH_PROMPT_SINCE, command
from echo_actors.claude.driver import Launch, SessionLost, SessionRequest
from echo_actors.claude.environment import ProcessMark, child_environment
from echo_actors.claude.locate import CLIVersion
from echo_actors.claude.process import CLIProcess, ProcessEnd
from echo_actors.claude.resident import Resident
from echo_actors.claude.termination import ProcessLimits
from echo_actors.claude.transcript import Transcript
from echo_actors.errors import CLIFailed
from echo_actors.safety.private_file import write_private_file
from echo_actors.settings import Settings

PROMPTS = "prompts"
"""The folder in the state directory for files that CLIs are started with."""

OPTION_PREFIX = "option-"
"""How the names begin of those with options."""


@attrs.frozen(kw_only=True)
class Spawner:
    """Starts CLIs.

    Attributes:
        cli: The program.
        version: What it says it is.
        environ: The variables of this program.
        nursery: Where the processes live.
        starts: The ramp; whoever spawns holds a slot until the CLI is up.
        vacate: Called when a resident's process is gone.
    """

    settings: Settings
    run_id: str
    record: Record
    cli: Path
    version: CLIVersion
    environ: Mapping[str, str]
    nursery: trio.Nursery
    starts: Slots
    vacate: Callable[[Resident], None]

    def problem(self) -> str:
        """Why nothing can be started any more; empty when it can."""
        there = os.access(self.cli, os.X_OK)
        return "" if there else f"the CLI {self.cli} is gone, or cannot be executed any more"

    async def spawn(self, resident: Resident, earlier: str | None) -> None:
        """Start the process of a resident that has its place, on an earlier session or on a copy of it.

        Raises:
            CLINotFound: The program is not there or cannot be executed.
            CLIFailed: It could not be started for another reason.
        """
        settings, launch, session_id = self.settings, resident.launch, resident.machine.session_id
        mark = ProcessMark(self.run_id, uuid.uuid4().hex)
        files = await self._write_files(launch)
        environment = child_environment(
            self.environ, extra=self._extra_environment(), passthrough=settings.pass_environment, mark=mark
        )

        def on_end(end: ProcessEnd) -> None:
            resident.on_end(end)
            self.vacate(resident)

        resident.process = await CLIProcess.spawn(
            self.nursery,
            command(
                self.cli,
                launch,
                session_id,
                resume=earlier == session_id,
                fork_of=earlier if earlier != session_id else None,
                fresh_prompt=self.version.at_least(*FRESH_PROMPT_SINCE),
                files=files,
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
            spare=resident.spare,
            model=launch.model,
            withheld=",".join(environment.withheld),
        )

    @property
    def cli_environment(self) -> Mapping[str, str]:
        """The variables that say where a CLI keeps its sessions, among others."""
        return {**self.environ, **self.settings.environment}

    def transcript(self, request: SessionRequest) -> Transcript:
        """The transcript of a request's session, where a CLI keeps it that runs as requested."""
        return Transcript.of(request.session_id, request.launch.working_dir, self.cli_environment)

    def resumable(self, request: SessionRequest, *, owned: bool) -> bool:
        """Whether a request's session can be resumed; otherwise it is to begin.

        The transcript of one that ran in another working directory is moved to where a CLI looks for it that runs as
        requested. Not one that somebody else has: a CLI that is new enough finds it where it is.

        Raises:
            SessionLost: It had turns, and its transcript is gone.
            CLIFailed: The place of all transcripts is gone, or the transcript cannot be moved.
        """
        transcript = self.transcript(request)
        if transcript.exists():
            return True
        elsewhere = transcript.elsewhere()
        if elsewhere is not None:
            if owned:
                self._move(elsewhere, transcript)
            return True
        if request.established:
            projects = transcript.path.parents[1]
            if not projects.exists():
                raise CLIFailed(f"the CLI keeps no sessions in {projects}: its home is away, or another")
            raise SessionLost(f"the transcript of session {request.session_id} is gone")
        return False

    def _move(self, elsewhere: Transcript, transcript: Transcript) -> None:
        try:
            elsewhere.move_to(transcript)
        except OSError as problem:
            raise CLIFailed(f"the transcript {elsewhere.path} cannot be moved: {problem}") from problem
        self.record("session.moved", session=transcript.path.stem, path=str(transcript.path))

    async def _write_files(self, launch: Launch) -> list[Path]:
        """Write the launch's files; they may have been removed since the last time."""
        if not launch.files:
            return []
        directory = self.settings.state_dir / PROMPTS

        def write() -> list[Path]:
            return [write_private_file(content, directory, OPTION_PREFIX, "") for _, content in launch.files]

        try:
            return await trio.to_thread.run_sync(write)
        except OSError as problem:
            raise CLIFailed(f"the CLI's options cannot be written into {directory}: {problem}") from problem

    def _extra_environment(self) -> dict[str, str]:
        scrub = {"CLAUDE_CODE_SUBPROCESS_ENV_SCRUB": "1"} if self.settings.scrub_tool_environment else {}
        return {**self.settings.environment, **scrub}


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
