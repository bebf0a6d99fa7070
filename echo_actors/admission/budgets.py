"""Budgets: what turns may cost in a day and in a month, in one channel and in all together.

A day is one of UTC and a month one of its calendar. A budget is asked before a turn: it keeps the next one from
beginning and stops none that runs, so what is spent can be more than the limit, by what is running when it is reached.

The store has what was spent; an ``Account`` is what one engine remembers of it, so that asking takes microseconds. It
is right as long as no other engine charges the same account.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import attrs

from echo_actors.models import Budget, BudgetPeriod, BudgetScope, Spending
from echo_actors.settings import Settings
from echo_actors.state.records import Charge
from echo_actors.state.store import Store

RETENTION = timedelta(days=400)
"""How long it is kept what a day cost: thirteen months."""

_DIGITS = 9
_NOTHING = 10.0**-_DIGITS
"""A billionth of a dollar, less than which is neither shown nor lets a limit be missed: floats add up to that."""


def first_day(period: BudgetPeriod, moment: date) -> int:
    """The first day, as the ordinal of its date, of the period that a moment of UTC is in."""
    today = moment.toordinal()
    return today if period is BudgetPeriod.DAY else today - moment.day + 1


def resets_at(period: BudgetPeriod, moment: date) -> datetime:
    """When the period ends that a moment of UTC is in."""
    days = 1 if period is BudgetPeriod.DAY else calendar.monthrange(moment.year, moment.month)[1]
    return datetime.fromordinal(first_day(period, moment) + days).replace(tzinfo=UTC)


@attrs.frozen
class Limits:
    """What may be spent; None is no limit."""

    daily: float | None = None
    monthly: float | None = None

    @classmethod
    def of_channel(cls, settings: Settings) -> Limits:
        """Those of a channel under its settings."""
        return cls(settings.daily_budget_usd, settings.monthly_budget_usd)

    @classmethod
    def overall(cls, settings: Settings) -> Limits:
        """Those of all channels together."""
        return cls(settings.overall_daily_budget_usd, settings.overall_monthly_budget_usd)

    def __bool__(self) -> bool:
        return self.daily is not None or self.monthly is not None

    def __iter__(self) -> Iterator[tuple[BudgetPeriod, float]]:
        if self.daily is not None:
            yield BudgetPeriod.DAY, self.daily
        if self.monthly is not None:
            yield BudgetPeriod.MONTH, self.monthly


@attrs.define(eq=False)
class Account:
    """What was spent, by day and by month; each is known by its first day.

    Attributes:
        channel: Whose it is; empty for all channels together.
        since: The first day that is known, as an ordinal; None before anything is.
    """

    channel: str = ""
    since: int | None = None
    _days: dict[int, float] = attrs.Factory(dict)
    _months: dict[int, float] = attrs.Factory(dict)

    def knows(self, moment: date) -> bool:
        """Whether it has the whole month that a moment is in."""
        return self.since is not None and self.since <= first_day(BudgetPeriod.MONTH, moment)

    async def load(self, store: Store, since: date) -> None:
        """Look into the store. Nothing may be charged to the account meanwhile."""
        spent = await store.spending(self.channel or None, since=since)
        self._days, self._months, self.since = {}, {}, since.toordinal()
        for day, cost in spent.items():
            self.add(day, cost)

    def add(self, day: date, cost: float) -> None:
        """Take what is stored for a day, or was added to it."""
        for period, sums in ((BudgetPeriod.DAY, self._days), (BudgetPeriod.MONTH, self._months)):
            first = first_day(period, day)
            sums[first] = sums.get(first, 0.0) + cost

    def spent(self, period: BudgetPeriod, moment: date) -> float:
        """How much was spent in the period that a moment is in."""
        sums = self._days if period is BudgetPeriod.DAY else self._months
        return sums.get(first_day(period, moment), 0.0)

    def budget(self, period: BudgetPeriod, limit: float, moment: date) -> Budget:
        """How much of a limit is used."""
        return Budget(
            scope=BudgetScope.CHANNEL if self.channel else BudgetScope.OVERALL,
            channel=self.channel,
            period=period,
            limit_usd=limit,
            spent_usd=round(self.spent(period, moment), _DIGITS),
            resets_at=resets_at(period, moment),
        )

    def spending(self, limits: Limits, moment: date) -> Spending:
        """What was spent in the current day and month, beside the limits on it."""
        return Spending(
            channel=self.channel,
            today_usd=round(self.spent(BudgetPeriod.DAY, moment), _DIGITS),
            month_usd=round(self.spent(BudgetPeriod.MONTH, moment), _DIGITS),
            budgets=tuple(self.budget(period, limit, moment) for period, limit in limits),
        )

    def exhausted(self, limits: Limits, moment: date) -> Budget | None:
        """A budget that is used up, as far as is known; of two, that which lasts longer."""
        used_up = None
        for period, limit in limits:
            if self.spent(period, moment) > limit - _NOTHING:
                used_up = self.budget(period, limit, moment)
        return used_up


@attrs.frozen
class Crossing:
    """A charge made a budget reach the share of which a warning is due, or its limit."""

    budget: Budget
    used_up: bool


@attrs.define(eq=False)
class Budgets:
    """The budgets of an engine.

    Attributes:
        limits: Over all channels together.
        warning_share: The part of a limit at which a warning is due.
        overall: What all channels have spent.
    """

    limits: Limits
    warning_share: float
    overall: Account = attrs.Factory(Account)
    _closed: dict[str, Budget] = attrs.Factory(dict)

    @classmethod
    def under(cls, settings: Settings) -> Budgets:
        """Those that settings give, with nothing spent yet."""
        return cls(Limits.overall(settings), settings.budget_warning_share)

    def refusal(self, channel: str, now: Callable[[], date]) -> Budget | None:
        """The budget for which a channel that is not in use takes nothing, as far as is known."""
        if not self.limits and not self._closed:
            return None
        moment = now()
        closed = self._closed.get(channel)
        if closed is not None and closed.resets_at == resets_at(closed.period, moment):
            return closed
        return self.overall.exhausted(self.limits, moment)

    def exhausted(self, account: Account, limits: Limits, moment: date) -> Budget | None:
        """The budget for which a channel may have no turn, as far as is known."""
        return self.overall.exhausted(self.limits, moment) or account.exhausted(limits, moment)

    def charged(self, account: Account, limits: Limits, charge: Charge) -> list[Crossing]:
        """Take a channel's charge that is stored; give what it brought about.

        Both marks of a budget are crossed once in a period, also over restarts, because what is spent only rises.
        """
        crossings: list[Crossing] = []
        for each, its_limits in ((self.overall, self.limits), (account, limits)):
            before = [each.spent(period, charge.day) for period, _ in its_limits]
            each.add(charge.day, charge.cost_usd)
            for spent, (period, limit) in zip(before, its_limits, strict=True):
                now = each.spent(period, charge.day)
                for mark, used_up in ((limit * self.warning_share, False), (limit, True)):
                    if spent <= mark - _NOTHING < now:
                        crossings.append(Crossing(each.budget(period, limit, charge.day), used_up))
        return crossings

    def opened(self, channel: str) -> None:
        """A channel is in use: its account says from now on what it may."""
        self._closed.pop(channel, None)

    def left(self, account: Account, limits: Limits, moment: date) -> None:
        """A channel is in use no more; remember it if it may have no turn, so that asking needs no actor."""
        closed = account.exhausted(limits, moment)
        if closed is not None:
            self._closed[account.channel] = closed
