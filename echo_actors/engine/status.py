"""What an engine says of itself when it is asked what it is doing."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class EngineStatus:
    """What an engine is doing at this moment.

    Attributes:
        run_id: Of this run of the program; in every audit record, and in the environment of what it starts.
        closing: Whether it takes nothing more.
        live_channels: Channels whose actor is in memory.
        running_turns: Turns that hold a slot.
        waiting_for_slot: Channels that wait for one.
        turn_slots: How many slots there are.
        queued_messages: Messages waiting in mailboxes.
        residents: CLI processes that are up and belong to a channel, in a turn or idle.
        spares: Those that are up and wait for a channel.
        starting: Those that are not up yet, or still wait for room to start.
        ending: Those that are on their way out.
        resident_memory: The private bytes that residents, spares and their tools had when they were last measured, a
            few seconds ago; 0 before that.
        subscribers: Open subscriptions.
        events_lost: How many events subscribers were too slow for, since the engine opened.
        suspended: Channels that take nothing, and why.
        gate: Why no turn may start now, or why it might not; empty once one was answered.
        gate_closed_for: Seconds until turns may start; 0 when they may.
        actor_restarts: How often the actor of a channel crashed, and ran again or was suspended.
        store_errors: How many requests failed by the store's fault.
        audit_problem: Why audit records cannot be written now, or files not be changed for others, or what is lost for
            good because it could not be made.
        audit_lost: How many audit records this run has lost; the log says so where they are missing.
        audit_unsynced: With the setting ``audit_sync``, how many ends of turns were announced before they were on the
            disk, because that took too long.
    """

    run_id: str
    closing: bool
    live_channels: int
    running_turns: int
    waiting_for_slot: int
    turn_slots: int
    queued_messages: int
    residents: int
    spares: int
    starting: int
    ending: int
    resident_memory: int
    subscribers: int
    events_lost: int
    suspended: dict[str, str]
    gate: str
    gate_closed_for: float
    actor_restarts: int
    store_errors: int
    audit_problem: str | None
    audit_lost: int
    audit_unsynced: int
