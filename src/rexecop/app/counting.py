"""Counting what is recorded, by whatever process: the log is read on from where it ended last time."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Final

import msgspec

from rexecop.app.metrics import QUICK_SECONDS, Sample, sample, spread
from rexecop.proof.canonical import digest_of
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.ticket import Ticket
from rexecop.store.log import Leaf
from rexecop.store.reading import Reading

# In one look: half a second of work. What is left is counted in the next, and `counting_lag_records` says so.
LEAVES_MAX: Final = 20_000
OPEN_MAX: Final = 10_000  # Attempts that are being made at one time; past it the oldest are forgotten.
EARLIER: Final = "earlier"  # The lane of an attempt that began before the counting did.


class _Of(msgspec.Struct):
    """The few fields of records that are counted by; records are read for good by `proof.codec`."""

    kind: str


class _Attempt(msgspec.Struct):
    lane: str


class _Outcome(msgspec.Struct):
    ended: str
    attempt: str | None = None


class _Asked(msgspec.Struct):
    gate: str


class _Answered(msgspec.Struct):
    verdict: str


class _Decision(msgspec.Struct):
    request: _Asked
    terms: _Answered


class _Receipt(msgspec.Struct):
    state: str


class _Use(msgspec.Struct):
    scope: str


class _Ticket(msgspec.Struct):
    uses: list[_Use] = []


_decode = msgspec.json.decode


class Counting:
    """Counters of one ledger, which begin at nothing when they are made, as Prometheus expects them to."""

    def __init__(self, log: Reading) -> None:
        self._log = log
        self._next = self._size = log.size()
        self._open: OrderedDict[str, str] = OrderedDict()
        self._ends = Counter[tuple[str]]()
        self._attempts = Counter[tuple[str, str]]()
        self._decisions = Counter[tuple[str, str]]()
        self._uses = Counter[tuple[str]]()
        self._answers = Counter[tuple[str]]()
        self._waited = spread("approval_seconds")

    def look(self) -> None:
        """Count what was recorded since the last look, `LEAVES_MAX` records at most."""
        self._size = self._log.size()
        end = min(self._size, self._next + LEAVES_MAX)
        while self._next < end:
            try:
                for leaf in self._log.leaves(self._next, end):
                    self._count(leaf)
                    self._next = leaf.leaf + 1
            except (RexecopError, msgspec.DecodeError):
                self._next += 1  # One that is damaged is `doctor`'s matter, and counts as nothing.
        for _ in range(len(self._open) - OPEN_MAX):
            self._open.popitem(last=False)

    def samples(self) -> tuple[Sample, ...]:
        """Return what was counted."""
        answers = sum(self._waited.counts)
        quick = sum(self._waited.counts[: self._waited.bounds.index(QUICK_SECONDS) + 1])
        return (
            sample("ends_total", *sorted(self._ends.items())),
            sample("attempts_total", *sorted(self._attempts.items())),
            sample("decisions_total", *sorted(self._decisions.items())),
            sample("budget_uses_total", *sorted(self._uses.items())),
            sample("approval_answers_total", *sorted(self._answers.items())),
            sample("approval_seconds", ((), self._waited)),
            sample("approval_quick_ratio", *([((), round(quick / answers, 4))] if answers else [])),
            sample("counting_lag_records", ((), self._size - self._next)),
        )

    def _count(self, leaf: Leaf) -> None:
        kind = _decode(leaf.body, type=_Of).kind
        if kind == Attempt.kind:
            self._open[digest_of(leaf.body)] = _decode(leaf.body, type=_Attempt).lane
        elif kind == Outcome.kind:
            outcome = _decode(leaf.body, type=_Outcome)
            if outcome.attempt is not None:  # A step that only computes has none.
                self._attempts[self._open.pop(outcome.attempt, EARLIER), outcome.ended] += 1
        elif kind == Decision.kind:
            decision = _decode(leaf.body, type=_Decision)
            self._decisions[decision.request.gate, decision.terms.verdict] += 1
        elif kind == Receipt.kind:
            self._ends[_decode(leaf.body, type=_Receipt).state,] += 1
        elif kind == Ticket.kind:
            self._uses.update((use.scope,) for use in _decode(leaf.body, type=_Ticket).uses)
        elif kind == Approval.kind:
            self._answered(leaf)

    def _answered(self, leaf: Leaf) -> None:
        """Count an answer, and how long after what came before it; one given beforehand waited for none."""
        records = (sealed.record for sealed in self._log.journal(leaf.operation).records)
        *earlier, answer = (record for record in records if record.n <= leaf.n)
        if not isinstance(answer, Approval) or answer.use is not None or answer.statement.covers is not None:
            return
        self._answers[answer.statement.in_a_word,] += 1
        asked = next((one for one in reversed(earlier) if not isinstance(one, Approval)), None)
        if asked is not None and answer.statement.withdraws is None:
            self._waited.add(max(0.0, (answer.at - asked.at).total_seconds()))
