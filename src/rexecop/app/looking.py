"""Evidence looked at where it lies: no key, no lock, and looking is not recorded.

What it is worth is said by the one verifier there is, over what a bundle would hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rexecop.app.accesses import accesses_of
from rexecop.app.cutting import Cutter, Cutting
from rexecop.app.describe import record_view
from rexecop.app.errors import NotYet, RecordUnknown
from rexecop.app.views import BlobLine, EvidenceLine, EvidenceView, ReceiptView, RecordEvidence, SignatureLine
from rexecop.govern.views import artifacts
from rexecop.operations.fold import fold
from rexecop.proof import dsse, sshsig
from rexecop.proof.bundle import build
from rexecop.proof.canonical import parse_json
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.codec import to_json
from rexecop.proof.dsse import ENVELOPE_BYTES_MAX
from rexecop.proof.erasures import Erasures
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.records import Approval, Attempt, Erasure, Outcome, Reconciliation, Retention
from rexecop.proof.records.outcome import BlobRef
from rexecop.proof.times import format_time
from rexecop.proof.trust import enrolments
from rexecop.proof.verify import Report, trust_of, verify
from rexecop.store.errors import StoreDamaged
from rexecop.store.reading import Reading

HOLDS = "holds"
DIGITS_MIN = 6  # Fewer digits of a digest are a slip of the pen.


class Looking(Cutter):
    """What a ledger holds as evidence, and how it stands now."""

    def __init__(self, ledger: Reading) -> None:
        super().__init__(ledger, ledger.instance_id, None)

    def receipt(self, operation: str) -> ReceiptView:
        """Return the newest receipt of `operation`, and whether its signature holds.

        Raises:
            NotYet: the operation has not ended.
        """
        op = fold(self._store.journal(operation).records)
        if not op.receipts:
            what = f"operation `{operation}` is `{op.state}` and has no receipt yet"
            raise NotYet(what, state=str(op.state))
        sealed, (report, _) = op.receipts[-1], self._verdict(operation)
        kept = self.kept(sealed.digest, "dsse")
        return ReceiptView(
            operation_id=operation,
            number=self._store.number(operation),
            state=str(op.state),
            digest=sealed.digest,
            receipt=to_json(sealed.record),
            envelope=parse_json(kept.data, bytes_max=ENVELOPE_BYTES_MAX) if kept else None,
            signatures=tuple(self._signed(sealed, report)),
        )

    def records(self, operation: str, step: str | None) -> EvidenceView:
        """Return the records of `operation`, or those about one step, and what rests on what."""
        journal = self._store.journal(operation)
        return EvidenceView(
            operation_id=operation,
            number=self._store.number(operation),
            verdict=self._verdict(operation)[1],
            records=tuple(self._lines(journal.records, step)),
            damaged=tuple(f"record {one.n}: {one.reason}" for one in journal.damaged),
            accesses=tuple(to_json(one) for one in accesses_of(self._store, operation)),
        )

    def record(self, operation: str, which: str) -> RecordEvidence:
        """Return one record whole: `which` is its place, or the beginning of its digest.

        Raises:
            RecordUnknown: it is none, or more than one, or cannot be read.
        """
        journal, digits = self._store.journal(operation), which.removeprefix("sha256:")
        found = [one for one in journal.records if which == str(one.record.n)]
        if not found and len(digits) >= DIGITS_MIN:
            found = [one for one in journal.records if one.digest[len("sha256:") :].startswith(digits)]
        if len(found) != 1:
            bad = [f"cannot be read: {one.reason}" for one in journal.damaged if which == str(one.n)]
            why = f"record `{which[:80]}` {bad[0] if bad else 'is none, or more than one'}"
            raise RecordUnknown(why, next_steps=(f"rexecop evidence show {operation}",), found=which[:80])
        sealed, (report, words) = found[0], self._verdict(operation)
        outcome = sealed.record if isinstance(sealed.record, Outcome) else None
        line = next(one for one in self._lines(journal.records, None) if one.record.digest == sealed.digest)
        return RecordEvidence(
            operation_id=operation,
            line=line,
            included=_included(sealed, line.leaf, report, words),
            signatures=tuple(self._signed(sealed, report)),
            blobs=tuple(
                self._blob(name, ref, sealed.record.at)
                for name, ref in sorted(((outcome and outcome.blobs) or {}).items())
            ),
        )

    def _verdict(self, operation: str) -> tuple[Report | None, str]:
        """Return what this instance's own keys say about the records under its newest checkpoint."""
        stored = self._store.kept_checkpoint()
        try:
            if stored is None:
                return None, "no checkpoint covers it yet"
            contents = self.contents(operation, Cutting(checkpoint=stored, with_outputs=False))
            if not contents.records:
                return None, "no checkpoint covers it yet"
            report = verify(build(contents), trust_of(enrolments(map(unseal, contents.instance_records))))
        except RexecopError as error:
            return None, f"cannot be checked: {error.message}"
        return (
            report,
            f"{report.answer()}, in a log of {report.log_size} records, by this instance's own keys",
        )

    def _lines(self, records: Sequence[Sealed], step: str | None) -> Iterator[EvidenceLine]:
        attempts = {sealed.digest: sealed.record for sealed in records if isinstance(sealed.record, Attempt)}
        depths: dict[int, int] = {}
        for sealed, artifact in zip(records, artifacts(records), strict=True):
            view, record, rests_on = record_view(sealed), sealed.record, artifact.rests_on
            depths[view.n] = depths[rests_on[-1]] + 1 if rests_on else 0
            about = attempts.get(record.attempt) if isinstance(record, Reconciliation) else record
            name = about.permit.step if isinstance(about, Attempt) else getattr(about, "step", "")
            if step in (None, name, name.split("@", 1)[0]):
                yield EvidenceLine(
                    record=view,
                    rests_on=rests_on,
                    depth=depths[view.n],
                    leaf=self._store.leaf_of(record.operation, view.n),
                )

    def _signed(self, sealed: Sealed, report: Report | None) -> Iterator[SignatureLine]:
        kept = [(one.form, one.data) for one in self._store.signatures(sealed.digest)]
        if isinstance(sealed.record, Approval) and sealed.record.signature:
            kept.append(("sshsig", sealed.record.signature.encode()))
        for form, data in kept:
            yield SignatureLine(form=form, by=_claimed(form, data), verdict=_standing(sealed, report))

    def _blob(self, name: str, ref: BlobRef, at: datetime) -> BlobLine:
        erased = Erasures(sealed.record for sealed in self._store.journal(self._instance).records)
        one: Erasure | Retention | None = erased.named.get(ref.commitment)
        state = "kept"
        try:
            if one is None and self._store.blob(ref.commitment) is None:
                one, state = erased.why_missing(ref.commitment, at), "not kept"
        except StoreDamaged as error:
            state = f"damaged: {error.message}"
        if one is not None:
            state = f"erased by {one.by.person} under {one.rule} at {format_time(one.at)}: {one.reason}"
        return BlobLine(name=name, ref=ref, state=state)


def _claimed(form: str, data: bytes) -> str:
    """Return whose key a signature says it is by."""
    try:
        if form == "dsse":
            return ", ".join(one.key_id for one in dsse.decode(data).signatures)
        return sshsig.decode(data.decode("ascii", "replace")).public.fingerprint
    except ProofError as error:
        return error.message


def _standing(sealed: Sealed, report: Report | None) -> str:
    if report is None:
        return "not checked: no checkpoint covers it yet"
    wrong = [one.message for one in report.findings if one.record == sealed.digest and one.step in (4, 8)]
    open_ = [one.why for one in report.not_checked if f"record {sealed.record.n} (" in one.what]
    return (
        "; ".join([*(f"WRONG: {one}" for one in wrong), *(f"not checked: {one}" for one in open_)]) or HOLDS
    )


def _included(sealed: Sealed, leaf: int, report: Report | None, words: str) -> str:
    if report is None or leaf >= (report.log_size or 0):
        return "no checkpoint covers it yet" if report else words
    wrong = [one.message for one in report.findings if one.step == 5 and one.record in (None, sealed.digest)]
    return f"WRONG: {wrong[0]}" if wrong else f"{HOLDS}: leaf {leaf} of a log of {report.log_size} records"
