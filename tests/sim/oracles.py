"""What must hold of an operation, whatever happened to the runners that drove it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from conformance.windows import shortened
from rexecop.app.evidence import Asked
from rexecop.operations.fold import Operation, fold
from rexecop.operations.machine import TERMINAL
from rexecop.proof.bundle import from_members
from rexecop.proof.chain import Sealed, check_chain, unseal
from rexecop.proof.container import unpack
from rexecop.proof.records import Note
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.verify import NO_KEYS, Rung, verify
from rexecop.proof.verify.trusted import trust_of
from rexecop.proof.vocabulary import Phase, State
from tests.sim.world import House

LATER: Final = timedelta(hours=1)  # The verifier's clock was not set back.


def check(house: House, operation: str) -> None:
    """Hold everything against the operation as it is stored now."""
    journal = house.store.journal(operation)
    assert journal.damaged == ()
    records = journal.records
    check_chain(records)
    assert fold(records) == fold(unseal(sealed.body) for sealed in records)
    assert house.reality.broken == []
    one_receipt_per_arrival(records)
    no_double_effect(house, operation)


def check_ended(house: House, operation: str) -> None:
    """Hold everything, and that the operation ended with evidence that verifies."""
    check(house, operation)
    op = fold(house.store.journal(operation).records)
    assert op.state in TERMINAL and not op.receipt_due and not op.in_flight, stuck(op)
    assert not op.unknown or op.state is State.ESCALATED, stuck(op)  # Handed to people as it is.
    data = house.evidence.bundle(operation, with_outputs=True)
    report = verify(data, trust_of(house.authority.enrolments()), now=house.clock.now() + LATER)
    assert report.findings == (), report.findings
    assert report.holds(Rung.LOGGED), report.rungs
    for target in {target.id for target in op.the_plan.targets}:
        assert operation not in house.store.locked_by(target), target


async def check_complete(house: House, path: Path) -> None:
    """Hold that a window over the whole life of the house holds every effect that reached the world."""
    await house.evidence.export_window(None, Asked(path=path), house.clock.now())
    report = verify(path.read_bytes(), trust_of(house.authority.enrolments()), now=house.clock.now() + LATER)
    assert report.findings == (), report.findings
    complete = report.claims.complete
    assert complete is not None
    assert complete.changes >= len(house.reality.effects) > 0, (complete, len(house.reality.effects))
    assert {of for of, _, _ in house.reality.effects} <= {one.operation for one in report.operations}
    contents, _ = from_members(unpack(path.read_bytes()).members)
    for one in report.operations:
        last = house.store.journal(one.operation).records[-1].record
        if not isinstance(last, Note):  # A note behind a receipt says nothing of a change.
            assert verify(shortened(contents, one.operation, 1), NO_KEYS).claims.complete is None


def one_receipt_per_arrival(records: Sequence[Sealed]) -> None:
    """Every arrival in a terminal state is closed once, by a receipt of that very state."""
    op, arrivals, closed = Operation(), 0, 0
    for sealed in records:
        before = op.state
        op.apply(sealed)
        if isinstance(sealed.record, Receipt):
            closed += 1
            assert sealed.record.state is op.state
            assert closed == arrivals, f"record {sealed.record.n} is a receipt too many"
        elif op.state in TERMINAL and op.state is not before:
            arrivals += 1
    assert closed == arrivals - int(op.receipt_due)


def no_double_effect(house: House, operation: str) -> None:
    """No step took effect twice, nor was undone twice, and nothing was undone that never happened."""
    done = Counter((step, phase) for of, step, phase in house.reality.effects if of == operation)
    assert all(count == 1 for count in done.values()), done
    for step, phase in done:
        assert phase is not Phase.UNDO or (step, Phase.DO) in done


def stuck(op: Operation) -> str:
    """Say where an operation came to rest."""
    loose = f"in flight {len(op.in_flight)}, unknown {len(op.unknown)}, due {op.receipt_due}"
    return f"`{op.state}` ({op.reason}), {loose}"
