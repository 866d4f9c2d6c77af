"""Cutting bundles out of the ledger: one operation, or all changes of a window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rexecop.app.stamps import stamps_of
from rexecop.operations.errors import InputMissing
from rexecop.operations.ports import Signature, TargetHead
from rexecop.proof import dsse, note
from rexecop.proof.bundle import STAMPS_MAX, BundleBlob, BundleContents, BundleInput, Window, pack_proofs
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.checkpoint import parse, require_continued
from rexecop.proof.codec import RECORD_BYTES_MAX
from rexecop.proof.errors import CheckpointForeign
from rexecop.proof.heads import (
    Head,
    HeadProof,
    HeadsProofs,
    Unfinished,
    UnfinishedProof,
    has_ended,
    prove_target,
    prove_unfinished,
    whole_map,
)
from rexecop.proof.merkle import consistency_proof, inclusion_proof
from rexecop.proof.origins import ARTIFACT_ROLE, EXECUTE
from rexecop.proof.publishing import SIGNATURE_ROLE
from rexecop.proof.reaction import OBSERVATION_ROLE, REACTION, RULE_ROLE
from rexecop.proof.receipts import record_envelope
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.instance import Heads
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.signer import Signer
from rexecop.proof.trust import Enrolment, enrolments, retired
from rexecop.proof.vocabulary import Role
from rexecop.store.log import StoredCheckpoint
from rexecop.store.reading import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """What of an export is the same for operations and windows.

    It is cut at `checkpoint`; for each size in `held` it proves that the log grew from there.
    """

    checkpoint: StoredCheckpoint
    with_outputs: bool
    held: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacedHeads:
    """A `heads` record and the leaf it is."""

    sealed: Sealed
    leaf: int


class Cutter:
    """Cuts the bundles of one ledger; without a signer plans and approvals are not published anew."""

    def __init__(self, store: Reading, instance: str, signing: Callable[[], Signer] | None) -> None:
        self._store = store
        self._instance = instance
        self._signing = signing

    def contents(self, operation: str, cutting: Cutting) -> BundleContents:
        """Return the bundle of one operation: the records that the checkpoint covers."""
        return self.cut(operation, cutting)[0]

    def cut(self, operation: str, cutting: Cutting) -> tuple[BundleContents, tuple[Sealed, ...]]:
        """Return the same, and the operation's records in it as they were read."""
        records = _covered(self._store, operation, cutting.checkpoint.size)
        return self._contents(operation, records, cutting), records

    def window(
        self, target: str | None, start: PlacedHeads | None, end: PlacedHeads, cutting: Cutting
    ) -> BundleContents:
        """Return the bundle of all operations that changed `target`, or anything, between two heads."""
        begin = -1 if start is None else start.leaf
        operations = self._store.changed_between(begin, end.leaf, target)
        size = cutting.checkpoint.size
        records = tuple(sealed for name in operations for sealed in _covered(self._store, name, size))
        window = Window(
            target=target, start=None if start is None else start.sealed.digest, end=end.sealed.digest
        )
        heads = HeadsProofs(
            start=() if start is None else self._heads(start, target),
            end=self._heads(end, target),
            unfinished=self._unfinished(end, operations),
        )
        return self._contents(None, records, cutting, window, heads)

    def _heads(self, placed: PlacedHeads, target: str | None) -> tuple[HeadProof, ...]:
        found, _ = self._store.heads(placed.leaf)
        heads = map_of(found)
        return whole_map(heads) if target is None else prove_target(heads, target)

    def _unfinished(self, end: PlacedHeads, operations: Sequence[str]) -> tuple[UnfinishedProof, ...]:
        record = end.sealed.record
        if not isinstance(record, Heads) or record.unfinished is None:
            return ()
        return prove_unfinished(unfinished_at(self._store, record.unfinished.size), operations)

    def heads_records(self) -> tuple[PlacedHeads, ...]:
        """Return every `heads` record of the instance, oldest first."""
        return tuple(
            PlacedHeads(sealed, self._store.leaf_of(self._instance, sealed.record.n))
            for sealed in self._store.journal(self._instance).records
            if isinstance(sealed.record, Heads)
        )

    def size_held(self, note_held: bytes) -> int:
        """Return the size of a checkpoint somebody kept, which this log continues.

        Raises:
            NoteMalformed, CheckpointMalformed: it is no checkpoint. CheckpointForeign: it is of another log.
            LogTruncated, LogForked, LogRewound: this log does not continue it.
        """
        held, log = parse(note.parse(note_held).text), f"rexecop/{self._instance}"
        if held.log != log:
            raise CheckpointForeign(f"the checkpoint given is of {held.log[:80]!a}, not of `{log}`")
        require_continued(held, self._store.size(), self._store.root)
        return held.size

    def _contents(
        self,
        operation: str | None,
        records: tuple[Sealed, ...],
        cutting: Cutting,
        window: Window | None = None,
        heads: HeadsProofs | None = None,
    ) -> BundleContents:
        size = cutting.checkpoint.size
        trust = self._judging(size)
        growth = self._store.with_nodes(
            lambda node: [
                (held, consistency_proof(held, size, node))
                for held in sorted(set(cutting.held))
                if 0 < held < size
            ]
        )
        return BundleContents(
            instance=self._instance,
            operation=operation,
            window=window,
            heads=heads,
            records=tuple(sealed.body for sealed in records),
            proofs=pack_proofs(self._proofs(records, size), self._proofs(trust, size), growth),
            checkpoint=cutting.checkpoint.note,
            instance_records=tuple(sealed.body for sealed in trust),
            envelopes=self._envelopes(records, enrolments(trust)),
            signatures=self._signatures((*records, *trust)),
            inputs=self._inputs(records),
            blobs=self._blobs(records) if cutting.with_outputs else {},
            stamps=stamps_of(self._store, cutting.checkpoint.note)[-STAMPS_MAX:],
        )

    def _judging(self, size: int) -> tuple[Sealed, ...]:
        """Return the instance's own records: signatures, revocations and erasures are judged by them."""
        return _covered(self._store, self._instance, size)

    def _proofs(self, records: Iterable[Sealed], size: int) -> Sequence[tuple[int, Sequence[bytes]]]:
        leaves = [self._store.leaf_of(sealed.record.operation, sealed.record.n) for sealed in records]
        return self._store.with_nodes(
            lambda node: [(leaf, inclusion_proof(leaf, size, node)) for leaf in leaves]
        )

    def _envelopes(self, records: Sequence[Sealed], enrolled: Sequence[Enrolment]) -> dict[Digest, bytes]:
        """Return the published records in their envelopes.

        Receipts were signed when they were written; one signed by a process that had not
        heard of a new key is signed again by that. Nothing is signed by a key that the
        records up to the checkpoint do not name. A long plan is not published: what needs no envelope
        would be there twice, and larger than one may be.
        """
        found: dict[Digest, bytes] = {}
        signer = None if self._signing is None else self._signing()
        named = any(signer and one.fingerprint == signer.public.fingerprint for one in enrolled)
        for sealed in records:
            kept = self.kept(sealed.digest, "dsse") if isinstance(sealed.record, Receipt) else None
            if kept is not None and not _outlived(kept.data, sealed, enrolled):
                found[sealed.digest] = kept.data
            elif signer and named and (kept is not None or _is_published(sealed)):
                found[sealed.digest] = record_envelope(sealed, signer)
        return found

    def _signatures(self, records: Sequence[Sealed]) -> dict[Digest, bytes]:
        found = {sealed.digest: self.kept(sealed.digest, "sshsig") for sealed in records}
        return {digest: signature.data for digest, signature in found.items() if signature is not None}

    def kept(self, digest: Digest, form: str) -> Signature | None:
        """Return the first signature of this form kept beside the record, or None."""
        return next((item for item in self._store.signatures(digest) if item.form == form), None)

    def _inputs(self, records: Sequence[Sealed]) -> tuple[BundleInput, ...]:
        wanted: dict[Digest, str] = {}
        for sealed in records:
            record = sealed.record
            if isinstance(record, Plan):
                wanted |= {record.profile: "profile", record.environment: "environment"}
                if record.signed is not None:
                    wanted[record.signed.signature] = SIGNATURE_ROLE
            elif isinstance(record, Intent) and record.origin.channel == REACTION:
                named = ((record.origin.event, OBSERVATION_ROLE), (record.origin.rule, RULE_ROLE))
                wanted |= {digest: role for digest, role in named if digest is not None}
            elif isinstance(record, Intent) and record.origin.channel == EXECUTE and record.origin.event:
                wanted[record.origin.event] = ARTIFACT_ROLE
            elif isinstance(record, Decision):
                wanted |= {pack.digest: "policy-pack" for pack in record.packs}
        return tuple(
            BundleInput(role=role, data=data)
            for digest, role in sorted(wanted.items())
            if (data := self._pinned(digest)) is not None
        )

    def _pinned(self, digest: Digest) -> bytes | None:
        """Return a pinned input; a bundle goes without one that is gone, and the verifier says so."""
        try:
            return self._store.pinned(digest)
        except InputMissing:
            return None

    def _blobs(self, records: Sequence[Sealed]) -> dict[Digest, BundleBlob]:
        found: dict[Digest, BundleBlob] = {}
        for sealed in records:
            if isinstance(sealed.record, Outcome):
                for ref in (sealed.record.blobs or {}).values():
                    blob = self._store.blob(ref.commitment)
                    if blob is not None:
                        found[ref.commitment] = BundleBlob(key=blob.key, data=blob.data)
        return found


def _is_published(sealed: Sealed) -> bool:
    return isinstance(sealed.record, Plan | Approval) and len(sealed.body) <= RECORD_BYTES_MAX


def _outlived(envelope: bytes, sealed: Sealed, enrolled: Sequence[Enrolment]) -> bool:
    """Return whether the key that signed `envelope` had been retired when its record was written."""
    keys = [entry.key_id for entry in dsse.decode(envelope).signatures]
    return all(retired(enrolled, Role.INSTANCE, key, sealed.record.at) for key in keys)


def _covered(store: Reading, operation: str, size: int) -> tuple[Sealed, ...]:
    records = store.journal(operation).records
    count = len(records)
    # No record has its place in the log before the one that it follows.
    while count and store.leaf_of(operation, records[count - 1].record.n) >= size:
        count -= 1
    return records[:count]


def unfinished_at(store: Reading, size: int) -> tuple[Unfinished, ...]:
    """Return the operations that had changed something and not ended when the log had `size` records."""
    covered = {name: _covered(store, name, size) for name in store.perhaps_unfinished(size)}
    return tuple(
        Unfinished(operation=name, record=records[-1].digest)
        for name, records in covered.items()
        if records and not has_ended(records)
    )


def map_of(heads: Iterable[TargetHead]) -> tuple[Head, ...]:
    """Return what the store counts, as entries of the map that `heads` records commit to."""
    return tuple(Head(target=head.target, n=head.n, attempt=head.attempt) for head in heads)
