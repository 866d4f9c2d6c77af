"""Evidence leaves the house: bundles, receipts, checkpoints and proofs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rexecop.app.accesses import EXPORT, record_access
from rexecop.app.errors import FileRefused, NotYet, SizeRefused
from rexecop.app.files import reason_of
from rexecop.app.formats import FORMATS, Cut
from rexecop.app.views import ExportView
from rexecop.operations.errors import InputMissing
from rexecop.operations.ports import Signature
from rexecop.proof.bundle import BundleBlob, BundleContents, BundleInput, build, pack_proofs
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.chain import Sealed
from rexecop.proof.merkle import consistency_proof, inclusion_proof
from rexecop.proof.receipts import record_envelope
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.signer import Signer
from rexecop.store.log import StoredCheckpoint
from rexecop.store.reading import Reading
from rexecop.store.sqlite import SqliteStore


class Cutter:
    """Cuts what bundles hold from one ledger; without a signer plans and approvals are not published anew."""

    def __init__(self, store: Reading, instance: str, signer: Signer | None) -> None:
        self._store = store
        self._instance = instance
        self._signer = signer

    def contents(self, operation: str, checkpoint: StoredCheckpoint, *, with_outputs: bool) -> BundleContents:
        """Return what a bundle of `operation` holds: the records that `checkpoint` covers."""
        records = self._covered(operation, checkpoint.size)
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
        return self._covered(self._instance, size)

    def _covered(self, operation: str, size: int) -> tuple[Sealed, ...]:
        return tuple(
            sealed
            for sealed in self._store.journal(operation).records
            if self._store.leaf_of(operation, sealed.record.n) < size
        )

    def _proofs(self, records: Iterable[Sealed], size: int) -> Sequence[tuple[int, Sequence[bytes]]]:
        leaves = [self._store.leaf_of(sealed.record.operation, sealed.record.n) for sealed in records]
        return self._store.with_nodes(
            lambda node: [(leaf, inclusion_proof(leaf, size, node)) for leaf in leaves]
        )

    def _envelopes(self, records: Sequence[Sealed]) -> dict[Digest, bytes]:
        """Return the published records in their envelopes; receipts were signed when they were written."""
        found: dict[Digest, bytes] = {}
        for sealed in records:
            if isinstance(sealed.record, Receipt):
                kept = self._kept(sealed.digest, "dsse")
                if kept is not None:
                    found[sealed.digest] = kept.data
            elif isinstance(sealed.record, Plan | Approval) and self._signer is not None:
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


class Evidence(Cutter):
    """Hands evidence of one ledger out."""

    def __init__(self, store: SqliteStore, instance: str, signer: Signer) -> None:
        super().__init__(store, instance, signer)
        self._live = store

    @property
    def log(self) -> Reading:
        """The ledger it hands evidence out of."""
        return self._live

    def export(
        self, operation: str, path: Path | None, *, form: str, with_outputs: bool, now: datetime
    ) -> ExportView:
        """Write the evidence of `operation` in `form` to `path`, by default `<operation>.<ending>` here.

        It is recorded first: what then cannot be written is recorded all the same. What
        cannot be recorded is written all the same, and the answer says so, since a full
        disk or a damaged record is when evidence is wanted most.

        Raises:
            FileRefused: a file cannot be written.
        """
        checkpoint = self._covering()
        contents = self.contents(operation, checkpoint, with_outputs=with_outputs)
        target = path or Path(f"{operation}{FORMATS[form].ending}")
        files = FORMATS[form].files(Cut(contents=contents, data=build(contents)), target)
        digest = digest_of(files[target])
        unrecorded = record_access(self._live, subject=operation, action=EXPORT, digest=digest, now=now)
        for file, data in files.items():
            try:
                file.write_bytes(data)
            except OSError as error:
                what = f"`{file}` cannot be written: {reason_of(error)}"
                raise FileRefused(what, path=str(file)) from error
        return ExportView(
            operation_id=operation,
            path=str(target),
            bytes=len(files[target]),
            records=len(contents.records),
            digest=digest,
            checkpoint_size=checkpoint.size,
            format=form,
            beside=tuple(str(file) for file in files if file != target),
            unrecorded=unrecorded,
        )

    def bundle(self, operation: str, *, with_outputs: bool = False) -> bytes:
        """Return the bundle of `operation` as bytes."""
        return build(self.contents(operation, self._covering(), with_outputs=with_outputs))

    def checkpoint(self) -> str:
        """Return a signed checkpoint over everything appended."""
        return self._covering().note.decode()

    def _covering(self) -> StoredCheckpoint:
        found = self._live.checkpoint()
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
