"""Signs of life of a silent CLI: the CPU time of its tools, or much of its own.

A tool that computes says nothing for minutes. A silent CLI itself burns about 2 % of a core (measured with CLI
2.1.330), so its own time counts only above a fifth of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs
import trio

from echo_actors.claude.process_tree import Identity, Scan

OWN_SHARE = 0.2
"""The share of a core above which the CLI's own CPU time is a sign of life."""


@attrs.frozen
class _Sample:
    at: float
    own: float
    tools: float


@attrs.define(eq=False)
class Vitals:
    """Looks at the running turns' processes at intervals.

    Attributes:
        watched: Gives the processes of running turns, each with what to call when it shows life.
    """

    watched: Callable[[], Iterable[tuple[Identity, Callable[[], None]]]]
    _before: dict[Identity, _Sample] = attrs.Factory(dict)

    async def watch(self, interval: float) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await trio.sleep(interval)
            await self.look()

    async def look(self) -> None:
        """Compare with the last look; one reading of the process table serves all processes."""
        watched = list(self.watched())
        now = trio.current_time()
        try:
            samples = await trio.to_thread.run_sync(_look, [each for each, _ in watched], now) if watched else {}
        except (OSError, RuntimeError):
            # No descriptor or no thread is left for it. The clocks go on; the next look may succeed.
            return
        for identity, on_life in watched:
            if _lives(self._before.get(identity), samples[identity]):
                on_life()
        self._before = samples


def _look(identities: list[Identity], now: float) -> dict[Identity, _Sample]:
    scan = Scan.take()
    return {
        each: _Sample(now, scan.cpu_seconds(each), sum(row.cpu_seconds for row in scan.below(each.pid)))
        for each in identities
    }


def _lives(before: _Sample | None, after: _Sample) -> bool:
    if before is None:
        return False
    # A tool that ended takes its time with it, so any change shows that something happened.
    return after.tools != before.tools or after.own - before.own > OWN_SHARE * (after.at - before.at)
