"""Budgets: how often something may be done, as counters that tickets claim in their own transaction.

Uses of one subject are numbered from 1 without a gap. The k-th needs that the one `count` before it
is older than the budget's time, so no stretch of that length ever holds more than `count`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from rexecop.engines.errors import BudgetSpent
from rexecop.engines.session import Session
from rexecop.governance.obligations import budget_in_words
from rexecop.operations.fold import Operation
from rexecop.operations.ports import Claim, Clock, Store
from rexecop.proof.records.decision import Budget
from rexecop.proof.records.ticket import BudgetUse, budget_subjects
from rexecop.proof.times import format_time

SPACE: Final = "budget"


def next_uses(store: Store, clock: Clock, op: Operation, now: datetime) -> tuple[BudgetUse, ...]:
    """Return the uses that a ticket of `op` minted at `now` makes, one for each it counts in a budget.

    Raises:
        BudgetSpent: one of its budgets has nothing left now.
    """
    uses: list[BudgetUse] = []
    for scope, subject, budgets in _scopes(op):
        n = _used(store, scope, subject) + 1
        for budget in budgets:
            earlier = _at(store, clock, scope, subject, n - budget.count)
            free = None if earlier is None else earlier + timedelta(milliseconds=budget.per_ms)
            if free is not None and free > now:
                words = f"`{budget_in_words(budget)}` of `{subject}` is used up until {format_time(free)}"
                raise BudgetSpent(words, until=format_time(free), subject=subject)
        uses.append(BudgetUse(scope=scope, subject=subject, n=n))
    return tuple(uses)


def claims(uses: Sequence[BudgetUse]) -> list[Claim]:
    """Return what makes `uses` be made once, by whoever comes first."""
    return [_claim(use.scope, use.subject, use.n) for use in uses]


def in_words(store: Store, clock: Clock, op: Operation, now: datetime) -> tuple[str, ...]:
    """Return for each budget of `op` how much of it is used now."""
    lines: list[str] = []
    for scope, subject, budgets in _scopes(op):
        last = _used(store, scope, subject)
        for budget in budgets:
            since, used = now - timedelta(milliseconds=budget.per_ms), 0
            while used < min(last, budget.count):
                at = _at(store, clock, scope, subject, last - used)
                if at is None or at <= since:
                    break
                used += 1
            lines.append(f"{budget_in_words(budget)}: {used} of {budget.count} used by `{subject}`")
    return tuple(lines)


def _scopes(op: Operation) -> Iterator[tuple[str, str, list[Budget]]]:
    budgets = op.terms.obligations.budgets
    for scope in sorted({budget.scope for budget in budgets}):
        for subject in budget_subjects(op.the_intent, op.the_plan, scope):
            yield scope, subject, [budget for budget in budgets if budget.scope == scope]


def _used(store: Store, scope: str, subject: str) -> int:
    """Return the number of the last use: the first that is free is found by doubling, then by halving."""
    free = 1
    while store.claimed(_claim(scope, subject, free)) is not None:
        free *= 2
    taken = free // 2
    while free - taken > 1:
        middle = (taken + free) // 2
        if store.claimed(_claim(scope, subject, middle)) is None:
            free = middle
        else:
            taken = middle
    return taken


def _at(store: Store, clock: Clock, scope: str, subject: str, n: int) -> datetime | None:
    """Return when use `n` was made: when the ticket that claimed it was minted."""
    operation = store.claimed(_claim(scope, subject, n)) if n > 0 else None
    if operation is None:
        return None
    ticket = Session.load(store, clock, operation).op.ticket
    return None if ticket is None else ticket.record.at  # An operation has one: a ticket is claimed once.


def _claim(scope: str, subject: str, n: int) -> Claim:
    return Claim(space=SPACE, key=f"{scope}:{n}:{subject}")
