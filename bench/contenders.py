"""The ways to hold conversations that scenarios compare. Each runs once, from nothing to its figures."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs

from bench.bare import BareCLI
from bench.harness import Harness
from bench.report import Round
from bench.workload import Ask, Conversations
from echo_actors import open_engine


@attrs.frozen
class Conversation:
    """So many channels with so many messages each, held in one way or another.

    Attributes:
        settings: Of the engine, where they are to differ from the harness's.
    """

    harness: Harness
    channels: int
    messages: int
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    async def engine(self) -> Round:
        """An engine, opened for it."""
        with self.harness.workplace() as workplace:
            settings = self.harness.settings(workplace, **self.settings)

            @asynccontextmanager
            async def channel(number: int) -> AsyncIterator[Ask]:
                async def ask(text: str) -> str:
                    return (await engine.ask(f"bench:{number}", text)).text

                yield ask

            async with open_engine(settings) as engine:
                return await Conversations(channel, self.channels, self.messages).run()

    async def warm_processes(self) -> Round:
        """One CLI process per channel, and nothing else."""
        with self.harness.workplace() as workplace:
            cli = BareCLI.like(self.harness.settings(workplace), workplace)

            @asynccontextmanager
            async def channel(_: int) -> AsyncIterator[Ask]:
                async with cli.process(str(uuid.uuid4())) as process:
                    yield process.ask

            return await Conversations(channel, self.channels, self.messages).run()

    async def process_per_message(self) -> Round:
        """A new CLI process for each message, which resumes the conversation, as a simple bridge does it."""
        with self.harness.workplace() as workplace:
            cli = BareCLI.like(self.harness.settings(workplace), workplace)

            @asynccontextmanager
            async def channel(_: int) -> AsyncIterator[Ask]:
                session_id, known = str(uuid.uuid4()), False

                async def ask(text: str) -> str:
                    nonlocal known
                    async with cli.process(session_id, resume=known) as process:
                        known = True
                        return await process.ask(text)

                yield ask

            return await Conversations(channel, self.channels, self.messages).run()
