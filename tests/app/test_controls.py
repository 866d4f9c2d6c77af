"""A row of a control framework says what the records of a window show, and never more."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from conformance.windows import World, a_week, a_write, attempts
from conformance.worlds import INSTANCE_KEY, TARGET, TRUSTED, Made
from rexecop.app.controls import CHECKS, ControlsPage, Standing, controls_page, frameworks
from rexecop.app.formats import FORMATS, Cut
from rexecop.app.report.controls import page as html
from rexecop.proof.canonical import digest_of
from rexecop.proof.quorum import ProvedBy
from rexecop.proof.records import Approval
from rexecop.proof.verify import NO_KEYS, TrustedKeys, verify


def page(made: Made, trust: TrustedKeys = TRUSTED) -> ControlsPage:
    data = made.bundle()
    return controls_page(made.contents, digest_of(data), verify(data, trust))


def check(found: ControlsPage, name: str) -> tuple[Standing, int]:
    because = next(one for row in found.rows for one in row.because if one.check == name)
    return because.standing, len(because.records)


def test_every_framework_asks_for_checks_there_are_and_every_check_is_asked_for() -> None:
    asked = [name for framework in frameworks() for control in framework.controls for name in control.checks]

    assert set(asked) == set(CHECKS)
    assert [framework.name for framework in frameworks()] == [
        "SOC 2",
        "PCI DSS",
        "NIST SP 800-53",
        "EU AI Act",
    ]
    ids = Counter(
        (framework.name, control.id) for framework in frameworks() for control in framework.controls
    )
    assert max(ids.values()) == 1


def test_a_window_of_approved_changes_shows_that_they_were_approved_and_names_the_records() -> None:
    world, start, end = a_week()

    found = page(world.cut(start, end))

    approvals = {
        sealed.digest
        for book in world.inside(start, end, None)
        for sealed in book.records
        if isinstance(sealed.record, Approval)
    }
    assert check(found, "approved") == (Standing.SHOWN, 4)
    assert {
        digest
        for row in found.rows
        for one in row.because
        if one.check == "approved"
        for digest in one.records
    } == approvals
    assert check(found, "complete") == (Standing.SHOWN, 2)
    assert check(found, "separated") == (Standing.SHOWN, 4)
    assert check(found, "tamper-evident")[0] is Standing.PARTLY
    assert check(found, "overseen") == (Standing.NOT_SHOWN, 0)
    assert next(row for row in found.rows if row.control == "CC8.1").standing is Standing.SHOWN


def test_evidence_that_does_not_verify_shows_nothing_at_all() -> None:
    world, start, end = a_week()

    found = page(world.cut(start, end, None, world.inside(start, end, None)[1:]))

    assert found.answer.startswith("refused: E11b")
    assert {row.standing for row in found.rows} == {Standing.NOT_SHOWN}
    assert not any(one.records for row in found.rows for one in row.because)


def test_a_window_without_changes_is_complete_and_shows_no_change_under_control() -> None:
    world = World()

    found = page(world.cut(None, world.mark()))

    assert check(found, "complete")[0] is Standing.SHOWN
    for name in ("authorised", "approved", "separated", "tested", "settled", "bounded", "policy-proved"):
        assert check(found, name) == (Standing.NOT_SHOWN, 0)


def test_a_change_of_unknown_outcome_leaves_what_rests_on_outcomes_partly_shown() -> None:
    world = World()
    book = a_write("op_open", TARGET, 1, None)
    world.write(replace(book, records=book.records[: attempts(book)[0].record.n + 1]))

    found = page(world.cut(None, world.mark()))

    assert check(found, "settled") == (Standing.PARTLY, 1)
    assert check(found, "tested")[0] is Standing.NOT_SHOWN


def test_what_only_the_instance_vouches_for_is_partly_shown() -> None:
    world, start, end = a_week()
    made = world.cut(start, end)

    foreign = page(made, TrustedKeys(keys=TRUSTED.keys[:1]))

    assert verify(made.bundle(), TrustedKeys(keys=TRUSTED.keys[:1])).claims.duties is ProvedBy.ASSERTED
    assert check(foreign, "separated")[0] is Standing.PARTLY
    assert check(page(made, NO_KEYS), "tamper-evident") == (Standing.NOT_SHOWN, 0)


def test_the_page_for_people_says_of_every_control_what_the_rows_say() -> None:
    world, start, end = a_week()
    found = page(world.cut(start, end))

    text = html(found, "p { margin: 0 }", "all-<changes>.rxb").decode()

    for row in found.rows:
        at = text.index(f'<th scope="row">{row.control}</th>')
        assert row.title in text[at : at + 2000] and f">{row.standing}<" in text[at : at + 2000]
    assert "all-&lt;changes&gt;.rxb" in text and found.bundle in text
    assert 'class="verdict"' in text
    assert 'class="verdict odd"' in html(page(world.cut(start, end), NO_KEYS), "", "b.rxb").decode()
    assert "<script" not in text and "default-src 'none'" in unescape(text)


@pytest.mark.parametrize(("name", "other"), [("c.controls.json", "c.controls.html"), ("c.html", "c.json")])
def test_rows_and_page_lie_beside_the_bundle_they_were_read_from(
    name: str, other: str, tmp_path: Path
) -> None:
    world, start, end = a_week()
    made = world.cut(start, end)
    cut = Cut(
        contents=made.contents,
        data=made.bundle(),
        name="all",
        signer=INSTANCE_KEY,
        guard_key=None,
        log=None,  # type: ignore[arg-type] # These rows rest on the bundle alone.
    )

    written = FORMATS["controls"].files(cut, tmp_path / name)

    assert {path.name for path in written} == {name, other, "all.rxb"}
    assert written[tmp_path / "all.rxb"] == made.bundle()
    assert {data[:1] for path, data in written.items() if path.suffix == ".json"} == {b"{"}
    assert {data[:9] for path, data in written.items() if path.suffix == ".html"} == {b"<!doctype"}
