"""Steps 1 and 2: the container and its members, and the records in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from rexecop.proof import note as notes_format
from rexecop.proof.bundle import BundleContents, expected_manifest, from_members
from rexecop.proof.bundle_errors import BundleMalformed, ContainerMalformed
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.checkpoint import Checkpoint, parse
from rexecop.proof.container import unpack
from rexecop.proof.errors import KindUnknown, NotCanonical, ProofError
from rexecop.proof.note import Note
from rexecop.proof.records import Record
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.instance import Trust
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.verify.evidence import Notes

# Each of these costs a signature, a decision or a walk through the others; no honest operation comes near.
KIND_LIMITS: Final[Mapping[type[Record], int]] = {
    Approval: 1024,
    Decision: 1024,
    Receipt: 1024,
    Ticket: 16,
    Trust: 10_000,
}


def open_container(data: bytes, notes: Notes) -> BundleContents | None:
    """Return what the bundle holds, or None when nothing of it can be read."""
    try:
        unpacked = unpack(data)
    except ContainerMalformed as error:
        notes.fault("E01a", error.message)
        return None
    for name in unpacked.damaged:
        notes.fault("E01b", f"member `{name}` was altered")
    if not unpacked.exact and not unpacked.damaged:
        notes.fault(
            "E01c", "the container was not written by the rules, or carries something beside its members"
        )
    try:
        contents, manifest = from_members(unpacked.members)
    except BundleMalformed as error:
        notes.fault("E01d", error.message)
        return None
    expected = expected_manifest(contents)
    if manifest != expected:
        changed = sorted(
            name
            for name in manifest.members.keys() | expected.members.keys()
            if manifest.members.get(name) != expected.members.get(name)
        )
        where = f"member `{changed[0]}`" if changed else "its counts, versions or parts left out"
        notes.fault("E01e", f"the manifest is wrong about {where}")
    return contents


def open_records(lines: Sequence[bytes], section: str, notes: Notes) -> tuple[Sealed, ...] | None:
    """Return the records of `section`, or None when one cannot be read."""
    found: list[Sealed] = []
    for number, line in enumerate(lines):
        try:
            found.append(unseal(line))
        except ProofError as error:
            code = {NotCanonical: "E02a", KindUnknown: "E02c"}.get(type(error), "E02b")
            notes.fault(code, f"{section} record {number}: {error.message}")
    if len(found) != len(lines):
        return None
    counts = Counter(type(sealed.record) for sealed in found)
    for kind, limit in KIND_LIMITS.items():
        if counts[kind] > limit:
            notes.fault("E02d", f"{counts[kind]} {section} records `{kind.kind}`, at most {limit} are read")
            return None
    return tuple(found)


def open_checkpoint(data: bytes, notes: Notes) -> tuple[Note, Checkpoint] | None:
    """Return the checkpoint as note and content, or None when it cannot be read."""
    try:
        note = notes_format.parse(data)
        return note, parse(note.text)
    except ProofError as error:
        notes.fault("E05a", error.message)
        return None
