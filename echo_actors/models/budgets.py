"""What may be spent, and what was."""

from __future__ import annotations

import enum
from datetime import datetime

import attrs


class BudgetPeriod(enum.StrEnum):
    """What a budget is for: a day or a calendar month, both of UTC."""

    DAY = "day"
    MONTH = "month"


class BudgetScope(enum.StrEnum):
    """Whose turns a budget is for."""

    CHANNEL = "channel"
    OVERALL = "overall"


@attrs.frozen(kw_only=True)
class Budget:
    """A limit on what turns may cost, and how much of it is used.

    Attributes:
        channel: The channel that it is for; empty for all together.
        limit_usd: How much may be spent in the period.
        spent_usd: How much was.
        resets_at: When the next period begins.
    """

    scope: BudgetScope
    channel: str
    period: BudgetPeriod
    limit_usd: float
    spent_usd: float
    resets_at: datetime

    @property
    def setting(self) -> str:
        """The setting, or the channel's option, that the limit comes from."""
        name = "daily_budget_usd" if self.period is BudgetPeriod.DAY else "monthly_budget_usd"
        return name if self.scope is BudgetScope.CHANNEL else f"overall_{name}"

    def __str__(self) -> str:
        whose = "all channels" if self.scope is BudgetScope.OVERALL else f"channel {self.channel!r}"
        return (
            f"the budget of {whose} for the {self.period.value} is used up: {self.spent_usd:.4f} of "
            f"{self.limit_usd:.4f} USD; the next one begins at {self.resets_at:%Y-%m-%d %H:%M} UTC, or raise "
            f"{self.setting}"
        )


@attrs.frozen(kw_only=True)
class Spending:
    """What turns cost in the current day and month.

    Attributes:
        channel: The channel; empty for all together.
        budgets: The limits on it, one for each period that has one.
    """

    channel: str
    today_usd: float
    month_usd: float
    budgets: tuple[Budget, ...] = ()
