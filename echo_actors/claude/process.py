"""One CLI process: start it, write to it, read from it, and leave nothing of it behind.

A process outlives the function that starts it, so it lives in a nursery that its owner names. One task there owns
it: that task alone ends it, whether somebody asked (``stop``), the nursery is cancelled, the process exits, closes its
output, or takes no more input. None of these raises in the nursery.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs
import structlog
import trio

from echo_actors.claude.environment import ProcessMark
from echo_actors.claude.process_tree import Identity
from echo_actors.claude.starting import exit_text, open_cli, pipe
from echo_actors.claude.termination import How, ProcessLimits, StopReport, Termination
from echo_actors.claude.wire import BadLine, Frame, FrameDecoder, encode
from echo_actors.errors import CLIFailed

_LOG: Final = structlog.get_logger(__name__)
_SLICE: Final = 4096
"""How many bytes of output are looked at in one go, so that a flood on one channel leaves the others their time."""


@attrs.frozen(kw_only=True)
class ProcessEnd:
    """How a process ended.

    Attributes:
        exit_code: Negative for a signal, None when it could not be made to end.
        reason: Why, in words: what ``stop`` was given, or what the process did by itself.
        stderr_tail: The last of what it wrote to stderr.
    """

    exit_code: int | None
    reason: str
    stderr_tail: str


@attrs.define(eq=False, kw_only=True)
class CLIProcess:
    """A running CLI. Made by ``spawn``; ``ended`` is set when it and all it started are gone.

    ``on_frame`` and ``on_end`` are called synchronously and must not wait; ``on_end`` is called once, after the last
    frame. What they raise is logged; a frame handler that raises ends the process too.
    """

    mark: ProcessMark
    identity: Identity
    ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _process: trio.Process
    _on_frame: Callable[[Frame | BadLine], None]
    _on_end: Callable[[ProcessEnd], None]
    _limits: ProcessLimits
    _termination: Termination = attrs.field(init=False)
    _outbox: trio.MemorySendChannel[bytes] = attrs.field(init=False)
    _to_write: trio.MemoryReceiveChannel[bytes] = attrs.field(init=False)
    _stderr: bytearray = attrs.field(factory=bytearray, init=False)
    _leaving: trio.Event = attrs.field(factory=trio.Event, init=False)
    _hurry: trio.Event = attrs.field(factory=trio.Event, init=False)
    _exited: trio.Event = attrs.field(factory=trio.Event, init=False)
    _output_ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _errors_ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    _asked: str | None = attrs.field(default=None, init=False)
    _noticed: str | None = attrs.field(default=None, init=False)
    _end_began: float = attrs.field(default=0.0, init=False)
    _report: StopReport | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._outbox, self._to_write = trio.open_memory_channel[bytes](self._limits.queued_frames)
        self._termination = Termination(
            self.identity,
            self.mark.variables(),
            self._limits,
            signal_cli=self._process.send_signal,
            close_stdin=self._outbox.close,
            exited=self._exited,
            hurry=self._hurry,
        )

    @classmethod
    async def spawn(
        cls,
        nursery: trio.Nursery,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: Path,
        mark: ProcessMark,
        on_frame: Callable[[Frame | BadLine], None],
        on_end: Callable[[ProcessEnd], None],
        limits: ProcessLimits | None = None,
    ) -> CLIProcess:
        """Start a CLI in a session of its own. The first frames may be told before this returns.

        Raises:
            CLINotFound: The program is not there or cannot be executed.
            CLIFailed: It could not be started for another reason, such as a missing working directory.
        """

        async def live(task_status: trio.TaskStatus[CLIProcess]) -> None:
            process = await open_cli(argv, environment, cwd)
            identity = Identity(process.pid, 0)
            # Until somebody has waited for it, even a process that ended at once is in the table.
            with contextlib.suppress(OSError):
                identity = Identity.of(process.pid) or identity
            self = cls(
                mark=mark,
                identity=identity,
                process=process,
                on_frame=on_frame,
                on_end=on_end,
                limits=limits or ProcessLimits(),
            )
            task_status.started(self)
            await self._live()

        started: CLIProcess = await nursery.start(live, name=f"claude {mark.process_id}")
        return started

    @property
    def pid(self) -> int:
        """The CLI's process id."""
        return self.identity.pid

    @property
    def ending(self) -> bool:
        """Whether its end has begun; it takes no more input then."""
        return self._leaving.is_set()

    @property
    def stderr_tail(self) -> str:
        """The last of what it wrote to stderr."""
        return self._stderr.decode("utf-8", "replace")

    def send(self, frame: Frame) -> None:
        """Queue a frame to be written.

        Raises:
            CLIFailed: The process is ending, or too many frames wait to be written.
            TypeError: The frame holds something that JSON cannot.
        """
        line = encode(frame)
        if self._leaving.is_set():
            raise self._failed("the CLI takes no more input")
        try:
            self._outbox.send_nowait(line)
        except trio.WouldBlock:
            raise self._failed(f"{self._limits.queued_frames} frames wait to be written to the CLI") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._failed("the CLI takes no more input") from None

    async def stop(self, reason: str, *, hurry: bool = False) -> StopReport:
        """End the process and everything it started, and wait until that is done.

        Frames that are queued are still written. Any number of callers may stop a process; the first one's reason
        counts, and any one's ``hurry`` leaves out waiting for a clean exit. The wait takes at most the graces of the
        limits; it is shielded, because what follows a stop may count on it.
        """
        self._ask_to_end(reason, hurry=hurry)
        with trio.CancelScope(shield=True):
            await self.ended.wait()
        if self._report is None:
            raise AssertionError("a process ended without a report")
        return self._report

    def _ask_to_end(self, reason: str, *, hurry: bool) -> None:
        if not self._leaving.is_set():
            self._asked = reason
        self._begin_end(hurry=hurry)

    def _notice(self, reason: str, *, hurry: bool = False) -> None:
        """Begin the end because of something the process, or a handler of its frames, did."""
        if not self._leaving.is_set():
            self._noticed = reason
        self._begin_end(hurry=hurry)

    def _begin_end(self, *, hurry: bool = False) -> None:
        if not self._leaving.is_set():
            self._end_began = trio.current_time()
            self._leaving.set()
        if hurry:
            self._hurry.set()

    async def _live(self) -> None:
        try:
            async with trio.open_nursery() as outside:
                outside.start_soon(self._end_when_cancelled)
                with trio.CancelScope(shield=True):
                    await self._own()
        finally:
            if not self.ended.is_set():
                # Whatever broke the owner: nothing may go on unowned, and nobody may wait for ever.
                self._termination.kill_now()
                self._finish("killed", 0)

    async def _own(self) -> None:
        async with trio.open_nursery() as inside:
            inside.start_soon(self._read_frames)
            inside.start_soon(self._drain_errors)
            inside.start_soon(self._write_frames)
            inside.start_soon(self._wait_for_exit)
            await self._leaving.wait()
            how, reaped = await self._leave()
            inside.cancel_scope.cancel()
        self._finish(how, reaped)

    async def _leave(self) -> tuple[How, int]:
        if self._asked is None and not self._hurry.is_set():
            with trio.move_on_after(self._limits.end_grace):
                await self._exited.wait()
                self._noticed = None  # the exit explains the closed pipe, not the other way round
        how = await self._termination.escalate()
        self._outbox.close()
        # Before waiting for the end of the output: what the CLI left behind may hold the pipes open.
        reaped = await self._termination.reap()
        with trio.move_on_after(self._limits.end_grace):
            await self._output_ended.wait()
            await self._errors_ended.wait()
        return how, reaped

    def _finish(self, how: How, reaped: int) -> None:
        exit_code = self._process.returncode
        seconds = trio.current_time() - self._end_began
        self._report = StopReport(how=how, exit_code=exit_code, reaped=reaped, seconds=seconds)
        reason = self._asked or self._noticed or exit_text(exit_code)
        try:
            self._on_end(ProcessEnd(exit_code=exit_code, reason=reason, stderr_tail=self.stderr_tail))
        except Exception:  # noqa: BLE001 - a foreign handler must not end other processes of the nursery
            _LOG.exception("process.end_handler_failed", pid=self.pid)
        self.ended.set()

    async def _end_when_cancelled(self) -> None:
        try:
            await self.ended.wait()
        except trio.Cancelled:
            self._ask_to_end("the engine is closing", hurry=True)
            raise

    async def _wait_for_exit(self) -> None:
        await self._process.wait()
        self._exited.set()
        self._begin_end()

    async def _read_frames(self) -> None:
        decoder = FrameDecoder(self._limits.max_line_bytes)
        try:
            async with pipe(self._process.stdout) as stdout:
                with contextlib.suppress(trio.BrokenResourceError):
                    async for data in stdout:
                        for start in range(0, len(data), _SLICE):
                            self._tell(decoder.feed(data[start : start + _SLICE]))
                            if start:
                                await trio.lowlevel.checkpoint()
        finally:
            self._tell(decoder.finish())
            self._output_ended.set()
            self._notice("the CLI closed its output")

    def _tell(self, items: list[Frame | BadLine]) -> None:
        for item in items:
            try:
                self._on_frame(item)
            except Exception as error:  # noqa: BLE001 - as for the end handler
                _LOG.exception("process.frame_handler_failed", pid=self.pid)
                self._notice(f"the handler of its frames failed: {error!r}", hurry=True)

    async def _drain_errors(self) -> None:
        async with pipe(self._process.stderr) as stderr:
            with contextlib.suppress(trio.BrokenResourceError):
                async for data in stderr:
                    self._stderr += data
                    del self._stderr[: -self._limits.stderr_bytes]
        self._errors_ended.set()

    async def _write_frames(self) -> None:
        async with pipe(self._process.stdin) as stdin, self._to_write:
            async for line in self._to_write:
                with trio.move_on_after(self._limits.write_timeout) as scope:
                    try:
                        await stdin.send_all(line)
                    except trio.BrokenResourceError:
                        self._notice("the CLI closed its input")
                        return
                if scope.cancelled_caught:
                    self._notice(f"the CLI read no input for {self._limits.write_timeout:g} s", hurry=True)
                    return

    def _failed(self, reason: str) -> CLIFailed:
        return CLIFailed(reason=reason, exit_code=self._process.returncode, stderr_tail=self.stderr_tail)
