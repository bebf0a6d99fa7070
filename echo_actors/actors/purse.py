"""A channel's purse: whether it may have another turn, and what its turns cost."""

from __future__ import annotations

import attrs

from echo_actors.actors.services import Services
from echo_actors.actors.session import Session
from echo_actors.actors.verdict import Verdict
from echo_actors.admission.budgets import Account, Limits
from echo_actors.events import BudgetWarning
from echo_actors.models import Budget
from echo_actors.state.records import Charge


@attrs.define(eq=False)
class Purse:
    """Asked before each turn of a channel, and told what it cost."""

    services: Services
    session: Session
    _account: Account = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with an account of which nothing is known."""
        self._account = Account(self.session.channel)
        self.services.budgets.opened(self.session.channel)

    @property
    def limits(self) -> Limits:
        """What the channel may spend."""
        return Limits.of_channel(self.session.settings)

    def exhausted(self) -> Budget | None:
        """The budget for which the channel may have no turn, as far as is known without the store.

        Before the account is loaded nothing is known of the channel: not even its limits, which may be options of its
        own.
        """
        limits = self.limits if self._account.since is not None else Limits()
        budgets = self.services.budgets
        if not limits and not budgets.limits:
            return None
        return budgets.exhausted(self._account, limits, self.services.now())

    async def look(self) -> Budget | None:
        """The budget for which the channel may have no turn now."""
        if self.limits:
            moment = self.services.now()
            if not self._account.knows(moment):
                await self._account.load(self.services.store, moment.date().replace(day=1))
        return self.exhausted()

    def charge(self, verdict: Verdict) -> Charge | None:
        """What an attempt that ends now cost, to be stored with its end."""
        cost = 0.0 if verdict.result is None else verdict.result.spent.cost_usd
        return Charge(self.session.channel, self.services.now().date(), cost) if cost else None

    def take(self, charge: Charge | None) -> None:
        """Count a charge that is stored; publish and record what is due at it."""
        if charge is None:
            return
        for crossing in self.services.budgets.charged(self._account, self.limits, charge):
            budget = crossing.budget
            if not crossing.used_up:
                self.services.hub.publish(BudgetWarning(channel=budget.channel, budget=budget))
            self.services.record(
                "budget.exceeded" if crossing.used_up else "budget.warning",
                channel=budget.channel,
                scope=budget.scope.value,
                period=budget.period.value,
                spent_usd=budget.spent_usd,
                limit_usd=budget.limit_usd,
                resets_at=budget.resets_at.isoformat(),
            )

    def close(self) -> None:
        """The channel is in use no more."""
        if limits := self.limits:
            self.services.budgets.left(self._account, limits, self.services.now())
