"""What the engine must reach: a row for each figure, whether a scenario has measured it yet or not."""

from __future__ import annotations

from typing import Final

import attrs

from bench.report import Target


@attrs.frozen
class Promise:
    """A figure that is promised.

    Attributes:
        words: What it is called where people read.
        scenario: The file name of the scenario that measures it.
        target: As the scenario has it.
    """

    words: str
    scenario: str
    target: Target


PROMISES: Final = (
    Promise(
        "added to a warm turn of an instant CLI, ms at the median",
        "added-latency",
        Target("added p50 latency, ms", "<=", 1.5),
    ),
    Promise(
        "16 channels x 20 messages, turns/s, engine : bare warm processes",
        "channels",
        Target("turns/s, engine : warm processes", ">=", 0.95),
    ),
    Promise(
        "the same, engine : a client of the Agent SDK per channel",
        "channels",
        Target("turns/s, engine : SDK clients", ">=", 1.1),
    ),
    Promise(
        "the same, engine : a process per message",
        "channels",
        Target("turns/s, engine : process per message", ">=", 8),
    ),
    Promise(
        "16 new channels at once, first reply, with start ramp : without",
        "first-reply",
        Target("median first reply, ramp : no ramp", "<=", 0.6),
    ),
    Promise(
        "first reply of a new channel, with a spare process : without",
        "spare",
        Target("first reply, spare : no spare", "<=", 0.4),
    ),
    Promise("engine alone, 256 channels, durable turns/s", "engine-alone", Target("turns_per_s", ">=", 5000)),
    Promise("acceptance at 3,000 messages/s offered, p99 in ms", "engine-alone", Target("accept_p99_ms", "<=", 10)),
    Promise(
        "cost per message, 100,000 known channels : 100",
        "known-channels",
        Target("CPU per turn, 100,000 known channels : 100", "<=", 1.2),
    ),
    Promise("a live idle actor, kB", "live-actors", Target("live_kb_per_actor", "<=", 10)),
    Promise("a passivated actor, kB", "live-actors", Target("passivated_kb_per_channel", "<=", 0.1)),
    Promise(
        "one channel, 100 subscribers, deliveries per CPU second",
        "subscribers",
        Target("deliveries_per_cpu_s", ">=", 200_000),
    ),
    Promise(
        "the same with one subscriber stuck : without",
        "subscribers",
        Target("deliveries/CPU s, with a stuck subscriber : without", ">=", 0.95),
    ),
    Promise(
        "15 polite channels beside one with 1,000 queued, p99 : without it",
        "flood",
        Target("polite p99, with the flood : without, driver", "<=", 2),
    ),
    Promise(
        "the same on the scripted CLI",
        "flood",
        Target("polite p99, with the flood : without, scripted CLI", "<=", 2),
    ),
    Promise(
        "lag of an asyncio loop beside 50 busy channels, p99 in ms",
        "loop-lag",
        Target("asyncio_lag_p99_ms", "<=", 50),
    ),
    Promise(
        "10 minutes of soak, memory at the end : after the warm-up",
        "soak",
        Target("memory, end : after warm-up", "<=", 1.05),
    ),
    Promise(
        "processes, descriptors, tasks that it left or piled up",
        "soak",
        Target("processes, descriptors, tasks left or grown", "<=", 0),
    ),
)
