"""Records made for publication: plan, approval and receipt as in-toto Statements (v1) in DSSE.

The subject is the record by its digest, the predicate is the record itself. The
envelope lies beside the record and is never part of the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from rexecop.proof import dsse
from rexecop.proof.canonical import trusted_bytes
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import RecordMalformed
from rexecop.proof.records import Approval, Attempt, Command, Note, Outcome, Plan, Receipt, Record, Verb
from rexecop.proof.signer import Signer

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
PREDICATE_PREFIX: Final = "https://rexecop.dev/predicate/"
PUBLISHED: Final = (Plan, Approval, Receipt)


def record_statement(sealed: Sealed) -> bytes:
    """Return the Statement that publishes `sealed`, canonical.

    Raises:
        RecordMalformed: records of this kind are not published.
    """
    record = sealed.record
    if not isinstance(record, PUBLISHED):
        raise RecordMalformed(f"records of kind `{record.kind}` are not published", found=record.kind)
    digest = {"sha256": sealed.digest.removeprefix("sha256:")}
    subject = trusted_bytes([{"name": f"{record.operation}/{record.n}", "digest": digest}])
    # The record is canonical already, and these names stand in their order.
    return b'{"_type":"%b","predicate":%b,"predicateType":"%b","subject":%b}' % (
        STATEMENT_TYPE.encode(),
        sealed.body,
        (PREDICATE_PREFIX + record.kind).encode(),
        subject,
    )


def totals(records: Iterable[Sealed]) -> tuple[int, dict[str, int]]:
    """Return how many attempts `records` hold, and how many of their outcomes ended which way.

    Probes, undoing and derived outcomes count like the rest. Receipts state these
    numbers, and verifiers compare them.
    """
    kept = [sealed.record for sealed in records]
    ends = Counter(str(record.ended) for record in kept if isinstance(record, Outcome))
    return sum(isinstance(record, Attempt) for record in kept), dict(sorted(ends.items()))


def is_review(record: Record) -> bool:
    """Return whether `record` says only that somebody looked at what had ended."""
    return isinstance(record, Command) and record.verb is Verb.REVIEW


def closing(records: Sequence[Sealed]) -> Receipt | None:
    """Return the receipt that ends `records`, reviews and notes after it aside; None where they go on."""
    beside = (one.record for one in reversed(records))
    last = next((one for one in beside if not is_review(one) and not isinstance(one, Note)), None)
    return last if isinstance(last, Receipt) else None


def record_envelope(sealed: Sealed, signer: Signer) -> bytes:
    """Return the DSSE envelope, canonical JSON, in which `signer` publishes `sealed`.

    Raises:
        RecordMalformed: records of this kind are not published.
    """
    return dsse.encode(dsse.sign(signer, PAYLOAD_TYPE, record_statement(sealed)))
