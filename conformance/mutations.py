"""Altered bundles by the thousand, and what it means that one says something else.

An alteration knows how a bundle is made: it edits fields and writes records canonically again,
carries changed digests through everything that rests on them, and packs the whole anew with a
manifest that is right. What it lacks is a key and the log.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from conformance.worlds import TRUSTED
from rexecop.proof import dsse, note, sshsig
from rexecop.proof.bundle import (
    BundleBlob,
    BundleContents,
    BundleInput,
    Growth,
    Inclusion,
    build,
    from_members,
)
from rexecop.proof.canonical import Digest, Json, commit, digest_of, load_json, trusted_bytes
from rexecop.proof.chain import unseal
from rexecop.proof.container import pack, unpack
from rexecop.proof.errors import ProofError
from rexecop.proof.records.instance import Heads
from rexecop.proof.suites import ED25519
from rexecop.proof.verify import TrustedKeys

WORDS: Final[tuple[Json, ...]] = (
    *("", "x", "0", "../..", "[", "(a+)+$", "\u202e", "apply", "undo", "allowed", "completed", "jan", "mara"),
    *("sha256:" + "0" * 64, "1970-01-01T00:00:00.000Z", "2026-03-01T10:00:00.100Z"),
    *("8999-12-31T23:59:59.999Z", 0, 1, -1, 2**53, -(2**53), 2**53 + 1, 10**400, True, False, None, [], {}),
)


# --- what a bundle says ---


@dataclass(frozen=True)
class Meaning:
    """What a bundle says, as parsed, apart from how it is written down.

    `loose` are the statements whose order says nothing: envelopes, signatures, inputs and
    blobs, the checkpoint and who signed it. Signatures by keys that are not trusted are
    noise to this verifier and no statement.
    """

    records: tuple[bytes, ...]
    instance: tuple[bytes, ...]
    loose: frozenset[tuple[object, ...]]
    complete: bool
    ended: bool

    def says_otherwise(self, original: Meaning) -> bool:
        """Return whether anything is said that `original` did not say, or in another order.

        Fewer records from the end of the operation, fewer of the instance, and fewer loose
        statements are what a bundle cut earlier, or with less in it, would say as well. Not
        so of a window, which says that it holds all there is; unless it does not say what had
        not `ended`: then an operation may lack its newest records.
        """
        longer = self.records != original.records[: len(self.records)] or not self.records
        if original.complete:
            longer = self.records != original.records
        if original.complete and not original.ended:
            longer = not _is_part(self.records, original.records)
        foreign = not _is_part(self.instance, original.instance)
        return longer or foreign or not self.loose <= original.loose


def _is_part(lines: Sequence[bytes], whole: Sequence[bytes]) -> bool:
    """Return whether `lines` stand in `whole` in this order, with others between them or none."""
    rest = iter(whole)
    return all(line in rest for line in lines)


def meaning_of(data: bytes, trust: TrustedKeys = TRUSTED) -> Meaning | None:
    """Return what the bundle `data` says to a verifier who trusts `trust`; None if it cannot be read."""
    try:
        contents, _ = from_members(unpack(data).members)
        return meaning(contents, trust)
    except (ProofError, ValueError):
        return None


def meaning(contents: BundleContents, trust: TrustedKeys) -> Meaning:
    """Return what `contents` say to a verifier who trusts `trust`.

    Raises:
        ProofError: the checkpoint, an envelope or a signature cannot be read.
    """
    known = {key.public.fingerprint for key in trust.keys}
    window = contents.window
    loose: set[tuple[object, ...]] = {("of", contents.instance, contents.operation)}
    if window is not None:
        # What holds all changes of all targets holds all of any one of them.
        heads = contents.heads.end if contents.heads and window.target is None else ()
        loose |= {("all of", window.start, window.end, window.target)}
        loose |= {("all of", window.start, window.end, entry.head.target) for entry in heads}
    found = note.parse(contents.checkpoint)
    loose.add(("checkpoint", found.text))
    loose |= {
        ("seal", line.name, line.key_id, line.signature) for line in found.signatures if _trusted(line, trust)
    }
    for digest, data in contents.envelopes.items():
        envelope = dsse.decode(data)
        loose.add(("envelope", digest, envelope.payload_type, envelope.payload))
        loose |= {
            ("envelope", digest, one.key_id, one.signature)
            for one in envelope.signatures
            if one.key_id in known
        }
    for digest, data in contents.signatures.items():
        signature = sshsig.decode(data.decode("ascii", "replace"))
        loose.add(("signature", digest, signature.public, signature.namespace, signature.signature))
    loose |= {("input", item.role, item.data) for item in contents.inputs}
    # What opens a commitment was said by the record that holds the commitment.
    loose |= {
        ("blob", name, blob.key, blob.data)
        for name, blob in contents.blobs.items()
        if commit(blob.key, blob.data) != name
    }
    if contents.heads is not None:
        loose.add(("heads", contents.heads))
    ends = (
        unseal(line).record for line in contents.instance_records if window and digest_of(line) == window.end
    )
    ended = any(isinstance(end, Heads) and end.unfinished is not None for end in ends)
    return Meaning(contents.records, contents.instance_records, frozenset(loose), window is not None, ended)


def _trusted(line: note.NoteSignature, trust: TrustedKeys) -> bool:
    """Return whether `line` says that it is by a key in `trust`."""
    able = [key.public for key in trust.keys if key.public.algorithm == ED25519]
    keys = [
        note.NoteKey(name=line.name, public=one, type=kind) for one in able for kind in note.SignatureType
    ]
    return line.key_id in [key.key_id for key in keys]


# --- small changes ---


def altered(value: Json, chance: random.Random) -> Json:
    """Return `value` with one member somewhere in it replaced, dropped, doubled or moved."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(sorted(value))
        turn = chance.random()
        if turn < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if turn < 0.15:
            return {**value, key + "x": value[key]}
        return {**value, key: altered(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        turn = chance.random()
        if turn < 0.2:
            return [*value, value[place]]
        if turn < 0.3:
            return [*value[:place], *value[place + 1 :]]
        if turn < 0.4:
            return value[::-1]
        return [*value[:place], altered(value[place], chance), *value[place + 1 :]]
    if isinstance(value, str) and value and chance.random() < 0.5:
        place = chance.randrange(len(value))
        return value[:place] + chance.choice("0az-Z~é") + value[place + 1 :]
    if type(value) is int and chance.random() < 0.5:
        return value + chance.choice((-1, 1))
    return chance.choice(WORDS)


def scrambled(data: bytes, chance: random.Random) -> bytes:
    """Return `data` with a bit flipped, a stretch cut out, doubled, or put in."""
    if not data:
        return b"x"
    place, length = chance.randrange(len(data)), chance.randrange(1, 40)
    match chance.randrange(4):
        case 0:
            return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
        case 1:
            return data[:place] + data[place + length :]
        case 2:
            return data[: place + length] + data[place:]
        case _:
            return data[:place] + chance.randbytes(length) + data[place:]


def edited(body: bytes, chance: random.Random) -> bytes:
    """Return the JSON `body` with a change in it, canonical where that can be."""
    try:
        return trusted_bytes(altered(load_json(body, bytes_max=len(body)), chance))
    except (ProofError, ValueError):
        return scrambled(body, chance)


# --- alterations of contents ---

Others = Sequence[BundleContents]
Alteration = Callable[[BundleContents, Others, random.Random], BundleContents]
ALTERATIONS: Final[list[Alteration]] = []


def alteration(make: Alteration) -> Alteration:
    ALTERATIONS.append(make)
    return make


def relinked(contents: BundleContents, lines: Sequence[bytes], old: Sequence[bytes]) -> BundleContents:
    """Return `contents` with `lines`, where whatever named a line of `old` names what replaced it.

    As somebody would who writes history anew: only signatures and the log stay as they were.
    """
    renamed: dict[Digest, Digest] = {}
    found: list[bytes] = []
    for line, before in zip(lines, old, strict=True):
        body = line
        for was, now in renamed.items():
            body = body.replace(was.encode(), now.encode())
        renamed[digest_of(before)] = digest_of(body)
        found.append(body)
    envelopes = {
        renamed.get(digest, digest): _renamed(data, renamed) for digest, data in contents.envelopes.items()
    }
    signatures = {renamed.get(digest, digest): data for digest, data in contents.signatures.items()}
    return replace(contents, records=tuple(found), envelopes=envelopes, signatures=signatures)


def _renamed(data: bytes, renamed: Mapping[Digest, Digest]) -> bytes:
    """Return the envelope `data` with the new digests in its payload, or as it is if it is none."""
    try:
        envelope = dsse.decode(data)
    except ProofError:
        return data
    payload = envelope.payload
    for was, now in renamed.items():
        payload = payload.replace(was[7:].encode(), now[7:].encode())
    return dsse.encode(replace(envelope, payload=payload))


@alteration
def a_field_is_edited(of: BundleContents, _: Others, chance: random.Random) -> BundleContents:
    lines, place = list(of.records), chance.randrange(len(of.records))
    lines[place] = edited(lines[place], chance)
    return replace(of, records=tuple(lines))


@alteration
def a_field_is_edited_and_history_written_anew(
    of: BundleContents, _: Others, chance: random.Random
) -> BundleContents:
    lines = list(of.records)
    for place in chance.choices(range(len(lines)), k=chance.choice((1, 1, 1, 2, 3))):
        lines[place] = edited(lines[place], chance)
    return relinked(of, lines, of.records)


@alteration
def records_are_dropped_doubled_or_moved(
    of: BundleContents, _: Others, chance: random.Random
) -> BundleContents:
    """With their proofs, or without."""
    order = list(range(len(of.records)))
    place = chance.randrange(len(order))
    match chance.randrange(4):
        case 0:
            del order[place]
        case 1:
            order.insert(chance.randrange(len(order) + 1), place)
        case 2:
            chance.shuffle(order)
        case _:
            del order[max(1, place) :]
    records = tuple(of.records[index] for index in order)
    if chance.random() < 0.2:
        return replace(of, records=records)
    places = of.proofs.operation
    proofs = replace(of.proofs, operation=tuple(places[index] for index in order if index < len(places)))
    kept = {digest_of(line) for line in records}
    if chance.random() < 0.7:
        envelopes = {digest: data for digest, data in of.envelopes.items() if digest in kept}
        return replace(of, records=records, proofs=proofs, envelopes=envelopes)
    return replace(of, records=records, proofs=proofs)


@alteration
def records_of_another_bundle_are_put_in(
    of: BundleContents, others: Others, chance: random.Random
) -> BundleContents:
    other = chance.choice(others)
    here, there = chance.randrange(len(of.records) + 1), chance.randrange(len(other.records) + 1)
    records = of.records[:here] + other.records[there:]
    places = of.proofs.operation[:here] + other.proofs.operation[there:]
    return replace(
        of,
        records=records or of.records,
        proofs=replace(of.proofs, operation=places or of.proofs.operation),
        envelopes={**of.envelopes, **other.envelopes},
        signatures={**of.signatures, **other.signatures},
    )


@alteration
def a_part_of_another_bundle_takes_the_place_of_ours(
    of: BundleContents, others: Others, chance: random.Random
) -> BundleContents:
    other = chance.choice(others)
    return chance.choice(
        (
            lambda: replace(of, proofs=other.proofs),
            lambda: replace(of, checkpoint=other.checkpoint),
            lambda: replace(of, checkpoint=other.checkpoint, proofs=other.proofs),
            lambda: replace(of, envelopes=other.envelopes),
            lambda: replace(of, signatures=other.signatures),
            lambda: replace(of, instance_records=other.instance_records),
            lambda: replace(of, inputs=other.inputs),
            lambda: replace(of, blobs={**of.blobs, **other.blobs}),
            lambda: replace(of, records=other.records),
            lambda: replace(of, operation=other.operation),
            lambda: replace(of, instance="inst_other"),
        )
    )()


@alteration
def the_instances_own_records_are_changed(
    of: BundleContents, _: Others, chance: random.Random
) -> BundleContents:
    lines, places = list(of.instance_records), list(of.proofs.instance)
    if not lines:
        return replace(of, instance_records=of.records[:1])
    place = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            lines[place] = edited(lines[place], chance)
        case 1:
            del lines[place], places[place : place + 1]
        case 2:
            lines.reverse()
            places.reverse()
        case _:
            lines.append(lines[place])
            places += places[place : place + 1]
    return replace(of, instance_records=tuple(lines), proofs=replace(of.proofs, instance=tuple(places)))


def _swapped(parts: Mapping[Digest, bytes], chance: random.Random) -> dict[Digest, bytes]:
    """Return `parts` with one dropped, altered, copied under another name, or exchanged."""
    found = dict(parts)
    if not found:
        return {digest_of(chance.randbytes(8)): chance.randbytes(64)}
    name, other = chance.choice(sorted(found)), chance.choice(sorted(found))
    match chance.randrange(5):
        case 0:
            del found[name]
        case 1:
            found[name] = scrambled(found[name], chance)
        case 2:
            found[name] = edited(found[name], chance)
        case 3:
            found[digest_of(chance.randbytes(8))] = found[name]
        case _:
            found[name], found[other] = found[other], found[name]
    return found


@alteration
def an_envelope_is_changed(of: BundleContents, _: Others, chance: random.Random) -> BundleContents:
    return replace(of, envelopes=_swapped(of.envelopes, chance))


@alteration
def a_signature_is_changed(of: BundleContents, _: Others, chance: random.Random) -> BundleContents:
    return replace(of, signatures=_swapped(of.signatures, chance))


@alteration
def an_output_is_changed(of: BundleContents, _: Others, chance: random.Random) -> BundleContents:
    blobs = dict(of.blobs)
    if not blobs:
        return replace(of, blobs={digest_of(b"x"): BundleBlob(key=b"k" * 32, data=b"x")})
    name = chance.choice(sorted(blobs))
    blob = blobs[name]
    match chance.randrange(4):
        case 0:
            blobs[name] = replace(blob, data=scrambled(blob.data, chance))
        case 1:
            blobs[name] = replace(blob, key=chance.randbytes(32))
        case 2:
            del blobs[name]
        case _:
            blobs[digest_of(chance.randbytes(8))] = blob
    return replace(of, blobs=blobs)


@alteration
def an_input_is_changed(of: BundleContents, _: Others, chance: random.Random) -> BundleContents:
    inputs = list(of.inputs)
    if not inputs:
        return replace(of, inputs=(BundleInput(role="profile", data=b"{}"),))
    place = chance.randrange(len(inputs))
    match chance.randrange(3):
        case 0:
            inputs[place] = replace(inputs[place], data=edited(inputs[place].data, chance))
        case 1:
            del inputs[place]
        case _:
            inputs[place] = replace(inputs[place], role=chance.choice(("profile", "policy-pack", "other")))
    return replace(of, inputs=tuple(inputs))


@alteration
def the_checkpoint_is_changed(of: BundleContents, _: Others, chance: random.Random) -> BundleContents:
    lines = of.checkpoint.split(b"\n")
    place = chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            return replace(of, checkpoint=scrambled(of.checkpoint, chance))
        case 1:
            del lines[place]
        case 2:
            lines.insert(place, lines[chance.randrange(len(lines))])
        case _:
            size = int(lines[1]) if len(lines) > 1 and lines[1].isdigit() else 1
            lines[1:2] = [b"%d" % max(0, size + chance.choice((-1, 1, -size, 10**15)))]
    return replace(of, checkpoint=b"\n".join(lines))


@alteration
def the_proofs_are_changed(of: BundleContents, _: Others, chance: random.Random) -> BundleContents:
    proofs = of.proofs
    places = list(proofs.operation)
    place = chance.randrange(len(places)) if places else 0
    one = places[place] if places else Inclusion(leaf=0, path=())
    index = chance.choice((-1, 0, 1, len(proofs.nodes), 2**53, chance.randrange(max(1, len(proofs.nodes)))))
    match chance.randrange(6):
        case 0:
            places[place : place + 1] = [replace(one, leaf=chance.choice((one.leaf + 1, -1, 0, 2**53)))]
        case 1:
            places[place : place + 1] = [replace(one, path=(*one.path[:-1], index))]
        case 2:
            places[place : place + 1] = [replace(one, path=one.path * chance.choice((0, 2)))]
        case 3:
            chance.shuffle(places)
        case 4:
            nodes = list(proofs.nodes) or ["0" * 64]
            nodes[chance.randrange(len(nodes))] = chance.choice(("f" * 64, "0" * 64, "x", nodes[-1]))
            return replace(of, proofs=replace(proofs, nodes=tuple(nodes)))
        case _:
            growth = (Growth(size=chance.randrange(60), path=(index, 0)),)
            return replace(of, proofs=replace(proofs, growth=growth + proofs.growth))
    return replace(of, proofs=replace(proofs, operation=tuple(places)))


@alteration
def the_window_is_changed(of: BundleContents, others: Others, chance: random.Random) -> BundleContents:
    windows = [other for other in others if other.window is not None]
    if of.window is None or of.heads is None:
        other = chance.choice(windows)
        return replace(of, operation=None, window=other.window, heads=other.heads)
    other = chance.choice(windows)
    marks = [digest_of(line) for line in of.instance_records]
    return chance.choice(
        (
            lambda: replace(of, window=other.window, heads=other.heads),
            lambda: replace(of, heads=other.heads),
            lambda: replace(of, window=replace(of.window, target=chance.choice((None, "host-1", "host-2")))),
            lambda: replace(of, window=replace(of.window, start=chance.choice((None, *marks)))),
            lambda: replace(of, window=replace(of.window, end=chance.choice(marks))),
            lambda: replace(of, heads=replace(of.heads, start=of.heads.start[1:])),
            lambda: replace(of, heads=replace(of.heads, end=of.heads.end[:-1])),
            lambda: replace(of, window=None, heads=None, operation="op_2"),
        )
    )()


# --- alterations of the file ---


def _file(data: bytes, contents: BundleContents, chance: random.Random) -> bytes:
    """Return the file with bits flipped, or with a member of it altered and packed again."""
    if chance.random() < 0.5:
        for _ in range(chance.choice((1, 1, 1, 2, 8))):
            data = scrambled(data, chance)
        return data
    members = dict(unpack(data).members)
    name = chance.choice(sorted(members))
    match chance.randrange(4):
        case 0:
            members[name] = edited(members[name], chance)
        case 1:
            del members[name]
        case 2:
            members[chance.choice(("../x", "blobs/" + "0" * 64 + ".bin", "manifest.json2", name + "x"))] = (
                b"x"
            )
        case _:
            members["manifest.json"] = edited(members["manifest.json"], chance)
    return pack(members)


@dataclass(frozen=True)
class Altered:
    """A bundle that was altered: how, from which of the originals, and to what."""

    how: str
    original: int
    data: bytes


def alter(originals: Sequence[bytes], opened: Sequence[BundleContents], seed: int) -> Altered:
    """Return an altered bundle that follows from `seed`; `opened` are the contents of `originals`."""
    chance = random.Random(seed)
    at = chance.randrange(len(originals))
    if chance.random() < 0.15:
        return Altered("the file is altered", at, _file(originals[at], opened[at], chance))
    contents, how = opened[at], []
    for _ in range(chance.choice((1, 1, 1, 2))):
        change = chance.choice(ALTERATIONS)
        how.append(change.__name__.replace("_", " "))
        contents = change(contents, opened, chance)
        if not contents.records or not contents.proofs.operation:
            break  # Nothing is left to alter.
    return Altered(", and ".join(how), at, build(contents))


def open_all(originals: Sequence[bytes]) -> list[BundleContents]:
    """Return the contents of bundles that can be read."""
    return [from_members(unpack(data).members)[0] for data in originals]
