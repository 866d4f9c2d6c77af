"""Figures as Prometheus reads them: the table of their names, their text, and those of a ledger's index."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Final, TypeAlias

from rexecop.app.queueing import QUEUE
from rexecop.app.reviewing import reviews_due
from rexecop.operations.queue import Waiting
from rexecop.proof.codec import decode
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.times import parse_time
from rexecop.proof.vocabulary import State
from rexecop.store.reading import Reading

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
INTENTS_MAX: Final = 500  # Anybody may ask for what there is not, by as many names as they can think of.
OTHER: Final = "other"
QUICK_SECONDS: Final = 5.0  # An answer that came sooner was hardly read.
# From a click to a working day: people answer.
APPROVAL_BOUNDS: Final = (1.0, QUICK_SECONDS, 15.0, 60.0, 300.0, 1800.0, 3600.0, 14_400.0, 86_400.0)
REQUEST_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One name that stays: its labels, what it says, and for a histogram its bounds."""

    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


METRICS: Final[Mapping[str, Metric]] = {
    "operations": Metric("Operations by where they stand.", ("state", "mode", "intent")),
    "approvals_pending": Metric("Operations that wait for approval."),
    "approval_oldest_seconds": Metric("How long the oldest of them waits."),
    "unknown_outcomes": Metric("Operations of which an effect may have happened."),
    "reviews_overdue": Metric("Reviews that are overdue."),
    "queue_length": Metric("Operations that wait in the queue."),
    "queue_oldest_seconds": Metric("How long the oldest of them waits."),
    "locks_held": Metric("Targets that are locked."),
    "leases_held": Metric("Operations that a runner drives."),
    "workers": Metric("Workers that live and were heard of lately."),
    "halts_standing": Metric("Halts that stand."),
    "evidence_records_total": Metric("Records in the log."),
    "evidence_damaged_records": Metric("Records that are damaged and set aside."),
    "evidence_checkpoint_lag_records": Metric("Records that no signed checkpoint covers yet."),
    "evidence_checkpoint_lag_seconds": Metric("How long the oldest of them waits for one."),
    "evidence_ledger_bytes": Metric("Size of the ledger's file; of one in PostgreSQL it is not known here."),
    "evidence_sink_lag_records": Metric("Records that the newest checkpoint in a sink misses.", ("sink",)),
    "notices_undelivered": Metric("Notices that no sender took yet."),
    "ends_total": Metric("Operations that ended, by how.", ("state",)),
    "attempts_total": Metric("Attempts that ended, by lane and by how.", ("lane", "ended")),
    "decisions_total": Metric("Answers of policy, by when it was asked.", ("gate", "verdict")),
    "budget_uses_total": Metric("Uses of budgets that tickets took.", ("scope",)),
    "approval_answers_total": Metric("Answers of approvers.", ("answer",)),
    "approval_seconds": Metric("Time from being asked to an answer.", bounds=APPROVAL_BOUNDS),
    "approval_quick_ratio": Metric("Share of answers that came in under 5 seconds."),
    "counting_lag_records": Metric("Records that the counters have not counted yet."),
    "http_requests_total": Metric("Requests answered.", ("method", "route", "status")),
    "http_request_seconds": Metric("Time that answers took.", ("route",), REQUEST_BOUNDS),
    "http_requests_in_flight": Metric("Requests that are being answered."),
    "http_followers": Metric("Event streams that are being followed."),
    "http_connections_refused_total": Metric("Connections that were one too many, or too slow.", ("reason",)),
}


@dataclass(slots=True)
class Spread:
    """How values lie between `bounds`; the last count is of those above them all."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count `value` in."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Yield the lines of a histogram."""
        most = [*(str(bound) for bound in self.bounds), "+Inf"]
        for bound, count in zip(most, accumulate(self.counts), strict=True):
            yield f'{name}_bucket{{{labels}{"," if labels else ""}le="{bound}"}} {count}'
        shown = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{shown} {self.total:.6g}"
        yield f"{name}_count{shown} {sum(self.counts)}"


def spread(name: str) -> Spread:
    """Return an empty spread for the histogram `name` of the table."""
    bounds = METRICS[name].bounds
    return Spread(bounds, [0] * (len(bounds) + 1))


Value: TypeAlias = int | float | Spread


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric: what it says, and its value for each set of labels. A name in `_total` only grows."""

    name: str
    help: str
    values: Sequence[tuple[Mapping[str, str], Value]]

    @property
    def kind(self) -> str:
        """What Prometheus calls it."""
        if self.name in METRICS and METRICS[self.name].bounds:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"


def sample(name: str, *values: tuple[Sequence[str], Value]) -> Sample:
    """Return the sample `name` of the table, each value with what its labels are."""
    metric = METRICS[name]
    return Sample(
        name, metric.help, [(dict(zip(metric.labels, of, strict=True)), value) for of, value in values]
    )


def exposition(samples: Sequence[Sample], *, open_metrics: bool = False) -> str:
    """Return `samples` in the text format 0.0.4 of Prometheus, or in OpenMetrics 1.0."""
    lines: list[str] = []
    for one in samples:
        name = f"rexecop_{one.name}"
        family = name.removesuffix("_total") if open_metrics and one.kind == "counter" else name
        lines += [f"# HELP {family} {one.help}", f"# TYPE {family} {one.kind}"]
        for labels, value in one.values:
            shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            if isinstance(value, Spread):
                lines += value.lines(name, shown)
            else:
                lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")
    return "".join(f"{line}\n" for line in [*lines, *(["# EOF"] if open_metrics else [])])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def samples(log: Reading, now: datetime, halts: int) -> tuple[Sample, ...]:
    """Return the figures of the ledger `log` at `now`, while so many `halts` stand."""
    tallies = log.tallies()
    pending = [one for one in tallies if one.state == State.WAITING_FOR_APPROVAL]
    queued = [*_queued(log)]
    size, kept = log.size(), log.kept_checkpoint()
    covered = kept.size if kept is not None else 0
    figures: dict[str, Value] = {
        "approvals_pending": sum(one.count for one in pending),
        "approval_oldest_seconds": _seconds(now, min((one.oldest for one in pending), default=now)),
        "unknown_outcomes": sum(one.count for one in tallies if one.state == State.INDETERMINATE),
        "reviews_overdue": sum(due.overdue for due in reviews_due(log, now)),
        "queue_length": len(queued),
        "queue_oldest_seconds": _seconds(now, min(queued, default=now)),
        "locks_held": len({held.target for held in log.locks()}),
        "leases_held": sum(lease is not None and lease.expires > now for _, _, lease in log.under_way()),
        "halts_standing": halts,
        "evidence_records_total": size,
        "evidence_damaged_records": len(log.quarantined()),
        "evidence_checkpoint_lag_records": size - covered,
        "evidence_checkpoint_lag_seconds": _seconds(now, _recorded(log, covered) if covered < size else now),
    }
    states = Counter[tuple[str, str, str]]()
    for place, one in enumerate(sorted(tallies, key=lambda one: -one.count)):
        named = f"{one.profile}/{one.intent}" if place < INTENTS_MAX else OTHER
        states[one.state, one.mode, named] += one.count
    where = sample("operations", *sorted(states.items()))
    return (where, *(sample(name, ((), value)) for name, value in figures.items()))


def _queued(log: Reading) -> Iterator[datetime]:
    """Yield since when each operation waits in the queue; what cannot be read on the board is nothing."""
    for _, body in log.posted(QUEUE):
        with suppress(ProofError):
            yield decode(Waiting, body).since


def _recorded(log: Reading, leaf: int) -> datetime:
    """Return when the record at `leaf` was made; the beginning of time where it cannot be read."""
    from rexecop.proof.chain import unseal

    try:
        return unseal(log.body_at(leaf)).record.at
    except RexecopError:
        return parse_time("1970-01-01T00:00:00.000Z")


def _seconds(now: datetime, since: datetime) -> int:
    return max(0, int((now - since).total_seconds()))
