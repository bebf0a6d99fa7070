"""The values that pass through every room: messages, replies and outcomes.

All are immutable. Times are aware ``datetime`` values in UTC; durations are seconds unless the name says
milliseconds; money is US dollars.
"""

from echo_actors.models.budgets import Budget, BudgetPeriod, BudgetScope, Spending
from echo_actors.models.choices import BusyPolicy, Clock, FullPolicy, OutcomeKind, SessionConflict, Trust
from echo_actors.models.messages import Author, Block, Message, Outcome, Receipt, Reply, Spent, Usage
from echo_actors.models.permissions import Allow, Answer, AnsweredBy, Deny

__all__ = [
    "Allow",
    "Answer",
    "AnsweredBy",
    "Author",
    "Block",
    "Budget",
    "BudgetPeriod",
    "BudgetScope",
    "BusyPolicy",
    "Clock",
    "Deny",
    "FullPolicy",
    "Message",
    "Outcome",
    "OutcomeKind",
    "Receipt",
    "Reply",
    "SessionConflict",
    "Spending",
    "Spent",
    "Trust",
    "Usage",
]
