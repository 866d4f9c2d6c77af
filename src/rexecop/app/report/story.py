"""One operation as a page tells it: its records sorted by what they say, and nothing that they do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from rexecop.operations.fold import Operation, fold
from rexecop.proof.bundle import BundleContents
from rexecop.proof.call import Call, fill
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.preview import call_text, preview
from rexecop.proof.records import Attempt, Intent, Outcome, Plan, Receipt, Reconciliation, Record
from rexecop.proof.records.plan import CallStep
from rexecop.proof.verify import Report
from rexecop.proof.vocabulary import GOOD_ENDS, Ended, Phase

R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a page is told of one operation; `outputs` are kept outputs to show, by commitment."""

    operation: str
    records: tuple[Sealed, ...]
    outputs: Mapping[Digest, bytes]


def told(contents: BundleContents) -> tuple[Told, ...]:
    """Return what a page is told of each operation in a bundle, in order."""
    outputs = {commitment: blob.data for commitment, blob in contents.blobs.items()}
    by_operation: dict[str, list[Sealed]] = {}
    for sealed in map(unseal, contents.records):
        by_operation.setdefault(sealed.record.operation, []).append(sealed)
    return tuple(
        Told(operation=name, records=tuple(records), outputs=outputs)
        for name, records in by_operation.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dossier:
    """Everything a page is made from.

    `report` is the verdict on `bundle`, whose file is `bundle_name`; `instance_records`
    are the instance's own, by which erasures are told.
    """

    instance: str
    operations: tuple[Told, ...]
    instance_records: tuple[Sealed, ...]
    report: Report
    bundle: bytes
    bundle_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One call, or what was computed or declined without one; `sealed` is the record it begins with."""

    sealed: Sealed
    made: Attempt | None
    seen: Outcome | None
    settlement: Reconciliation | None

    @property
    def step(self) -> str:
        """The step it is for."""
        return self.made.permit.step if self.made else self.seen.step if self.seen else ""

    @property
    def ended(self) -> Ended:
        """How it ended; where nothing was seen of it, it may have happened."""
        return self.seen.ended if self.seen else Ended.UNKNOWN

    @property
    def odd(self) -> bool:
        """Whether it needs a second look."""
        return self.ended not in GOOD_ENDS


class Story:
    """The records of one operation, by what they say."""

    def __init__(self, told: Told) -> None:
        self.operation = told.operation
        self.records = told.records
        self.outputs = told.outputs

    def of(self, kind: type[R]) -> list[tuple[Sealed, R]]:
        """Return the records of `kind`, in order."""
        return [(sealed, sealed.record) for sealed in self.records if isinstance(sealed.record, kind)]

    def last(self, kind: type[R]) -> R | None:
        """Return the newest record of `kind`."""
        return next((record for _, record in reversed(self.of(kind))), None)

    @property
    def intent(self) -> Intent | None:
        """What was asked."""
        return self.last(Intent)

    @property
    def title(self) -> str:
        """The operation in a few words."""
        return f"{self.intent.intent:.80} on {self.intent.target:.80}" if self.intent else self.operation

    @cached_property
    def folded(self) -> Operation | None:
        """The operation as its records add up to; None where they contradict one another."""
        try:
            return fold(self.records)
        except RexecopError:
            return None

    @property
    def state(self) -> str:
        """Where it stands."""
        receipt = self.records[-1].record if self.records else None
        if isinstance(receipt, Receipt):
            return receipt.state
        return self.folded.state if self.folded else "unclear"

    @cached_property
    def tries(self) -> list[Try]:
        """Every call and computation, in order."""
        ends = {record.attempt: record for _, record in self.of(Outcome)}
        settled = {record.attempt: record for _, record in self.of(Reconciliation)}
        found = []
        for sealed in self.records:
            match sealed.record:
                case Attempt() as made:
                    seen, settlement = ends.get(sealed.digest), settled.get(sealed.digest)
                    found.append(Try(sealed=sealed, made=made, seen=seen, settlement=settlement))
                case Outcome(attempt=None) as seen:
                    found.append(Try(sealed=sealed, made=None, seen=seen, settlement=None))
        return found

    @cached_property
    def shown_plan(self) -> str | None:
        """The text that approvers sign; None where there is no plan for the intent."""
        intent, plan = self.of(Intent)[:1], self.of(Plan)[:1]
        try:
            return preview(intent[0][0], plan[0][0])
        except (IndexError, ProofError):
            return None

    def call(self, made: Attempt) -> str | None:
        """Return the call of an attempt as its preview wrote it, holes filled; None for what no plan has."""
        plan = self.last(Plan)
        steps = plan.steps if plan else ()
        for step in steps:
            if isinstance(step, CallStep) and (step.id, step.target) == (made.permit.step, made.target):
                template = _template(step, made.phase)
                try:
                    return None if template is None else call_text(fill(template, made.values or {}))
                except ProofError:
                    return None
        return None


def _template(step: CallStep, phase: Phase) -> Call | None:
    if phase is Phase.UNDO:
        return step.undo
    return (step.probe.call if step.probe else None) if phase is Phase.PROBE else step.call


def chosen(items: Sequence[T], most: int, odd: Callable[[T], bool]) -> tuple[list[T], str | None]:
    """Return `most` of `items`, `odd` ones before others, in their order, and words on what was left out."""
    if len(items) <= most:
        return list(items), None
    places = sorted(range(len(items)), key=lambda at: (not odd(items[at]), at))
    kept = [items[at] for at in sorted(places[:most])]
    bad = sum(odd(items[at]) for at in places[most:])
    what = f"{bad:,} of them want a second look" if bad else "none of them wants a second look"
    return kept, f"{len(items) - most:,} more are in the bundle; {what}."
