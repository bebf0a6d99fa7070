"""The gate: what one turn learns of the account holds for all, as a function of time and in an engine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio
from conftest import Host
from support import asked, audit_records, plain_settings, scripted_engine, scripted_settings

from echo_actors import Engine, GateClosed, OutcomeKind, TurnFailed, open_engine
from echo_actors.admission import gate as gates
from echo_actors.admission.gate import FIRST_PAUSE, LONGEST_LIMIT, Gate, GateState
from echo_actors.claude.driver import TurnRequest, TurnResult
from echo_actors.testing.instant_driver import InstantDriver, echo

NOW = 1_000_000.0

# -- the decisions


def test_an_open_gate_admits_at_once() -> None:
    """Nothing has failed yet."""
    assert GateState().admit(NOW) == 0.0


def test_a_rate_limit_closes_until_it_resets() -> None:
    """All wait for the moment that the API named; then all go."""
    state = GateState()
    assert state.on_failure("rate_limit", "limited", NOW + 90, NOW)
    assert [state.admit(NOW), state.admit(NOW + 30), state.admit(NOW + 90)] == [90, 60, 0]
    assert not state.broken


def test_a_rate_limit_without_a_moment_closes_for_a_minute() -> None:
    """An API that does not say when is asked again after a stated time."""
    state = GateState()
    state.on_failure("rate_limit_error", "limited", None, NOW)
    assert state.admit(NOW) == gates.UNKNOWN_RESET


def test_a_rate_limit_that_resets_earlier_does_not_open_a_later_one() -> None:
    """The latest reset counts."""
    state = GateState()
    state.on_failure("rate_limit", "weekly", NOW + 500, NOW)
    state.on_failure("rate_limit", "short", NOW + 5, NOW)
    assert state.admit(NOW) == 500


@pytest.mark.parametrize("error", sorted(gates.OVERLOAD))
def test_overload_closes_for_a_pause_that_doubles_up_to_a_bound(error: str) -> None:
    """Success begins anew with the shortest pause."""
    state, now, pauses = GateState(), NOW, []
    for _ in range(9):
        state.on_failure(error, "busy", None, now)
        pauses.append(state.admit(now))
        now += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    state.on_success()
    state.on_failure(error, "busy", None, now)
    assert state.admit(now) == gates.FIRST_PAUSE


@pytest.mark.parametrize("error", sorted(gates.BREAKING))
def test_the_third_failure_of_the_account_in_a_row_opens_the_breaker(error: str) -> None:
    """Two leave the gate open; a success between them counts anew."""
    state = GateState()
    for _ in range(2):
        assert not state.on_failure(error, "no", None, NOW)
    state.on_success()
    assert [state.on_failure(error, "no", None, NOW) for _ in range(3)] == [False, False, True]
    assert state.broken
    assert state.admit(NOW) == gates.FIRST_COOLDOWN


def test_an_open_breaker_lets_one_probe_through_at_intervals_that_grow_up_to_a_bound() -> None:
    """Whoever asks beside the probe waits; each failed probe doubles the time to the next."""
    state, now, waits = GateState(), NOW, []
    for _ in range(3):
        state.on_failure("billing_error", "no money", None, now)
    for _ in range(7):
        waits.append(state.admit(now))
        now += waits[-1]
        assert state.admit(now) == 0.0
        assert state.admit(now) > 0.0
        state.on_failure("billing_error", "no money", None, now)
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_a_probe_that_succeeds_closes_the_breaker_for_all() -> None:
    """From then on everybody passes, and the next break begins with the first cool-down."""
    state = GateState()
    for _ in range(4):
        state.on_failure("authentication_failed", "no key", None, NOW)
    state.on_success()
    assert [state.admit(NOW) for _ in range(3)] == [0, 0, 0]
    for _ in range(3):
        state.on_failure("authentication_failed", "no key", None, NOW)
    assert state.admit(NOW) == gates.FIRST_COOLDOWN


def test_a_probe_that_fails_for_another_reason_leaves_the_breaker_open() -> None:
    """It has not shown that the account works."""
    state = GateState()
    for _ in range(3):
        state.on_failure("billing_error", "no money", None, NOW)
    later = NOW + gates.FIRST_COOLDOWN
    assert state.admit(later) == 0.0
    assert not state.on_failure("invalid_request", "bad", None, later)
    assert state.broken
    assert state.admit(later) == gates.FIRST_COOLDOWN


def test_failures_of_the_message_itself_leave_the_gate_alone() -> None:
    """A bad request says nothing about the account."""
    state = GateState()
    assert not any(state.on_failure("invalid_request", "bad", None, NOW) for _ in range(10))
    assert state.admit(NOW) == 0.0


async def test_who_waits_at_the_gate_passes_as_soon_as_it_is_open(autojump_clock: trio.testing.MockClock) -> None:
    """At the reset, or at once when a turn that was let through since succeeds."""
    gate = Gate(autojump_clock.current_time)
    gate.on_failure("rate_limit", "limited", autojump_clock.current_time() + 50)
    await gate.enter()
    assert autojump_clock.current_time() == 50
    gate.on_failure("rate_limit", "limited", autojump_clock.current_time() + 50)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.enter)
        await trio.testing.wait_all_tasks_blocked()
        gate.on_success(gate.state.closures)
    assert autojump_clock.current_time() == 50


def test_an_absurd_reset_closes_the_gate_for_days_and_not_for_ages() -> None:
    """No window of a subscription is longer than a week."""
    state = GateState()
    state.on_failure("rate_limit", "limited", 99999999999.0, NOW)
    assert state.admit(NOW) == LONGEST_LIMIT


def test_a_wall_clock_that_is_set_back_does_not_lengthen_a_pause() -> None:
    """An hour back makes of a second's pause a second's pause, once."""
    state = GateState()
    state.on_failure("overloaded", "busy", None, NOW)
    assert state.admit(NOW - 3600) == FIRST_PAUSE
    assert state.admit(NOW - 3600 + FIRST_PAUSE) == 0.0


def test_a_turn_that_began_before_the_gate_closed_does_not_open_it() -> None:
    """Its answer says nothing of what closed the gate since."""
    gate = Gate(lambda: NOW)
    before = gate.state.closures
    gate.on_failure("rate_limit", "limited", NOW + 50)
    gate.on_success(before)
    assert gate.state.admit(NOW) == 50
    gate.on_success(gate.state.closures)
    assert gate.state.admit(NOW) == 0


# -- an engine whose driver fails as the API does


class Account:
    """Answers for ``InstantDriver`` that fail with this kind of error while one is set; counts what it was asked."""

    error: str | None = None
    calls = 0

    def __call__(self, request: TurnRequest) -> TurnResult:
        """Answer, or fail."""
        self.calls += 1
        if self.error is None:
            return echo(request)
        return TurnResult(
            uuids=(request.turn_id,), session_id=request.session_id, error=self.error, reason=f"API: {self.error}"
        )


async def _fail(engine: Engine, channel: str, error: str, reason: str = "") -> None:
    with pytest.raises(TurnFailed) as caught:
        await engine.ask(channel, "hello")
    assert (caught.value.outcome.kind, caught.value.outcome.error) == (OutcomeKind.FAILED, error)
    assert (reason or error) in caught.value.outcome.reason


@pytest.mark.parametrize("error", sorted(gates.BREAKING))
async def test_a_broken_account_fails_three_messages_and_then_refuses_until_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    """The API is asked three times and once per interval; a probe that is answered opens the door for everybody."""
    account, passed = Account(), [0.0]
    monkeypatch.setattr("echo_actors.engine.opening.time.time", lambda: NOW + passed[0])
    account.error = error
    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path), driver=InstantDriver(account)) as engine:
            for channel in ("a", "b", "c"):
                await _fail(engine, channel, error)
            for channel in ("a", "b", "d"):
                with pytest.raises(GateClosed) as closed:
                    await engine.ask(channel, "hello")
                assert error in str(closed.value)
                assert 0 < closed.value.retry_after <= gates.FIRST_COOLDOWN
            assert account.calls == 3
            passed[0] += gates.FIRST_COOLDOWN
            await _fail(engine, "a", error)
            with pytest.raises(GateClosed):
                await engine.ask("a", "hello")
            assert account.calls == 4
            passed[0] += 2 * gates.FIRST_COOLDOWN
            account.error = None
            for channel in ("a", "b", "c"):
                assert (await engine.ask(channel, "hello")).text == "echo: hello"
            assert engine.status().gate == ""


async def test_messages_that_waited_when_the_account_broke_wait_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were accepted: none fails without having been tried, and all are answered once the account works."""
    account, passed = Account(), [0.0]
    monkeypatch.setattr("echo_actors.engine.opening.time.time", lambda: NOW + passed[0])
    account.error = "billing_error"
    with trio.fail_after(20):
        async with open_engine(plain_settings(tmp_path), driver=InstantDriver(account)) as engine:
            receipts = [await engine.post("a", f"m{number}") for number in range(5)]
            early = [await engine.outcome(receipt.message_id) for receipt in receipts[:3]]
            assert {outcome.kind for outcome in early} == {OutcomeKind.FAILED}
            assert account.calls == 3
            assert engine.status().queued_messages == 2
        account.error = None
        async with open_engine(plain_settings(tmp_path), driver=InstantDriver(account)) as engine:
            late = [await engine.outcome(receipt.message_id) for receipt in receipts[3:]]
    assert {outcome.kind for outcome in late} == {OutcomeKind.ANSWERED}


# -- the scripted and the real CLI


async def test_after_a_rejected_limit_every_channel_waits_for_the_reset_and_is_answered(tmp_path: Path) -> None:
    """The message that met the limit is asked again; its neighbour is not asked before the reset."""
    resets_at = int(time.time()) + 3
    async with scripted_engine(scripted_settings(tmp_path)) as engine:
        limited = await engine.post("a", f"limited [[rate-limited {resets_at}]]")
        async with engine.subscribe("a") as events:
            async for event in events:
                if type(event).__name__ == "Retrying":
                    break
        assert engine.status().gate
        assert (await engine.ask("b", "neighbour")).text == "echo: neighbour"
        assert time.time() >= resets_at
        outcome = await engine.outcome(limited.message_id)
    # Its directive is in its text, so it is limited each time; the attempts are counted and bounded.
    assert (outcome.kind, outcome.error, outcome.attempts) == (OutcomeKind.FAILED, "rate_limit", 3)
    assert asked(tmp_path).count("neighbour") == 1


@pytest.mark.real_cli
async def test_the_real_cli_outlasts_an_overloaded_api(host: Host) -> None:
    """Failed requests are made again after a pause that grows; every message is answered."""
    host.model.set_fault(529, count=2)
    async with host.engine() as engine:
        assert (await engine.ask("a", "hello")).text == "echo: hello"
        assert (await engine.ask("b", "hello")).text == "echo: hello"
    assert len(host.audit("gate.closed")) == 2
    assert host.audit("turn.ended", outcome="answered", attempts=3)


@pytest.mark.real_cli
async def test_the_real_cli_does_not_hammer_an_api_that_refuses_the_key(host: Host) -> None:
    """Three messages fail with the reason, the rest is refused; the model is asked once per message."""
    host.model.set_fault(401)
    async with host.engine() as engine:
        for channel in ("a", "a", "b"):
            await _fail(engine, channel, "authentication_failed", "401")
        requests = len(host.model.calls)
        for channel in ("a", "b", "c"):
            with pytest.raises(GateClosed):
                await engine.ask(channel, "hello")
        assert len(host.model.calls) == requests
    assert sum(call.asked for call in host.model.calls) == 3
    assert len(host.audit("gate.closed")) == 1


@pytest.mark.real_cli
async def test_the_real_cli_waits_for_a_rate_limit_and_is_answered(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit that does not say when it resets is waited for once; no other message asks meanwhile."""
    monkeypatch.setattr(gates, "UNKNOWN_RESET", 2.0)
    host.model.set_fault(429, count=1)
    async with host.engine() as engine:
        started = trio.current_time()
        assert (await engine.ask("a", "hello")).text == "echo: hello"
        assert trio.current_time() - started >= 2.0
        assert (await engine.ask("b", "hello")).text == "echo: hello"
    assert len(host.audit("gate.closed", error="rate_limit")) == 1
    assert len(audit_records(engine.settings, "turn.retried")) == 1
