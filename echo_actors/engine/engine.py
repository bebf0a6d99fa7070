"""The engine: what a program calls. ``opening`` makes it."""

from __future__ import annotations

from echo_actors.engine.channel_calls import ChannelCalls
from echo_actors.engine.conversation_calls import ConversationCalls
from echo_actors.engine.dead_letter_calls import DeadLetterCalls
from echo_actors.engine.message_calls import MessageCalls
from echo_actors.engine.watching_calls import WatchingCalls


class Engine(MessageCalls, ChannelCalls, ConversationCalls, DeadLetterCalls, WatchingCalls):
    """Many channels, one conversation each. Made by ``open_engine``; its calls belong to that trio run."""

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - how long turns may go on
        """Take no new messages and let running turns end; leaving the engine's block does this too.

        Args:
            timeout: Seconds for running turns, the setting ``drain_timeout`` by default; then they are cut, and run
                again at the next start, like everything that still waits.
        """
        if not self._supervisor.closing:
            self._services.record("engine.draining")
        await self._supervisor.drain(self.settings.drain_timeout if timeout is None else timeout)
