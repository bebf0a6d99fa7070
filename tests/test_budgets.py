"""Budgets: what may be spent, as a function of time, and in an engine."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
import trio
import trio.testing
from engine_program import killed
from hypothesis import given
from hypothesis import strategies as st
from support import audit_records, memory_services, new_id, opened, plain_settings, scripted_engine, scripted_settings

from echo_actors import (
    Budget,
    BudgetExceeded,
    BudgetPeriod,
    BudgetScope,
    BudgetWarning,
    BusyPolicy,
    Engine,
    OutcomeKind,
    SettingsError,
    StoreFull,
    TurnEnded,
    TurnFailed,
    TurnOverBudget,
    open_engine,
)
from echo_actors.actors.supervisor import Supervisor
from echo_actors.admission.budgets import RETENTION, Account, Budgets, Limits, first_day, resets_at
from echo_actors.claude.driver import TurnRequest, TurnResult
from echo_actors.events import Event
from echo_actors.models import Message, Spent
from echo_actors.state.records import Charge, End, StoredMessage
from echo_actors.state.sqlite import open_sqlite_store
from echo_actors.testing.instant_driver import Answer, InstantDriver, echo
from echo_actors.testing.memory_store import MemoryDisk, MemoryStore
from echo_actors.testing.store_kit import make_snapshot

NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def charge(cost: float, on: date = NOON, channel: str = "c") -> Charge:
    """A cost of a day."""
    return Charge(channel, date(on.year, on.month, on.day), cost)


def costing(cost: float, request: TurnRequest, **changes: Any) -> TurnResult:
    """An answer that costs so much."""
    return attrs.evolve(echo(request), spent=Spent(cost_usd=cost), **changes)


def by_its_text(request: TurnRequest) -> Answer:
    """An answer that costs as many dollars as the message says."""
    return costing(float(request.content.split()[-1]), request)


# -- the decisions


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), (date(2026, 1, 1), date(2026, 2, 1))),
        (datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC), (date(2026, 1, 1), date(2026, 2, 1))),
        (datetime(2028, 2, 29, tzinfo=UTC), (date(2028, 2, 1), date(2028, 3, 1))),
        (datetime(2026, 12, 31, tzinfo=UTC), (date(2026, 12, 1), date(2027, 1, 1))),
    ],
)
def test_a_month_is_that_of_the_calendar_and_a_day_is_one(moment: datetime, month: tuple[date, date]) -> None:
    """The first of the next one is not in it."""
    first = date.fromordinal(first_day(BudgetPeriod.MONTH, moment))
    assert (first, resets_at(BudgetPeriod.MONTH, moment).date()) == month
    assert first_day(BudgetPeriod.DAY, moment) == moment.toordinal()
    assert resets_at(BudgetPeriod.DAY, moment).date() == moment.date() + DAY


def test_a_budget_is_used_up_when_its_limit_is_reached_to_the_cent() -> None:
    """Twenty-five times 0.0004 dollars are 0.01 dollars, whatever floats say."""
    account, limits = Account("c"), Limits(daily=0.01)
    for _ in range(24):
        account.add(NOON, 0.0004)
    assert account.exhausted(limits, NOON) is None
    account.add(NOON, 0.0004)
    assert account.exhausted(limits, NOON) == Budget(
        scope=BudgetScope.CHANNEL,
        channel="c",
        period=BudgetPeriod.DAY,
        limit_usd=0.01,
        spent_usd=0.01,
        resets_at=datetime(2026, 1, 31, tzinfo=UTC),
    )


def test_of_two_budgets_that_are_used_up_the_one_that_lasts_longer_is_named() -> None:
    """Waiting for the next day would be in vain."""
    account = Account("c")
    account.add(NOON, 5.0)
    budget = account.exhausted(Limits(daily=1.0, monthly=2.0), NOON)
    assert budget is not None
    assert (budget.period, budget.resets_at) == (BudgetPeriod.MONTH, datetime(2026, 2, 1, tzinfo=UTC))


def test_a_new_day_and_a_new_month_begin_with_nothing_spent() -> None:
    """At midnight of UTC; what the day before cost still counts in the month."""
    account, limits = Account("c"), Limits(daily=1.0, monthly=1.5)
    account.add(NOON, 1.0)
    assert account.exhausted(limits, NOON) is not None
    assert account.exhausted(limits, NOON + DAY) is None
    account.add(NOON + DAY, 1.0)
    monthly = account.exhausted(limits, NOON + DAY)
    assert monthly is not None
    assert monthly.period is BudgetPeriod.MONTH
    assert account.exhausted(limits, NOON + 2 * DAY) is None
    assert account.exhausted(limits, NOON) is not None, "a clock that is set back finds what it left"


def test_a_budget_of_nothing_lets_nothing_begin() -> None:
    """An operator may close a channel by it."""
    assert Account("c").exhausted(Limits(daily=0.0), NOON) is not None
    assert Account("c").exhausted(Limits(), NOON) is None


def test_each_mark_of_a_budget_is_crossed_once_in_its_period() -> None:
    """The warning first; both at once by a turn that is dear enough; again on the next day."""
    budgets, account, limits = Budgets(Limits(), 0.8), Account("c"), Limits(daily=1.0)
    seen = [
        [crossing.used_up for crossing in budgets.charged(account, limits, charge(cost, on))]
        for cost, on in ((0.7, NOON), (0.2, NOON), (0.05, NOON), (0.05, NOON), (1.0, NOON), (2.0, NOON + DAY))
    ]
    assert seen == [[], [False], [], [True], [], [False, True]]


def test_the_budget_of_all_sees_what_every_channel_spends() -> None:
    """And the channels' own do not see each other."""
    budgets, one, other = Budgets(Limits(daily=1.0), 0.8), Account("one"), Account("other")
    budgets.charged(one, Limits(), charge(0.5, channel="one"))
    (warning, used_up) = budgets.charged(other, Limits(daily=1.0), charge(0.5, channel="other"))
    assert warning.budget == used_up.budget
    assert (used_up.budget.scope, used_up.budget.channel, used_up.used_up) == (BudgetScope.OVERALL, "", True)
    assert budgets.exhausted(one, Limits(), NOON) == used_up.budget
    assert other.exhausted(Limits(daily=1.0), NOON) is None


async def test_an_account_is_loaded_again_when_the_clock_goes_back_over_its_month() -> None:
    """What it does not know it asks the store."""
    store = MemoryStore()
    store.disk.spending = {("c", date(2025, 12, 31)): 1.0, ("c", date(2026, 1, 2)): 2.0, (None, date(2026, 1, 2)): 9.0}
    account = Account("c")
    assert not account.knows(NOON)
    await account.load(store, date(2026, 1, 1))
    assert account.knows(NOON)
    assert account.knows(NOON + 30 * DAY)
    assert not account.knows(datetime(2025, 12, 31, tzinfo=UTC))
    assert account.spent(BudgetPeriod.MONTH, NOON) == 2.0
    await account.load(store, date(2025, 12, 1))
    assert account.spent(BudgetPeriod.DAY, datetime(2025, 12, 31, tzinfo=UTC)) == 1.0
    assert account.spent(BudgetPeriod.MONTH, NOON) == 2.0


# -- in an engine


async def test_a_used_up_budget_refuses_the_next_message_and_stores_nothing(tmp_path: Path) -> None:
    """The error says whose, how much, until when, and what to do."""
    settings = plain_settings(tmp_path, daily_budget_usd=0.001)
    async with opened(settings, driver=InstantDriver()) as engine:
        for _ in range(3):
            await engine.ask("c", "hello")
        with pytest.raises(BudgetExceeded, match="daily_budget_usd") as caught:
            await engine.post("c", "one more")
        assert not isinstance(caught.value, TurnFailed)
        budget = caught.value.budget
        assert (budget.scope, budget.channel, budget.period) == (BudgetScope.CHANNEL, "c", BudgetPeriod.DAY)
        assert (budget.limit_usd, budget.spent_usd) == (0.001, 0.0012)
        assert (await engine.ask("another", "hello")).text == "echo: hello"
        assert await engine._services.store.last_sequence() == 4


async def test_the_budget_of_all_refuses_every_channel(tmp_path: Path) -> None:
    """Also one that has never cost anything."""
    settings = plain_settings(tmp_path, overall_monthly_budget_usd=0.0004)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        with pytest.raises(BudgetExceeded, match="overall_monthly_budget_usd") as caught:
            await engine.ask("new", "hello")
        assert caught.value.budget.scope is BudgetScope.OVERALL
        assert engine.status().live_channels == 1, "no actor is started to say no"


async def test_a_running_turn_ends_and_one_that_waits_behind_it_fails(tmp_path: Path) -> None:
    """It is told by the error that is a BudgetExceeded and a TurnFailed; its outcome is stored like any other."""
    release = trio.Event()

    async def answer_later(request: TurnRequest) -> Answer:
        await release.wait()
        return costing(5.0, request)

    settings = plain_settings(tmp_path, daily_budget_usd=1.0)
    async with opened(settings, driver=InstantDriver(answer_later)) as engine:
        first = await engine.post("c", "dear")
        waiting = await engine.post("c", "waits")
        release.set()
        assert (await engine.outcome(first.message_id)).kind is OutcomeKind.ANSWERED
        outcome = await engine.outcome(waiting.message_id)
        assert (outcome.kind, outcome.error, outcome.attempts) == (OutcomeKind.FAILED, "budget_exceeded", 0)
        again = await engine.ask("c", "dear", message_id=first.message_id)
        assert again.cost_usd == 5.0, "what was answered before is given again, and costs nothing"
    async with opened(settings, driver=InstantDriver()) as engine:
        assert await engine.outcome(waiting.message_id) == outcome
        with pytest.raises(TurnOverBudget, match="failed: the budget of channel 'c' for the day") as caught:
            await engine.ask("c", "waits", message_id=waiting.message_id)
        assert isinstance(caught.value, BudgetExceeded)
        assert isinstance(caught.value, TurnFailed)
        assert caught.value.budget == outcome.budget
        assert caught.value.outcome == outcome


async def test_a_used_up_budget_is_so_after_a_restart(tmp_path: Path) -> None:
    """A channel's first message is accepted and fails; that of all is known at once. None runs."""
    settings = plain_settings(tmp_path, daily_budget_usd=0.0004)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
    driver = InstantDriver()
    async with opened(settings, driver=driver) as engine, engine.stream("c", "one more") as turn:
        kinds = [type(event).__name__ async for event in turn]
        assert kinds == ["Accepted", "TurnEnded"]
        with pytest.raises(TurnOverBudget):
            _ = turn.reply
        with pytest.raises(BudgetExceeded) as caught:
            await engine.ask("c", "and more")
        assert not isinstance(caught.value, TurnFailed)
    async with opened(attrs.evolve(settings, overall_daily_budget_usd=0.0004), driver=driver) as engine:
        with pytest.raises(BudgetExceeded) as caught:
            await engine.ask("another", "hello")
        assert not isinstance(caught.value, TurnFailed)
    assert driver.requests == []
    async with opened(attrs.evolve(settings, daily_budget_usd=1.0), driver=driver) as engine:
        assert (await engine.ask("c", "now")).text == "echo: now"


async def test_a_channel_that_went_idle_is_still_refused_and_no_actor_is_started_for_it(tmp_path: Path) -> None:
    """Until its day is over, or its limit is raised."""
    settings = plain_settings(tmp_path, daily_budget_usd=0.0004, passivate_after=0.05)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.ask("c", "hello")
        while engine.status().live_channels:  # noqa: ASYNC110 - an actor that leaves tells nobody
            await trio.sleep(0.01)
        with pytest.raises(BudgetExceeded):
            await engine.post("c", "more")
        assert engine.status().live_channels == 0
        await engine.configure("c", daily_budget_usd=1.0)
        assert (await engine.ask("c", "more")).text == "echo: more"


async def test_a_channel_s_option_goes_before_the_setting(tmp_path: Path) -> None:
    """In both directions; None gives it back."""
    settings = plain_settings(tmp_path, daily_budget_usd=0.0004)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.configure("rich", monthly_budget_usd=0.0008, daily_budget_usd=1.0)
        for _ in range(2):
            await engine.ask("rich", "hello")
        with pytest.raises(BudgetExceeded, match="for the month"):
            await engine.ask("rich", "hello")
        spending = await engine.spending("rich")
        assert [(each.period, each.limit_usd, each.spent_usd) for each in spending.budgets] == [
            (BudgetPeriod.DAY, 1.0, 0.0008),
            (BudgetPeriod.MONTH, 0.0008, 0.0008),
        ]
        await engine.configure("rich", monthly_budget_usd=None, daily_budget_usd=None)
        with pytest.raises(BudgetExceeded, match="for the day"):
            await engine.ask("rich", "hello")


async def test_a_channel_with_a_budget_of_its_own_has_it_from_its_first_message_on(tmp_path: Path) -> None:
    """Also after a restart, where nobody else may spend anything."""
    settings = plain_settings(tmp_path, daily_budget_usd=0.0)
    async with opened(settings, driver=InstantDriver()) as engine:
        await engine.configure("rich", daily_budget_usd=1.0)
        assert (await engine.ask("rich", "hello")).text == "echo: hello"
    async with opened(settings, driver=InstantDriver()) as engine:
        assert (await engine.ask("rich", "hello")).text == "echo: hello"
        with pytest.raises(BudgetExceeded):
            await engine.ask("poor", "hello")


async def test_spending_is_told_with_and_without_limits(tmp_path: Path) -> None:
    """Per channel and overall; clearing a conversation refunds nothing."""
    async with opened(plain_settings(tmp_path), driver=InstantDriver(by_its_text)) as engine:
        for channel, cost in (("a", 1.0), ("a", 0.25), ("b", 2.0)):
            await engine.ask(channel, f"costs {cost}")
        await engine.clear("a")
        of_a, of_all = await engine.spending("a"), await engine.spending()
        assert (of_a.channel, of_a.today_usd, of_a.month_usd, of_a.budgets) == ("a", 1.25, 1.25, ())
        assert (of_all.channel, of_all.today_usd, of_all.month_usd) == ("", 3.25, 3.25)
        assert (await engine.spending("nobody")).month_usd == 0.0
    async with opened(plain_settings(tmp_path, overall_daily_budget_usd=4.0), driver=InstantDriver()) as engine:
        (budget,) = (await engine.spending()).budgets
        assert (budget.limit_usd, budget.spent_usd, budget.scope) == (4.0, 3.25, BudgetScope.OVERALL)


async def test_warnings_are_published_and_recorded_once(tmp_path: Path) -> None:
    """A channel's to its subscribers; that of all to those who subscribe to all; none again after a restart."""
    settings = plain_settings(tmp_path, daily_budget_usd=1.0, overall_daily_budget_usd=2.0, budget_warning_share=0.5)
    seen: dict[str, list[Event]] = {"a": [], "all": []}
    for cost in (0.5, 0.25):
        async with (
            opened(settings, driver=InstantDriver(by_its_text)) as engine,
            engine.subscribe("a") as of_a,
            engine.subscribe() as of_all,
        ):
            for channel in ("a", "b"):
                await engine.ask(channel, f"costs {cost}")
            for name, events in (("a", of_a), ("all", of_all)):
                while not events.empty:
                    seen[name].append(await anext(events))
    warned = {
        name: [(e.channel, e.budget.scope, e.budget.spent_usd) for e in events if isinstance(e, BudgetWarning)]
        for name, events in seen.items()
    }
    channel, overall = BudgetScope.CHANNEL, BudgetScope.OVERALL
    assert warned["a"] == [("a", channel, 0.5)]
    assert sorted(warned["all"]) == [("", overall, 1.0), ("a", channel, 0.5), ("b", channel, 0.5)]
    first_end = next(place for place, event in enumerate(seen["a"]) if isinstance(event, TurnEnded))
    assert isinstance(seen["a"][first_end - 1], BudgetWarning), "who hears of the end knows of the warning"
    assert len(audit_records(settings, "budget.warning")) == 3
    assert audit_records(settings, "budget.exceeded") == []


async def test_going_over_is_recorded(tmp_path: Path) -> None:
    """With all that an operator needs to know."""
    settings = plain_settings(tmp_path, monthly_budget_usd=1.0)
    async with opened(settings, driver=InstantDriver(by_its_text)) as engine:
        await engine.ask("a", "costs 1.5")
    (record,) = audit_records(settings, "budget.exceeded")
    assert (record["channel"], record["scope"], record["period"]) == ("a", "channel", "month")
    assert (record["spent_usd"], record["limit_usd"]) == (1.5, 1.0)
    assert len(audit_records(settings, "budget.warning")) == 1


async def test_a_failed_and_a_retried_attempt_are_paid_for(tmp_path: Path) -> None:
    """Whatever came of it, the money is gone; both attempts of the message count."""

    def answer(request: TurnRequest) -> Answer:
        failing = {"again": "overloaded", "broken": "api_error"}
        word = request.content.split()[0]
        error = failing.get(word) if len(driver.requests) < 2 or word == "broken" else None
        return costing(1.0, request, error=error, reason="it failed")

    driver = InstantDriver(answer)
    async with opened(plain_settings(tmp_path), driver=driver) as engine:
        await engine.ask("c", "again")
        assert (await engine.spending("c")).today_usd == 2.0
        with pytest.raises(TurnFailed):
            await engine.ask("c", "broken")
        assert (await engine.spending("c")).today_usd == 3.0


async def test_an_answer_that_no_store_can_keep_is_paid_for(tmp_path: Path) -> None:
    """Its message fails, and what it cost is counted all the same."""
    answer = lambda request: costing(1.0, request, text="half \ud800")  # noqa: E731 - one expression
    async with opened(plain_settings(tmp_path), driver=InstantDriver(answer)) as engine:
        with pytest.raises(TurnFailed, match="cannot be stored"):
            await engine.ask("c", "hello")
        assert (await engine.spending("c")).today_usd == 1.0


async def test_what_was_spent_is_forgotten_after_thirteen_months(tmp_path: Path) -> None:
    """And not before."""
    settings, now = plain_settings(tmp_path), datetime.now(UTC)
    kept, old = (now - RETENTION + DAY).date(), (now - RETENTION - DAY).date()
    async with open_sqlite_store(settings.state_dir, owner="before", now=lambda: now) as store:
        claim, saved = await store.claim("c"), make_snapshot("c")
        for day in (old, kept):
            saved = await store.save(claim, saved, charge(1.0, day))
    async with opened(settings, driver=InstantDriver()) as engine:
        store_in_use = engine._services.store
        while len(await store_in_use.spending("c", since=old)) > 1:  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(0.01)
        assert await store_in_use.spending("c", since=old) == {kept: 1.0}
        assert await store_in_use.spending(None, since=old) == {kept: 1.0}


@pytest.mark.parametrize(("at", "turns"), [("unstored", 1), ("ended", 2)])
async def test_a_kill_neither_loses_nor_repeats_what_was_spent(tmp_path: Path, at: str, turns: int) -> None:
    """Killed right before or after a turn's end is stored, the sum is that of the session's stored turns."""
    settings = scripted_settings(tmp_path)
    posts = [(new_id(), "c", f"number {number}") for number in range(2)]
    await killed(settings, *posts, at=at, nth=2)
    async with scripted_engine(settings) as engine:
        for message_id, *_ in posts:
            assert (await engine.outcome(message_id)).kind is OutcomeKind.ANSWERED
        session, spending = await engine.session("c"), await engine.spending("c")
        each = session.total_cost_usd / turns if session else 0.0
        assert each > 0
        assert spending.month_usd == (await engine.spending()).month_usd == pytest.approx(turns * each)
        first_reply = (await engine.outcome(posts[0][0])).reply
        assert first_reply is not None
        assert first_reply.cost_usd == pytest.approx(each)


@pytest.mark.parametrize("version", ["2.0.30 (Claude Code)", "who knows"])
async def test_a_cli_that_cannot_limit_a_turn_is_refused(tmp_path: Path, version: str) -> None:
    """An operator who set a limit shall not learn from the bill that nobody keeps it."""
    cli = tmp_path / "cli"
    cli.write_text(f"#!/bin/sh\necho '{version}'\n")
    cli.chmod(0o700)
    with pytest.raises(SettingsError, match=r"turn_budget_usd needs a CLI of version 2\.0\.31 or newer"):
        async with open_engine(plain_settings(tmp_path, claude_bin=cli, turn_budget_usd=1.0)):
            raise AssertionError("it opened")


# -- with a clock that can be set


Story = Callable[[Engine], Awaitable[None]]


@attrs.define(eq=False)
class Machine:
    """An engine in memory on a wall clock that tests set."""

    tmp_path: Path
    disk: MemoryDisk = attrs.Factory(MemoryDisk)
    now: datetime = NOON
    driver: InstantDriver = attrs.Factory(lambda: InstantDriver(by_its_text))
    store: type[MemoryStore] = MemoryStore
    records: list[str] = attrs.Factory(list)

    async def run(self, story: Story, **settings: Any) -> None:
        """Open an engine, let the story happen, and close it."""
        services = attrs.evolve(
            memory_services(self.driver, self.tmp_path, self.disk, **settings),
            store=self.store(disk=self.disk),
            now=lambda: self.now,
            record=lambda event, /, **_: self.records.append(event),
        )
        await services.budgets.overall.load(services.store, (self.now - RETENTION).date())
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(services, nursery, await services.store.last_sequence(), random.random)
            await supervisor.recover()
            engine = Engine(services, supervisor, cast("Any", SimpleNamespace(problem=None, lost=0, unsynced=0)))
            await story(engine)
            await engine.drain()
            nursery.cancel_scope.cancel()


async def test_what_was_refused_is_taken_after_midnight_of_utc(tmp_path: Path, autojump_clock: object) -> None:
    """In a channel and in all; a month's budget opens on the first of the next one."""
    del autojump_clock
    machine = Machine(tmp_path)

    async def story(engine: Engine) -> None:
        await engine.ask("c", "costs 1")
        machine.now = datetime(2026, 1, 30, 23, 59, 59, 999_999, tzinfo=UTC)
        with pytest.raises(BudgetExceeded, match="the next one begins at 2026-01-31 00:00 UTC"):
            await engine.ask("c", "costs 1")
        machine.now = datetime(2026, 1, 31, tzinfo=UTC)
        await engine.ask("c", "costs 1")
        with pytest.raises(BudgetExceeded, match="the next one begins at 2026-02-01 00:00 UTC"):
            await engine.ask("c", "costs 1")
        machine.now = datetime(2026, 2, 1, tzinfo=UTC)
        await engine.ask("c", "costs 1")

    await machine.run(story, daily_budget_usd=1.0, monthly_budget_usd=2.0)
    days = (date(2026, 1, 30), date(2026, 1, 31), date(2026, 2, 1))
    assert machine.disk.spending == {(whose, day): 1.0 for whose in ("c", None) for day in days}


async def test_an_idle_channel_is_taken_after_midnight(tmp_path: Path, autojump_clock: object) -> None:
    """What was remembered of it is of yesterday."""
    del autojump_clock
    machine = Machine(tmp_path)

    async def story(engine: Engine) -> None:
        await engine.ask("c", "costs 1")
        await trio.sleep(100)
        assert engine.status().live_channels == 0
        with pytest.raises(BudgetExceeded):
            await engine.ask("c", "costs 1")
        machine.now += DAY
        await engine.ask("c", "costs 1")

    await machine.run(story, daily_budget_usd=1.0)


async def test_a_clock_that_is_set_back_finds_the_day_as_it_was_left(tmp_path: Path, autojump_clock: object) -> None:
    """Nobody gets a day twice by it, over a month's end and a restart neither."""
    del autojump_clock
    machine = Machine(tmp_path)

    async def refused(engine: Engine) -> None:
        with pytest.raises(BudgetExceeded):
            await engine.ask("c", "costs 1")

    async def story(engine: Engine) -> None:
        await engine.ask("c", "costs 1")
        machine.now += 2 * DAY
        await engine.ask("c", "costs 1")
        await refused(engine)
        machine.now -= 2 * DAY
        await refused(engine)
        machine.now += 2 * DAY
        await refused(engine)

    await machine.run(story, daily_budget_usd=1.0)
    await machine.run(refused, daily_budget_usd=1.0)
    machine.now -= 2 * DAY
    await machine.run(refused, daily_budget_usd=1.0)


class LateAndFull(MemoryStore):
    """A store that finds no room for a message, and takes its time to find out."""

    async def accept(self, message: Message, *, ends: Sequence[End] = ()) -> StoredMessage | None:
        """Refuse it in the end."""
        del message, ends
        await trio.sleep(1)
        raise StoreFull("no room")


async def test_a_message_that_the_store_refuses_meanwhile_has_no_end_for_its_budget(
    tmp_path: Path, autojump_clock: object
) -> None:
    """Its actor had looked at the budget before the store had the message; it goes on."""
    del autojump_clock
    machine = Machine(tmp_path, store=LateAndFull)
    machine.disk.spending = {("c", NOON.date()): 1.0}

    async def story(engine: Engine) -> None:
        with pytest.raises(StoreFull):
            await engine.ask("c", "costs 1")
        with pytest.raises(BudgetExceeded):
            await engine.ask("c", "costs 1")

    await machine.run(story, daily_budget_usd=1.0)
    assert machine.disk.messages == {}
    assert "actor.crashed" not in machine.records


TURNS = st.lists(
    st.tuples(
        st.sampled_from(("a", "a", "b")),
        st.sampled_from((0.0, 0.25, 0.5, 1.0)),
        st.sampled_from((None, None, "api_error", "overloaded")),
        st.sampled_from((BusyPolicy.QUEUE, BusyPolicy.COLLECT, BusyPolicy.STEER)),
        st.sampled_from(("", "", "", "restart", "tomorrow", "rest")),
    ),
    max_size=12,
)


@given(TURNS)
def test_the_ledger_is_the_sum_of_what_turns_cost(turns: list[tuple[str, float, str | None, BusyPolicy, str]]) -> None:
    """Each turn once, however many messages it answered; by channel, by day and in all; over restarts."""
    trio.run(_run_turns, turns, clock=trio.testing.MockClock(autojump_threshold=0))


async def _run_turns(turns: list[tuple[str, float, str | None, BusyPolicy, str]]) -> None:
    spent: dict[tuple[str | None, date], float] = {}

    async def answer(request: TurnRequest) -> Answer:
        costs = [(float(cost), error) for cost, error in (line.split() for line in request.content.split("\n\n"))]
        # Who comes meanwhile may steer.
        await trio.sleep(0.5)
        cost, error = costs[0]
        for whose in (request.channel, None):
            spent[whose, machine.now.date()] = spent.get((whose, machine.now.date()), 0.0) + cost
        return costing(cost, request, error=None if error == "None" else error, reason="it failed")

    machine, left = Machine(Path("unused"), driver=InstantDriver(answer)), list(turns)

    async def story(engine: Engine) -> None:
        while left:
            channel, cost, error, busy, then = left.pop(0)
            await engine.post(channel, f"{cost} {error}", busy=busy, author=None)
            if then == "rest":
                await trio.sleep(1000)
            elif then == "tomorrow":
                await trio.sleep(1000)
                machine.now += DAY
            elif then == "restart":
                return
        await trio.sleep(1000)

    await machine.run(story)
    while left:
        await machine.run(story)
    # What the last restart left.
    await machine.run(story)
    assert {key: cost for key, cost in spent.items() if cost} == machine.disk.spending
    by_channel = {name: snapshot.total_cost_usd for name, snapshot in machine.disk.snapshots.items()}
    for name, total in by_channel.items():
        assert total == sum(cost for (whose, _), cost in machine.disk.spending.items() if whose == name)
