"""Step 3: the operation's chain is whole, and closed by receipts where it ended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from rexecop.proof.chain import CLOCK_TOLERANCE, Sealed
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.instance import Access, Erasure, Heads, Note, Trust
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.records.validation import Validation
from rexecop.proof.verify.evidence import Evidence, Notes, place

OF_OPERATIONS: Final = (
    *(Intent, Plan, Decision, Approval, Ticket, Attempt, Outcome),
    *(Reconciliation, Command, Validation, Receipt, Note),
)
OF_INSTANCES: Final = (Trust, Heads, Erasure, Access, Note)


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 3."""
    operation, instance = evidence.contents.operation, evidence.contents.instance
    _chain(evidence.records, operation, notes)
    _beginning(evidence, notes)
    _receipts(evidence, notes)
    for sealed in evidence.records:
        if not isinstance(sealed.record, OF_OPERATIONS):
            notes.fault("E03f", f"{place(sealed)} belongs to an instance, not to an operation", sealed)
    _instance_slice(evidence.instance, instance, notes)
    _future(evidence, notes)


def _chain(records: Sequence[Sealed], operation: str, notes: Notes) -> None:
    last: Sealed | None = None
    for index, sealed in enumerate(records):
        record = sealed.record
        if record.operation != operation:
            notes.fault(
                "E03c", f"record {index} is of `{record.operation:.64}`, not of `{operation:.64}`", sealed
            )
        if record.n != index:
            notes.fault("E03a", f"record {index} says it is number {record.n}", sealed)
        elif record.prev != (last.digest if last else None):
            notes.fault("E03b", f"{place(sealed)} does not name the record before it", sealed)
        if last is not None and record.at < last.record.at - CLOCK_TOLERANCE:
            notes.fault("E03d", f"{place(sealed)} is dated more than 5 s before the one it follows", sealed)
        last = sealed


def _beginning(evidence: Evidence, notes: Notes) -> None:
    intents = [sealed.record.n for sealed, _ in evidence.of(Intent)]
    plans = [sealed.record.n for sealed, _ in evidence.of(Plan)]
    if intents != [0]:
        notes.fault("E03e", f"the operation has its intent at {intents or 'no place'}, not at 0 only")
    if plans not in ([], [1]):
        notes.fault("E03e", f"the operation has its plan at {plans}, not at 1 only")


def _receipts(evidence: Evidence, notes: Notes) -> None:
    """A receipt names the record before it; only what reopens an operation may follow one."""
    for before, sealed in pairwise(evidence.records):
        record = sealed.record
        if isinstance(record, Receipt) and record.head != before.digest:
            notes.fault("E03g", f"{place(sealed)} names another head than the record before it", sealed)
        if isinstance(before.record, Receipt) and not isinstance(record, Command | Note):
            notes.fault(
                "E03g", f"{place(sealed)} follows a receipt, and no command reopened the operation", sealed
            )
    if evidence.records and isinstance(evidence.records[0].record, Receipt):
        notes.fault("E03g", "the first record is a receipt", evidence.records[0])
    if not evidence.records or not any(isinstance(s.record, Receipt) for s in evidence.records[-1:]):
        notes.skip(
            "the end of the operation", "its last record is not a receipt; more records may have followed"
        )


def _instance_slice(records: Sequence[Sealed], instance: str, notes: Notes) -> None:
    if records and records[0].record.n != 0:
        notes.skip("revocations of keys", "the instance's chain is not included from its first record on")
    for sealed in records:
        if sealed.record.operation != instance:
            notes.fault("E03c", f"instance record {sealed.record.n} is not of `{instance:.64}`", sealed)
        if not isinstance(sealed.record, OF_INSTANCES):
            notes.fault("E03f", f"instance {place(sealed)} belongs to an operation", sealed)
    for before, sealed in pairwise(records):
        record = sealed.record
        if record.n <= before.record.n:
            notes.fault("E03a", f"instance record {record.n} follows record {before.record.n}", sealed)
        elif record.n != before.record.n + 1:
            notes.skip("revocations of keys", "records of the instance's chain are left out in between")
        elif record.prev != before.digest:
            notes.fault("E03b", f"instance {place(sealed)} does not name the record before it", sealed)
        if record.at < before.record.at - CLOCK_TOLERANCE:
            notes.fault("E03d", f"instance {place(sealed)} is dated before the one it follows", sealed)


def _future(evidence: Evidence, notes: Notes) -> None:
    if evidence.now is None:
        return
    for sealed in (*evidence.records, *evidence.instance):
        if sealed.record.at > evidence.now + CLOCK_TOLERANCE:
            notes.fault("E03h", f"{place(sealed)} is dated after the clock of this verifier", sealed)
            return
