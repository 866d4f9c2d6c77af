"""What nodes said of calls that nobody waited for any more, beside what the ledger says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rexecop.app.files import read_file
from rexecop.app.instance import Instance
from rexecop.app.root import Root
from rexecop.lanes.bridge.hub import LATE_BYTES_MAX
from rexecop.operations.ports import Ledger
from rexecop.proof import dsse
from rexecop.proof.canonical import Digest, parse_json
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import ProofError
from rexecop.proof.nodes import NodeOutcome, open_outcome
from rexecop.proof.publickey import PublicKey
from rexecop.proof.records import Attempt, Outcome, Reconciliation
from rexecop.proof.vocabulary import Ended, Role

SEARCHED_MAX: Final = 1_000  # Of the newest operations; what nobody settled for longer is a person's to find.
NONE_HERE: Final = "elsewhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class LateView:
    """What the node of `person` signed of a call, and how the ledger `stands` to it.

    That is `lost` (no outcome), `unknown`, `settled` (by a reconciliation), `recorded` (another
    outcome), or `elsewhere`: no operation that was searched made the call.
    """

    person: str
    node: str
    nonce: str
    step: str
    attempt: int
    ended: Ended
    error_class: str | None
    status: int | None
    operation_id: str | None
    stands: str
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LateOutcomes:
    """Every statement that is kept, each once, and how many lines no enrolled node has signed."""

    late: tuple[LateView, ...]
    unsigned: int


def late_outcomes(instance: Instance) -> LateOutcomes:
    """Return what the root keeps of late statements, in the order they came.

    Raises:
        FileRefused: the file is none of ours.
    """
    parts = instance.parts
    path = Root(parts.settings.root).late
    enrolled = [one for one in parts.authority.enrolments() if one.role is Role.NODE]
    keys = {one.fingerprint: PublicKey.from_line(one.public) for one in enrolled}
    people = {one.fingerprint: one.person for one in enrolled}
    lines = read_file(path, bytes_max=LATE_BYTES_MAX).splitlines() if path.exists() else []
    found = [_opened(line, keys) for line in lines]
    said = {one.nonce: one for one in found if one is not None}
    made = _journals(parts.world.store, {one.permit.ticket for one in said.values()})
    views = (view_of(one, people[one.node], made.get(one.permit.ticket)) for one in said.values())
    return LateOutcomes(late=tuple(views), unsigned=found.count(None))


def _opened(line: bytes, keys: Mapping[str, PublicKey]) -> NodeOutcome | None:
    for name, public in keys.items():
        try:
            said = open_outcome(parse_json(line, bytes_max=dsse.ENVELOPE_BYTES_MAX), public)
        except ProofError:
            continue
        if said.node == name:
            return said
    return None


def _journals(ledger: Ledger, tickets: set[Digest]) -> dict[Digest, Sequence[Sealed]]:
    """Return the records of the operations that these tickets are of, looked for from the newest."""
    found: dict[Digest, Sequence[Sealed]] = {}
    for _, row in ledger.rows(limit=SEARCHED_MAX) if tickets else ():
        if len(found) == len(tickets):
            break
        records = ledger.journal(row.operation).records
        found |= {sealed.digest: records for sealed in records if sealed.digest in tickets}
    return found


def view_of(said: NodeOutcome, person: str, records: Sequence[Sealed] | None) -> LateView:
    """Return what `said` is beside `records` of the operation it is of, None where there is none."""
    stands, operation = NONE_HERE, None
    for sealed in records or ():
        if isinstance(sealed.record, Attempt) and sealed.record.permit == said.permit:
            operation, stands = sealed.record.operation, _stands(sealed.digest, records or ())
    return LateView(
        person=person,
        node=said.node,
        nonce=said.nonce,
        step=said.permit.step,
        attempt=said.permit.attempt,
        ended=said.ended,
        error_class=said.error_class,
        status=said.status,
        operation_id=operation,
        stands=stands,
        next=_next(operation, said) if stands in ("lost", "unknown") else (),
    )


def _stands(attempt: Digest, records: Sequence[Sealed]) -> str:
    found = "lost"
    for record in (sealed.record for sealed in records):
        if isinstance(record, Outcome) and record.attempt == attempt:
            found = "unknown" if record.ended is Ended.UNKNOWN else "recorded"
        elif isinstance(record, Reconciliation) and record.attempt == attempt:
            found = "settled"
    return found


def _next(operation: str | None, said: NodeOutcome) -> tuple[str, ...]:
    """Return how to settle it: on the node's word where that says all, else by looking."""
    if said.ended is Ended.OK:
        return (f'rexecop reconcile {operation} --outcome happened --reason "the node signed {said.nonce}"',)
    return (f"rexecop reconcile {operation} --probe",)
