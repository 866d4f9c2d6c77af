"""Evidence leaves the house: bundles and what is made of them, checkpoints and proofs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from rexecop.app.accesses import EXPORT, record_access
from rexecop.app.cutting import Cutter, Cutting
from rexecop.app.errors import FormatRefused, NotYet, SizeRefused
from rexecop.app.files import write_folder, write_over
from rexecop.app.formats import FORMATS, Cut
from rexecop.app.heads import HeadsKeeper
from rexecop.app.stamps import newest_stamped
from rexecop.app.views import ExportView
from rexecop.proof import note
from rexecop.proof.bundle import BundleContents, build
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.checkpoint import parse, sign
from rexecop.proof.codec import to_json
from rexecop.proof.logproof import ConsistencyProof, InclusionProof
from rexecop.proof.merkle import consistency_proof, inclusion_proof, verify_consistency
from rexecop.proof.principal import Principal
from rexecop.proof.signer import Signer
from rexecop.store.ledger import LedgerStore
from rexecop.store.log import StoredCheckpoint
from rexecop.store.reading import Reading

EVERYTHING: Final = "all-changes"  # What a window over all targets is called.

Bound: TypeAlias = int | bytes | None
"""Where a window begins or ends: a size of the log, or a checkpoint that somebody kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How evidence is to leave: its form, where to, and what goes with it.

    It proves that the log grew from `since`, where a window begins; one ends at `until`.
    Evidence of an operation is cut where a witness cosigned last if it is to be `witnessed`,
    where the log was stamped last if `stamped`.
    """

    form: str = "bundle"
    path: Path | None = None
    with_outputs: bool = False
    since: Bound = None
    until: Bound = None
    witnessed: bool = False
    stamped: bool = False


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage meanwhile: what is read stays until it is handed out, and looking takes long."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class Evidence:
    """Hands evidence of one ledger out."""

    def __init__(
        self,
        store: LedgerStore,
        cutter: Cutter,
        heads: HeadsKeeper,
        signing: Callable[[], Signer],
        guard_key: str | None,
        by: Principal | None = None,
    ) -> None:
        self._store = store
        self._cutter = cutter
        self._heads = heads
        self._signing = signing
        self._guard_key = guard_key
        self._by = by

    def given_to(self, by: Principal) -> Evidence:
        """Return the same, whose evidence goes to `by`."""
        return Evidence(self._store, self._cutter, self._heads, self._signing, self._guard_key, by)

    @property
    def log(self) -> Reading:
        """The ledger it hands evidence out of."""
        return self._store

    def export(
        self, operation: str, asked: Asked, now: datetime, at: StoredCheckpoint | None = None
    ) -> ExportView:
        """Write the evidence of `operation`, by default to `<operation>.<ending>` here.

        It is cut at the checkpoint `at`, which covers the operation, or at one over everything.

        Raises:
            FileRefused: it cannot be written. FormatRefused: the form is not of one operation.
            CheckpointForeign, SizeRefused: see `_size`.
        """
        if not FORMATS[asked.form].of_operations:
            raise FormatRefused(
                f"`{asked.form}` is of a window; give `--target` or `--all` instead of an operation",
                next_steps=(f"rexecop export --all --format {asked.form}",),
            )
        cutting = self._cutting(asked.with_outputs, asked.since)
        cutting = cutting if at is None else replace(cutting, checkpoint=at)
        with _uncollected():
            contents, records = self._cutter.cut(operation, cutting)
            if at is None and len(contents.records) < self._store.records_of(operation):
                self._store.require_sure()  # Only a ledger that may be a copy has no newer checkpoint.
            return self._hand_out(contents, operation, asked, cutting, now, records)

    async def export_window(self, target: str | None, asked: Asked, now: datetime) -> ExportView:
        """Write the evidence of all changes, of `target` or of any, between two sizes of the log.

        The window is as wide as heads were recorded around it; without `until` it ends now.

        Raises:
            FileRefused, FormatRefused, CheckpointForeign, SizeRefused: as `export`.
        """
        if asked.witnessed or asked.stamped:
            raise FormatRefused(
                "a window ends where heads were recorded, not where it was cosigned or stamped"
            )
        if not FORMATS[asked.form].of_windows:
            raise FormatRefused(
                f"`{asked.form}` is of one operation", next_steps=(f"rexecop export @ --format {asked.form}",)
            )
        first, last = self._size(asked.since) or 0, self._size(asked.until) or self._store.size()
        if first > last:
            raise SizeRefused(f"the window begins at {first} records and ends at {last}", size=last)
        if not any(placed.leaf >= last for placed in self._cutter.heads_records()):
            await self._heads.record()
        records = self._cutter.heads_records()
        start = next((placed for placed in reversed(records) if placed.leaf < first), None)
        end = next(placed for placed in records if placed.leaf >= last)
        cutting = self._cutting(asked.with_outputs, asked.since, asked.until)
        contents = self._cutter.window(target, start, end, cutting)
        return self._hand_out(contents, target or EVERYTHING, asked, cutting, now)

    def _hand_out(
        self,
        contents: BundleContents,
        name: str,
        asked: Asked,
        cutting: Cutting,
        now: datetime,
        records: tuple[Sealed, ...] = (),
    ) -> ExportView:
        """Write `contents` in the form asked for.

        It is recorded first: what then cannot be written is recorded all the same. What
        cannot be recorded is written all the same, and the answer says so, since a full
        disk or a damaged record is when evidence is wanted most.
        """
        form, data = FORMATS[asked.form], build(contents)
        if asked.with_outputs and not form.outputs:
            raise FormatRefused(f"`{asked.form}` holds published records and no outputs")
        safe = name.replace("/", "_")
        target = asked.path or Path(f"{safe}{form.ending}")
        cut = Cut(
            contents=contents,
            records=records,
            data=data,
            name=safe,
            signer=self._signing(),
            guard_key=self._guard_key,
            log=self._store,
        )
        files = form.files(cut, target)
        main = files.get(target, data)
        digest = digest_of(main)
        unrecorded = self.given(name, EXPORT, digest, now)
        if form.folder:
            write_folder(target, {file.name: found for file, found in files.items()})
        else:
            for file, found in files.items():
                write_over(file, found)
        return ExportView(
            operation_id=contents.operation,
            target=contents.window.target if contents.window else None,
            path=str(target),
            bytes=len(main),
            records=len(contents.records),
            digest=digest,
            checkpoint_size=cutting.checkpoint.size,
            format=asked.form,
            beside=tuple(str(file) for file in files if file != target and not form.folder),
            unrecorded=unrecorded,
            stamps=len(contents.stamps),
        )

    def given(self, subject: str, action: str, digest: Digest, now: datetime) -> str | None:
        """Record that evidence of `subject` goes out; return why that cannot be recorded, None when it is."""
        return record_access(self._store, subject=subject, action=action, digest=digest, now=now, by=self._by)

    def stamped(self, operation: str) -> StoredCheckpoint:
        """Return the newest stamped checkpoint that covers `operation`.

        Raises:
            NotYet: there is none.
        """
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
        return Cutting(checkpoint=self.covering(), with_outputs=with_outputs, held=sizes)

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
        return build(self._cutter.contents(operation, self._cutting(with_outputs)))

    def checkpoint(self) -> str:
        """Return a signed checkpoint over everything appended."""
        return self.covering().note.decode()

    def covering(self) -> StoredCheckpoint:
        """Return the newest checkpoint, over everything appended, or raise NotYet."""
        found = self._store.checkpoint()
        if found is None:
            self._store.require_sure()
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
        """Return a checkpoint of `size`, signed only because `covering`, read back, shows its root."""
        if size == covering.size:
            return covering.note
        found, root = parse(note.parse(covering.note).text), self._store.root(size)
        path = self._store.with_nodes(partial(consistency_proof, size, covering.size))
        verify_consistency(size, covering.size, root, found.root, path)
        return sign(replace(found, size=size, root=root), self._signing())
