"""The engine: what a program calls. ``opening`` makes it."""

from __future__ import annotations

from echo_actors.actors.topic import Subscription
from echo_actors.engine.channel_calls import ChannelCalls
from echo_actors.engine.conversation_calls import ConversationCalls
from echo_actors.engine.message_calls import MessageCalls
from echo_actors.engine.status import EngineStatus


class Engine(MessageCalls, ChannelCalls, ConversationCalls):
    """Many channels, one conversation each. Made by ``open_engine``; its calls belong to that trio run."""

    def subscribe(
        self, channel: str | None = None, *, since: str | None = None, buffer_size: int | None = None
    ) -> Subscription:
        """Subscribe to a channel's events, or with None to all; an async context manager and iterator.

        Args:
            channel: None for every channel.
            since: The cursor of the last event seen; events after it that the ring still holds come first, and a
                ``Lagged`` before them when some are lost.
            buffer_size: How many events may wait for this subscriber; the setting ``subscriber_buffer`` by default.
        """
        return self._services.hub.subscribe(channel, since=since, buffer_size=buffer_size)

    def status(self) -> EngineStatus:
        """What the engine is doing at this moment."""
        supervisor, processes = self._supervisor, self._services.driver.processes()
        return EngineStatus(
            run_id=self._services.hub.run_id,
            closing=supervisor.closing,
            live_channels=len(supervisor.actors),
            running_turns=self._services.turn_slots.held,
            waiting_for_slot=self._services.turn_slots.waiting,
            queued_messages=sum(actor.mailbox.depth for actor in supervisor.actors.values()),
            residents=processes.residents,
            spares=processes.spares,
            starting=processes.starting,
            ending=processes.ending,
            resident_memory=processes.memory,
            subscribers=self._services.hub.subscriptions,
            suspended=dict(supervisor.suspended),
            gate=self._services.gate.state.reason,
            audit_problem=self._audit.problem,
            audit_lost=self._audit.lost,
            audit_unsynced=self._audit.unsynced,
        )

    async def drain(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - how long turns may go on
        """Take no new messages and let running turns end; leaving the engine's block does this too.

        Args:
            timeout: Seconds for running turns, the setting ``drain_timeout`` by default; then they are cut, and run
                again at the next start, like everything that still waits.
        """
        if not self._supervisor.closing:
            self._services.record("engine.draining")
        await self._supervisor.drain(self.settings.drain_timeout if timeout is None else timeout)
