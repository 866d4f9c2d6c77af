"""Figures of an instance as Prometheus reads them: a function of what the index and the log say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.app.reviewing import reviews_due
from rexecop.operations.ports import Row
from rexecop.proof.vocabulary import State
from rexecop.store.reading import Reading

PAGE: Final = 1000  # Rows of the index read at one time.


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One metric: its kind (`gauge` or `counter`), what it says, and a value for each set of labels."""

    name: str
    kind: str
    help: str
    values: Sequence[tuple[Mapping[str, str], int]]


def exposition(samples: Sequence[Sample]) -> str:
    """Return `samples` in the text format 0.0.4 of Prometheus."""
    lines: list[str] = []
    for sample in samples:
        name = f"rexecop_{sample.name}"
        lines += [f"# HELP {name} {sample.help}", f"# TYPE {name} {sample.kind}"]
        for labels, value in sample.values:
            shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def samples(log: Reading, now: datetime) -> tuple[Sample, ...]:
    """Return the figures of the ledger `log` at `now`."""
    operations: Counter[tuple[str, str, str]] = Counter()
    waiting: list[datetime] = []
    for row in _rows(log):
        operations[row.state, row.mode, f"{row.profile}/{row.intent}"] += 1
        if row.state == State.WAITING_FOR_APPROVAL:
            waiting.append(row.updated)
    unknown = sum(count for (state, _, _), count in operations.items() if state == State.INDETERMINATE)
    oldest = int((now - min(waiting)).total_seconds()) if waiting else 0
    size, kept = log.size(), log.kept_checkpoint()
    overdue = sum(due.overdue for due in reviews_due(log, now))
    held = len({target for target, _ in log.locks()})
    labels = ("state", "mode", "intent")
    by_state = [(dict(zip(labels, key, strict=True)), count) for key, count in sorted(operations.items())]
    lag = size - (kept.size if kept is not None else 0)
    figures = (
        ("approvals_pending", "Operations that wait for approval.", len(waiting)),
        ("approval_oldest_seconds", "How long the oldest of them waits.", oldest),
        ("unknown_outcomes", "Operations of which an effect may have happened.", unknown),
        ("reviews_overdue", "Reviews that are overdue.", overdue),
        ("locks_held", "Targets that are locked.", held),
        ("evidence_checkpoint_lag_records", "Records that no signed checkpoint covers yet.", lag),
        ("evidence_damaged_records", "Records that are damaged and set aside.", len(log.quarantined())),
    )
    return (
        Sample(name="operations", kind="gauge", help="Operations by where they stand.", values=by_state),
        Sample(
            name="evidence_records_total", kind="counter", help="Records in the log.", values=[({}, size)]
        ),
        *(Sample(name=name, kind="gauge", help=said, values=[({}, value)]) for name, said, value in figures),
    )


def _rows(log: Reading) -> Iterator[Row]:
    after = 0
    while rows := log.rows(after=after, limit=PAGE):
        yield from (row for _, row in rows)
        after = rows[-1][0]
