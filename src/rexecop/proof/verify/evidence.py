"""A bundle opened for verification (steps 1 and 2): its records by operation, and what steps note."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Final, TypeVar

from rexecop.proof.bundle import BundleContents, expected_manifest, from_members
from rexecop.proof.canonical import Digest, parse_json
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.container import unpack
from rexecop.proof.errors import BundleMalformed, ContainerMalformed, KindUnknown, NotCanonical, ProofError
from rexecop.proof.note import Note
from rexecop.proof.quorum import Groups, ProvedBy
from rexecop.proof.records import Approval, Decision, Delegation, Intent, Plan, Receipt, Record, Ticket, Trust
from rexecop.proof.records.decision import Terms
from rexecop.proof.records.plan import CallStep, Step
from rexecop.proof.trust import Enrolment
from rexecop.proof.verify.report import Completeness, Finding, NotChecked, Stamp
from rexecop.proof.verify.trusted import TrustedKeys

PACK_ROLE: Final = "policy-pack"
PACK_KIND: Final = "policy-pack/1"
# Each of these costs a signature, a decision or a walk through the others; no honest operation comes near.
KIND_LIMITS: Final[Mapping[type[Record], int]] = {
    Approval: 1024, Decision: 20_000, Delegation: 1024, Receipt: 1024, Ticket: 16, Trust: 10_000,
}  # fmt: skip

R = TypeVar("R", bound=Record)

Evaluate = Callable[[Decision, Plan | None, Mapping[Digest, bytes]], Terms]
"""Decides a recorded request about a plan again, under the packs given by digest; raises RexecopError
if it cannot."""

Members = Callable[[Mapping[Digest, bytes]], Groups]
"""Reads who is in which group from policy packs given by digest; raises RexecopError if it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A bundle and what its verifier brings.

    `operations` are the records of each operation in it, in order, by the operation's id.
    `note` and `checkpoint` are None when the checkpoint cannot be read. `growth` is a proof
    of growth given beside the bundle.
    """

    contents: BundleContents
    operations: Mapping[str, tuple[Sealed, ...]]
    instance: tuple[Sealed, ...]
    enrolments: tuple[Enrolment, ...]
    note: Note | None
    checkpoint: Checkpoint | None
    trust: TrustedKeys
    earlier: bytes | None
    growth: bytes | None
    now: datetime | None
    evaluate: Evaluate | None
    members: Members | None

    @property
    def records(self) -> Iterator[Sealed]:
        """The records of all operations, in order."""
        return (sealed for records in self.operations.values() for sealed in records)

    @property
    def leaves(self) -> Iterator[tuple[Sealed, int]]:
        """The records of all operations as in `records`, each with the leaf its line is said to be."""
        said: dict[bytes, deque[int]] = defaultdict(deque)
        for line, place in zip(self.contents.records, self.contents.proofs.operation, strict=False):
            said[line].append(place.leaf)
        return ((sealed, said[sealed.body].popleft()) for sealed in self.records if said[sealed.body])

    @property
    def newest(self) -> datetime | None:
        """When the newest record was written that the checkpoint covers, of those that are here."""
        return max((sealed.record.at for sealed in (*self.records, *self.instance)), default=None)

    def of(self, kind: type[R]) -> list[tuple[Sealed, R]]:
        """Return the records of `kind` of all operations, in order."""
        return [(sealed, sealed.record) for sealed in self.records if isinstance(sealed.record, kind)]

    def inputs(self, role: str) -> dict[Digest, bytes]:
        """Return the included inputs of `role`."""
        return {item.digest: item.data for item in self.contents.inputs if item.role == role}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the steps look at of one operation."""

    bundle: Opened
    operation: str
    records: tuple[Sealed, ...]

    def of(self, kind: type[R]) -> list[tuple[Sealed, R]]:
        """Return the operation's records of `kind` in order, each with its digest."""
        return [(sealed, sealed.record) for sealed in self.records if isinstance(sealed.record, kind)]

    def first(self, kind: type[R]) -> tuple[Sealed, R] | None:
        """Return the operation's first record of `kind`."""
        return next(iter(self.of(kind)), None)

    @property
    def plan(self) -> Plan | None:
        """The plan, if there is one."""
        found = self.first(Plan)
        return found[1] if found else None

    @property
    def intent(self) -> Intent | None:
        """The intent, if there is one."""
        found = self.first(Intent)
        return found[1] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Files that lie beside a bundle, and those it yields; `unchecked` says what is not compared, and why."""

    found: Mapping[str, bytes]
    expected: Mapping[str, bytes]
    unchecked: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Notes:
    """What the steps find, and what they add up of the bundle or of one operation.

    `operation` names that one in messages, where there are several.
    """

    findings: list[Finding] = field(default_factory=list)
    not_checked: dict[NotChecked, None] = field(default_factory=dict)
    operation: str | None = None
    signed: set[Digest] = field(default_factory=set)
    signer: str | None = None
    signer_path: tuple[str, ...] = ()
    stamped: tuple[Stamp, ...] = ()
    witnesses: tuple[str, ...] = ()
    counted: set[Digest] = field(default_factory=set)
    approvals_own: set[Digest] = field(default_factory=set)
    approvals_sponsor: set[Digest] = field(default_factory=set)
    approvals_unsigned: set[Digest] = field(default_factory=set)
    approvals_for: set[str] = field(default_factory=set)
    duties: ProvedBy | None = None
    intent_proved: bool = False
    complete: Completeness | None = None

    def fault(self, code: str, message: str, record: Digest | None = None) -> None:
        """Note that something is wrong."""
        where = "" if self.operation is None else f"`{self.operation:.64}`: "
        self.findings.append(Finding(code=code, message=where + message, record=record))

    def when(self, wrong: object, code: str, sealed: Sealed, text: str) -> None:
        """Note, if `wrong`, that `text` is true of the record `sealed`."""
        if wrong:
            self.fault(code, f"{place(sealed)} {text}", sealed.digest)

    def skip(self, what: str, why: str) -> None:
        """Note, once, that something was not checked."""
        self.not_checked[NotChecked(what=what, why=why)] = None


def place(sealed: Sealed) -> str:
    """Return how messages name a record."""
    return f"record {sealed.record.n} (`{sealed.record.kind}`)"


def steps_by_key(plan: Plan) -> dict[tuple[str, str], Step]:
    """Return the plan's steps by target and id."""
    return {(step.target, step.id): step for step in plan.steps}


def steps_by_id(plan: Plan) -> dict[str, list[Step]]:
    """Return the plan's steps by id: one for each target."""
    found: dict[str, list[Step]] = {}
    for step in plan.steps:
        found.setdefault(step.id, []).append(step)
    return found


def call_steps(plan: Plan) -> list[CallStep]:
    """Return the steps that make calls."""
    return [step for step in plan.steps if isinstance(step, CallStep)]


def pack_groups(packs: Sequence[bytes]) -> Groups | None:
    """Return the groups that the included policy packs name together; None if one cannot be read.

    A pack is canonical JSON `{"kind": "policy-pack/1", "groups": {GROUP: [PERSON]}, ...}`.
    """
    found: dict[str, frozenset[str]] = {}
    for data in packs:
        try:
            value = parse_json(data, bytes_max=len(data))
        except ProofError:
            return None
        groups = value.get("groups") if isinstance(value, dict) and value.get("kind") == PACK_KIND else None
        if not isinstance(groups, dict):
            return None
        for group, persons in groups.items():
            named = [one for one in persons if isinstance(one, str)] if isinstance(persons, list) else None
            if named is None or len(named) != len(persons):
                return None
            found[group] = found.get(group, frozenset()).union(named)
    return found


def open_container(data: bytes, notes: Notes) -> BundleContents | None:
    """Step 1: return what the bundle holds, or None when nothing of it can be read."""
    try:
        unpacked = unpack(data)
    except ContainerMalformed as error:
        notes.fault("E01a", error.message)
        return None
    for name in unpacked.damaged:
        notes.fault("E01b", f"member `{name}` was altered")
    if not unpacked.exact and not unpacked.damaged:
        notes.fault("E01c", "the container was not written by the rules, or carries more than its members")
    try:
        contents, manifest = from_members(unpacked.members)
    except BundleMalformed as error:
        notes.fault("E01d", error.message)
        return None
    if manifest != (expected := expected_manifest(contents)):
        changed = {name for name, _ in manifest.members.items() ^ expected.members.items()}
        where = f"member `{min(changed)}`" if changed else "its counts, versions or parts left out"
        notes.fault("E01e", f"the manifest is wrong about {where}")
    return contents


def check_beside(beside: Beside, notes: Notes) -> None:
    """Step 1 for files beside the bundle: they say nothing that it does not yield, to the byte."""
    for name in sorted({*beside.found, *beside.expected}):
        shown = f"`{name[:80]!a}`"
        if name not in beside.expected:
            notes.fault("E01f", f"{shown} lies beside the bundle, which yields no such file")
        elif name not in beside.found:
            notes.fault("E01f", f"{shown} is missing beside the bundle")
        elif beside.found[name] != beside.expected[name]:
            notes.fault("E01f", f"{shown} is not what the bundle yields")
    for what, why in beside.unchecked.items():
        notes.skip(what, why)


def open_records(
    lines: Sequence[bytes], section: str, notes: Notes, opened: Mapping[bytes, Sealed]
) -> tuple[Sealed, ...] | None:
    """Step 2: return the records of `section`, or None when one cannot be read; `opened` were before."""
    found: list[Sealed] = []
    for number, line in enumerate(lines):
        try:
            found.append(opened.get(line) or unseal(line))
        except ProofError as error:
            code = {NotCanonical: "E02a", KindUnknown: "E02c"}.get(type(error), "E02b")
            notes.fault(code, f"{section} record {number}: {error.message}")
    return tuple(found) if len(found) == len(lines) else None


def open_operations(
    records: tuple[Sealed, ...], contents: BundleContents, notes: Notes
) -> dict[str, tuple[Sealed, ...]] | None:
    """Step 2: return the records of each operation, or None when one has too many of a kind.

    In a bundle of one operation all records count as its own; step 3 says which are not.
    """
    if contents.operation is not None:
        found = {contents.operation: records}
    else:
        found = {}
        for operation, group in groupby(records, lambda sealed: sealed.record.operation):
            if operation in found:
                notes.fault("E03a", f"records of `{operation:.64}` stand apart from each other")
            found[operation] = (*found.get(operation, ()), *group)
    return found if all(_within_limits(one, "operation", notes) for one in found.values()) else None


def open_instance(lines: Sequence[bytes], notes: Notes) -> tuple[Sealed, ...] | None:
    """Step 2: return the instance's own records, or None when they cannot be read or are too many."""
    found = open_records(lines, "instance", notes, {})
    return found if found is not None and _within_limits(found, "instance", notes) else None


def _within_limits(records: Sequence[Sealed], section: str, notes: Notes) -> bool:
    counts = Counter(type(sealed.record) for sealed in records)
    for kind, limit in KIND_LIMITS.items():
        if counts[kind] > limit:
            notes.fault("E02d", f"{counts[kind]} {section} records `{kind.kind}`, at most {limit} are read")
            return False
    return True
