"""Steps 10 and 11: outputs match what names them, and how far the evidence claims to be complete."""

from __future__ import annotations

from rexecop.proof.canonical import Digest, commit, same
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.instance import Erasure
from rexecop.proof.records.outcome import BlobRef, Outcome
from rexecop.proof.verify.evidence import Evidence, Notes, place


def check_outputs(evidence: Evidence, notes: Notes) -> None:
    """Step 10."""
    named: dict[Digest, BlobRef] = {
        ref.commitment: ref for _, outcome in evidence.of(Outcome) for ref in (outcome.blobs or {}).values()
    }
    erased = {
        sealed.record.commitment: sealed.record
        for sealed in evidence.instance
        if isinstance(sealed.record, Erasure)
    }
    for commitment, blob in evidence.contents.blobs.items():
        ref = named.get(commitment)
        if ref is None:
            notes.fault("E10b", f"output `{commitment}` is named by no outcome")
        elif len(blob.data) != ref.kept_bytes or not same(commit(blob.key, blob.data), commitment):
            notes.fault("E10a", f"output `{commitment}` is not what its outcome names")
        if commitment in erased:
            notes.fault("E10c", f"output `{commitment}` is recorded as erased")
    for commitment in named.keys() - evidence.contents.blobs.keys():
        found = erased.get(commitment)
        if found is None:
            notes.skip("outputs", "not all are included")
        else:
            notes.skip(
                f"output `{commitment}`", f"erased by `{found.by.person:.64}` under `{found.rule:.64}`"
            )


def check_completeness(evidence: Evidence, notes: Notes) -> None:
    """Step 11: within one operation changes of a target follow one another; more is not claimed."""
    last: dict[str, tuple[int, Digest]] = {}
    for sealed, attempt in evidence.of(Attempt):
        if attempt.target_n is None:
            continue
        before = last.get(attempt.target)
        beginning = attempt.target_n == 1
        if attempt.target_n < 1 or beginning != (attempt.target_prev is None):
            notes.fault("E11a", f"{place(sealed)} has no place among the changes of its target", sealed)
        elif before is not None and (
            attempt.target_n <= before[0]
            or (attempt.target_n == before[0] + 1 and attempt.target_prev != before[1])
        ):
            notes.fault("E11a", f"{place(sealed)} is not counted after the change before it", sealed)
        last[attempt.target] = (attempt.target_n, sealed.digest)
    notes.skip("that nothing else was done", "a bundle of one operation claims nothing about others")
