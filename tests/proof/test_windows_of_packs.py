"""A verifier that has the packs decides again: a recorded time may be shorter than theirs, never longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from conformance.policies import PEOPLE as NAMED
from conformance.policies import decided_change, input_of, pack_of, with_policy
from conformance.worlds import APPROVER_KEY, MARA, START, codes, judged
from rexecop.app.verifying import Packs
from rexecop.proof.chain import seal
from rexecop.proof.records.decision import Decision
from rexecop.proof.verify import Report

OPEN = f'maintenance_windows:\n  - {{timezone: UTC, from: "{START:%Y-%m-%dT%H:%M}", until: 2030-01-01}}\n'
PACK = pack_of(NAMED, OPEN.encode())
END = datetime.fromisoformat("2030-01-02T00:00:00Z")


def verified(**other: object) -> Report:
    """Return what is said of a change decided by `PACK`, its terms replaced by `other`."""
    book, _, _ = decided_change(PACK)
    record = book.records[-1].record
    assert isinstance(record, Decision)
    book.records[-1] = seal(replace(record, terms=replace(record.terms, **other)))  # type: ignore[arg-type]
    book.approve(MARA, APPROVER_KEY)
    book.ticket(packs=(input_of(PACK).digest,))
    return judged(with_policy(book, PACK), evaluate=Packs().evaluate)


def test_the_time_of_the_packs_is_found_again() -> None:
    record = decided_change(PACK)[0].records[-1].record

    assert isinstance(record, Decision) and record.terms.not_after == END
    assert "E08i" not in codes(verified())


@pytest.mark.parametrize("day", [-1, 0])
def test_less_time_than_the_packs_give_is_no_fault(day: int) -> None:
    assert "E08i" not in codes(verified(not_after=END + timedelta(days=day)))


@pytest.mark.parametrize("end", [None, END + timedelta(days=1)])
def test_more_time_than_the_packs_give_is_a_fault(end: datetime | None) -> None:
    assert "E08i" in codes(verified(not_after=end))


def test_times_read_with_other_zone_data_are_said_to_be_unchecked() -> None:
    report = verified(tzdata="1999a", not_after=None)

    assert "E08i" not in codes(report)
    assert "the windows of the packs" in {item.what for item in report.not_checked}
