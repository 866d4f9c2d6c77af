"""Steps 5 and 6: every record is in the log, and the log is the one known from before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rexecop.proof import note as notes_format
from rexecop.proof.bundle import Inclusion, path_of
from rexecop.proof.bundle_errors import BundleMalformed
from rexecop.proof.canonical import digest_of
from rexecop.proof.checkpoint import Checkpoint, parse
from rexecop.proof.errors import ProofError
from rexecop.proof.log_errors import InclusionProofWrong
from rexecop.proof.merkle import leaf_hash, verify_consistency, verify_inclusion
from rexecop.proof.verify.evidence import Evidence, Notes
from rexecop.proof.verify.report import Finding


def check_inclusion(evidence: Evidence, notes: Notes) -> None:
    """Step 5. It needs no record to be readable, only its bytes."""
    checkpoint = evidence.checkpoint
    if checkpoint is None:
        return
    contents = evidence.contents
    if checkpoint.origin.split("/")[1:2] != [contents.instance]:
        notes.fault(
            "E05e", f"the checkpoint is of `{checkpoint.origin:.80}`, not of `{contents.instance:.64}`"
        )
    try:
        hashes = contents.proofs.hashes()
    except BundleMalformed as error:
        notes.fault("E05b", error.message)
        return
    sections = (
        ("operation", contents.records, contents.proofs.operation),
        ("instance", contents.instance_records, contents.proofs.instance),
    )
    for section, lines, proofs in sections:
        if len(lines) != len(proofs):
            notes.fault("E05b", f"{len(lines)} {section} records have {len(proofs)} proofs")
            continue
        _section(section, lines, proofs, hashes, checkpoint, notes)
    leaves = [proof.leaf for _, _, proofs in sections for proof in proofs]
    if len(set(leaves)) != len(leaves):
        notes.fault("E05d", "two records claim one place in the log")


def _section(
    section: str,
    lines: Sequence[bytes],
    proofs: Sequence[Inclusion],
    hashes: Sequence[bytes],
    checkpoint: Checkpoint,
    notes: Notes,
) -> None:
    for number, (line, proof) in enumerate(zip(lines, proofs, strict=True)):
        try:
            path = path_of(proof.path, hashes)
            verify_inclusion(leaf_hash(line), proof.leaf, checkpoint.size, path, checkpoint.root)
        except ProofError as error:
            code = "E05c" if isinstance(error, InclusionProofWrong) else "E05b"
            message = f"{section} record {number}: {error.message}"
            notes.findings.append(Finding(code=code, message=message, record=digest_of(line)))
    for number, (before, after) in enumerate(pairwise(proofs), 1):
        if after.leaf <= before.leaf:
            notes.fault("E05d", f"{section} record {number} stands in the log before the one it follows")


def check_consistency(evidence: Evidence, notes: Notes) -> None:
    """Step 6."""
    if evidence.earlier is None:
        notes.skip("whether the log was rewound", "no checkpoint held earlier was given")
        return
    try:
        earlier = parse(notes_format.parse(evidence.earlier).text)
    except ProofError as error:
        notes.fault("E06d", error.message)
        return
    if evidence.checkpoint is not None:
        _compare(earlier, evidence.checkpoint, evidence, notes)


def _compare(earlier: Checkpoint, current: Checkpoint, evidence: Evidence, notes: Notes) -> None:
    what = "whether the log was rewound"
    if earlier.origin != current.origin:
        if earlier.origin.rpartition("/")[0] == current.origin.rpartition("/")[0]:
            notes.skip(what, f"the checkpoint held is of another epoch, `{earlier.origin}`")
        else:
            notes.fault("E06c", f"the checkpoint held is of `{earlier.origin}`, not of `{current.origin}`")
        return
    if earlier.size == current.size:
        if earlier.root != current.root:
            notes.fault("E06a", f"two logs of {current.size} records have different roots")
        return
    if earlier.size > current.size:
        notes.skip(what, f"the checkpoint held has {earlier.size} records, this one only {current.size}")
        return
    growth = [entry for entry in evidence.contents.proofs.growth if entry.size == earlier.size]
    if not growth and earlier.size:
        notes.skip(what, f"the bundle has no proof from {earlier.size} to {current.size} records")
        return
    try:
        hashes = evidence.contents.proofs.hashes()
        path = path_of(growth[0].path, hashes) if growth else ()
        verify_consistency(earlier.size, current.size, earlier.root, current.root, path)
    except ProofError as error:
        notes.fault("E06b", error.message)
