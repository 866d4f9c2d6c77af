"""The format pages tell the truth: examples are what the code reads, and nothing it knows is left out."""

from __future__ import annotations

import dataclasses
import json
import re
import types
from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, Union, get_args, get_origin, get_type_hints

import pytest
from scripts.vectors import FILE, page, previews

from conformance.publishing import signed_profile_by_what_nobody_can_check
from conformance.succession import AFTER, SECOND_KEY, rotated, trusting
from conformance.tamperings import TABLE
from conformance.windows import a_silent_window, an_open_window
from conformance.worlds import (
    APPROVER_KEY,
    INSTANCE,
    INSTANCE_KEY,
    JAN,
    MARA,
    NODE_KEY,
    OPERATIONS,
    START,
    TRUSTED,
    WITNESS_KEY,
    Book,
    a_change,
    a_read,
    cut,
    instance_chain,
    judged,
    on_a_node,
    planned_change,
    read_step,
)
from rexecop.app.backup import BackupManifest
from rexecop.app.root import Root
from rexecop.app.sinks import read_sinks
from rexecop.app.support import SupportManifest
from rexecop.governance.drills import DRILL_NAMESPACE
from rexecop.governance.pack import POLICY_NAMESPACE
from rexecop.lanes.program import PASSED_ON
from rexecop.proof import (
    allowed_signers,
    bundle,
    call,
    chain,
    checkpoint,
    codec,
    container,
    der,
    dsse,
    heads,
    logproof,
    merkle,
    message,
    note,
    publickey,
    quorum,
    rsa,
    sshsig,
    stamp,
    x509,
)
from rexecop.proof.bundle import Manifest, Proofs, Window
from rexecop.proof.call import Slot
from rexecop.proof.canonical import (
    CONTAINERS_MAX,
    DEPTH_MAX,
    INTEGER_MAX,
    Digest,
    Json,
    canonical_bytes,
    parse_json,
)
from rexecop.proof.chain import seal, unseal
from rexecop.proof.codec import RECORD_BYTES_MAX, decode
from rexecop.proof.delegation import DELEGATION_VALID_MAX
from rexecop.proof.errors import ChainBroken, HeadsProofWrong, KindUnknown, LogError, ProofError
from rexecop.proof.heads import Head, HeadsProofs, Unfinished
from rexecop.proof.logproof import ConsistencyProof, InclusionProof, read_proof
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.publishing import PROFILE_NAMESPACE
from rexecop.proof.receipts import PAYLOAD_TYPE, PREDICATE_PREFIX, STATEMENT_TYPE
from rexecop.proof.records import KINDS, Approval, Decision, Plan, read_record
from rexecop.proof.records.approval import APPROVAL_NAMESPACE
from rexecop.proof.records.base import Record
from rexecop.proof.records.delegation import DELEGATION_NAMESPACE
from rexecop.proof.records.instance import TRUST_NAMESPACE, Erasure
from rexecop.proof.records.intent import INTENT_NAMESPACE
from rexecop.proof.suites import SUITES
from rexecop.proof.verify import (
    CODES,
    STEPS,
    Report,
    Rung,
    TrustedKey,
    TrustedKeys,
    fit_calls,
    patterns,
    succession,
    trusted,
    verify,
)
from rexecop.proof.verify.evidence import KIND_LIMITS, pack_groups
from rexecop.proof.verify.trusted import CHECKPOINTS, RECEIPTS
from rexecop.proof.vocabulary import Established, Role, Verdict
from rexecop.proof.witness import Request, judge
from tests.house.source import ROOT
from tests.proof.authority import STAMPS, certify, info, token
from tests.proof.logs import at, bodies, log_keys
from tests.proof.test_windows_of_packs import verified

PAGES: Final = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "docs/formats").glob("*.md")}
BLOCK: Final = re.compile(r"^```([\w-]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHARED: Final = {field.name for field in dataclasses.fields(Record)}


def examples(language: str) -> Iterator[tuple[str, str]]:
    for name, text in sorted(PAGES.items()):
        for match in BLOCK.finditer(text):
            if match.group(1) == language:
                yield name, match.group(2)


def parsed(text: str) -> dict[str, Json]:
    value = parse_json(text, bytes_max=RECORD_BYTES_MAX)
    assert isinstance(value, dict)
    return value


def tables(text: str) -> Iterator[list[str]]:
    """Every row of every table, cell by cell; heads and rules are rows too."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def section(name: str, heading: str) -> str:
    """The text below `heading` up to the next heading of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, text = f"\n{PAGES[name]}".partition(f"\n{heading}\n")
    assert found, f"{name} has no {heading}"
    return re.split(rf"^#{{1,{level}}} ", text, maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(("page", "text"), list(examples("json")))
def test_every_example_is_what_the_code_reads(page: str, text: str) -> None:
    value = parsed(text)
    body = canonical_bytes(value)
    kinds: tuple[type, ...] = (
        Manifest,
        Proofs,
        Head,
        HeadsProofs,
        Unfinished,
        BackupManifest,
        SupportManifest,
    )
    others: dict[Json, type] = {kind.__dict__["kind"]: kind for kind in kinds}
    if value["kind"] == "policy-pack/1":
        assert pack_groups([body]) == {"ops": frozenset({"mara", "otto"})}
    elif value["kind"] in (InclusionProof.kind, ConsistencyProof.kind):
        proof = read_proof(text.encode())
        proof.require(checkpoint.verify(proof.checkpoint.encode(), log_keys).checkpoint)
    elif value["kind"] in others:
        decode(others[value["kind"]], body)
    else:
        assert read_record(body).kind == value["kind"]


def test_the_canonical_example_is_canonical() -> None:
    for _, text in examples("json-canonical"):
        assert canonical_bytes(parsed(text)).decode() == text.removesuffix("\n")


def test_every_record_kind_has_an_example_and_a_heading() -> None:
    shown = {parsed(text)["kind"] for page, text in examples("json") if page == "records.md"}

    assert shown == set(KINDS)
    assert set(re.findall(r"^## `(.+)`$", PAGES["records.md"], re.MULTILINE)) == set(KINDS)


def test_an_example_with_one_letter_more_is_no_longer_read() -> None:
    for _, text in examples("json"):
        value = parsed(text)
        if value["kind"] in KINDS:
            with pytest.raises(KindUnknown):
                read_record(canonical_bytes({**value, "kind": f"{value['kind']}1"}))


# --- fields, types, defaults ---


class Free:
    """Stands for the recursive alias `Json` while type hints are read."""


PLAIN: Final[Mapping[object, str]] = {
    str: "string",
    int: "integer",
    bool: "boolean",
    Digest: "digest",
    datetime: "time",
    Free: "json",
}
NAMED: Final = {
    frozenset(get_args(call.Text)): "text",
    frozenset(get_args(message.Scalar)): "scalar",
    frozenset(get_args(call.Part)): "part",
}


def type_name(kind: type) -> str:
    return str(getattr(kind, "kind", None) or re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower())


def type_words(hint: object) -> str:
    """How the pages write a type."""
    origin = get_origin(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if origin in (Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        null = " or null" if len(options) < len(get_args(hint)) else ""
        named = NAMED.get(frozenset(options))
        return (named or " or ".join(map(type_words, options))) + null
    if origin is tuple:
        return f"list of {type_words(get_args(hint)[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"map of {type_words(get_args(hint)[1])}"
    assert isinstance(hint, type)
    return type_name(hint)


def hints(kind: type) -> dict[str, object]:
    return get_type_hints(kind, localns={"Json": Free}) if dataclasses.is_dataclass(kind) else {}


def described(kind: type, *, without: Set[str] = frozenset()) -> list[tuple[str, str, str]]:
    """What the pages must say of the fields of `kind`: name, type, default."""
    rows = []
    assert dataclasses.is_dataclass(kind)
    for field in dataclasses.fields(kind):
        words, default = type_words(hints(kind)[field.name]), ""
        if field.default is not dataclasses.MISSING:
            words = words.removesuffix(" or null")
            default = "nothing" if field.default is None else f"`{json.dumps(field.default)}`"
        if field.name not in without:
            rows.append((f"`{field.name}`", words, default))
    return rows


def within(*kinds: object) -> dict[str, type]:
    """Every object and vocabulary that `kinds` are made of, themselves included, by name."""
    found: dict[str, type] = {}
    todo = list(kinds)
    while todo:
        kind = todo.pop()
        todo.extend(get_args(kind))
        if not isinstance(kind, type) or type_name(kind) in found:
            continue
        if dataclasses.is_dataclass(kind) or issubclass(kind, StrEnum):
            found[type_name(kind)] = kind
            todo.extend(hints(kind).values())
    return found


ALL: Final = {
    name: kind for name, kind in within(*KINDS.values(), Manifest, Proofs).items() if kind is not Window
}


def field_rows(text: str) -> list[tuple[str, str, str]]:
    """The rows of the first table whose head is that of fields."""
    rows = iter(tables(text))
    for row in rows:
        if row == ["Field", "Type", "Default", "Says"]:
            found = [row for row in rows if len(row) == 4 and row[0].startswith("`")]
            return [(name, words, default) for name, words, default, _ in found]
    raise AssertionError("no table of fields")


def object_rows() -> dict[str, list[tuple[str, str, str]]]:
    found: dict[str, list[tuple[str, str, str]]] = {}
    for text in PAGES.values():
        for row in tables(text):
            if len(row) == 5 and row[1].startswith("`"):
                found.setdefault(row[0], []).append((row[1], row[2], row[3]))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_every_kind_is_described_with_its_type_and_default(kind: str) -> None:
    text = section("records.md", f"## `{kind}`")

    assert field_rows(text) == described(KINDS[kind], without=SHARED)


def test_the_fields_all_records_share_and_those_of_the_bundle_are_described() -> None:
    assert field_rows(section("records.md", "## Fields of every record")) == described(Record)
    assert field_rows(section("bundle.md", "## `manifest.json`")) == described(Manifest)
    assert field_rows(section("bundle.md", "## `proofs.json`")) == described(Proofs)


def test_every_object_within_records_is_described_and_no_other() -> None:
    whole = {*KINDS, Manifest.kind, Proofs.kind}
    objects = {name: kind for name, kind in ALL.items() if dataclasses.is_dataclass(kind)}

    assert object_rows() == {name: described(kind) for name, kind in objects.items() if name not in whole}


def test_every_word_of_every_vocabulary_is_listed_and_no_other() -> None:
    rows = tables(section("records.md", "## Words"))
    listed = {row[0]: re.findall(r"`([^`]+)`", row[1]) for row in rows if "`" in row[1]}

    assert listed == {name: [*kind] for name, kind in ALL.items() if issubclass(kind, StrEnum)}


# --- codes, limits, names ---


def test_every_code_and_step_is_on_the_page_with_its_meaning_and_no_other() -> None:
    page = PAGES["verification.md"]

    assert dict(re.findall(r"^\| `(E\d\d[a-z]{1,2})` \| (.+) \|$", page, re.MULTILINE)) == dict(CODES)
    assert {int(n): name for n, name in re.findall(r"^### Step (\d+): (.+)$", page, re.MULTILINE)} == dict(
        STEPS
    )
    assert re.findall(r"^\| `(\w+)` \| (?:the records|and )", page, re.MULTILINE) == list(Rung)
    for role in Role:
        assert f"`{role}`" in page


@pytest.mark.parametrize("number", STEPS)
def test_the_rules_of_a_step_lead_to_each_of_its_codes_and_to_no_other(number: int) -> None:
    text = section("verification.md", f"### Step {number}: {STEPS[number]}")
    rules = re.sub(r"^\| `E\d\d[a-z]{1,2}` \|.*$", "", text, flags=re.MULTILINE)
    named = set(re.findall(r"\*\*(E\d\d[a-z]{1,2})\*\*|`(E\d\d[a-z]{1,2})`", rules))

    assert {one or other for one, other in named} == {code for code in CODES if int(code[1:3]) == number}


LIMITS: Final = {
    "bytes of a bundle": container.CONTAINER_BYTES_MAX,
    "members": container.MEMBERS_MAX,
    "characters of a member's name": container.NAME_BYTES_MAX,
    "bytes of `manifest.json`": bundle.MANIFEST_BYTES_MAX,
    "bytes of `proofs.json`": bundle.PROOFS_BYTES_MAX,
    "bytes of `checkpoint.txt`, of any note": note.NOTE_BYTES_MAX,
    "bytes of an envelope": dsse.ENVELOPE_BYTES_MAX,
    "bytes of an `.sshsig` member, characters of any armored signature": sshsig.ARMOR_LENGTH_MAX,
    "bytes of a `.key`": bundle.KEY_BYTES,
    "time stamps": bundle.STAMPS_MAX,
    "bytes of a `.tsr` member, of any value in DER": der.BYTES_MAX,
    "lines of a `.jsonl`": bundle.RECORDS_MAX,
    "bytes of a line of a `.jsonl`, of a `plan/1` record": Plan.bytes_max,
    "bytes of all lines of a `.jsonl` that are longer than 262,144": bundle.LONG_BYTES_MAX,
    "bytes of a `decision/1` or `validation/1` record": Decision.bytes_max,
    "bytes of any other record": codec.RECORD_BYTES_MAX,
    "bytes of `heads.json`": bundle.HEADS_BYTES_MAX,
    "targets and unfinished operations of a `heads/1` record": heads.TARGETS_MAX,
    "bytes of a proof of growth": logproof.PROOF_BYTES_MAX,
    "`[` and `{` in `manifest.json`, `proofs.json`, `heads.json`": CONTAINERS_MAX,
    "magnitude of an integer": INTEGER_MAX,
    "levels of nesting in a json value": DEPTH_MAX,
    **{f"`{kind.kind}` records in one section": most for kind, most in KIND_LIMITS.items()},
    "milliseconds a clock may step back": int(chain.CLOCK_TOLERANCE.total_seconds() * 1000),
    "successions followed": succession.SUCCESSIONS_MAX,
    "signatures of an envelope": dsse.SIGNATURES_MAX,
    "characters of `payloadType` and `keyid`": dsse.TEXT_LENGTH_MAX,
    "characters of a namespace": sshsig.NAMESPACE_LENGTH_MAX,
    "signature lines of a note": note.SIGNATURES_MAX,
    "characters of the name of a note key": note.NAME_LENGTH_MAX,
    "more lines of a checkpoint": checkpoint.EXTENSIONS_MAX,
    "leaves of a log": merkle.LEAVES_MAX,
    "certificates of a time stamp that are looked at": stamp.CERTIFICATES_MAX,
    "certificates from that of an authority to a trusted one, both counted": x509.CHAIN_MAX,
    "bytes of an object identifier": der.OID_BYTES_MAX,
    "characters of a slot's pattern": patterns.PATTERN_LENGTH_MAX,
    "ways to match a pattern": patterns.WAYS_MAX,
    "characters of a slot's value": call.SLOT_LENGTH_MAX,
    "milliseconds a permit lasts": int(fit_calls.PERMIT_LIFE_MAX.total_seconds() * 1000),
    "approvals counted for a ticket": quorum.COUNTED_MAX,
    "days a delegation lasts": DELEGATION_VALID_MAX.days,
    "files of a trust folder": trusted.TRUST_FILES_MAX,
    "bytes of a trust file": trusted.TRUST_FILE_BYTES_MAX,
    "characters of an OpenSSH line, of a PEM block": publickey.LINE_LENGTH_MAX,
    "patterns in one list of an `allowed_signers` line": allowed_signers.PATTERNS_MAX,
    "characters of such a pattern": allowed_signers.PATTERN_LENGTH_MAX,
    "bits of an RSA modulus": rsa.MODULUS_BITS_MAX,
    "bits of an RSA exponent": rsa.EXPONENT_BITS_MAX,
    "certificates of a `.pem`": x509.PEM_CERTIFICATES_MAX,
}


def test_every_limit_on_the_page_is_that_of_the_code() -> None:
    rows = [row for row in tables(section("verification.md", "## Limits")) if row[1][0].isdigit()]

    assert {row[0]: int(row[1].replace(",", "")) for row in rows} == LIMITS
    assert publickey.LINE_LENGTH_MAX == publickey.PEM_LENGTH_MAX


def test_names_and_places_on_the_pages_are_those_of_the_code() -> None:
    for member in (
        bundle.MANIFEST,
        bundle.RECORDS,
        bundle.INSTANCE_RECORDS,
        bundle.PROOFS,
        bundle.CHECKPOINT,
    ):
        assert f"`{member}`" in PAGES["bundle.md"]
    for word in (INTENT_NAMESPACE, APPROVAL_NAMESPACE, TRUST_NAMESPACE, PAYLOAD_TYPE):
        assert f"`{word}`" in PAGES["records.md"]
    for word in (PREDICATE_PREFIX, STATEMENT_TYPE):
        assert f'"{word}"' in PAGES["records.md"]


def pattern(cell: str) -> re.Pattern[str]:
    """What a cell of that table stands for: words in capitals are anything, and so are words for people."""
    text = re.fullmatch(r"`([^`]+)`|`` ?(.+?) ?``", cell)
    if text is None:
        return re.compile(".+")
    return re.compile(re.sub(r"\b[A-Z]{2,}\b|\bN\b", ".+", re.escape(text[1] or text[2])))


def unchecked() -> list[tuple[str, re.Pattern[str], re.Pattern[str]]]:
    """The rows of what is not checked: letter, what, why."""
    rows = tables(section("verification.md", "## What is not checked"))
    return [(row[0], pattern(row[1]), pattern(row[2])) for row in rows if re.fullmatch("[a-zA-Z]", row[0])]


def incomplete() -> list[Report]:
    """What verifiers say of bundles that leave something out, or are met by other keys and checkpoints."""
    book, _, change = planned_change()
    book.approve(replace(MARA, established=Established.OIDC), APPROVER_KEY)
    slow = replace(change, slots={"path": Slot(step="look", fact="path", type="string", pattern="(a|b)+")})
    patterned = Book("op_slow")
    patterned.intent(by=replace(JAN, established=Established.OS_USER))
    patterned.plan((read_step(), slow), slow.call.effect)
    patterned.decision(Verdict.ALLOWED)
    patterned.ticket()
    patterned.run(read_step(), facts={"path": "ab"})
    patterned.attempt(slow, values={"path": "ab"})
    read, enrolled = a_read(), instance_chain()
    (commitment,) = read.blobs
    gone = Erasure(
        operation=INSTANCE, n=3, prev=enrolled[-1].digest, at=START, by=JAN, commitment=commitment,
        rule="keep", reason="asked",
    )  # fmt: skip
    made, growing = cut(read), cut(read)
    growing.log.append(b"more")
    partial = cut(read, instance=[enrolled[0], enrolled[2]])
    later = partial.log.checkpoint(origin=f"rexecop/{INSTANCE}/2")
    no_growth = replace(made.contents, proofs=replace(made.contents.proofs, growth=()))
    witness = TrustedKey(role=Role.WITNESS, name="w", public=WITNESS_KEY.public)
    unfollowed = rotated(read, (AFTER, INSTANCE_KEY, SECOND_KEY), key=SECOND_KEY, vouched=False)
    clock = certify("a clock", STAMPS, lasts=timedelta(days=10_000))
    text = note.parse(made.contents.checkpoint).text.encode()
    stamped = replace(made, contents=replace(made.contents, stamps=(token(info(text), clock),)))
    return [
        judged(cut(on_a_node(NODE_KEY))),
        verified(tzdata="1999a"),
        judged(unfollowed, trust=trusting(INSTANCE_KEY)),
        judged(stamped),
        judged(stamped, trust=replace(TRUSTED, authorities=(clock.trusted(),))),
        judged(cut(book)),
        judged(an_open_window()),
        judged(a_silent_window()),
        judged(replace(cut(book), contents=replace(cut(book).contents, inputs=()))),
        judged(cut(patterned)),
        judged(cut(read, instance=[*enrolled, seal(gone)], with_outputs=False)),
        judged(partial),
        judged(
            replace(partial, contents=replace(partial.contents, checkpoint=later)), checkpoint=partial.held
        ),
        judged(made, trust=TrustedKeys(keys=(*TRUSTED.keys, witness))),
        judged(made, checkpoint=made.log.checkpoint(origin=f"rexecop/{INSTANCE}/2")),
        judged(replace(made, contents=no_growth), checkpoint=made.held),
        judged(made, checkpoint=growing.log.checkpoint()),
    ]


def test_whatever_is_said_to_be_unchecked_is_on_the_page_and_nothing_else_is() -> None:
    tampered = [make() for _, _, make in TABLE]
    reports = [verify(case.bundle, case.trust, **dict(case.more or {})) for case in tampered]
    bare = [cut(make(), with_outputs=False) for make in OPERATIONS.values()]
    reports += [judged(made, trust=trusted.NO_KEYS) for made in bare]
    signed = signed_profile_by_what_nobody_can_check()
    reports.append(verify(signed.bundle, signed.trust))
    met: set[str] = set()
    for item in (item for report in (*reports, *incomplete()) for item in report.not_checked):
        rows = [row for row in unchecked() if row[1].fullmatch(item.what) and row[2].fullmatch(item.why)]
        assert rows, item
        met.update(letter for letter, _, _ in rows)

    assert met == {letter for letter, _, _ in unchecked()}


def test_every_letter_of_what_is_unchecked_is_led_to_by_a_rule() -> None:
    page = PAGES["verification.md"]

    assert set(re.findall(r"\[([a-zA-Z])\]\(#what-is-not-checked\)", page)) == {row[0] for row in unchecked()}


# --- signatures ---


def test_the_suites_and_names_on_the_page_are_those_of_the_code() -> None:
    page = PAGES["signatures.md"]
    rows = re.findall(r"^\| `(\S+)` \| `(\S+)` \|", page, re.MULTILINE)

    assert rows == [(suite.id, suite.key_type) for suite in SUITES.entries]
    assert re.findall(r"^\| `(\w+@rexecop)` \|", page, re.MULTILINE) == [
        APPROVAL_NAMESPACE,
        INTENT_NAMESPACE,
        DELEGATION_NAMESPACE,
        DRILL_NAMESPACE,
        POLICY_NAMESPACE,
        PROFILE_NAMESPACE,
        RECEIPTS,
        CHECKPOINTS,
    ]
    assert (rsa.MODULUS_BITS_MIN, rsa.MODULUS_BITS_MAX, rsa.EXPONENT_BITS_MAX) == (2048, 16384, 32)
    assert "2,048 to 16,384 bits" in page and "at most 32 bits" in page
    assert allowed_signers.FILE_BYTES_MAX == 64 * 1024 and "64 KiB" in page


def test_the_signature_and_the_allowed_signers_shown_are_what_the_page_says() -> None:
    signature, _, allowed = [text for page, text in examples("text") if page == "signatures.md"]
    signed = sshsig.verify(signature, b"yes\n", APPROVAL_NAMESPACE)
    mara, pattern = allowed_signers.parse(allowed.encode())

    assert signed.shown.suite == "ecdsa-sha2-nistp256"
    assert (mara.principals, mara.namespaces) == (("mara",), (APPROVAL_NAMESPACE,))
    assert mara.not_before == datetime(2026, 1, 1, tzinfo=UTC)
    assert pattern.not_after == datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    for name, taken in (("jan@ops.example", True), ("guest@ops.example", False), ("mara", False)):
        assert allowed_signers.matches(pattern.principals, name) is taken


# --- previews, keys, links, vectors ---


def test_the_previews_shown_are_those_of_the_records_shown() -> None:
    shown = [text for page, text in examples("preview") if page == "records.md"]
    bodies = [canonical_bytes(parsed(text)) for page, text in examples("json") if page == "records.md"]
    sealed = {record.record.kind: record for record in map(unseal, bodies)}
    approval = sealed["approval/1"].record
    assert isinstance(approval, Approval)

    assert preview(sealed["intent/1"], sealed["plan/1"]) == shown[0]
    assert preview_digest(shown[0]) == approval.statement.preview
    found = previews()
    assert isinstance(found, list)
    assert [item["text"] for item in found if isinstance(item, dict)] == shown


def test_the_records_shown_are_those_of_an_operation_that_verifies() -> None:
    bodies = {canonical_bytes(parsed(text)) for page, text in examples("json") if page == "records.md"}

    assert {sealed.body for sealed in a_change().records[:2]} <= bodies


def test_the_checkpoint_and_the_key_shown_are_such() -> None:
    for _, text in examples("checkpoint"):
        assert checkpoint.parse(note.parse(text.encode()).text).origin == "rexecop/inst_demo/1"
    for _, text in examples("vkey"):
        assert note.NoteKey.decode(text.strip()).name == "rexecop/inst_demo/1"
    for name, text in examples("text"):
        if name == "ledger.md" and text.startswith("rexecop/"):
            checkpoint.parse(note.parse(text.encode()).text)


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


# --- the ledger ---


def test_the_checkpoint_and_the_request_shown_are_of_the_keys_on_the_page() -> None:
    signed, request = [text.encode() for page, text in examples("text") if page == "ledger.md"]
    vkeys = re.findall(r"`(\S+\+[0-9a-f]{8}\+\S+)`", PAGES["ledger.md"])
    log, witness = (note.NoteKey.decode(key) for key in vkeys)

    shown = checkpoint.verify(signed, lambda origin: [log] if origin == log.name else [], [witness])
    assert [entry.key for entry in shown.witnesses] == [witness]
    agreed = judge(Request.parse(request), at(bodies(2)), log_keys)
    assert agreed.checkpoint == shown.checkpoint == at(bodies(3))
    assert Request.parse(request).encode() == request


def test_every_error_of_the_log_is_on_the_page_and_every_code_there_is_one() -> None:
    shown = set(re.findall(r"^\| `([a-z-]+-[a-z]+)` \|", PAGES["ledger.md"], re.MULTILINE))
    raised = {kind.code for kind in below(LogError)} | {kind.code for kind in below(ChainBroken)}

    assert raised - {LogError.code, HeadsProofWrong.code} <= shown
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
    headings = {
        name: {slug(found) for found in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        for name, text in PAGES.items()
    }
    for name, text in PAGES.items():
        for target, anchor in re.findall(r"\]\(([\w.-]*\.md)?(?:#([\w-]+))?\)", text):
            there = target or name
            assert there in PAGES, f"{name} links {there}"
            assert not anchor or anchor in headings[there], f"{name} links {there}#{anchor}"


def test_the_vectors_are_what_the_code_yields() -> None:
    assert FILE.read_text(encoding="utf-8") == page(), "run `make docs`"
