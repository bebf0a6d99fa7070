"""The load that contenders are put under: channels that talk at the same time, each waiting for its answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import attrs
import trio

from bench.report import Round
from bench.statistics import percentile, summarize
from echo_actors import Engine

Ask = Callable[[str], Awaitable[str]]
"""Sends a message to one channel and waits for the text of its answer."""

OpenChannel = Callable[[int], AbstractAsyncContextManager[Ask]]


@attrs.define(eq=False)
class Conversations:
    """Channels in conversation at the same time; each sends its next message when it has the answer to the last."""

    open_channel: OpenChannel
    channels: int
    messages: int
    _firsts: list[float] = attrs.field(factory=list, init=False)
    _laters: list[float] = attrs.field(factory=list, init=False)
    _all_done: trio.Event = attrs.field(factory=trio.Event, init=False)
    _done: int = attrs.field(default=0, init=False)

    async def run(self) -> Round:
        """Hold the conversations, and say how it went.

        The time goes from the first channel's opening to the last answer, so starting is in and ending is not. No
        channel is closed before all have their answers.
        """
        began, cpu_began = time.perf_counter(), time.process_time()
        elapsed = cpu = 0.0
        async with trio.open_nursery() as nursery:
            for number in range(self.channels):
                nursery.start_soon(self._converse, number)
            await self._all_done.wait()
            elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        turns = self.channels * self.messages
        figures = {
            "turns_per_s": turns / elapsed,
            "first_reply_s": summarize(self._firsts).median,
            "own_cpu_ms_per_turn": cpu / turns * 1000,
        }
        if self._laters:
            figures["later_reply_p50_ms"] = percentile(self._laters, 50) * 1000
            figures["later_reply_p99_ms"] = percentile(self._laters, 99) * 1000
        return figures

    async def _converse(self, number: int) -> None:
        opened = time.perf_counter()
        async with self.open_channel(number) as ask:
            for turn in range(self.messages):
                text = f"channel {number} message {turn}"
                began = time.perf_counter() if turn else opened
                answer = await ask(text)
                (self._laters if turn else self._firsts).append(time.perf_counter() - began)
                if answer != f"echo: {text}":
                    raise RuntimeError(f"{text!r} was answered {answer!r}")
            self._done += 1
            if self._done == self.channels:
                self._all_done.set()
            await self._all_done.wait()


async def talk(engine: Engine, channels: Sequence[str], messages: int) -> list[float]:
    """Let channels of an engine talk at the same time; give the seconds that each message took."""
    latencies: list[float] = []

    async def one(channel: str) -> None:
        for turn in range(messages):
            began = time.perf_counter()
            await engine.ask(channel, f"message {turn}")
            latencies.append(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for channel in channels:
            nursery.start_soon(one, channel)
    return latencies
