"""Ends a CLI and everything it started.

A signal to the CLI, or to its process group, is not enough: it starts each tool in a session of its own. So what is
below it is listed before the first signal, found again by the mark in its environment, and killed one by one.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import attrs
import structlog
import trio

from echo_actors.claude.process_tree import Identity, descendants, marked

_LOG: Final = structlog.get_logger(__name__)
_RESCAN_SECONDS: Final = 0.01

How: TypeAlias = Literal["exited", "stdin closed", "terminated", "killed"]


@attrs.frozen(kw_only=True)
class ProcessLimits:
    """What a process may take. Times are seconds.

    Attributes:
        stdin_grace: From closing its stdin to SIGTERM; it saves its transcript in this time.
        term_grace: From SIGTERM to SIGKILL.
        kill_grace: How long killed processes may take to vanish.
        end_grace: How long, after its exit or its last output, the other one is waited for.
        write_timeout: How long it may leave one frame unread.
        queued_frames: How many frames may wait to be written.
        stderr_bytes: How much of the end of stderr is kept.
        max_line_bytes: The longest line of stdout that is not discarded.
    """

    stdin_grace: float = 1.0
    term_grace: float = 2.0
    kill_grace: float = 2.0
    end_grace: float = 0.5
    write_timeout: float = 10.0
    queued_frames: int = 1000
    stderr_bytes: int = 64 * 1024
    max_line_bytes: int = 32 * 1024 * 1024


@attrs.frozen(kw_only=True)
class StopReport:
    """How a process was brought to its end.

    Attributes:
        how: The step that ended it; ``exited`` if it ended by itself.
        exit_code: Negative for a signal, None when it could not be made to end.
        reaped: How many processes that it left behind were killed.
        seconds: From the first sign of the end to the last process's.
    """

    how: How
    exit_code: int | None
    reaped: int
    seconds: float


@attrs.define(eq=False)
class Termination:
    """The escalation for one CLI. ``hurry`` leaves out waiting for a clean exit, also when set while waiting.

    ``signal_cli`` needs no look at the machine's processes: the CLI must end also when that is not possible, for want
    of file descriptors or threads.
    """

    _cli: Identity
    _mark: Mapping[str, str]
    _limits: ProcessLimits
    _signal_cli: Callable[[signal.Signals], None] = attrs.field(kw_only=True)
    _close_stdin: Callable[[], None] = attrs.field(kw_only=True)
    _exited: trio.Event = attrs.field(kw_only=True)
    _hurry: trio.Event = attrs.field(kw_only=True)
    _known: set[Identity] = attrs.field(factory=set, init=False)

    async def escalate(self) -> How:
        """End the CLI by the gentlest step that works.

        Its stdin is closed only after a look at what it started: a tool that cleared its environment can be found by
        nothing else once the CLI is gone.
        """
        if self._exited.is_set():
            return "exited"
        await self._list_descendants()
        self._close_stdin()
        if await self._exits_by_itself():
            return "stdin closed"
        self._signal_cli(signal.SIGTERM)
        if await self._exits_within(self._limits.term_grace):
            return "terminated"
        await self._list_descendants()
        self._signal_cli(signal.SIGKILL)
        await self._exits_within(self._limits.kill_grace)
        return "killed"

    async def reap(self) -> int:
        """Kill what the CLI left behind, until a scan finds nothing; return how many that were."""
        killed: set[Identity] = set()
        with trio.move_on_after(self._limits.kill_grace) as scope:
            while (left := await self._look(self._kill_left)) != set():
                killed |= left or set()
                await trio.sleep(_RESCAN_SECONDS)
        if scope.cancelled_caught:
            _LOG.error("process.unkillable", pid=self._cli.pid, left=sorted(identity.pid for identity in left or ()))
        return len(killed)

    def kill_now(self) -> None:
        """Kill the CLI and what it started, as far as one look finds it, without waiting for anything."""
        with contextlib.suppress(OSError):
            self._signal_cli(signal.SIGKILL)
            self._kill_left()

    def _kill_left(self) -> set[Identity]:
        left = self._left()
        for identity in left:
            identity.send(signal.SIGKILL)
        return left

    def _left(self) -> set[Identity]:
        known = {identity for identity in self._known if identity.alive()}
        found = known | marked(self._mark)
        if not found:
            return found
        return found | descendants(*(identity.pid for identity in found))

    async def _list_descendants(self) -> None:
        self._known |= await self._look(lambda: descendants(self._cli.pid)) or set()

    async def _look(self, look: Callable[[], set[Identity]]) -> set[Identity] | None:
        """Look at the machine's processes; None while there is no descriptor or no thread for it."""
        try:
            return await trio.to_thread.run_sync(look)
        except (OSError, RuntimeError) as problem:
            _LOG.warning("process.no_look", pid=self._cli.pid, problem=str(problem))
            return None

    async def _exits_by_itself(self) -> bool:
        with trio.move_on_after(self._limits.stdin_grace):
            async with trio.open_nursery() as nursery:

                async def wait_for_hurry() -> None:
                    await self._hurry.wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(wait_for_hurry)
                await self._exited.wait()
                nursery.cancel_scope.cancel()
        return self._exited.is_set()

    async def _exits_within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds):
            await self._exited.wait()
        return self._exited.is_set()
