"""The page of the evidence folder tells the truth: every field, check and forgery, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

import pytest

from conformance.worlds import OPERATIONS, Book, cut, read_step
from rexecop.app.sclite.folder import make_folder
from rexecop.app.sclite.review import CHECKS, SCOPE_CODES
from rexecop.proof.canonical import digest_of
from rexecop.proof.records.decision import Obligations
from rexecop.proof.records.intent import Origin
from rexecop.proof.records.receipt import ObligationMet
from rexecop.proof.vocabulary import Effect, State, Verdict
from tests.app.test_sclite import FALSE_RECORDS, FORGERIES
from tests.house.source import ROOT

PAGE: Final = (ROOT / "docs" / "formats" / "sclite.md").read_text(encoding="utf-8")
COMMON: Final = {"artifact_type", "schema_version", "schema_ref", "created_at", "made_from"}
WHOLE: Final = {
    "links",
    "made_from",
    "subject",
    "carrier",
    "summary",
    "scope_fidelity_report",
    "signature_policy",
}


def everything_said() -> Book:
    """An operation in which every optional field has something to say."""
    book = Book("op_full")
    book.intent(
        sponsor="paula",
        reason="asked",
        idempotency_key="once",
        parameters={"a": 1},
        origin=Origin(channel="api", event=digest_of(b"event"), rule=digest_of(b"rule"), parent="op_1"),
    )
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.ALLOWED, obligations=Obligations(receipt=True), not_before=book.at)
    book.ticket()
    book.run(read_step())
    book.validation()
    met = ObligationMet(name="receipt", met=True, how="this receipt")
    book.receipt(State.COMPLETED, facts=digest_of(b"{}"), obligations=(met,))
    return book


def fields(value: dict[str, object]) -> Iterator[str]:
    for name, item in value.items():
        if isinstance(item, dict) and name not in WHOLE:
            yield from (f"{name}.{inner}" for inner in item)
        else:
            yield name


def written() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for make in (*OPERATIONS.values(), everything_said):
        for name, data in make_folder(cut(make()).bundle(), b"k" * 32).items():
            if name.endswith(".json"):
                found.setdefault(name, set()).update(fields(json.loads(data)))
    return found


def rows(section: str) -> set[str]:
    """Return the fields a section's table names: `a.b`, or `b` after "`a`:"."""
    found = set()
    for cell in re.findall(r"^\| (`[^|]+) \|", section.split("| Check |", maxsplit=1)[0], re.MULTILINE):
        prefix, names = re.fullmatch(r"(?:`(\w+)`: )?(.+)", cell).groups()  # type: ignore[union-attr]
        found |= {f"{prefix}.{name}" if prefix else name for name in re.findall(r"`([\w.]+)`", names)}
    return found


def sections() -> dict[str, str]:
    parts = re.split(r"^## (?:`([\w.]+)`|.*)$", PAGE, flags=re.MULTILINE)
    return {name: text for name, text in zip(parts[1::2], parts[2::2], strict=True) if name}


@pytest.mark.parametrize("name", sorted(written()))
def test_every_field_of_a_file_is_on_the_page_and_no_other(name: str) -> None:
    section = sections()[name]
    whole = {word for word in WHOLE if f"`{word}." in section}
    described = {word if word.split(".")[0] not in whole else word.split(".")[0] for word in rows(section)}

    assert described | COMMON == written()[name]


def test_every_check_and_every_code_of_scope_is_on_the_page() -> None:
    section = sections()["verification_receipt.json"]
    table = section.split("| Check |")[1]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [*CHECKS, "roles_present"]
    assert set(re.findall(r"`(E\d\d\w)`", table)) == SCOPE_CODES


def test_every_forgery_is_in_the_table_with_the_code_that_meets_it() -> None:
    table = PAGE.split("## Forgeries")[1]
    said = re.findall(r"^\| ([^:|]+?)(?::[^|]*)? \| `(E\d\d\w)`", table, re.MULTILINE)

    assert dict(said) == {name: FALSE_RECORDS[name][1] for name in FORGERIES}
    assert "| junk review file |" in table


def test_the_folder_has_a_section_for_each_of_its_files() -> None:
    assert set(sections()) == set(written())
