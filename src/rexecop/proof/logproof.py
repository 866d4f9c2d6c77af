"""Proofs about a log as one file: what somebody needs who has the instance's key and nothing else.

Whatever such a file says beside record, path and signed checkpoint is computed from
them again, so nothing can be claimed in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from rexecop.proof import checkpoint, note
from rexecop.proof.canonical import Digest, Json, canonical_bytes, parse_json
from rexecop.proof.chain import unseal
from rexecop.proof.checkpoint import Checkpoint, LogKeys, require_continued
from rexecop.proof.codec import from_json
from rexecop.proof.errors import CheckpointForeign, CheckpointForged, LogProofMalformed
from rexecop.proof.merkle import leaf_hash, verify_consistency, verify_inclusion
from rexecop.proof.note import NoteKey, SignatureType
from rexecop.proof.suites import ED25519
from rexecop.proof.vocabulary import Role

if TYPE_CHECKING:
    from rexecop.proof.verify.trusted import TrustedKeys

PROOF_BYTES_MAX: Final = 2 * 1024 * 1024  # A record of the largest size, indented, and a note.


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionProof:
    """That `record` is leaf `leaf` of the log that `checkpoint`, a signed note, is of."""

    kind: ClassVar[str] = "log-inclusion/1"

    operation_id: str
    n: int
    leaf: int
    size: int
    digest: Digest
    record: Mapping[str, Json]
    path: tuple[str, ...]
    checkpoint: str

    def require(self, found: Checkpoint) -> None:
        """Return only if it proves what it says, `found` being its checkpoint.

        Raises:
            CheckpointForged: it says another size than the checkpoint.
            LogProofMalformed: it says other things about the record than the record.
            InclusionProofWrong, LogProofEmpty: the path does not lead to the root.
        """
        _require_size(self.size, found)
        sealed = unseal(canonical_bytes(self.record))
        said = (sealed.record.operation, sealed.record.n, sealed.digest)
        if said != (self.operation_id, self.n, self.digest):
            raise LogProofMalformed(f"the record is record {said[1]} of `{said[0]}`, not what is said of it")
        verify_inclusion(leaf_hash(sealed.body), self.leaf, found.size, hashes_of(self.path), found.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistencyProof:
    """That the log of `checkpoint`, a signed note, begins with the one of `old` records and `old_root`."""

    kind: ClassVar[str] = "log-consistency/1"

    old: int
    new: int
    old_root: str
    new_root: str
    path: tuple[str, ...]
    checkpoint: str

    def require(self, found: Checkpoint) -> None:
        """Return only if it proves what it says, `found` being its checkpoint.

        Raises:
            CheckpointForged: it says another size or root than the checkpoint.
            ConsistencyProofWrong, LogProofEmpty: the path does not join the two roots.
        """
        _require_size(self.new, found)
        (old_root, new_root) = hashes_of((self.old_root, self.new_root))
        if new_root != found.root:
            raise CheckpointForged("it states another root than its checkpoint")
        verify_consistency(self.old, found.size, old_root, found.root, hashes_of(self.path))


def read_proof(data: bytes) -> InclusionProof | ConsistencyProof:
    """Return the proof that the JSON text `data` is.

    Raises:
        NotCanonical: it is no strict JSON. RecordMalformed, KindUnknown: it is no proof of these kinds.
    """
    value = parse_json(data, bytes_max=PROOF_BYTES_MAX)
    kind = value.get("kind") if isinstance(value, Mapping) else None
    if kind == ConsistencyProof.kind:
        return from_json(ConsistencyProof, value)
    return from_json(InclusionProof, value)


def require_held(proof: InclusionProof | ConsistencyProof, found: Checkpoint, held: Checkpoint) -> None:
    """Return only if `held` is the checkpoint a proof starts from; `found` is the one it leads to.

    Raises:
        LogProofMalformed: it starts from another size. LogForked: it starts from another root.
    """
    size, root = found.size, found.root
    if isinstance(proof, ConsistencyProof):
        size, (root,) = proof.old, hashes_of((proof.old_root,))
    if held.size != size:
        raise LogProofMalformed(f"the proof is from {size} records, the checkpoint held of {held.size}")
    require_continued(held, size, lambda _: root)


def instance_keys(trust: TrustedKeys) -> LogKeys:
    """Return the keys that `trust` has for instances, as they sign checkpoints.

    When a note was signed is nobody's word, so a key with limits of time is none of them.
    """
    from rexecop.proof.verify.trusted import CHECKPOINTS

    able = [key for key in trust.of(Role.INSTANCE) if key.public.algorithm == ED25519]
    trusted = [key for key in able if key.counts(CHECKPOINTS, None)]

    def keys(origin: str) -> Sequence[NoteKey]:
        return [
            NoteKey(name=origin, public=key.public, type=SignatureType.ED25519)
            for key in trusted
            if key.note_name in (None, origin)
        ]

    return keys


def open_checkpoint(data: bytes, trust: TrustedKeys, log: str | None = None) -> tuple[Checkpoint, str | None]:
    """Return the checkpoint in the note `data` and who signed it: None where no key is trusted for instances.

    With `log` it must be of that log, in whatever epoch.

    Raises:
        CheckpointForeign: it is of another log. Others as `checkpoint.verify`.
    """
    if trust.of(Role.INSTANCE):
        witnessed = checkpoint.verify(data, instance_keys(trust))
        found, signer = witnessed.checkpoint, witnessed.signer.public.fingerprint
    else:
        found, signer = checkpoint.parse(note.parse(data).text), None
    if log not in (None, found.log):
        raise CheckpointForeign(f"the checkpoint is of {found.log[:64]!a}, not of `{log}`")
    return found, signer


def _require_size(said: int, found: Checkpoint) -> None:
    if said != found.size:
        raise CheckpointForged(f"it states a log of {said} records, its checkpoint {found.size}")


def hashes_of(path: Sequence[str]) -> tuple[bytes, ...]:
    """Return the hashes that `path` is in hex.

    Raises:
        LogProofMalformed: one is not hex.
    """
    try:
        return tuple(bytes.fromhex(item) for item in path)
    except ValueError as error:
        raise LogProofMalformed("a hash of the proof is not hex") from error
