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


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric: what it says, and its value for each set of labels. A name in `_total` only grows."""

    name: str
    help: str
    values: Sequence[tuple[Mapping[str, str], int]]


def exposition(samples: Sequence[Sample]) -> str:
    """Return `samples` in the text format 0.0.4 of Prometheus."""
    lines: list[str] = []
    for sample in samples:
        name, kind = f"rexecop_{sample.name}", "counter" if sample.name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {sample.help}", f"# TYPE {name} {kind}"]
        for labels, value in sample.values:
            shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def samples(log: Reading, now: datetime) -> tuple[Sample, ...]:
    """Return the figures of the ledger `log` at `now`."""
    rows = [*_rows(log)]
    counts = Counter((row.state, row.mode, f"{row.profile}/{row.intent}") for row in rows)
    waiting = [row.updated for row in rows if row.state == State.WAITING_FOR_APPROVAL]
    size, kept = log.size(), log.kept_checkpoint()
    figures = (
        ("evidence_records_total", "Records in the log.", size),
        ("approvals_pending", "Operations that wait for approval.", len(waiting)),
        (
            "approval_oldest_seconds",
            "How long the oldest of them waits.",
            int((now - min(waiting, default=now)).total_seconds()),
        ),
        (
            "unknown_outcomes",
            "Operations of which an effect may have happened.",
            sum(row.state == State.INDETERMINATE for row in rows),
        ),
        ("reviews_overdue", "Reviews that are overdue.", sum(due.overdue for due in reviews_due(log, now))),
        ("locks_held", "Targets that are locked.", len({held.target for held in log.locks()})),
        (
            "evidence_checkpoint_lag_records",
            "Records that no signed checkpoint covers yet.",
            size - (kept.size if kept is not None else 0),
        ),
        ("evidence_damaged_records", "Records that are damaged and set aside.", len(log.quarantined())),
    )
    labels = ("state", "mode", "intent")
    by_state = [(dict(zip(labels, key, strict=True)), count) for key, count in sorted(counts.items())]
    return (
        Sample("operations", "Operations by where they stand.", by_state),
        *(Sample(name, said, [({}, value)]) for name, said, value in figures),
    )


def _rows(log: Reading) -> Iterator[Row]:
    after = 0
    while rows := log.rows(after=after, limit=PAGE):
        yield from (row for _, row in rows)
        after = rows[-1][0]
