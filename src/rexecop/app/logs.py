"""The log as strangers get and check it: folders of tiles, and proofs in one file; checking needs no root."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from rexecop.app.errors import FileMissing, FileRefused
from rexecop.app.files import read_file, reason_of, replace_file
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note as notes
from rexecop.proof.canonical import Json
from rexecop.proof.checkpoint import require_continued
from rexecop.proof.codec import to_json
from rexecop.proof.errors import CheckpointForeign
from rexecop.proof.logcheck import Leaf, LogReport, check_log
from rexecop.proof.logproof import (
    PROOF_BYTES_MAX,
    ConsistencyProof,
    open_checkpoint,
    read_proof,
    require_held,
)
from rexecop.proof.merkle import HASH_BYTES, leaf_hash
from rexecop.proof.note import NOTE_BYTES_MAX, NoteKey, SignatureType
from rexecop.proof.publickey import PublicKey
from rexecop.proof.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    TileReader,
    levels_of,
    pack_entries,
    tile_at,
    tiles_of,
)
from rexecop.proof.verify.trusted import TrustedKeys
from rexecop.store.errors import StoreDamaged
from rexecop.store.log import Log, StoredCheckpoint

CHECKPOINT: Final = "checkpoint"
REWOUND: Final = "whether the log was rewound: no checkpoint held earlier was given"
CONSISTENT: Final = "consistent"
UNTRUSTED: Final = "not verified: no trusted key"
UNSIGNED: Final = "the signature of the checkpoint: no key is trusted for instances"

Progress = Callable[[int, int], None]
"""Hears how many of how many records are done."""


def log_view(
    report: LogReport, held: bytes | None, signer: str | None, *, good: str, signed: bool
) -> Mapping[str, Json]:
    """Return `report` as it is shown, `good` if nothing is wrong; `signed` if signatures were checked."""
    return {
        "size": report.size,
        "root": report.root.hex(),
        "verdict": "damaged" if report.bad else "quarantined" if report.quarantined else good,
        "signer": signer,
        "bad": to_json(report.bad) if report.bad else None,
        "quarantined": tuple(to_json(lost) for lost in report.quarantined),
        "not_checked": _not_checked(signed, held),
    }


def _not_checked(signed: bool, held: bytes | None) -> tuple[str, ...]:
    return (*(() if signed else (UNSIGNED,)), *(() if held is not None else (REWOUND,)))


def export_tiles(log: Log, stored: StoredCheckpoint, folder: Path, progress: Progress) -> Mapping[str, Json]:
    """Write the log up to a checkpoint into `folder`, which afterwards holds all that is needed to check it.

    What is there already is only added to. Interrupted, it goes on where it was.

    Raises:
        LogTruncated, LogForked, LogRewound, CheckpointForeign: the folder holds a log that this one does
            not continue. StoreDamaged: a record is not what was logged.
        FileRefused: a file cannot be read or written.
    """
    current, old, files = checkpoints.parse(notes.parse(stored.note).text), 0, 0
    if (kept := _read(folder, CHECKPOINT, NOTE_BYTES_MAX)) is not None:
        held = checkpoints.parse(notes.parse(kept).text)
        if held.log != current.log:
            raise CheckpointForeign(f"`{folder}` holds the log {held.log[:64]!a}, not `{current.log}`")
        require_continued(held, current.size, log.root)
        old = held.size
    for tile in tiles_of(current.size, 0, old):
        kind, entries = _entries(log, tile)
        files += _write(folder, tile.path(kind), entries)
        progress(tile.index * TILE_WIDTH + tile.width, current.size)
    for level in levels_of(current.size):
        for tile in tiles_of(current.size, level, old):
            files += _write(folder, tile.path(), _hashes(log, tile))
    # The checkpoint says that all it is over is there, so that has to be on the disk first.
    os.sync()
    files += _write(folder, CHECKPOINT, stored.note, flush=True)
    return {"path": str(folder), "size": current.size, "files": files}


def _entries(log: Log, tile: Tile) -> tuple[str, bytes]:
    """Return the kind of bundle that the leaves of `tile` are in, and its bytes; StoreDamaged for others."""
    first = tile.index * TILE_WIDTH
    leaves = list(log.leaves(first, first + tile.width))
    for leaf in leaves:
        if leaf_hash(leaf.body) != leaf.nodes[:HASH_BYTES]:
            raise StoreDamaged(f"leaf `{leaf.leaf}` is not what was logged", leaf=leaf.leaf)
    return pack_entries([leaf.body for leaf in leaves])


def _hashes(log: Log, tile: Tile) -> bytes:
    return b"".join(log.nodes(tile.places()))


def tile_file(log: Log, path: str, *, records: bool) -> tuple[bytes, bool] | None:
    """Return what a folder of tiles has at `tile/` and `path`, and whether it is full, which never changes.

    None where there is no such tile (yet), and for bundles where no `records` are wanted.

    Raises:
        StoreDamaged: a record is not what was logged.
    """
    if (found := tile_at(path)) is None:
        return None
    tile, kind = found
    end = tile.index * TILE_WIDTH + tile.width
    if end << (tile.level * TILE_HEIGHT) > log.size() or (kind is not None and not records):
        return None
    full = tile.width == TILE_WIDTH
    if kind is None:
        return _hashes(log, tile), full
    as_kept, entries = _entries(log, tile)
    return (entries, full) if as_kept == kind else None


def verifier_key_of(checkpoint: str, public: PublicKey) -> str:
    """Return `public` as verifiers of notes take it (a C2SP vkey), under the origin of `checkpoint`."""
    origin = checkpoints.parse(notes.parse(checkpoint.encode()).text).origin
    return NoteKey(name=origin, public=public, type=SignatureType.ED25519).encode()


def _read(folder: Path, name: str, bytes_max: int) -> bytes | None:
    """Return a file, None where there is none, or raise FileRefused."""
    try:
        return read_file(folder / name, bytes_max=bytes_max)
    except FileMissing:
        return None


def _write(folder: Path, name: str, data: bytes, *, flush: bool = False) -> bool:
    """Make a file hold `data`, and return whether it did not already; raises FileRefused."""
    if _read(folder, name, max(len(data), NOTE_BYTES_MAX)) == data:
        return False
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, data, mode=0o644, flush=flush)
    except OSError as error:
        raise FileRefused(f"`{path}` cannot be written: {reason_of(error)}", path=str(path)) from error
    return True


def verify_tiles(
    folder: Path, *, trust: TrustedKeys, held: bytes | None, progress: Progress
) -> Mapping[str, Json]:
    """Return what checking a folder of tiles finds, by `trust` and by the checkpoint `held` from earlier.

    Raises:
        FileMissing, FileRefused: the folder has no checkpoint, or a file cannot be read.
        ProofError: its checkpoint, or the one held, is not one of a trusted instance and of this log.
    """
    current, signer = open_checkpoint(read_file(folder / CHECKPOINT, bytes_max=NOTE_BYTES_MAX), trust)
    earlier = [open_checkpoint(held, trust, current.log)[0]] if held is not None else []
    leaves = TileReader(current.size, partial(_read, folder)).leaves()
    report = check_log(_counted(leaves, current.size, progress), current.size, own=[current], held=earlier)
    good = CONSISTENT if signer else UNTRUSTED
    return log_view(report, held, signer, good=good, signed=signer is not None)


def _counted(leaves: Iterator[Leaf], size: int, progress: Progress) -> Iterator[Leaf]:
    for count, leaf in enumerate(leaves):
        if count % TILE_WIDTH == 0:
            progress(count, size)
        yield leaf


def check_proof(path: Path, *, trust: TrustedKeys, held: bytes | None) -> Mapping[str, Json]:
    """Return what the proof in a file shows to somebody who trusts `trust` and kept the checkpoint `held`.

    Raises:
        ProofError: it is no proof, or does not show what it says.
    """
    proof = read_proof(read_file(path, bytes_max=PROOF_BYTES_MAX))
    found, signer = open_checkpoint(proof.checkpoint.encode(), trust)
    proof.require(found)
    if held is not None:
        require_held(proof, found, open_checkpoint(held, trust, found.log)[0])
    if isinstance(proof, ConsistencyProof):
        says = f"the log of {found.size} records continues the one of {proof.old}"
    else:
        says = f"record {proof.n} of {proof.operation_id} is leaf {proof.leaf} of the log of {found.size}"
    return {
        "verdict": "proved" if signer else UNTRUSTED,
        "says": says,
        "log": found.origin,
        "signer": signer,
        "not_checked": _not_checked(signer is not None, held),
    }
