"""The format pages tell the truth: every example is what the code reads, every kind and code is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Final

import pytest

from rexecop.proof import allowed_signers, bundle, container, rsa, sshsig
from rexecop.proof.bundle import Manifest, Proofs
from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.checkpoint import parse as parse_checkpoint
from rexecop.proof.codec import RECORD_BYTES_MAX, decode
from rexecop.proof.errors import KindUnknown
from rexecop.proof.note import parse as parse_note
from rexecop.proof.receipts import PAYLOAD_TYPE, PREDICATE_PREFIX
from rexecop.proof.records import KINDS, read_record
from rexecop.proof.records.approval import APPROVAL_NAMESPACE
from rexecop.proof.records.base import Record
from rexecop.proof.records.intent import INTENT_NAMESPACE
from rexecop.proof.suites import SUITES
from rexecop.proof.verify import CODES, STEPS, Rung
from rexecop.proof.verify.evidence import pack_groups
from rexecop.proof.verify.trusted import CHECKPOINTS, RECEIPTS
from rexecop.proof.vocabulary import Role
from tests.house.source import ROOT

PAGES: Final = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs/formats").glob("*.md")}
BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHARED: Final = {field.name for field in fields(Record)}


def examples(language: str) -> Iterator[tuple[str, str]]:
    for name, text in sorted(PAGES.items()):
        for match in BLOCK.finditer(text):
            if match.group(1) == language:
                yield name, match.group(2)


def parsed(text: str) -> dict[str, Json]:
    value = parse_json(text, bytes_max=RECORD_BYTES_MAX)
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(("page", "text"), list(examples("json")))
def test_every_example_is_what_the_code_reads(page: str, text: str) -> None:
    value = parsed(text)
    body = canonical_bytes(value)
    others: dict[Json, type] = {Manifest.kind: Manifest, Proofs.kind: Proofs}
    if value["kind"] == "policy-pack/1":
        assert pack_groups([body]) == {"ops": frozenset({"mara", "otto"})}
    elif value["kind"] in others:
        decode(others[value["kind"]], body)
    else:
        assert read_record(body).kind == value["kind"]


def test_every_record_kind_has_an_example_and_a_heading() -> None:
    shown = {parsed(text)["kind"] for page, text in examples("json") if page == "records.md"}

    assert shown == set(KINDS)
    assert set(re.findall(r"^## `(.+)`$", PAGES["records.md"], re.MULTILINE)) == set(KINDS)


def test_every_field_of_every_kind_is_described_and_no_other() -> None:
    for kind, cls in KINDS.items():
        section = PAGES["records.md"].split(f"## `{kind}`")[1].split("```json")[0]
        rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", section, re.MULTILINE)
        described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

        assert described == {field.name for field in fields(cls)} - SHARED, kind


def test_an_example_with_one_letter_more_is_no_longer_read() -> None:
    for _, text in examples("json"):
        value = parsed(text)
        if value["kind"] in KINDS:
            with pytest.raises(KindUnknown):
                read_record(canonical_bytes({**value, "kind": f"{value['kind']}1"}))


def test_every_code_and_step_is_on_the_page_with_its_meaning_and_no_other() -> None:
    page = PAGES["verification.md"]

    assert dict(re.findall(r"^\| `(E\d\d[a-z])` \| (.+) \|$", page, re.MULTILINE)) == dict(CODES)
    assert {int(n): name for n, name in re.findall(r"^### Step (\d+): (.+)$", page, re.MULTILINE)} == dict(
        STEPS
    )
    assert re.findall(r"^\| `(\w+)` \| (?:the records|and )", page, re.MULTILINE) == list(Rung)
    for role in Role:
        assert f"`{role}`" in page


def test_limits_names_and_places_on_the_pages_are_those_of_the_code() -> None:
    page = PAGES["bundle.md"]

    assert container.CONTAINER_BYTES_MAX == 256 * 1024 * 1024 and "256 MiB" in page
    assert container.MEMBERS_MAX == 20_000 and "20,000 members" in page
    assert bundle.RECORDS_MAX == 100_000 and "100,000 records" in page
    for member in (
        bundle.MANIFEST,
        bundle.RECORDS,
        bundle.INSTANCE_RECORDS,
        bundle.PROOFS,
        bundle.CHECKPOINT,
    ):
        assert f"`{member}`" in page
    for word in (INTENT_NAMESPACE, APPROVAL_NAMESPACE, PAYLOAD_TYPE, PREDICATE_PREFIX):
        assert f"`{word}`" in PAGES["records.md"]


def test_the_checkpoint_shown_is_one() -> None:
    (text,) = [text for page, text in examples("text") if page == "ledger.md"]

    assert parse_checkpoint(parse_note(text.encode()).text).origin == "rexecop/inst_demo/1"


def test_the_suites_and_names_on_the_page_are_those_of_the_code() -> None:
    page = PAGES["signatures.md"]
    rows = re.findall(r"^\| `(\S+)` \| `(\S+)` \|", page, re.MULTILINE)

    assert rows == [(suite.id, suite.key_type) for suite in SUITES.entries]
    assert re.findall(r"^\| `(\w+@rexecop)` \|", page, re.MULTILINE) == [
        APPROVAL_NAMESPACE,
        INTENT_NAMESPACE,
        RECEIPTS,
        CHECKPOINTS,
    ]
    assert (rsa.MODULUS_BITS_MIN, rsa.MODULUS_BITS_MAX, rsa.EXPONENT_BITS_MAX) == (2048, 16384, 32)
    assert "2,048 to 16,384 bits" in page and "at most 32 bits" in page
    assert allowed_signers.FILE_BYTES_MAX == 64 * 1024 and "64 KiB" in page


def test_the_signature_and_the_allowed_signers_shown_are_what_the_page_says() -> None:
    signature, allowed = [text for page, text in examples("text") if page == "signatures.md"]
    signed = sshsig.verify(signature, b"yes\n", APPROVAL_NAMESPACE)
    mara, pattern = allowed_signers.parse(allowed.encode())

    assert signed.shown.suite == "ecdsa-sha2-nistp256"
    assert (mara.principals, mara.namespaces) == (("mara",), (APPROVAL_NAMESPACE,))
    assert mara.not_before == datetime(2026, 1, 1, tzinfo=UTC)
    assert pattern.not_after == datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    for name, taken in (("jan@ops.example", True), ("guest@ops.example", False), ("mara", False)):
        assert allowed_signers.matches(pattern.principals, name) is taken


def test_links_between_the_pages_lead_somewhere() -> None:
    for name, text in PAGES.items():
        for target in re.findall(r"\]\(([\w.-]+\.md)\)", text):
            assert target in PAGES, f"{name} links {target}"
