"""Records made for publication: plan, approval and receipt as in-toto Statements in DSSE.

The subject is the record by its digest, the predicate is the record itself. The
envelope lies beside the record and is never part of the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from rexecop.proof import dsse, statement
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import to_json
from rexecop.proof.errors import RecordMalformed
from rexecop.proof.publickey import PublicKey
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.signer import Signer
from rexecop.proof.statement import PAYLOAD_TYPE, PREDICATE_PREFIX, Statement, Subject

PUBLISHED: Final = (Plan, Approval, Receipt)


def predicate_type(kind: str) -> str:
    """Return the predicate type under which records of `kind` are published."""
    return PREDICATE_PREFIX + kind


def record_statement(sealed: Sealed) -> bytes:
    """Return the Statement that publishes `sealed`, canonical.

    Raises:
        RecordMalformed: records of this kind are not published.
    """
    record = sealed.record
    if not isinstance(record, PUBLISHED):
        raise RecordMalformed(f"records of kind `{record.kind}` are not published", found=record.kind)
    subject = Subject(name=f"{record.operation}/{record.n}", digest=sealed.digest)
    return statement.encode(
        Statement(subjects=(subject,), predicate_type=predicate_type(record.kind), predicate=to_json(record))
    )


def totals(records: Iterable[Sealed]) -> tuple[int, dict[str, int]]:
    """Return how many attempts `records` hold, and how many of their outcomes ended which way.

    Probes, undoing and derived outcomes count like the rest. Receipts state these
    numbers, and verifiers compare them.
    """
    kept = [sealed.record for sealed in records]
    ends = Counter(str(record.ended) for record in kept if isinstance(record, Outcome))
    return sum(isinstance(record, Attempt) for record in kept), dict(sorted(ends.items()))


def receipt_envelope(sealed: Sealed, signer: Signer) -> bytes:
    """Return the envelope in which the instance's key publishes the receipt `sealed`.

    Raises:
        RecordMalformed: `sealed` is not a receipt.
    """
    if not isinstance(sealed.record, Receipt):
        raise RecordMalformed(f"`{sealed.record.kind}` is not a receipt", found=sealed.record.kind)
    return record_envelope(sealed, signer)


def record_envelope(sealed: Sealed, signer: Signer) -> bytes:
    """Return the DSSE envelope, canonical JSON, in which `signer` publishes `sealed`.

    Raises:
        RecordMalformed: records of this kind are not published.
    """
    return dsse.encode(dsse.sign(signer, PAYLOAD_TYPE, record_statement(sealed)))


def verify_record(envelope: bytes, sealed: Sealed, public: PublicKey) -> None:
    """Return only if `public` signed `envelope`, and it publishes exactly `sealed`.

    Raises:
        SignatureMalformed, SignerUnknown, SignatureRepeated, SignatureUnsupported,
            SignatureWrong: see `dsse.verify`.
        RecordMalformed: the envelope publishes something else.
    """
    payload = dsse.verify(dsse.decode(envelope), public, payload_type=PAYLOAD_TYPE)
    if payload != record_statement(sealed):
        raise RecordMalformed(f"the envelope does not publish record `{sealed.digest}`", found=sealed.digest)
