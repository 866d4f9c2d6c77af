"""Recovery: damaged records are named and set aside or put back, and a moved root goes on as a new epoch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from rexecop.app.build import open_ledger
from rexecop.app.clock import SystemClock
from rexecop.app.doctor import fold_row
from rexecop.app.errors import BackupRefused
from rexecop.app.identity import os_user
from rexecop.app.instance_key import InstanceKey
from rexecop.app.ledger import Place, ledger_of
from rexecop.app.own_chain import next_records
from rexecop.app.root import Root
from rexecop.app.rootid import doubt, mark_of
from rexecop.app.settings import Settings
from rexecop.proof.checkpoint import origin_of
from rexecop.proof.errors import RexecopError
from rexecop.proof.merkle import HASH_BYTES, leaf_hash
from rexecop.proof.principal import Principal
from rexecop.proof.records import Epoch, Note
from rexecop.proof.records.instance import LogState
from rexecop.proof.times import format_time
from rexecop.store.errors import RootIdentityDoubtful, StoreDamaged
from rexecop.store.ledger import LedgerStore
from rexecop.store.log import Leaf
from rexecop.store.repair import Damage, Examination
from rexecop.store.sqlite import SqliteStore

NAMED_MAX: Final = 500  # Damaged records spelled out in the log's own note; all are in the ledger's list.
TOPIC: Final = "recover"


@dataclass(frozen=True, slots=True, kw_only=True)
class DamageView:
    """A record whose bytes were lost, and what was done about it: `put back` or `quarantined`."""

    leaf: int
    operation_id: str
    n: int
    reason: str
    done: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverView:
    """What `recover` found and did; `unfit` is what no damage explains, `problem` why the log stands.

    `checked` are the records that were looked at, `unfinished` the operations that began and are not over.
    """

    size: int
    checked: int
    unfinished: int
    epoch: int
    began: bool
    damaged: tuple[DamageView, ...]
    nodes: int
    unfit: tuple[str, ...]
    recorded: int | None
    problem: str | None
    next: tuple[str, ...] = ()


def recover(
    settings: Settings, *, backup: Path | None, new_epoch: str | None, full: bool = False
) -> RecoverView:
    """Name every damaged record, put back what `backup` has of them, and set the others aside.

    What began and is not over, and what was written last, is checked. Where that is not what was logged, and
    with `full`, `backup` or `new_epoch`, every record is. With `new_epoch`, a reason, this root goes on as a
    new epoch first.

    Raises:
        RootMissing, RootUnsafe, KeyRefused: there is no usable root. BackupRefused: the backup is not whole.
        RootIdentityDoubtful: a copy has to go on as a new epoch before anything is written to it.
        StoreUnavailable: the ledger cannot be read or written.
    """
    root, by = Root(settings.root), os_user()
    root.require()
    key, place = InstanceKey(root), ledger_of(root, settings.storage)
    # Opened for reading: a writer needs a tree that is whole at its edge.
    with place.open(read_only=True) as store:
        reason = doubt(root, store, mark_of(root, store.instance_id))
        if reason is not None and new_epoch is None:
            raise RootIdentityDoubtful(reason, next_steps=("rexecop recover --new-epoch --reason TEXT",))
        begun, checked = _glanced(store)
        checked = None if full or backup is not None or new_epoch is not None else checked
        first = _mended(store) if checked is None else _untouched(store)
    if new_epoch is not None:
        with place.open() as store:
            begin_epoch(store, root, first, new_epoch)
    with place.open(read_only=True) as store:
        back = () if backup is None else _put_back(store, first.damaged, backup)
        found, known = _mended(store) if checked is None else first, store.quarantined()
        fresh = [item for item in found.damaged if item.leaf not in known]
        store.quarantine(fresh, by.person, format_time(SystemClock().now()))
        size, epoch = found.size, store.epoch
    lines = [f"quarantined {_where(item)}" for item in fresh] + [f"put back {_where(item)}" for item in back]
    recorded, problem = _noted(root, key, place, by, lines)
    kept = [(item, "put back") for item in back] + [(item, "quarantined") for item in found.damaged]
    return RecoverView(
        size=size,
        checked=size if checked is None else checked,
        unfinished=begun,
        epoch=epoch,
        began=new_epoch is not None,
        damaged=tuple(
            DamageView(leaf=item.leaf, operation_id=item.operation, n=item.n, reason=item.reason, done=done)
            for item, done in sorted(kept, key=lambda pair: pair[0].leaf)
        ),
        nodes=len({item.leaf for item in (*first.nodes, *found.nodes)}),
        unfit=tuple(_where(item) for item in found.unfit),
        recorded=recorded,
        problem=problem,
        next=(
            *(("rexecop recover --from BACKUP",) if found.damaged else ()),
            *(("rexecop ops",) if begun else ()),
            "rexecop log verify" if checked is None else "rexecop recover --full",
        ),
    )


def _glanced(store: LedgerStore) -> tuple[int, int | None]:
    """Return how many operations are under way, and how many records are sound; None where one is not."""
    begun: tuple[str, ...] = ()
    try:
        begun = tuple(row.operation for _, row, _ in store.under_way())
        return len(begun), store.glance(begun)
    except RexecopError:
        return len(begun), None


def _untouched(store: LedgerStore) -> Examination:
    """Return what is known already, where nothing else was found."""
    return Examination(size=store.size(), root=None, damaged=store.set_aside(), nodes=(), notes=(), unfit=())


def _noted(
    root: Root, key: InstanceKey, place: Place, by: Principal, lines: list[str]
) -> tuple[int | None, str | None]:
    """Note `lines` in the log and sign what it is now; return the note's place, or why there is none."""
    more = [f"and {len(lines) - NAMED_MAX} more"] if len(lines) > NAMED_MAX else []
    note: Callable[..., Note] = partial(Note, topic=TOPIC, text="\n".join([*lines[:NAMED_MAX], *more]))
    try:
        with open_ledger(root, key, place) as store:
            batch = next_records(store, SystemClock(), by, [note] if lines else [])
            if lines:
                store.append_sync(batch)
                store.rebuild_index(fold_row)
            store.checkpoint()
        return batch.expected if lines else None, None
    except RexecopError as error:
        return None, f"the log cannot go on: {error.message}"


def begin_epoch(store: LedgerStore, root: Root, found: Examination, reason: str) -> None:
    """Begin the next epoch of the log as `found`; from then on `root` is where it is written.

    Raises:
        StoreDamaged: what the log is cannot be told. AppendConflict: somebody else writes to it.
    """
    if found.unfit or found.root is None:
        why = _where(found.unfit[0]) if found.unfit else "tree nodes are lost that nothing determines"
        raise StoreDamaged(
            f"no epoch can continue this log: {why}", next_steps=("rexecop backup restore FILE --root DIR",)
        )
    epoch = store.epoch + 1
    state = LogState(origin=origin_of(store.instance_id, epoch - 1), size=found.size, root=found.root.hex())
    begins = partial(Epoch, epoch=epoch, continues=state, reason=reason)
    batch = next_records(store, SystemClock(), os_user(), [begins])
    store.begin_epoch(batch, epoch, mark_of(root, store.instance_id).text(), found.size)


def _mended(store: LedgerStore) -> Examination:
    """Return what is damaged, after putting right what the tree determines."""
    found = store.examine()
    if found.nodes or found.notes:
        store.mend(found)
    return found


def _put_back(store: LedgerStore, damaged: Sequence[Damage], backup: Path) -> tuple[Damage, ...]:
    """Store what `backup` has of `damaged`, byte for byte as it was logged; return what was put back."""
    from rexecop.app.backup import opened_backup
    from rexecop.proof.verify import NO_KEYS

    with tempfile.TemporaryDirectory(prefix="rexecop-backup-") as folder:
        opened_backup(backup, Path(folder), NO_KEYS)
        with SqliteStore.open(Path(folder) / "ledger.sqlite", read_only=True) as copy:
            if copy.instance_id != store.instance_id:
                raise BackupRefused(f"the backup is of another instance, `{copy.instance_id}`")
            shared = store.agrees_with(copy)
            originals = [
                (item, leaf)
                for item in damaged
                if item.leaf < copy.size()
                for leaf in copy.leaves(item.leaf, item.leaf + 1)
                if _is_original(leaf, item, shared)
            ]
    store.put_back([leaf if leaf.leaf < shared else replace(leaf, nodes=b"") for _, leaf in originals])
    return tuple(item for item, _ in originals)


def _is_original(leaf: Leaf, lost: Damage, shared: int) -> bool:
    """Return whether `leaf` is what was logged: the hash beside the lost record says so, or both trees do."""
    found = leaf_hash(leaf.body)
    return found == lost.hash or (leaf.leaf < shared and found == leaf.nodes[:HASH_BYTES])


def _where(item: Damage) -> str:
    place = f"record {item.n} of `{item.operation}`" if item.operation else "a record"
    return f"{place} (leaf {item.leaf}): {item.reason}"
