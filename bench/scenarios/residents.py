"""Warm CLI processes, more and more of them: how fast they start and answer, what each takes, and what idling costs.

Nothing is judged: it shows how many a machine holds. A full run takes the real CLI, a quick one the scripted CLI.
Memory is what only those processes have (USS). They are watched at rest from soon after the last of them has started;
those that started long before idle at less.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import orjson
import psutil
import trio

from bench.harness import Harness
from bench.memory import own_bytes
from bench.report import Result, Round
from bench.statistics import percentile
from bench.workload import talk
from echo_actors import Engine, open_engine
from echo_actors.claude.process_tree import marked

RESIDENTS: Final = (16, 32, 100)
MESSAGES: Final = 2
IDLE_SECONDS: Final = 5.0

_BRIEFLY: Final = 0.3
_SETTLE_SECONDS: Final = 2.0
_LEAST: Final = 0.001
"""What stands for nothing: the clock of CPU times is coarser."""


async def run(harness: Harness) -> Result:
    """Measure each number of residents in alternation."""
    most = harness.size.of("channels", full=RESIDENTS[-1], quick=8)
    messages = harness.size.of("messages", full=MESSAGES, quick=2)
    numbers = sorted({min(number, most) for number in RESIDENTS})
    cli = harness.scripted_cli if harness.size.quick else harness.cli
    load = _Load(attrs.evolve(harness, cli=cli), messages, _BRIEFLY if harness.size.quick else IDLE_SECONDS)
    return Result(
        scenario="residents",
        parameters={"most residents": most, "messages": messages, "CLI": "scripted" if harness.size.quick else "real"},
        full=most == RESIDENTS[-1] and not harness.size.quick,
        rounds=await harness.alternate({f"{number} residents": partial(load.measure, number) for number in numbers}),
    )


@attrs.frozen
class _Load:
    """Keeps processes warm.

    Attributes:
        messages: How many each channel sends once all are warm.
        idle_seconds: How long they are watched while nothing happens.
    """

    harness: Harness
    messages: int
    idle_seconds: float

    async def measure(self, residents: int) -> Round:
        """Start them all at once, look at them at rest, then talk to all at once."""
        channels = [f"bench:{number}" for number in range(residents)]
        with self.harness.workplace() as workplace:
            settings = self.harness.settings(
                workplace, turn_slots=residents, max_residents=residents, hibernate_after=3600, queue_timeout=600
            )
            async with open_engine(settings) as engine:
                began = time.perf_counter()
                firsts = await talk(engine, channels, 1)
                started = time.perf_counter() - began
                processes = [psutil.Process(each.pid) for each in marked({"ECHOACTORS_RUN": engine.status().run_id})]
                if len(processes) < residents:
                    ends = await _ends(engine, settings.audit_file)
                    raise RuntimeError(f"of {residents} processes {len(processes)} are left; it ended: {ends}")
                idle = await self._idle(processes)
                memory = await trio.to_thread.run_sync(_private_bytes, processes)
                began, cpu_began = time.perf_counter(), time.process_time()
                latencies = await talk(engine, channels, self.messages)
                elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
                began = time.perf_counter()
            closed = time.perf_counter() - began
        turns = residents * self.messages
        return {
            "start_all_s": started,
            "first_reply_p50_s": percentile(firsts, 50),
            "private_mb_per_resident": memory / residents / 1e6,
            "idle_core_percent_per_resident": max(_LEAST, idle[0] / residents),
            "idle_core_percent_of_engine": max(_LEAST, idle[1]),
            "turns_per_s": turns / elapsed,
            "reply_p50_ms": percentile(latencies, 50) * 1000,
            "own_cpu_ms_per_turn": cpu / turns * 1000,
            "close_s": closed,
        }

    async def _idle(self, processes: Sequence[psutil.Process]) -> tuple[float, float]:
        """The share of a core, in percent, that all processes take together at rest, and that the engine takes."""
        await trio.sleep(min(_SETTLE_SECONDS, self.idle_seconds))
        began, cpu_began, own_began = time.perf_counter(), _cpu_seconds(processes), time.process_time()
        await trio.sleep(self.idle_seconds)
        own, elapsed = time.process_time() - own_began, time.perf_counter() - began
        return (_cpu_seconds(processes) - cpu_began) / elapsed * 100, own / elapsed * 100


async def _ends(engine: Engine, audit_file: Path) -> list[str]:
    """Why processes ended, as the audit log has it."""
    await engine._audit.flush()  # noqa: SLF001 - no call of the engine's waits for it
    records = map(orjson.loads, (await trio.Path(audit_file).read_bytes()).splitlines())
    return [
        f"{each['channel']}: {each['reason']} ({each['how']}, {each['exit_code']})"
        for each in records
        if each["event"] == "process.stopped"
    ]


def _cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(each.user + each.system for each in times)


def _private_bytes(processes: Sequence[psutil.Process]) -> int:
    return sum(own_bytes(process.pid) for process in processes)
