"""The calls of those who watch: what the engine and its channels do, how it is, what it measures."""

from __future__ import annotations

from echo_actors.actors.topic import Subscription
from echo_actors.engine.calls import Calls
from echo_actors.engine.channels import ChannelStatus, page_of_channels
from echo_actors.engine.health import Health, health_of
from echo_actors.engine.intake import check_limit
from echo_actors.engine.measures import metrics_of
from echo_actors.engine.status import EngineStatus
from echo_actors.shape import for_any_thread
from echo_actors.telemetry.metric import Metric


class WatchingCalls(Calls):
    """An engine's events, status, health and metrics."""

    def subscribe(
        self, channel: str | None = None, *, since: str | None = None, buffer_size: int | None = None
    ) -> Subscription:
        """Subscribe to a channel's events, or with None to all; an async context manager and iterator.

        Args:
            channel: None for every channel.
            since: The cursor of the last event seen, or ``BEGIN``; events after it that the ring still holds come
                first, and a ``Lagged`` before them when some are lost.
            buffer_size: How many events may wait for this subscriber; the setting ``subscriber_buffer`` by default.
        """
        return self._services.hub.subscribe(channel, since=since, buffer_size=buffer_size)

    def status(self) -> EngineStatus:
        """What the engine is doing at this moment."""
        supervisor, services = self._supervisor, self._services
        processes = services.driver.processes()
        return EngineStatus(
            run_id=services.hub.run_id,
            closing=supervisor.closing,
            live_channels=len(supervisor.actors),
            running_turns=services.turn_slots.held,
            waiting_for_slot=services.turn_slots.waiting,
            turn_slots=services.turn_slots.total,
            queued_messages=sum(actor.mailbox.depth for actor in supervisor.actors.values()),
            residents=processes.residents,
            spares=processes.spares,
            starting=processes.starting,
            ending=processes.ending,
            resident_memory=processes.memory,
            subscribers=services.hub.subscriptions,
            events_lost=services.hub.lost,
            suspended=dict(supervisor.suspended),
            gate=services.gate.state.reason,
            gate_closed_for=services.gate.closed_for,
            actor_restarts=supervisor.restarts,
            store_errors=services.store.health.failures,
            audit_problem=self._audit.problem,
            audit_lost=self._audit.lost,
            audit_unsynced=self._audit.unsynced,
        )

    def channels(self, *, after: str = "", limit: int | None = 1000) -> tuple[ChannelStatus, ...]:
        """What the live channels are doing at this moment, in the order of their names.

        Those that are known and not live, as they have been idle for the setting ``passivate_after``, are in
        ``sessions``.

        Args:
            after: The name before the first one: that of the last channel on the page before.
            limit: The most channels; None for all of them.

        Raises:
            InvalidMessage: The limit is below 1.
        """
        check_limit(limit)
        return page_of_channels(self._supervisor, after=after, limit=limit)

    @for_any_thread
    def health(self) -> Health:
        """Whether the engine is alive, and whether it is ready for messages. May be called in any thread."""
        return health_of(
            self._services, self._watch, closing=self._supervisor.closing, audit_problem=self._audit.unwritable
        )

    def metrics(self) -> tuple[Metric, ...]:
        """What the engine measures: of its status, and with the setting ``telemetry`` of messages, turns and tools."""
        telemetry = self._watch.telemetry
        return (*metrics_of(self.status()), *(() if telemetry is None else telemetry.read()))
