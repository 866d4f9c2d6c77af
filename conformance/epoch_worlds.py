"""A log that went through a restore: its second epoch begins in the middle of an operation."""

# ruff: noqa: ANN401 - see worlds

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from conformance.worlds import INSTANCE, ORIGIN, ROOT, START, Log, Made, a_read, cut, instance_chain
from rexecop.proof.bundle import pack_proofs
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.records import Epoch
from rexecop.proof.records.instance import LogState

SECOND: Final = f"rexecop/{INSTANCE}/2"


@dataclass(frozen=True, kw_only=True)
class Restored:
    """`made` is cut from the second epoch; `early`, `full` and `lost` are checkpoints of the first.

    `early` is from before the restore, `full` is the very state it continues from, and
    `lost` was signed over records that the restore has thrown away.
    """

    made: Made
    early: bytes
    full: bytes
    lost: bytes


def restored(
    *, change: Callable[[Epoch], Epoch] = lambda record: record, origin: str = SECOND, late: bool = False
) -> Restored:
    """Return a restored world; `change` falsifies the epoch's record, `late` puts a leaf before it."""
    log, book, instance = Log(), a_read(), instance_chain()
    trust = [log.append(sealed.body) for sealed in instance]
    leaves = [log.append(sealed.body) for sealed in book.records[:3]]
    early, early_size = log.checkpoint(), len(log.rows)
    leaves += [log.append(sealed.body) for sealed in book.records[3:5]]
    full = log.checkpoint()
    gone = Log()
    for body in (*(s.body for s in instance), *(s.body for s in book.records[:5]), b"lost", b"lost too"):
        gone.append(body)
    state = LogState(origin=ORIGIN, size=len(log.rows), root=log.frontier.root().hex())
    begun = epoch_record(instance, change, epoch=2, continues=state)
    if late:
        log.append(b"something came before")
    trust.append(log.append(begun.body))
    leaves += [log.append(sealed.body) for sealed in book.records[5:]]
    proofs = pack_proofs(
        [log.prove(leaf) for leaf in leaves], [log.prove(leaf) for leaf in trust], [log.grown(early_size)]
    )
    made = cut(book)
    contents = replace(
        made.contents,
        instance_records=tuple(sealed.body for sealed in (*instance, begun)),
        proofs=proofs,
        checkpoint=log.checkpoint(origin=origin),
    )
    return Restored(
        made=Made(contents=contents, log=log, held=early), early=early, full=full, lost=gone.checkpoint()
    )


def epoch_record(instance: list[Sealed], change: Callable[[Epoch], Epoch], **fields: Any) -> Sealed:
    """Return the record that follows `instance` and begins an epoch."""
    record = Epoch(
        operation=INSTANCE,
        n=len(instance),
        prev=instance[-1].digest,
        at=START,
        by=ROOT,
        reason="the disk died",
        **fields,
    )
    return seal(change(record))


def without_epoch(made: Made) -> Made:
    """Return `made` with the record that begins its epoch left out."""
    contents = made.contents
    proofs = replace(contents.proofs, instance=contents.proofs.instance[:-1])
    return replace(
        made, contents=replace(contents, instance_records=contents.instance_records[:-1], proofs=proofs)
    )
