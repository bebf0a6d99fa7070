"""Ends a command by signal: the first one drains what it does, the second cuts it, and neither leaves a process."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio

from echo_actors.commands.exits import Exit, is_reader_gone
from echo_actors.engine import Engine, open_engine
from echo_actors.settings import Settings

_CODES: Final = {
    signal.SIGINT: Exit.INTERRUPTED,
    signal.SIGTERM: Exit.TERMINATED,
    signal.SIGHUP: Exit.TERMINATED,
}
"""The signals that end a command. A closed terminal asks for the same as SIGTERM."""


@attrs.define(eq=False)
class Ending:
    """A command's early end.

    Attributes:
        scope: The whole command.
        signal: The first signal that ended the command.
    """

    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)
    signal: int | None = None
    _engine: Engine | None = None
    _work: trio.CancelScope | None = None
    _interruptible: trio.CancelScope | None = None

    @asynccontextmanager
    async def engine(self, settings: Settings) -> AsyncIterator[Engine]:
        """Open an engine for the block, as ``open_engine`` does.

        A signal cancels the block and not the engine, which drains then; a second signal cuts what still runs.
        """
        try:
            async with open_engine(settings) as engine:
                self._engine = engine
                with trio.CancelScope() as self._work:
                    yield engine
        finally:
            self._engine = self._work = None
        if self.signal is not None:
            # The block was left early: what comes after it in the command must not happen.
            self.scope.cancel()
            await trio.lowlevel.checkpoint()

    @contextmanager
    def interruptible(self) -> Iterator[trio.CancelScope]:
        """Let the first SIGINT end this block alone; see the scope's ``cancelled_caught``."""
        with trio.CancelScope() as scope:
            self._interruptible = scope
            try:
                yield scope
            finally:
                self._interruptible = None

    async def watch(self, signals: AsyncIterator[int]) -> None:
        """Take signals until cancelled."""
        async for number in signals:
            block = self._interruptible
            if number == signal.SIGINT and block is not None and not block.cancel_called and self.signal is None:
                block.cancel()
            elif self.signal is None:
                self.signal = number
                (self._work or self.scope).cancel()
            elif self._engine is not None:
                await self._engine.drain(timeout=0)


def supervise(command: Callable[[Ending], Awaitable[int]]) -> int:
    """Run a command to its end, or to that which a signal gives it; return the exit code."""
    return trio.run(_supervise, command)


async def _supervise(command: Callable[[Ending], Awaitable[int]]) -> int:
    ending = Ending()
    # Whoever started this program with a signal ignored, as nohup does, wants it to stay so.
    taken = [each for each in _CODES if signal.getsignal(each) is not signal.SIG_IGN]
    code: int = Exit.FAILED
    with trio.open_signal_receiver(*taken) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ending.watch, signals)
            try:
                with ending.scope:
                    code = await command(ending)
            except (OSError, BaseExceptionGroup) as error:
                # A terminal that was closed cannot be written to either; that is no other end than its signal.
                if ending.signal is None or not is_reader_gone(error):
                    raise
            nursery.cancel_scope.cancel()
    return code if ending.signal is None else _CODES[signal.Signals(ending.signal)]
