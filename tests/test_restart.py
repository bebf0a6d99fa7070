"""The restart policy: how long a crashed actor waits, and when it is given up."""

from __future__ import annotations

import pytest

from echo_actors.actors.restart import FIRST_DELAY, INTENSITY, LONGEST_DELAY, PERIOD, RestartPolicy


def no_jitter() -> float:
    """The least that jitter gives."""
    return 0.0


def test_the_delay_doubles_with_each_crash() -> None:
    """From half of a tenth of a second, without jitter."""
    policy = RestartPolicy(no_jitter)
    assert [policy.on_crash(0.0) for _ in range(4)] == [
        pytest.approx(FIRST_DELAY / 2 * factor) for factor in (1, 2, 4, 8)
    ]


def test_jitter_spreads_the_delay_over_its_upper_half() -> None:
    """Actors that fell together do not rise together."""
    assert RestartPolicy(lambda: 0.5).on_crash(0.0) == pytest.approx(FIRST_DELAY * 0.75)
    assert RestartPolicy(lambda: 0.999).on_crash(0.0) == pytest.approx(FIRST_DELAY, rel=0.01)


def test_no_delay_is_longer_than_the_longest() -> None:
    """Whatever the intensity is."""
    policy = RestartPolicy(lambda: 1.0)
    delays = [policy.on_crash(0.0) for _ in range(INTENSITY)]
    assert all(delay is not None and delay <= LONGEST_DELAY for delay in delays)


def test_the_sixth_crash_within_the_period_suspends() -> None:
    """Five are forgiven."""
    policy = RestartPolicy(no_jitter)
    assert all(policy.on_crash(float(second)) is not None for second in range(INTENSITY))
    assert policy.on_crash(PERIOD - 0.1) is None


def test_crashes_older_than_the_period_do_not_count() -> None:
    """A crash a minute is no reason to give up, and starts again with the first delay."""
    policy = RestartPolicy(no_jitter)
    delays = [policy.on_crash(minute * 60.0) for minute in range(20)]
    assert delays == [pytest.approx(FIRST_DELAY / 2)] * 20


def test_a_reset_forgets_the_crashes() -> None:
    """After a person resumed the channel, five are forgiven again."""
    policy = RestartPolicy(no_jitter)
    while policy.on_crash(0.0) is not None:
        pass
    policy.reset()
    assert policy.on_crash(0.0) == pytest.approx(FIRST_DELAY / 2)
