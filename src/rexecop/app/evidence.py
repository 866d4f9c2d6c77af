"""Evidence leaves the house: bundles, receipts, checkpoints and proofs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from rexecop.app.cutting import Cutter, Cutting
from rexecop.app.errors import FileRefused, NotYet, SizeRefused
from rexecop.app.files import reason_of
from rexecop.app.heads import HeadsKeeper
from rexecop.app.stamps import newest_stamped
from rexecop.app.views import ExportView
from rexecop.operations.fold import fold
from rexecop.proof.bundle import BundleContents, build
from rexecop.proof.canonical import Json, digest_of, parse_json
from rexecop.proof.codec import to_json
from rexecop.proof.merkle import consistency_proof, inclusion_proof
from rexecop.store.log import StoredCheckpoint
from rexecop.store.sqlite import SqliteStore

ENVELOPE_BYTES_MAX: Final = 1 << 20

Bound: TypeAlias = int | bytes | None
"""Where a window begins or ends: a size of the log, or a checkpoint that somebody kept."""


class Evidence:
    """Cuts evidence from one ledger."""

    def __init__(self, store: SqliteStore, cutter: Cutter, heads: HeadsKeeper) -> None:
        self._store = store
        self._cutter = cutter
        self._heads = heads

    def export(
        self,
        operation: str,
        path: Path | None,
        *,
        with_outputs: bool,
        since: Bound = None,
        stamped: bool = False,
    ) -> ExportView:
        """Write the bundle of `operation` to `path`, by default `<operation>.rxb` here.

        With `since` it proves that the log grew from there; it is cut at the newest
        checkpoint, or at the newest one that was `stamped`.

        Raises:
            FileRefused: the file cannot be written. CheckpointForeign, SizeRefused: see `_size`.
            NotYet: no stamped checkpoint covers the operation.
        """
        cutting = self._cutting(with_outputs, since)
        if stamped:
            cutting = replace(cutting, checkpoint=self._stamped(operation))
        return _write(self._cutter.operation(operation, cutting), path or Path(f"{operation}.rxb"), cutting)

    async def export_window(
        self, target: str | None, path: Path | None, *, with_outputs: bool, since: Bound, until: Bound
    ) -> ExportView:
        """Write the bundle of all changes, of `target` or of any, between two sizes of the log.

        The window is as wide as heads were recorded around it; without `until` it ends now.

        Raises:
            FileRefused, CheckpointForeign, SizeRefused: as `export`.
        """
        first, last = self._size(since) or 0, self._size(until) or self._store.size()
        if first > last:
            raise SizeRefused(f"the window begins at {first} records and ends at {last}", size=last)
        if not any(placed.leaf >= last for placed in self._cutter.heads_records()):
            await self._heads.record()
        records = self._cutter.heads_records()
        start = next((placed for placed in reversed(records) if placed.leaf < first), None)
        end = next(placed for placed in records if placed.leaf >= last)
        cutting = self._cutting(with_outputs, since, until)
        contents = self._cutter.window(target, start, end, cutting)
        return _write(contents, path or Path(f"{target or 'all-changes'}.rxb"), cutting)

    def _stamped(self, operation: str) -> StoredCheckpoint:
        size = 1 + self._store.leaf_of(operation, self._store.records_of(operation) - 1)
        found = newest_stamped(self._store, size)
        if found is None:
            raise NotYet(
                f"no stamped checkpoint covers operation `{operation}`",
                next_steps=("rexecop log stamp request > q.tsq",),
            )
        return found

    def _cutting(self, with_outputs: bool, *held: Bound) -> Cutting:
        sizes = tuple(size for bound in held if (size := self._size(bound)) is not None)
        return Cutting(checkpoint=self._covering(), with_outputs=with_outputs, held=sizes)

    def _size(self, bound: Bound) -> int | None:
        """Return the size of the log that `bound` names: itself, or a checkpoint somebody kept.

        Raises:
            CheckpointForeign: this log does not continue it. SizeRefused: the log is shorter.
        """
        if isinstance(bound, bytes):
            return self._cutter.size_held(bound)
        if bound is not None and bound > self._store.size():
            raise SizeRefused(f"the log has {self._store.size()} records, not {bound}", size=bound)
        return bound

    def bundle(self, operation: str, *, with_outputs: bool = False) -> bytes:
        """Return the bundle of `operation` as bytes."""
        return build(self._cutter.operation(operation, self._cutting(with_outputs)))

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
        kept = self._cutter.kept(sealed.digest, "dsse")
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


def _write(contents: BundleContents, path: Path, cutting: Cutting) -> ExportView:
    data = build(contents)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise FileRefused(f"`{path}` cannot be written: {reason_of(error)}", path=str(path)) from error
    return ExportView(
        operation_id=contents.operation,
        target=contents.window.target if contents.window else None,
        path=str(path),
        bytes=len(data),
        records=len(contents.records),
        digest=digest_of(data),
        checkpoint_size=cutting.checkpoint.size,
        stamps=len(contents.stamps),
    )
