"""Evidence leaves the house: bundles, receipts, checkpoints and proofs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from rexecop.app.errors import FileRefused, NotYet, SizeRefused
from rexecop.app.files import reason_of
from rexecop.app.stamps import newest_stamped, stamps_of
from rexecop.app.views import ExportView
from rexecop.operations.errors import InputMissing
from rexecop.operations.fold import fold
from rexecop.operations.ports import Signature
from rexecop.proof import dsse
from rexecop.proof.bundle import STAMPS_MAX, BundleBlob, BundleContents, BundleInput, build, pack_proofs
from rexecop.proof.canonical import Digest, Json, digest_of, parse_json
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import to_json
from rexecop.proof.merkle import consistency_proof, inclusion_proof
from rexecop.proof.receipts import record_envelope
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.signer import Signer
from rexecop.proof.trust import Enrolment, enrolments, retired
from rexecop.proof.vocabulary import Role
from rexecop.store.log import StoredCheckpoint
from rexecop.store.sqlite import SqliteStore

ENVELOPE_BYTES_MAX = 1 << 20


class Evidence:
    """Cuts evidence from one ledger."""

    def __init__(self, store: SqliteStore, instance: str, signing: Callable[[], Signer]) -> None:
        self._store = store
        self._instance = instance
        self._signing = signing

    def export(
        self, operation: str, path: Path | None, *, with_outputs: bool, stamped: bool = False
    ) -> ExportView:
        """Write the bundle of `operation` to `path`, by default `<operation>.rxb` here.

        It is cut at the newest checkpoint, or at the newest one that was `stamped`.

        Raises:
            FileRefused: the file cannot be written. NotYet: no stamped checkpoint covers the operation.
        """
        checkpoint = self._stamped(operation) if stamped else self._covering()
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
            stamps=len(contents.stamps),
        )

    def bundle(self, operation: str, *, with_outputs: bool = False) -> bytes:
        """Return the bundle of `operation` as bytes."""
        return build(self._contents(operation, self._covering(), with_outputs=with_outputs))

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
            envelopes=self._envelopes(records, enrolments(trust)),
            signatures=self._signatures((*records, *trust)),
            inputs=self._inputs(records),
            blobs=self._blobs(records) if with_outputs else {},
            stamps=stamps_of(self._store, checkpoint.note)[-STAMPS_MAX:],
        )

    def _stamped(self, operation: str) -> StoredCheckpoint:
        size = 1 + self._store.leaf_of(operation, self._store.records_of(operation) - 1)
        found = newest_stamped(self._store, size)
        if found is None:
            raise NotYet(
                f"no stamped checkpoint covers operation `{operation}`",
                next_steps=("rexecop log stamp request > q.tsq",),
            )
        return found

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
            lambda node: [(leaf, inclusion_proof(leaf, size, node)) for leaf in leaves]
        )

    def _envelopes(self, records: Sequence[Sealed], enrolled: Sequence[Enrolment]) -> dict[Digest, bytes]:
        """Return the published records in their envelopes.

        Receipts were signed when they were written; one signed by a process that had not
        heard of a new key is signed again by that. Nothing is signed by a key that the
        records up to the checkpoint do not name.
        """
        found: dict[Digest, bytes] = {}
        signer = self._signing()
        named = any(one.fingerprint == signer.public.fingerprint for one in enrolled)
        for sealed in records:
            kept = self._kept(sealed.digest, "dsse") if isinstance(sealed.record, Receipt) else None
            if kept is not None and not _outlived(kept.data, sealed, enrolled):
                found[sealed.digest] = kept.data
            elif named and (kept is not None or isinstance(sealed.record, Plan | Approval)):
                found[sealed.digest] = record_envelope(sealed, signer)
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
        return self._covering().note.decode()

    def _covering(self) -> StoredCheckpoint:
        found = self._store.checkpoint()
        if found is None:
            raise NotYet("the ledger is empty")
        return found

    def verify_log(self) -> Mapping[str, Json]:
        """Recompute the log from its bytes."""
        report = self._store.verify_log()
        bad = report.bad
        return {
            "size": report.size,
            "root": report.root.hex(),
            "verdict": "consistent" if bad is None else "damaged",
            "bad": None
            if bad is None
            else {"leaf": bad.leaf, "operation_id": bad.operation, "n": bad.n, "reason": bad.reason},
        }

    def prove(self, operation: str, n: int) -> Mapping[str, Json]:
        """Return the inclusion proof of one record."""
        checkpoint = self._covering()
        leaf = self._store.leaf_of(operation, n)
        path = self._store.with_nodes(lambda node: inclusion_proof(leaf, checkpoint.size, node))
        return {
            "operation_id": operation,
            "n": n,
            "leaf": leaf,
            "size": checkpoint.size,
            "digest": digest_of(self._store.body_at(leaf)),
            "path": [item.hex() for item in path],
            "checkpoint": checkpoint.note.decode(),
        }

    def consistency(self, old: int, new: int | None) -> Mapping[str, Json]:
        """Return the proof that the log of `new` records extends that of `old`.

        Raises:
            SizeRefused: the sizes are not in order, or beyond the log.
        """
        checkpoint = self._covering()
        size = new if new is not None else checkpoint.size
        if not 0 < old <= size <= checkpoint.size:
            raise SizeRefused(
                f"sizes go from 1 to the {checkpoint.size} records of the log, the older first; "
                f"found {old} and {size}",
                size=checkpoint.size,
            )
        path = self._store.with_nodes(lambda node: consistency_proof(old, size, node))
        return {
            "old": old,
            "new": size,
            "old_root": self._store.root(old).hex(),
            "new_root": self._store.root(size).hex(),
            "path": [item.hex() for item in path],
        }


def _outlived(envelope: bytes, sealed: Sealed, enrolled: Sequence[Enrolment]) -> bool:
    """Return whether the key that signed `envelope` had been retired when its record was written."""
    keys = [entry.key_id for entry in dsse.decode(envelope).signatures]
    return all(retired(enrolled, Role.INSTANCE, key, sealed.record.at) for key in keys)
