"""Epochs: a restored or copied root continues the same tree, and says from where.

The record that begins an epoch is the leaf right after those it continues, so its own
inclusion proof shows their root: nothing else is needed to check what it says.
"""

from __future__ import annotations

from typing import Final

from rexecop.proof.bundle import path_of
from rexecop.proof.chain import Sealed
from rexecop.proof.checkpoint import Checkpoint, epoch_of, origin_of
from rexecop.proof.errors import ProofError
from rexecop.proof.merkle import root_before
from rexecop.proof.records import Epoch
from rexecop.proof.records.instance import LogState
from rexecop.proof.verify.evidence import Notes, Opened

FIRST: Final = 1  # The epoch no record begins.
REWOUND: Final = "whether the log was rewound"


def check(opened: Opened, notes: Notes) -> None:
    """Note every epoch that does not continue the one before, and a checkpoint of another than the last."""
    checkpoint, instance = opened.checkpoint, opened.contents.instance
    if checkpoint is None or checkpoint.origin.split("/")[1:2] != [instance]:
        return
    # Without the whole chain an epoch may have begun unseen; then only what cannot be is a fault.
    numbers = [sealed.record.n for sealed in opened.instance]
    whole, last = bool(numbers) and numbers == list(range(len(numbers))), FIRST
    for sealed, record in _epochs(opened):
        wrong = record.epoch != last + 1 if whole else record.epoch <= last
        notes.when(wrong, "E06g", sealed, f"begins epoch {record.epoch} after epoch {last}")
        other = record.continues.origin != origin_of(instance, record.epoch - 1)
        notes.when(other, "E06g", sealed, f"continues `{record.continues.origin:.80}`")
        last = record.epoch
    _places(opened, checkpoint, notes)
    stated = epoch_of(checkpoint.origin, instance)
    if stated is None or stated < last or (whole and stated != last):
        notes.fault(
            "E05f", f"the checkpoint is of `{checkpoint.origin:.80}`, the records are of epoch {last}"
        )
    elif stated != last:
        notes.skip(
            "which epoch the log is in", "the instance's chain is not included from its first record on"
        )


def may_compare(earlier: Checkpoint, current: Checkpoint, opened: Opened, notes: Notes) -> bool:
    """Return whether growth from `earlier`, held of another epoch or log, is still to be shown.

    Where it is not, what is known about it was noted.
    """
    instance = opened.contents.instance
    held, now = epoch_of(earlier.origin, instance), epoch_of(current.origin, instance)
    if held is None or now is None:
        notes.fault(
            "E06c", f"the checkpoint held is of `{earlier.origin:.80}`, not of `{current.origin:.80}`"
        )
        return False
    if held > now:
        notes.skip(REWOUND, f"the checkpoint held is of a later epoch, `{earlier.origin}`")
        return False
    continued: LogState | None = next(
        (record.continues for _, record in _epochs(opened) if record.epoch == held + 1), None
    )
    if continued is None:
        notes.skip(REWOUND, f"the record that ended the epoch of `{earlier.origin}` is not included")
    elif earlier.size > continued.size:
        kept, had = continued.size, earlier.size
        notes.fault("E06f", f"epoch {held + 1} continues from {kept} records, the checkpoint held has {had}")
    elif earlier.size < continued.size:
        return True
    elif earlier.root.hex() != continued.root:
        notes.fault("E06a", f"two logs of {earlier.size} records have different roots")
    return False


def _epochs(opened: Opened) -> list[tuple[Sealed, Epoch]]:
    return [(sealed, sealed.record) for sealed in opened.instance if isinstance(sealed.record, Epoch)]


def _places(opened: Opened, checkpoint: Checkpoint, notes: Notes) -> None:
    """Compare where each epoch's record stands, and the root before it, with what it says."""
    proofs = opened.contents.proofs
    try:
        hashes = proofs.hashes()
    except ProofError:
        return  # Step 5 has said so, and whatever else is wrong with the proofs.
    for sealed, place in zip(opened.instance, proofs.instance, strict=False):
        if not isinstance(sealed.record, Epoch):
            continue
        said = sealed.record.continues
        wrong = place.leaf != said.size
        notes.when(wrong, "E06g", sealed, f"stands at leaf {place.leaf} and continues {said.size} records")
        try:
            root = root_before(place.leaf, checkpoint.size, path_of(place.path, hashes)).hex()
        except (ProofError, ValueError):
            continue
        notes.when(root != said.root, "E06g", sealed, "names another root than the log had before it")
