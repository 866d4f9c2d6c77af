"""The instance's own chain, continued without reading more of it than its last record."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rexecop.engines.errors import ClockSteppedBack, JournalDamaged
from rexecop.operations.ports import Batch, Clock
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import CLOCK_TOLERANCE, Sealed, seal
from rexecop.proof.principal import Principal
from rexecop.proof.records import Record
from rexecop.store.reading import Reading


def next_records(
    store: Reading, clock: Clock, by: Principal, makes: Iterable[Callable[..., Record]]
) -> Batch:
    """Return the batch that continues the instance's chain with the records of `makes`, by `by`, now.

    Each of `makes` is a record kind with its own fields bound.

    Raises:
        JournalDamaged: the last record is damaged, so nothing can name it.
        ClockSteppedBack: the clock is more than the tolerance before it.
    """
    instance = store.instance_id
    expected, last = store.records_of(instance), store.journal(instance).records[-1:]
    if not last or last[0].record.n != expected - 1:
        raise JournalDamaged(
            "the last record of the instance's own chain cannot be read, so nothing can follow it",
            n=expected - 1,
            next_steps=("rexecop recover --from BACKUP",),
        )
    now, newest = clock.now(), last[0].record.at
    if now < newest - CLOCK_TOLERANCE:
        raise ClockSteppedBack(now=now, newest=newest)
    records: list[Sealed] = []
    prev: Digest = last[0].digest
    for n, make in enumerate(makes, start=expected):
        records.append(seal(make(operation=instance, n=n, prev=prev, at=max(now, newest), by=by)))
        prev = records[-1].digest
    return Batch(operation=instance, expected=expected, records=tuple(records))
