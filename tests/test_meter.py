"""What a turn cost, from totals that never go back to zero: by both kinds of CLI, over resumes and kills."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import JSON

from echo_actors.claude.meter import Meter, context_size, number
from echo_actors.models import Usage

TURN = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}


def modern(total: float, since: float, *, tokens: int = 100) -> dict[str, Any]:
    """A result of a CLI that says what was used since the last one."""
    used = {"inputTokens": tokens, "outputTokens": 20, "cacheReadInputTokens": 3, "cacheCreationInputTokens": 4}
    return {
        "total_cost_usd": total,
        "usage": {"input_tokens": 1},
        "model_usage_since_last_result": {"sonnet": {**used, "costUSD": since}},
    }


def old(total: float) -> dict[str, Any]:
    """A result of a CLI that says totals only."""
    return {"total_cost_usd": total, "usage": TURN}


def make_meter(baseline: float = 0.0) -> Meter:
    """A meter for a session that had cost this much before."""
    return Meter(lambda: baseline)


def costs(meter: Meter, *results: dict[str, Any]) -> list[float]:
    """The cost of each claimed result."""
    return [round(meter.read(result, claimed=True)[1], 9) for result in results]


def test_a_new_cli_says_itself_what_a_turn_took() -> None:
    """Tokens and cost are those since the last result, over all models."""
    two = modern(1.0, 0.25)
    two["model_usage_since_last_result"]["haiku"] = {"inputTokens": 5, "costUSD": 0.05}
    usage, cost = make_meter().read(two, claimed=True)
    assert usage == Usage(input_tokens=105, output_tokens=20, cache_read_tokens=3, cache_creation_tokens=4)
    assert cost == pytest.approx(0.30)


def test_a_new_cli_does_not_need_the_baseline() -> None:
    """Reading a whole transcript is for those CLIs alone that leave no other way."""

    def baseline() -> float:
        raise AssertionError("asked for the baseline")

    assert Meter(baseline).read(modern(0.9, 0.1), claimed=True)[1] == pytest.approx(0.1)


def test_cumulative_totals_become_the_cost_of_each_turn() -> None:
    """Totals of 1, 2 and 3 units are three turns of one unit, not six."""
    meter = make_meter()
    assert costs(meter, old(0.1), old(0.2), old(0.3)) == [0.1, 0.1, 0.1]


def test_the_tokens_of_an_old_cli_are_those_of_the_turn() -> None:
    """They are not cumulative."""
    meter = make_meter()
    meter.read(old(0.1), claimed=True)
    usage, _ = meter.read(old(0.2), claimed=True)
    assert usage == Usage(input_tokens=100, output_tokens=20, cache_read_tokens=3, cache_creation_tokens=4)


def test_a_resumed_session_starts_from_its_saved_total() -> None:
    """The first result of the new process contains what earlier processes spent."""
    assert costs(make_meter(0.5), old(0.6), old(0.7)) == [0.1, 0.1]


def test_after_a_kill_the_total_may_be_below_the_saved_one_and_no_cost_is_negative() -> None:
    """It then starts from the last total that the CLI itself had saved."""
    assert costs(make_meter(0.5), old(0.4), old(0.5)) == [0.0, 0.1]


def test_a_total_that_falls_within_a_process_costs_nothing() -> None:
    """``/clear`` resets it; the turns after that count again."""
    assert costs(make_meter(), old(0.5), old(0.0), old(0.1)) == [0.5, 0.0, 0.1]


def test_the_baseline_is_asked_at_most_once() -> None:
    """It reads a file."""
    asked: list[None] = []

    def baseline() -> float:
        asked.append(None)
        return 0.0

    meter = Meter(baseline)
    costs(meter, old(0.1), old(0.2))
    assert len(asked) == 1


def test_what_nobody_claims_is_carried_by_the_next_turn() -> None:
    """A stray result was paid for."""
    meter = make_meter()
    assert meter.read(old(0.1), claimed=False) == (Usage(), 0.0)
    usage, cost = meter.read(old(0.3), claimed=True)
    assert (usage.input_tokens, round(cost, 9)) == (200, 0.3)
    usage, cost = meter.read(old(0.4), claimed=True)
    assert (usage.input_tokens, round(cost, 9)) == (100, 0.1)


def test_a_new_cli_that_leaves_the_field_out_once_is_read_by_its_totals() -> None:
    """Both ways of counting go together without a gap or a double count."""
    assert costs(make_meter(), modern(0.1, 0.1), old(0.3), modern(0.4, 0.1), old(0.5)) == [0.1, 0.2, 0.1, 0.1]


@given(st.lists(st.floats(0, 100), max_size=20), st.floats(0, 100))
def test_costs_are_never_negative_and_add_up_to_the_rises(totals: list[float], baseline: float) -> None:
    """For any sequence of totals."""
    meter = make_meter(baseline)
    spent = [meter.read(old(total), claimed=True)[1] for total in totals]
    assert all(cost >= 0 for cost in spent)
    before = [min(baseline, totals[0]) if totals else 0.0, *totals]
    assert sum(spent) == pytest.approx(sum(max(0.0, b - a) for a, b in itertools.pairwise(before)), abs=1e-6)


@pytest.mark.parametrize("value", [None, "7", [], {}, True, float("nan"), float("inf"), 10**400, 1e300, 2**63])
def test_what_is_no_finite_number_counts_as_nothing(value: object) -> None:
    """No type or size on the wire is trusted."""
    assert number(value) == 0.0


@given(st.dictionaries(st.sampled_from(["total_cost_usd", "usage", "model_usage_since_last_result"]), JSON))
def test_no_result_whatever_breaks_the_meter(result: dict[str, Any]) -> None:
    """It gives finite counts for any JSON."""
    usage, cost = make_meter().read(result, claimed=True)
    assert cost >= 0
    assert all(isinstance(count, int) for count in (usage.input_tokens, usage.output_tokens))


def test_negative_counts_and_costs_count_as_nothing() -> None:
    """A turn gives nothing back."""
    result = modern(-1.0, -0.5, tokens=-100)
    usage, cost = make_meter().read(result, claimed=True)
    assert (usage.input_tokens, cost) == (0, 0.0)


def test_the_context_is_all_that_went_in_and_what_came_out() -> None:
    """Cached or not."""
    assert context_size(TURN) == 127
    assert context_size({}) == 0


def test_a_process_affords_a_turn_until_it_has_spent_a_quarter_of_one() -> None:
    """Whatever the session cost before it, and whoever the results answered."""
    meter = make_meter(baseline=5.0)
    seen = []
    for total in (5.125, 5.25, 5.5):
        seen.append((meter.affords(1.0), meter.affords(None)))
        meter.read(old(total), claimed=total != 5.25)
    assert meter.spent == 0.5
    assert [*seen, (meter.affords(1.0), meter.affords(None))] == [(True, True)] * 3 + [(False, True)]
