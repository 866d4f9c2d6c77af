"""Bundles: everything a stranger needs to check an operation, or a window of the log, as one file.

The same evidence is the same bytes.

A bundle holds no key that should be trusted: a verifier brings its own. The manifest
says nothing that the other members do not; it is computed from them again when a
bundle is read, so nothing can be claimed in it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Final, TypeVar

from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.codec import PLAN_RECORD_BYTES_MAX, RECORD_BYTES_MAX, decode, encode
from rexecop.proof.container import CONTAINER_BYTES_MAX, pack
from rexecop.proof.der import BYTES_MAX as STAMP_BYTES_MAX
from rexecop.proof.dsse import ENVELOPE_BYTES_MAX
from rexecop.proof.errors import BundleMalformed, ProofError
from rexecop.proof.heads import HeadsProofs
from rexecop.proof.note import NOTE_BYTES_MAX
from rexecop.proof.preview import PREVIEW_VERSION
from rexecop.proof.sshsig import ARMOR_LENGTH_MAX

RECORDS_MAX: Final = 200_000  # Lines read from one section; 40,000 steps done and undone make 160,000.
LONG_BYTES_MAX: Final = (
    64 * 1024 * 1024
)  # Of all lines longer than most kinds may be: parsed, they take ten times that.
PROOFS_BYTES_MAX: Final = 64 * 1024 * 1024  # Shared nodes and paths of RECORDS_MAX records in a large log.
HEADS_BYTES_MAX: Final = 64 * 1024 * 1024  # Both maps of TARGETS_MAX targets.
MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024  # One line for each of the members a container may have.
KEY_BYTES: Final = 32
STAMPS_MAX: Final = 8  # Each costs a chain of signatures; two or three authorities are asked by the careful.

T = TypeVar("T")

MANIFEST: Final = "manifest.json"
RECORDS: Final = "records.jsonl"
INSTANCE_RECORDS: Final = "instance.jsonl"
PROOFS: Final = "proofs.json"
CHECKPOINT: Final = "checkpoint.txt"
HEADS: Final = "heads.json"

REQUIRED: Final = (MANIFEST, RECORDS, PROOFS, CHECKPOINT)
OPTIONAL: Final = (INSTANCE_RECORDS, "envelopes", "signatures", "inputs", "blobs", "stamps")

_HEX: Final = "[0-9a-f]{64}"
_NODE: Final = re.compile(_HEX)
_PLACE: Final = re.compile(
    rf"(?P<part>envelopes|signatures|inputs/(?P<role>[a-z][a-z0-9-]{{0,31}})|blobs|stamps)/(?P<hex>{_HEX})"
    r"(?P<ending>\.dsse\.json|\.sshsig|\.bin|\.key|\.tsr|)"
)
# What of each part is kept, by the ending of its members, and the most bytes one may have.
_ENDINGS: Final = {
    "envelopes": {".dsse.json": ENVELOPE_BYTES_MAX},
    "signatures": {".sshsig": ARMOR_LENGTH_MAX},
    "inputs": {"": CONTAINER_BYTES_MAX},
    "blobs": {".bin": CONTAINER_BYTES_MAX, ".key": KEY_BYTES},
    "stamps": {".tsr": STAMP_BYTES_MAX},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """That a record is leaf `leaf`; `path` are indices into the nodes of the proofs."""

    leaf: int
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The consistency proof from the log of `size` leaves to the checkpoint's."""

    size: int
    path: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofs:
    """One inclusion for each line of the two record sections, in their order.

    `nodes` are hashes in hex, sorted and each once, which the paths share.
    """

    kind: ClassVar[str] = "proofs/1"

    nodes: tuple[str, ...]
    operation: tuple[Inclusion, ...]
    instance: tuple[Inclusion, ...]
    growth: tuple[Growth, ...] = ()

    def hashes(self) -> tuple[bytes, ...]:
        """Return the nodes as bytes.

        Raises:
            BundleMalformed: a node is not a hash, or the nodes are not sorted and each once.
        """
        if any(_NODE.fullmatch(node) is None for node in self.nodes):
            raise BundleMalformed("a node of the proofs is not 64 hex digits")
        if any(left >= right for left, right in pairwise(self.nodes)):
            raise BundleMalformed("the nodes of the proofs are not sorted and each once")
        return tuple(bytes.fromhex(node) for node in self.nodes)


def path_of(indices: Sequence[int], hashes: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return the hashes that `indices` name.

    Raises:
        BundleMalformed: there is no such node.
    """
    if indices and not 0 <= min(indices) <= max(indices) < len(hashes):
        raise BundleMalformed("a proof names a node that is not there")
    return tuple(hashes[index] for index in indices)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleInput:
    """Something records name by digest: a policy pack, a profile, an environment."""

    role: str
    data: bytes

    @property
    def digest(self) -> Digest:
        """The digest records name it by."""
        return digest_of(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleBlob:
    """Kept output with the key of its commitment."""

    key: bytes
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a bundle claims to hold all changes of: one `target`, or all of them (None).

    It reaches from the `heads` record with the digest `start`, or from the beginning of the
    log (None), to the one with the digest `end`.
    """

    end: Digest
    start: Digest | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleContents:
    """All a bundle holds, as bytes: what is wrong with them is for the verifier to say.

    It is of one `operation`, or of a `window`, which comes with the `heads` of its two ends.
    `records` are canonical, operation by operation, each from its first record on;
    `instance_records` those of the instance `instance` that signatures are judged by, ascending.
    `envelopes` and `signatures` (DSSE, armored SSHSIG) are keyed by the record they
    belong to, `blobs` by commitment. `stamps` are over the text of the checkpoint.
    """

    instance: str
    operation: str | None
    records: tuple[bytes, ...]
    proofs: Proofs
    checkpoint: bytes
    instance_records: tuple[bytes, ...] = ()
    envelopes: Mapping[Digest, bytes] = field(default_factory=dict)
    signatures: Mapping[Digest, bytes] = field(default_factory=dict)
    inputs: tuple[BundleInput, ...] = ()
    blobs: Mapping[Digest, BundleBlob] = field(default_factory=dict)
    stamps: tuple[bytes, ...] = ()
    window: Window | None = None
    heads: HeadsProofs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Versions of what the bundle is made of, beside the kinds that name themselves."""

    container: int
    preview: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in the bundle. `left_out` names the parts a bundle may have and this one has not.

    `members` gives the digest of every other member except outputs, which records commit to.
    """

    kind: ClassVar[str] = "bundle/1"

    instance: str
    records: int
    instance_records: int
    members: Mapping[str, Digest]
    left_out: tuple[str, ...]
    versions: Versions
    operation: str | None = None
    window: Window | None = None


def pack_proofs(
    operation: Sequence[tuple[int, Sequence[bytes]]],
    instance: Sequence[tuple[int, Sequence[bytes]]],
    growth: Sequence[tuple[int, Sequence[bytes]]] = (),
) -> Proofs:
    """Return proofs from (leaf, path) for each record, and (older size, path) for each growth."""
    paths = [path for _, path in (*operation, *instance, *growth)]
    nodes = sorted({node.hex() for path in paths for node in path})
    places = {node: index for index, node in enumerate(nodes)}

    def named(path: Sequence[bytes]) -> tuple[int, ...]:
        return tuple(places[node.hex()] for node in path)

    return Proofs(
        nodes=tuple(nodes),
        operation=tuple(Inclusion(leaf=leaf, path=named(path)) for leaf, path in operation),
        instance=tuple(Inclusion(leaf=leaf, path=named(path)) for leaf, path in instance),
        growth=tuple(Growth(size=size, path=named(path)) for size, path in growth),
    )


def build(contents: BundleContents) -> bytes:
    """Return the bundle of `contents`; the same contents are the same bytes.

    Raises:
        ContainerMalformed: the contents are beyond what a container may hold.
    """
    members = _members(contents)
    return pack({MANIFEST: encode(_manifest(contents, members)), **members})


def from_members(members: Mapping[str, bytes]) -> tuple[BundleContents, Manifest]:
    """Return the contents that `members` make up, and the manifest as it stands there.

    Raises:
        BundleMalformed: a member is missing, foreign, too large, or cannot be read.
    """
    for name in REQUIRED:
        if name not in members:
            raise BundleMalformed(f"member `{name}` is missing", member=name)
    found = _placed(members)
    manifest = _decoded(Manifest, members, MANIFEST, MANIFEST_BYTES_MAX)
    if not (manifest.operation is None) == (manifest.window is not None) == (HEADS in members):
        raise BundleMalformed(f"a bundle is of one operation, or of a window with its `{HEADS}`")
    _limit(CHECKPOINT, members[CHECKPOINT], NOTE_BYTES_MAX)
    data, keys = found[".bin"], found[".key"]
    if data.keys() != keys.keys() or any(len(key) != KEY_BYTES for key in keys.values()):
        raise BundleMalformed(f"a blob and its key of {KEY_BYTES} bytes do not stand together")
    has_instance = INSTANCE_RECORDS in members
    contents = BundleContents(
        instance=manifest.instance,
        operation=manifest.operation,
        # A window in which nothing was changed has no records, and that is worth a proof.
        records=() if manifest.window and not members[RECORDS] else _lines(members[RECORDS], RECORDS),
        proofs=_decoded(Proofs, members, PROOFS, PROOFS_BYTES_MAX),
        checkpoint=members[CHECKPOINT],
        instance_records=_lines(members[INSTANCE_RECORDS], INSTANCE_RECORDS) if has_instance else (),
        envelopes=found[".dsse.json"],
        signatures=found[".sshsig"],
        inputs=_inputs(members),
        blobs={digest: BundleBlob(key=keys[digest], data=data[digest]) for digest in data},
        stamps=_stamps(found[".tsr"]),
        window=manifest.window,
        heads=_decoded(HeadsProofs, members, HEADS, HEADS_BYTES_MAX) if HEADS in members else None,
    )
    return contents, manifest


def expected_manifest(contents: BundleContents) -> Manifest:
    """Return the manifest that `contents` must have."""
    return _manifest(contents, _members(contents))


def _members(contents: BundleContents) -> dict[str, bytes]:
    members = {
        RECORDS: b"".join(record + b"\n" for record in contents.records),
        PROOFS: encode(contents.proofs),
        CHECKPOINT: contents.checkpoint,
    }
    if contents.instance_records:
        members[INSTANCE_RECORDS] = b"".join(record + b"\n" for record in contents.instance_records)
    if contents.heads is not None:
        members[HEADS] = encode(contents.heads)
    for digest, data in contents.envelopes.items():
        members[f"envelopes/{_hex(digest)}.dsse.json"] = data
    for digest, data in contents.signatures.items():
        members[f"signatures/{_hex(digest)}.sshsig"] = data
    for item in contents.inputs:
        members[f"inputs/{item.role}/{_hex(item.digest)}"] = item.data
    for digest, blob in contents.blobs.items():
        members[f"blobs/{_hex(digest)}.bin"] = blob.data
        members[f"blobs/{_hex(digest)}.key"] = blob.key
    for data in contents.stamps:
        members[f"stamps/{_hex(digest_of(data))}.tsr"] = data
    return members


def _manifest(contents: BundleContents, members: Mapping[str, bytes]) -> Manifest:
    parts = {name.partition("/")[0] for name in members}
    return Manifest(
        instance=contents.instance,
        operation=contents.operation,
        window=contents.window,
        records=len(contents.records),
        instance_records=len(contents.instance_records),
        # A plain digest of an output would outlive its erasure; its commitment already binds it.
        members={name: digest_of(data) for name, data in members.items() if not name.startswith("blobs/")},
        left_out=tuple(part for part in OPTIONAL if part not in parts),
        versions=Versions(container=1, preview=PREVIEW_VERSION),
    )


def _placed(members: Mapping[str, bytes]) -> dict[str, dict[Digest, bytes]]:
    """Return the members with a digest for a name, by their ending."""
    found: dict[str, dict[Digest, bytes]] = {ending: {} for part in _ENDINGS.values() for ending in part}
    for name in sorted(members.keys() - {*REQUIRED, INSTANCE_RECORDS, HEADS}):
        place = _PLACE.fullmatch(name)
        limit = _ENDINGS[name.partition("/")[0]].get(place["ending"]) if place else None
        if place is None or limit is None:
            raise BundleMalformed(f"member `{name}` has no place in a bundle", member=name)
        _limit(name, members[name], limit)
        found[place["ending"]][Digest("sha256:" + place["hex"])] = members[name]
    return found


def _inputs(members: Mapping[str, bytes]) -> tuple[BundleInput, ...]:
    found = []
    for name in sorted(members):
        if name.startswith("inputs/"):
            _, role, text = name.split("/")
            item = BundleInput(role=role, data=members[name])
            if _hex(item.digest) != text:
                raise BundleMalformed(f"member `{name}` is not what its name says", member=name)
            found.append(item)
    return tuple(found)


def _stamps(found: Mapping[Digest, bytes]) -> tuple[bytes, ...]:
    if len(found) > STAMPS_MAX:
        raise BundleMalformed(f"{len(found)} time stamps, at most {STAMPS_MAX} are read", limit=STAMPS_MAX)
    for digest, data in found.items():
        if digest_of(data) != digest:
            name = f"stamps/{_hex(digest)}.tsr"
            raise BundleMalformed(f"member `{name}` is not what its name says", member=name)
    return tuple(found.values())


def _lines(data: bytes, name: str) -> tuple[bytes, ...]:
    if not data.endswith(b"\n"):
        raise BundleMalformed(f"member `{name}` is empty or ends inside a line", member=name)
    lines = data[:-1].split(b"\n")
    if len(lines) > RECORDS_MAX:
        raise BundleMalformed(f"member `{name}` has more than {RECORDS_MAX} lines", limit=RECORDS_MAX)
    long = [size for size in map(len, lines) if size > RECORD_BYTES_MAX]
    if max(long, default=0) > PLAN_RECORD_BYTES_MAX:
        raise BundleMalformed(
            f"a line of `{name}` is longer than a record may be", limit=PLAN_RECORD_BYTES_MAX
        )
    if sum(long) > LONG_BYTES_MAX:
        words = f"long lines of `{name}` have {sum(long)} bytes, at most {LONG_BYTES_MAX} are read"
        raise BundleMalformed(words, limit=LONG_BYTES_MAX)
    return tuple(lines)


def _decoded(cls: type[T], members: Mapping[str, bytes], name: str, bytes_max: int) -> T:
    try:
        return decode(cls, members[name], bytes_max=bytes_max)
    except ProofError as error:
        raise BundleMalformed(f"member `{name}` cannot be read: {error.message}", member=name) from error


def _limit(name: str, data: bytes, bytes_max: int) -> None:
    if len(data) > bytes_max:
        raise BundleMalformed(f"member `{name}` has {len(data)} bytes, at most {bytes_max}", limit=bytes_max)


def _hex(digest: Digest) -> str:
    return digest.removeprefix("sha256:")
