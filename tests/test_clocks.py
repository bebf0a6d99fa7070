"""A turn's clocks: which one runs in which phase, what starts it again, what pauses it."""

from __future__ import annotations

import math

import pytest

from echo_actors.actors.clocks import GRAIN, TurnClocks
from echo_actors.claude.driver import Phase
from echo_actors.models import Clock

ALL = {Clock.START: 10.0, Clock.FIRST_EVENT: 20.0, Clock.IDLE: 5.0, Clock.TOTAL: 100.0}


def clocks(**changed: float) -> TurnClocks:
    """Clocks with every timeout set."""
    return TurnClocks({**ALL, **{Clock(name): seconds for name, seconds in changed.items()}})


def test_no_clock_runs_before_the_first_phase() -> None:
    """Waiting for a slot is on no clock of the turn."""
    fresh = clocks()
    assert fresh.deadline() == math.inf
    assert fresh.expired(1e9) is None


@pytest.mark.parametrize(
    ("phase", "clock", "seconds"),
    [(Phase.STARTING, Clock.START, 10.0), (Phase.SENT, Clock.FIRST_EVENT, 20.0), (Phase.RUNNING, Clock.IDLE, 5.0)],
)
def test_each_phase_has_its_clock(phase: Phase, clock: Clock, seconds: float) -> None:
    """A phase starts its own clock, which runs out exactly at its deadline."""
    running = clocks()
    running.on_phase(phase, 1000.0)
    assert running.deadline() == 1000.0 + seconds
    assert running.expired(1000.0 + seconds - 0.001) is None
    assert running.expired(1000.0 + seconds) is clock


def test_a_new_phase_stops_the_clock_of_the_one_before() -> None:
    """A process that took nine of ten seconds to start has its whole idle time before it."""
    running = clocks()
    running.on_phase(Phase.STARTING, 0.0)
    running.on_phase(Phase.RUNNING, 9.0)
    assert running.expired(13.9) is None
    assert running.expired(14.0) is Clock.IDLE


def test_the_total_clock_runs_from_the_first_phase_over_all() -> None:
    """No phase and no sign of life moves the total deadline."""
    running = clocks()
    running.on_phase(Phase.STARTING, 0.0)
    running.on_phase(Phase.RUNNING, 50.0)
    for now in range(50, 100, 4):
        running.on_life(float(now))
    assert running.expired(99.9) is None
    assert running.expired(100.0) is Clock.TOTAL


def test_a_sign_of_life_starts_the_idle_clock_again() -> None:
    """Idle means that long without a sign of life."""
    running = clocks()
    running.on_phase(Phase.RUNNING, 0.0)
    running.on_life(4.0)
    assert running.expired(8.9) is None
    assert running.expired(4.0 + 5.0 * (1 + GRAIN)) is Clock.IDLE


def test_signs_of_life_in_quick_succession_move_the_idle_clock_once() -> None:
    """Moving it costs more than the sign; the clock may run longer by its grain, and never shorter."""
    running = clocks()
    running.on_phase(Phase.RUNNING, 0.0)
    assert running.on_life(1.0)
    assert not running.on_life(1.0 + 5.0 * GRAIN)
    assert running.on_life(1.001 + 5.0 * GRAIN)
    assert running.deadline() >= 1.001 + 5.0 * GRAIN + 5.0


def test_a_sign_of_life_does_not_lengthen_the_start() -> None:
    """Only the idle clock counts silence."""
    running = clocks()
    running.on_phase(Phase.STARTING, 0.0)
    running.on_life(9.0)
    assert running.expired(10.0) is Clock.START


def test_waiting_for_a_process_to_be_allowed_to_start_is_on_the_queue_clock() -> None:
    """It eats nothing of the turn's own time."""
    running = TurnClocks({Clock.QUEUE: 7.0, Clock.START: 10.0, Clock.TOTAL: 100.0})
    running.wait(0.0)
    assert running.expired(7.0) is Clock.QUEUE
    running.on_phase(Phase.STARTING, 6.0)
    assert running.deadline() == 16.0
    assert running.expired(106.0) is Clock.START


def test_the_earliest_of_several_expired_clocks_is_named() -> None:
    """Looking late does not blame the wrong clock."""
    running = clocks()
    running.on_phase(Phase.RUNNING, 0.0)
    assert running.expired(1000.0) is Clock.IDLE


def test_an_infinite_timeout_never_runs_out() -> None:
    """``inf`` and a clock that is not named mean never."""
    running = clocks(idle=math.inf)
    running.on_phase(Phase.RUNNING, 0.0)
    assert running.deadline() == 100.0
    unnamed = TurnClocks({})
    unnamed.on_phase(Phase.RUNNING, 0.0)
    assert unnamed.deadline() == math.inf


def test_a_question_holds_the_idle_clock_and_no_other() -> None:
    """Signs of life do not start it meanwhile; afterwards it has its whole time."""
    running = clocks()
    running.on_phase(Phase.RUNNING, 0.0)
    running.on_asking(1.0, asking=True)
    assert not running.on_life(2.0)
    assert running.expired(99.9) is None
    running.on_asking(50.0, asking=False)
    assert running.expired(54.9) is None
    assert running.expired(55.0) is Clock.IDLE
    running.on_asking(55.0, asking=True)
    assert running.expired(100.0) is Clock.TOTAL


def test_a_question_before_the_turn_runs_holds_nothing() -> None:
    """The clocks of a start are about the CLI, not about people."""
    running = clocks()
    running.on_phase(Phase.SENT, 0.0)
    running.on_asking(1.0, asking=True)
    assert running.expired(20.0) is Clock.FIRST_EVENT
