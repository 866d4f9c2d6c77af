"""The eleven steps in order, and what of the ladder they carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rexecop.proof.verify import blobs, chains, duties, fit_calls, fit_plan, log, outcomes, signatures
from rexecop.proof.verify.evidence import Evidence, Notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Step `number`; without `needs_records` it runs even when a record cannot be read."""

    number: int
    run: Callable[[Evidence, Notes], None]
    needs_records: bool


def _fit(evidence: Evidence, notes: Notes) -> None:
    fit_plan.check(evidence, notes)
    fit_calls.check(evidence, notes)


# Steps 1 and 2 open the bundle (`opening`); these look at what is in it.
STEPS: Final = (
    Step(number=3, run=chains.check, needs_records=True),
    Step(number=4, run=signatures.check, needs_records=True),
    Step(number=5, run=log.check_inclusion, needs_records=False),
    Step(number=6, run=log.check_consistency, needs_records=False),
    Step(number=7, run=_fit, needs_records=True),
    Step(number=8, run=duties.check, needs_records=True),
    Step(number=9, run=outcomes.check, needs_records=True),
    Step(number=10, run=blobs.check_outputs, needs_records=True),
    Step(number=11, run=blobs.check_completeness, needs_records=True),
)
