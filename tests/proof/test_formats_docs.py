"""The format pages tell the truth: every example is what the code reads, every kind and code is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.root import Root
from rexecop.app.sinks import read_sinks
from rexecop.lanes.program import PASSED_ON
from rexecop.proof import bundle, checkpoint, container
from rexecop.proof.bundle import Manifest, Proofs
from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.codec import RECORD_BYTES_MAX, decode
from rexecop.proof.errors import ChainBroken, KindUnknown, LogError, ProofError
from rexecop.proof.logproof import ConsistencyProof, InclusionProof, read_proof
from rexecop.proof.note import NoteKey
from rexecop.proof.receipts import PAYLOAD_TYPE, PREDICATE_PREFIX
from rexecop.proof.records import KINDS, read_record
from rexecop.proof.records.approval import APPROVAL_NAMESPACE
from rexecop.proof.records.base import Record
from rexecop.proof.records.intent import INTENT_NAMESPACE
from rexecop.proof.verify import CODES, STEPS, Rung
from rexecop.proof.verify.evidence import pack_groups
from rexecop.proof.vocabulary import Role
from rexecop.proof.witness import Request, judge
from tests.house.source import ROOT
from tests.proof.logs import at, bodies, log_keys

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
    elif value["kind"] in (InclusionProof.kind, ConsistencyProof.kind):
        proof = read_proof(text.encode())
        proof.require(checkpoint.verify(proof.checkpoint.encode(), log_keys).checkpoint)
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


def test_the_checkpoint_and_the_request_shown_are_of_the_keys_on_the_page() -> None:
    note, request = [text.encode() for page, text in examples("text") if page == "ledger.md"]
    log, witness = (
        NoteKey.decode(key) for key in re.findall(r"`(\S+\+[0-9a-f]{8}\+\S+)`", PAGES["ledger.md"])
    )

    shown = checkpoint.verify(note, lambda origin: [log] if origin == log.name else [], [witness])
    assert [entry.key for entry in shown.witnesses] == [witness]
    judged = judge(Request.parse(request), at(bodies(2)), log_keys)
    assert judged.checkpoint == shown.checkpoint == at(bodies(3))
    assert Request.parse(request).encode() == request


def test_every_error_of_the_log_is_on_the_page_and_every_code_there_is_one() -> None:
    shown = set(re.findall(r"^\| `([a-z-]+-[a-z]+)` \|", PAGES["ledger.md"], re.MULTILINE))
    raised = {kind.code for kind in below(LogError)} | {kind.code for kind in below(ChainBroken)}

    assert raised - {LogError.code} <= shown
    assert shown <= {kind.code for kind in below(ProofError)}


def below(kind: type[ProofError]) -> Iterator[type[ProofError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from below(child)


def test_the_sinks_shown_are_read(tmp_path: Path) -> None:
    (text,) = [text for page, text in examples("yaml") if page == "ledger.md"]
    (tmp_path / "sinks.yaml").write_text(text)
    (tmp_path / "sinks.yaml").chmod(0o600)

    assert [sink.kind for sink in read_sinks(Root(tmp_path))] == ["file", "git", "command", "witness"]
    assert all(f"`{name}`" in PAGES["ledger.md"] for name in PASSED_ON)


def test_links_between_the_pages_lead_somewhere() -> None:
    for name, text in PAGES.items():
        for target in re.findall(r"\]\(([\w.-]+\.md)\)", text):
            assert target in PAGES, f"{name} links {target}"
