"""Logs grown in memory, as leaves and as tiles, the tiles computed the slow way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from conformance.memory_signer import MemorySigner
from rexecop.proof import checkpoint, note
from rexecop.proof.chain import Sealed
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.logcheck import Leaf
from rexecop.proof.merkle import Frontier, leaf_hash, root_of
from rexecop.proof.note import NoteKey, SignatureType
from rexecop.proof.verify import TrustedKey, TrustedKeys
from rexecop.proof.vocabulary import Role
from tests.store.samples import START, notes, operation_id
from tests.store.samples import note as record

LOG: Final = MemorySigner(11)
STRANGER: Final = MemorySigner(12)
WITNESS: Final = MemorySigner(13)
ORIGIN: Final = "rexecop/lab/1"
WITNESS_NAME: Final = "w1.example"
TRUST: Final = TrustedKeys(keys=(TrustedKey(role=Role.INSTANCE, name="lab", public=LOG.public),))


def log_keys(origin: str) -> Sequence[NoteKey]:
    """The keys of the one log that is known."""
    return [NoteKey(name=origin, public=LOG.public, type=SignatureType.ED25519)] if origin == ORIGIN else []


def bodies(count: int, text: str = "") -> list[bytes]:
    """`count` records of three operations in turn, the second word of each `text`."""
    chains = [iter(notes(operation_id(number), count, text=text)) for number in range(3)]
    return [next(chains[place % 3]).body for place in range(count)]


def dated(operation: str, *seconds: float) -> list[Sealed]:
    """One chain whose records are dated so many seconds after its beginning."""
    found: list[Sealed] = []
    for n, offset in enumerate(seconds):
        prev = found[-1].digest if found else None
        found.append(record(operation, n, prev, at=START + timedelta(seconds=offset)))
    return found


def leaves(records: Sequence[bytes]) -> Iterator[Leaf]:
    """The leaves of the log that logged `records`, with the nodes that lie beside them."""
    frontier = Frontier.empty()
    for body in records:
        frontier, completed = frontier.append(leaf_hash(body))
        yield Leaf(body=body, kept=dict(enumerate(completed)).get)


def signed(records: Sequence[bytes], signer: MemorySigner = LOG, origin: str = ORIGIN) -> bytes:
    """The checkpoint of the log that is `records`, as a note."""
    return checkpoint.sign(at(records, origin), signer)


def at(records: Sequence[bytes], origin: str = ORIGIN) -> Checkpoint:
    """The checkpoint of the log that is `records`."""
    return Checkpoint(origin=origin, size=len(records), root=root_of([leaf_hash(body) for body in records]))


def cosigned(data: bytes, at_seconds: int = 1_700_000_000) -> bytes:
    """The note with the witness's line below it."""
    found = note.parse(data)
    line = note.cosign(found.text, WITNESS_NAME, WITNESS, at_seconds=at_seconds)
    return data + line.encode().encode()


def digits(index: int) -> str:
    """How the specification writes an index into a path."""
    parts = []
    while True:
        parts.append(f"{index % 1000:03d}")
        index //= 1000
        if not index:
            break
    return "/".join([*(f"x{part}" for part in parts[:0:-1]), parts[0]])


def tile_files(records: Sequence[bytes], *, length: int = 2) -> Mapping[str, bytes]:
    """Every file of the tiled log, straight from the specification's formulas."""
    files: dict[str, bytes] = {}
    hashes = [leaf_hash(body) for body in records]
    level = 0
    while len(records) >> (8 * level):
        span = 256**level
        nodes = [root_of(hashes[i * span : (i + 1) * span]) for i in range(len(records) // span)]
        for index in range(0, len(nodes), 256):
            part = nodes[index : index + 256]
            width = "" if len(part) == 256 else f".p/{len(part)}"
            files[f"tile/{level}/{digits(index // 256)}{width}"] = b"".join(part)
            if level == 0:
                entries = records[index : index + 256]
                packed = b"".join(len(entry).to_bytes(length, "big") + entry for entry in entries)
                files[f"tile/entries/{digits(index // 256)}{width}"] = packed
        level += 1
    return files
