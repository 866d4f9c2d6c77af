"""Steps 5 and 6: every record is in the log, and the log is the one known from before."""

from __future__ import annotations

from itertools import islice, pairwise

from rexecop.proof import note as notes_format
from rexecop.proof.bundle import path_of
from rexecop.proof.canonical import digest_of
from rexecop.proof.checkpoint import Checkpoint, parse
from rexecop.proof.errors import (
    BundleMalformed,
    InclusionProofWrong,
    LogProofMalformed,
    NoteSignatureRepeated,
    ProofError,
    SignatureRepeated,
)
from rexecop.proof.logproof import ConsistencyProof, hashes_of, read_proof
from rexecop.proof.merkle import leaf_hash, verify_consistency, verify_inclusion
from rexecop.proof.note import Note
from rexecop.proof.verify.epochs import REWOUND, may_compare
from rexecop.proof.verify.evidence import Notes, Opened


def open_checkpoint(data: bytes, notes: Notes) -> tuple[Note, Checkpoint] | tuple[None, None]:
    """Return the checkpoint as note and content, or nothing when it cannot be read."""
    try:
        note = notes_format.parse(data)
        return note, parse(note.text)
    except ProofError as error:
        notes.fault(
            "E04p" if isinstance(error, NoteSignatureRepeated | SignatureRepeated) else "E05a", error.message
        )
        return None, None


def check_inclusion(opened: Opened, notes: Notes) -> None:
    """Step 5. It needs no record to be readable, only its bytes."""
    contents, checkpoint = opened.contents, opened.checkpoint
    if checkpoint is None:
        return
    origin, proofs = checkpoint.origin, contents.proofs
    if origin.split("/")[1:2] != [contents.instance]:
        notes.fault("E05e", f"the checkpoint is of `{origin:.80}`, not of `{contents.instance:.64}`")
    try:
        hashes = proofs.hashes()
    except BundleMalformed as error:
        notes.fault("E05b", error.message)
        return
    for section, lines, places in (
        ("operation", contents.records, proofs.operation),
        ("instance", contents.instance_records, proofs.instance),
    ):
        if len(lines) != len(places):
            notes.fault("E05b", f"{len(lines)} {section} records have {len(places)} proofs")
            continue
        for number, (line, proof) in enumerate(zip(lines, places, strict=True)):
            try:
                path = path_of(proof.path, hashes)
                verify_inclusion(leaf_hash(line), proof.leaf, checkpoint.size, path, checkpoint.root)
            except ProofError as error:
                code = "E05c" if isinstance(error, InclusionProofWrong) else "E05b"
                notes.fault(code, f"{section} record {number}: {error.message}", digest_of(line))
    _order(opened, notes)
    leaves = [proof.leaf for proof in (*proofs.operation, *proofs.instance)]
    if len(set(leaves)) != len(leaves):
        notes.fault("E05d", "two records claim one place in the log")


def _order(opened: Opened, notes: Notes) -> None:
    """Records of a chain stand in the log in their order, and operations by their first records."""
    contents, proofs = opened.contents, opened.contents.proofs
    chains, own = [], []
    # Proofs that are not as many as the lines are of no line in particular.
    if len(proofs.operation) == len(contents.records):
        places = (leaf for _, leaf in opened.leaves)
        chains = [(name, list(islice(places, len(records)))) for name, records in opened.operations.items()]
        # Records that cannot be read count as one chain.
        chains = chains or [("the operation", [proof.leaf for proof in proofs.operation])]
    if len(proofs.instance) == len(contents.instance_records):
        own = [proof.leaf for proof in proofs.instance]
    for name, leaves in (*chains, ("the instance", own)):
        for number, (before, after) in enumerate(pairwise(leaves), 1):
            if after <= before:
                text = f"record {number} of {name:.64} stands in the log before the one it follows"
                notes.fault("E05d", text)
    first = [leaves[0] for _, leaves in chains if leaves]
    if first != sorted(first):
        notes.fault("E05d", "operations do not stand in the order of their first records")


def check_consistency(opened: Opened, notes: Notes) -> None:
    """Step 6."""
    if opened.earlier is None:
        notes.skip(REWOUND, "no checkpoint held earlier was given")
        return
    try:
        earlier = parse(notes_format.parse(opened.earlier).text)
    except ProofError as error:
        notes.fault("E06d", error.message)
        return
    if opened.checkpoint is not None:
        _compare(earlier, opened.checkpoint, opened, notes)


def _compare(earlier: Checkpoint, current: Checkpoint, opened: Opened, notes: Notes) -> None:
    growth = [entry for entry in opened.contents.proofs.growth if entry.size == earlier.size]
    if earlier.origin != current.origin and not may_compare(earlier, current, opened, notes):
        return
    if earlier.size == current.size:
        if earlier.root != current.root:
            notes.fault("E06a", f"two logs of {current.size} records have different roots")
    elif earlier.size > current.size:
        _shorter(earlier, current, opened.growth, notes)
    elif not growth and earlier.size:
        notes.skip(REWOUND, f"the bundle has no proof from {earlier.size} to {current.size} records")
    else:
        try:
            path = path_of(growth[0].path, opened.contents.proofs.hashes()) if growth else ()
            verify_consistency(earlier.size, current.size, earlier.root, current.root, path)
        except ProofError as error:
            notes.fault("E06b", error.message)


def _shorter(held: Checkpoint, current: Checkpoint, growth: bytes | None, notes: Notes) -> None:
    """A log shorter than the one held was rewound, unless that one is shown to continue it."""
    if growth is None:
        text = f"the checkpoint held has {held.size} records, this one {current.size}"
        step = f"a proof like `rexecop log consistency {current.size} {held.size} --json` shows that it grew"
        notes.fault("E06e", f"{text}; {step}")
        return
    try:
        proof = read_proof(growth)
        if not isinstance(proof, ConsistencyProof) or (proof.old, proof.new) != (current.size, held.size):
            raise LogProofMalformed(f"the proof given is not from {current.size} to {held.size} records")
        verify_consistency(current.size, held.size, current.root, held.root, hashes_of(proof.path))
    except ProofError as error:
        notes.fault("E06e", f"the log held is not shown to continue this one: {error.message}")
