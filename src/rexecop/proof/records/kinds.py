"""All record kinds in one table, and how bytes become one of them."""

from __future__ import annotations

from typing import Final

from rexecop.proof.canonical import load_json
from rexecop.proof.codec import RECORD_BYTES_MAX, decode_long, from_parsed
from rexecop.proof.errors import KindUnknown, RecordMalformed
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.base import Record
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.delegation import Delegation
from rexecop.proof.records.instance import Access, Epoch, Erasure, Halt, Heads, Note, Retention, Trust
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.stretch import Stretch
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.records.validation import RuleVerdict, Validation

KINDS: Final[dict[str, type[Record]]] = {
    record.kind: record
    for record in (
        Access, Approval, Attempt, Command, Decision, Delegation, Epoch, Erasure, Halt, Heads, Intent,
        Note, Outcome, Plan, Receipt, Reconciliation, Retention, Stretch, Ticket, Trust, Validation,
    )
}  # fmt: skip


def read_record(data: bytes) -> Record:
    """Return the record whose canonical form is `data`.

    Raises:
        NotCanonical, RecordMalformed, KindUnknown: see `codec.decode`.
    """
    if len(data) > RECORD_BYTES_MAX:
        return decode_long(KINDS, data, lambda cls: cls.bytes_max)
    parsed = load_json(data, bytes_max=RECORD_BYTES_MAX)
    kind = parsed.get("kind") if isinstance(parsed, dict) else None
    if not isinstance(kind, str):
        raise RecordMalformed("a record is an object with a `kind`")
    cls = KINDS.get(kind)
    if cls is None:
        raise KindUnknown(f"no record kind `{kind[:60]}`", kind=kind[:60])
    return from_parsed(cls, parsed, data)


__all__ = [
    "KINDS", "Access", "Approval", "Attempt", "Command", "Decision", "Delegation", "Epoch", "Erasure", "Halt",
    "Heads", "Intent", "Note", "Outcome", "Plan", "Receipt", "Reconciliation", "Record", "Retention",
    "RuleVerdict", "Stretch", "Ticket", "Trust", "Validation", "Verb", "read_record",
]  # fmt: skip
