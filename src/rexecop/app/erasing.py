"""Erasing outputs: a record says who, why and by which rule; the bytes and their keys are gone with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from rexecop.app.errors import ErasureRefused
from rexecop.app.own_chain import next_records
from rexecop.operations.fold import Operation
from rexecop.operations.machine import TERMINAL
from rexecop.operations.ports import Clock
from rexecop.proof.canonical import Digest
from rexecop.proof.principal import Principal
from rexecop.proof.records import Erasure, Outcome
from rexecop.store.ledger import LedgerStore

TEXT_LENGTH_MAX = 1000  # A rule and a reason are a line each, not a document.


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureView:
    """What was erased now, what had been before, and whether no copy is left in the ledger's files."""

    operation_id: str
    erased: tuple[Digest, ...]
    before: tuple[Digest, ...]
    cleared: bool


def erase_outputs(
    store: LedgerStore, clock: Clock, op: Operation, step: str | None, by: Principal, rule: str, reason: str
) -> ErasureView:
    """Erase the kept outputs of `op`, or of one `step` of it; what is erased already stays so.

    Raises:
        ErasureRefused: it has not ended, it has no such output, or rule or reason say nothing.
        RootIdentityDoubtful, StoreUnavailable: nothing was erased.
    """
    if not all(0 < len(text.strip()) <= TEXT_LENGTH_MAX for text in (rule, reason)):
        raise ErasureRefused(f"rule and reason are recorded: 1 to {TEXT_LENGTH_MAX} letters each")
    if op.state not in TERMINAL:
        why = f"operation `{op.id}` is `{op.state}` and may still need its outputs"
        raise ErasureRefused(why, state=str(op.state))
    outcomes = (sealed.record for sealed in store.journal(op.id).records)
    named = [
        ref.commitment
        for record in outcomes
        if isinstance(record, Outcome) and step in (None, record.step, record.step.split("@", 1)[0])
        for _, ref in sorted((record.blobs or {}).items())
    ]
    if not named:
        raise ErasureRefused(f"operation `{op.id}` has no output" + (f" of step `{step}`" if step else ""))
    records = (sealed.record for sealed in store.journal(store.instance_id).records)
    gone = {record.commitment for record in records if isinstance(record, Erasure)}
    fresh = tuple(commitment for commitment in named if commitment not in gone)
    if fresh:
        makes = [partial(Erasure, commitment=one, rule=rule, reason=reason) for one in fresh]
        store.append_sync(replace(next_records(store, clock, by, makes), erased=fresh))
    return ErasureView(
        operation_id=op.id,
        erased=fresh,
        before=tuple(commitment for commitment in named if commitment in gone),
        cleared=store.clear_wal(),
    )
