"""Step 3: the operation's chain is whole, and closed by receipts where it ended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rexecop.proof.chain import CLOCK_TOLERANCE, Sealed
from rexecop.proof.receipts import closing
from rexecop.proof.records import (
    Access,
    Approval,
    Command,
    Delegation,
    Epoch,
    Erasure,
    Heads,
    Intent,
    Note,
    Plan,
    Receipt,
    Record,
    Retention,
    Trust,
)
from rexecop.proof.records.instance import Halt
from rexecop.proof.times import format_time
from rexecop.proof.verify.evidence import Evidence, Notes, Opened
from rexecop.proof.vocabulary import State

# All other kinds, and notes, are of operations.
OF_INSTANCES = (Trust, Heads, Erasure, Retention, Access, Epoch, Halt, Delegation, Note)


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 3 for one operation."""
    _chain(evidence.records, evidence.operation, notes)
    intents = [sealed.record.n for sealed, _ in evidence.of(Intent)]
    plans = [sealed.record.n for sealed, _ in evidence.of(Plan)]
    if intents != [0]:
        notes.fault("E03e", f"the operation has its intent at {intents or 'no place'}, not at 0 only")
    if plans not in ([], [1]):
        notes.fault("E03e", f"the operation has its plan at {plans}, not at 1 only")
    _receipts(evidence.records, notes)


def check_bundle(opened: Opened, notes: Notes) -> None:
    """Step 3 for the instance's own records, and for the dates of all."""
    _instance_slice(opened.instance, opened.contents.instance, notes)
    for sealed in (*opened.records, *opened.instance):
        if opened.now is not None and sealed.record.at > opened.now + CLOCK_TOLERANCE:
            notes.when(True, "E03h", sealed, "is dated after the clock of this verifier")
            break


def _chain(records: Sequence[Sealed], operation: str, notes: Notes) -> None:
    last: Sealed | None = None
    for index, sealed in enumerate(records):
        record = sealed.record
        other, foreign = record.operation != operation, isinstance(record, OF_INSTANCES[:-1])
        notes.when(other, "E03c", sealed, f"is of `{record.operation:.64}`, not of `{operation:.64}`")
        notes.when(foreign, "E03f", sealed, "belongs to an instance, not to an operation")
        if record.n != index:
            notes.when(True, "E03a", sealed, f"stands at place {index}")
        elif record.prev != (last.digest if last else None):
            notes.when(True, "E03b", sealed, "does not name the record before it")
        early = last is not None and record.at < last.record.at - CLOCK_TOLERANCE
        notes.when(early, "E03d", sealed, "is dated more than 5 s before the one it follows")
        last = sealed


def _receipts(records: Sequence[Sealed], notes: Notes) -> None:
    """A receipt names the record before it; only what reopens an operation may follow one."""
    for before, sealed in zip((None, *records), records, strict=False):
        record = sealed.record
        wrong = isinstance(record, Receipt) and (before is None or record.head != before.digest)
        notes.when(wrong, "E03g", sealed, "names another head than the record before it")
        closed = before.record if before is not None and isinstance(before.record, Receipt) else None
        wrong = closed is not None and not (isinstance(record, Command | Note) or _reopens(closed, record))
        notes.when(wrong, "E03g", sealed, "follows a receipt, and nothing reopened the operation")
    if closing(records) is None:
        why = "its last record is not a receipt; more records may have followed"
        which = "the operation" if notes.operation is None else f"`{notes.operation:.64}`"
        notes.skip(f"the end of {which}", why)
    else:
        why = "a command may have reopened the operation after its last record here"
        notes.skip("that nothing followed the receipt", why)


def _instance_slice(records: Sequence[Sealed], instance: str, notes: Notes) -> None:
    if records and records[0].record.n != 0:
        notes.skip(
            "revocations of keys, and halts", "the instance's chain is not included from its first record on"
        )
    for sealed in records:
        other, foreign = sealed.record.operation != instance, not _of_instance(sealed.record)
        notes.when(other, "E03c", sealed, f"is not of the instance `{instance:.64}`")
        notes.when(foreign, "E03f", sealed, "stands in the instance's chain and belongs to an operation")
    for before, sealed in pairwise(records):
        record = sealed.record
        if record.n <= before.record.n:
            notes.when(True, "E03a", sealed, f"of the instance follows record {before.record.n}")
        elif record.n != before.record.n + 1:
            notes.skip(
                "revocations of keys, and halts", "records of the instance's chain are left out in between"
            )
        elif record.prev != before.digest:
            notes.when(True, "E03b", sealed, "of the instance does not name the record before it")
        early = record.at < before.record.at - CLOCK_TOLERANCE
        notes.when(early, "E03d", sealed, "of the instance is dated before the one it follows")
    if records:
        last = records[-1].record
        why = f"the instance's chain is included up to its record {last.n}"
        notes.skip(f"revocations of keys after {format_time(last.at)}", why)


def _of_instance(record: Record) -> bool:
    """Return whether the instance's chain may hold `record`: a standing approval, or its end, among them."""
    if isinstance(record, Approval):
        said = record.statement
        return record.use is None and (said.covers is not None or said.withdraws is not None)
    return isinstance(record, OF_INSTANCES)


def _reopens(closed: Receipt, record: Record) -> bool:
    """Return whether a no that ended the operation is taken back."""
    taken_back = isinstance(record, Approval) and record.statement.withdraws is not None
    return taken_back and closed.state is State.BLOCKED
