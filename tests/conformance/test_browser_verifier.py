"""The verifier in one page, written from the format pages alone, asked in the browser it is made for."""

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from conformance.browser import PAGE, Page, given_by
from conformance.run import Said, differences, read_cases
from tests.needs import needs

pytestmark = needs("chromium")

ROOT: Final = Path(__file__).resolve().parents[2]
FORMATS: Final = ROOT / "docs" / "formats"
CASES: Final = ROOT / "conformance" / "cases"
# Where the page and the case say different things: "lines that follow one another with the same operation"
# are its records (verification.md, Several operations), and here lines of others stand in between.
DISPUTED: Final = {
    "E03a_records-of-one-operation-that-stand-apart": [
        'codes: ["E03a", "E03e", "E05d", "E11i"], expected ["E03a", "E03g", "E05d"]'
    ]
}
ALTERED: Final = 60  # Enough to reach every member of a bundle; each costs the browser some milliseconds.


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with Page() as opened:
        yield opened


def test_the_page_answers_every_case_as_it_should(page: Page) -> None:
    wrong = {}
    for case in read_cases(CASES, "*", cedar=False):
        report = page.verify(given_by(case.arguments))
        said = Said(exit=0 if report.get("verdict") == "verified" else 7, answer=report)
        if found := differences(case, said):
            wrong[case.name] = found
    assert wrong == DISPUTED


def test_every_vector_and_table_of_the_format_pages_holds_in_the_page(page: Page) -> None:
    checks = (ROOT / "conformance" / "browser-checks.js").read_text(encoding="utf-8")
    vectors = (FORMATS / "vectors.json").read_text(encoding="utf-8")
    names = ("records", "signatures", "verification")
    pages = {name: (FORMATS / f"{name}.md").read_text(encoding="utf-8") for name in names}
    asked = f"checkParts(verifyBundle.parts, {json.dumps(vectors)}, {json.dumps(pages)})"
    assert page.evaluate(f"{checks}\n{asked}") == []


def test_a_bundle_with_one_bit_turned_ends_in_a_report_and_is_never_verified(page: Page) -> None:
    draw = random.Random(7)
    case = CASES / "logged_change-with-approval"
    honest = (case / "bundle.rxb").read_bytes()
    given = given_by([str(case / "bundle.rxb"), "--trust", str(case / "trust")])
    assert page.verify(given)["verdict"] == "verified"
    for _ in range(ALTERED):
        altered = bytearray(honest)
        altered[draw.randrange(len(altered))] ^= 1 << draw.randrange(8)
        report = page.verify({**given, "bundle": base64.b64encode(altered).decode("ascii")})
        assert report["verdict"] == "not verified"
        assert str(report["answer"]).startswith("refused: E")


def test_the_page_asks_for_nothing_but_itself(page: Page) -> None:
    case = CASES / "logged_change-with-approval"
    page.verify(given_by([str(case / "bundle.rxb"), "--trust", str(case / "trust")]))
    assert page.requests == [PAGE.as_uri()]
    assert page.evaluate("fetch('file:///etc/hostname').then(() => 'sent', () => 'kept')") == "kept"
