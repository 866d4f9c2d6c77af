"""Evidence leaves the house: bundles, receipts, checkpoints and proofs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rexecop.app.errors import FileRefused, NotYet, SizeRefused
from rexecop.app.files import reason_of
from rexecop.app.views import ExportView
from rexecop.operations.errors import InputMissing
from rexecop.operations.fold import fold
from rexecop.operations.ports import Signature
from rexecop.proof import note
from rexecop.proof.bundle import BundleBlob, BundleContents, BundleInput, build, pack_proofs
from rexecop.proof.canonical import Digest, Json, digest_of, parse_json
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.checkpoint import parse, sign
from rexecop.proof.codec import to_json
from rexecop.proof.logproof import ConsistencyProof, InclusionProof
from rexecop.proof.merkle import consistency_proof, inclusion_proof, verify_consistency
from rexecop.proof.receipts import record_envelope
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.signer import Signer
from rexecop.store.log import StoredCheckpoint
from rexecop.store.sqlite import SqliteStore

ENVELOPE_BYTES_MAX = 1 << 20


class Evidence:
    """Cuts evidence from one ledger."""

    def __init__(self, store: SqliteStore, instance: str, signer: Signer) -> None:
        self._store = store
        self._instance = instance
        self._signer = signer

    def export(
        self,
        operation: str,
        path: Path | None,
        *,
        with_outputs: bool,
        at: StoredCheckpoint | None = None,
    ) -> ExportView:
        """Write the bundle of `operation` to `path`, by default `<operation>.rxb` here.

        It is cut at the checkpoint `at`, which covers the operation, or at one over everything.

        Raises:
            FileRefused: the file cannot be written.
        """
        checkpoint = at or self.covering()
        contents = self._contents(operation, checkpoint, with_outputs=with_outputs)
        data = build(contents)
        target = path or Path(f"{operation}.rxb")
        try:
            target.write_bytes(data)
        except OSError as error:
            raise FileRefused(
                f"`{target}` cannot be written: {reason_of(error)}", path=str(target)
            ) from error
        return ExportView(
            operation_id=operation,
            path=str(target),
            bytes=len(data),
            records=len(contents.records),
            digest=digest_of(data),
            checkpoint_size=checkpoint.size,
        )

    def bundle(self, operation: str, *, with_outputs: bool = False) -> bytes:
        """Return the bundle of `operation` as bytes."""
        return build(self._contents(operation, self.covering(), with_outputs=with_outputs))

    def _contents(
        self, operation: str, checkpoint: StoredCheckpoint, *, with_outputs: bool
    ) -> BundleContents:
        records = self._store.journal(operation).records
        trust = self._judging(checkpoint.size)
        proofs = pack_proofs(
            self._proofs(records, checkpoint.size),
            self._proofs(trust, checkpoint.size),
        )
        return BundleContents(
            instance=self._instance,
            operation=operation,
            records=tuple(sealed.body for sealed in records),
            proofs=proofs,
            checkpoint=checkpoint.note,
            instance_records=tuple(sealed.body for sealed in trust),
            envelopes=self._envelopes(records),
            signatures=self._signatures(records),
            inputs=self._inputs(records),
            blobs=self._blobs(records) if with_outputs else {},
        )

    def _judging(self, size: int) -> tuple[Sealed, ...]:
        """Return the instance's own records: signatures, revocations and erasures are judged by them."""
        return tuple(
            sealed
            for sealed in self._store.journal(self._instance).records
            if self._store.leaf_of(self._instance, sealed.record.n) < size
        )

    def _proofs(self, records: Iterable[Sealed], size: int) -> Sequence[tuple[int, Sequence[bytes]]]:
        leaves = [self._store.leaf_of(sealed.record.operation, sealed.record.n) for sealed in records]
        return self._store.with_nodes(
            lambda nodes: [(leaf, inclusion_proof(leaf, size, nodes)) for leaf in leaves]
        )

    def _envelopes(self, records: Sequence[Sealed]) -> dict[Digest, bytes]:
        """Return the published records in their envelopes; receipts were signed when they were written."""
        found: dict[Digest, bytes] = {}
        for sealed in records:
            if isinstance(sealed.record, Receipt):
                kept = self._kept(sealed.digest, "dsse")
                if kept is not None:
                    found[sealed.digest] = kept.data
            elif isinstance(sealed.record, Plan | Approval):
                found[sealed.digest] = record_envelope(sealed, self._signer)
        return found

    def _signatures(self, records: Sequence[Sealed]) -> dict[Digest, bytes]:
        found = {sealed.digest: self._kept(sealed.digest, "sshsig") for sealed in records}
        return {digest: signature.data for digest, signature in found.items() if signature is not None}

    def _kept(self, digest: Digest, form: str) -> Signature | None:
        return next((item for item in self._store.signatures(digest) if item.form == form), None)

    def _inputs(self, records: Sequence[Sealed]) -> tuple[BundleInput, ...]:
        wanted: dict[Digest, str] = {}
        for sealed in records:
            record = sealed.record
            if isinstance(record, Plan):
                wanted |= {record.profile: "profile", record.environment: "environment"}
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

    def receipt(self, operation: str) -> Mapping[str, Json]:
        """Return the newest receipt of `operation`, its digest, and its envelope.

        Raises:
            NotYet: the operation has not ended.
        """
        op = fold(self._store.journal(operation).records)
        if not op.receipts:
            raise NotYet(
                f"operation `{operation}` is `{op.state}` and has no receipt yet", state=str(op.state)
            )
        sealed = op.receipts[-1]
        kept = self._kept(sealed.digest, "dsse")
        envelope = parse_json(kept.data, bytes_max=ENVELOPE_BYTES_MAX) if kept is not None else None
        return {
            "operation_id": operation,
            "state": str(op.state),
            "digest": sealed.digest,
            "receipt": to_json(sealed.record),
            "envelope": envelope,
        }

    def checkpoint(self) -> str:
        """Return a signed checkpoint over everything appended."""
        return self.covering().note.decode()

    def covering(self) -> StoredCheckpoint:
        """Return the newest checkpoint, over everything appended, or raise NotYet."""
        found = self._store.checkpoint()
        if found is None:
            raise NotYet("the ledger is empty")
        return found

    def prove(self, operation: str, n: int) -> Mapping[str, Json]:
        """Return the inclusion proof of one record, with the record: `log check` needs nothing else."""
        checkpoint = self.covering()
        leaf = self._store.leaf_of(operation, n)
        sealed = unseal(self._store.body_at(leaf))
        path = self._store.with_nodes(partial(inclusion_proof, leaf, checkpoint.size))
        return to_json(
            InclusionProof(
                operation_id=operation,
                n=n,
                leaf=leaf,
                size=checkpoint.size,
                digest=sealed.digest,
                record=to_json(sealed.record),
                path=tuple(item.hex() for item in path),
                checkpoint=checkpoint.note.decode(),
            )
        )

    def consistency(self, old: int, new: int | None) -> Mapping[str, Json]:
        """Return the proof that the log of `new` records extends that of `old`, with a checkpoint of `new`.

        Raises:
            SizeRefused: the sizes are not in order, or beyond the log.
        """
        covering = self.covering()
        size = new if new is not None else covering.size
        if not 0 < old <= size <= covering.size:
            raise SizeRefused(
                f"sizes go from 1 to the {covering.size} records of the log, the older first; "
                f"found {old} and {size}",
                size=covering.size,
            )
        path = self._store.with_nodes(partial(consistency_proof, old, size))
        return to_json(
            ConsistencyProof(
                old=old,
                new=size,
                old_root=self._store.root(old).hex(),
                new_root=self._store.root(size).hex(),
                path=tuple(item.hex() for item in path),
                checkpoint=self._at(size, covering).decode(),
            )
        )

    def _at(self, size: int, covering: StoredCheckpoint) -> bytes:
        """Return a checkpoint of `size`, signed only because the one that was read back shows its root."""
        if size == covering.size:
            return covering.note
        found, root = parse(note.parse(covering.note).text), self._store.root(size)
        path = self._store.with_nodes(partial(consistency_proof, size, covering.size))
        verify_consistency(size, covering.size, root, found.root, path)
        return sign(replace(found, size=size, root=root), self._signer)
