"""Evidence folders of the seed's form: made from a bundle, worth what it is worth, and no forgery passes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.worlds import (
    APPROVER_KEY,
    INSTANCE_KEY,
    JAN,
    MARA,
    OPERATIONS,
    PATHS,
    REQUESTER_KEY,
    STRANGER_KEY,
    VALUES,
    Book,
    a_change,
    a_dry_run,
    approved_change,
    codes,
    cut,
    planned_change,
    process,
    read_step,
)
from rexecop.app.errors import FileMissing, FileRefused, GuardKeyRefused
from rexecop.app.files import write_folder
from rexecop.app.sclite.artifacts import ROLES, descriptor
from rexecop.app.sclite.exchange import FILES_MAX, guard_key, open_folder
from rexecop.app.sclite.folder import CHAIN, FILES, GUARD, make_folder
from rexecop.app.sclite.review import CHECKS
from rexecop.app.verifying import verify_bundle
from rexecop.proof.bundle import build
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.chain import unseal
from rexecop.proof.codec import encode
from rexecop.proof.errors import ProofError
from rexecop.proof.receipts import record_envelope
from rexecop.proof.records import Decision, Intent, Receipt, Record
from rexecop.proof.records.decision import Obligations
from rexecop.proof.records.plan import Retry
from rexecop.proof.records.receipt import ObligationMet
from rexecop.proof.verify import CODES, STEPS, Report, Rung
from rexecop.proof.vocabulary import Effect, Ended, Grade, Mode, State, Verdict
from tests.app.forging import CARRIER, REVIEW, Roles, forged, roles_of, seed_accepts
from tests.proof.strategies import records, values

KEY: Final = "correct horse battery staple, twice over"
CHANGE: Final = cut(a_change()).bundle()
FOLDER: Final = make_folder(CHANGE, None)


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    folder = tmp_path / "trust"
    keys = {"instance": INSTANCE_KEY, "approver-mara": APPROVER_KEY, "requester-jan": REQUESTER_KEY}
    write_folder(folder, {f"{name}.pub": key.public.line.encode() for name, key in keys.items()})
    return folder


Verify = Callable[..., Report]


@pytest.fixture
def verified(tmp_path: Path, trust: Path) -> Verify:
    """Write files into a folder and verify that."""

    def call(files: Mapping[str, bytes], key: str | None = None) -> Report:
        folder = tmp_path / f"folder-{len(list(tmp_path.iterdir()))}"
        write_folder(folder, files)
        return verify_bundle(folder, trust_dir=trust, checkpoint=None, root=None, kernel_guard_key=key)

    return call


def review_of(files: Mapping[str, bytes]) -> dict[str, Any]:
    value = json.loads(files[REVIEW])
    assert isinstance(value, dict)
    return value


# --- what is written ---


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_folder_of_an_honest_operation_verifies_as_its_bundle_does(name: str, verified: Verify) -> None:
    bundle = cut(OPERATIONS[name]()).bundle()

    report = verified(make_folder(bundle, None))

    assert report.findings == ()
    assert report.holds(Rung.LOGGED)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_folder_follows_from_its_bundle_and_key_alone(name: str) -> None:
    bundle = cut(OPERATIONS[name]()).bundle()

    assert make_folder(bundle, b"k" * 32) == make_folder(bundle, b"k" * 32)
    assert {GUARD} == make_folder(bundle, b"k" * 32).keys() - make_folder(bundle, None).keys()


def test_every_role_of_a_completed_operation_is_there_and_names_the_record_it_is_made_from() -> None:
    roles = roles_of(FOLDER)
    digests = {unseal(record).digest for record in cut(a_change()).contents.records}

    assert list(roles) == list(ROLES)
    assert {role["made_from"]["digest"] for role in roles.values()} <= digests
    assert [role["made_from"]["kind"] for role in roles.values()] == [
        "intent/1", "decision/1", "plan/1", "ticket/1", "receipt/1", "receipt/1",
    ]  # fmt: skip
    assert review_of(FOLDER)["verdict"] == "pass"
    assert review_of(FOLDER)["summary"]["rungs"] == ["consistent", "signed", "logged"]


def test_links_digests_and_the_chain_are_what_the_seeds_own_rules_ask_for() -> None:
    roles, chain = roles_of(FOLDER), json.loads(FOLDER[CHAIN])
    ticket = roles["execution_ticket"]

    assert seed_accepts(FOLDER) and forged(FOLDER, lambda _: None) == FOLDER
    assert [entry["path"] for entry in chain["entries"]] == list(FILES.values())
    assert chain["entries"][-1]["chain_digest"] == chain["root_chain_digest"]
    assert set(roles["execution_receipt"]["links"]) == {"execution_ticket", "execution_contract"}
    assert (
        ticket["integrity"]["ticket_binds_execution_contract_digest"]
        == ticket["links"]["execution_contract"]["digest"]
    )
    shape = roles["execution_contract"]["execution_shape"]
    arguments = json.dumps(shape["normalized_args"], separators=(",", ":")).encode()
    assert ticket["scope_binding"]["normalized_args_digest"] == digest_of(arguments)
    assert [step["template"] for step in shape["plan"]] == [
        text.split()[2] for text in shape["normalized_args"]
    ]
    assert (
        descriptor(roles["intent_contract"])["canonical_bytes"] == len(FOLDER[FILES["intent_contract"]]) - 1
    )


def test_the_carrier_reference_names_the_bundle_beside_it() -> None:
    carrier = json.loads(FOLDER[CARRIER])["carrier"]

    assert FOLDER[carrier["path"]] == CHANGE
    assert (carrier["digest"], carrier["bytes"]) == (digest_of(CHANGE), len(CHANGE))


def test_a_dry_run_says_so_in_every_role_that_has_a_mode() -> None:
    roles = roles_of(make_folder(cut(a_dry_run()).bundle(), None))

    assert roles["execution_contract"]["execution_bounds"]["mode"] == "dry_run"
    assert roles["execution_ticket"]["approval"]["status"] == "approved_for_dry_run"
    assert roles["execution_receipt"]["outcome"]["status"] == "dry_run"
    assert roles["execution_receipt"]["execution"]["executed_command_count"] == 0
    assert not roles["execution_receipt"]["execution"]["network_execution_performed"]
    assert any("dry run" in text for text in roles["evidence_contract"]["non_claims"])


def a_failure() -> Book:
    book, look, _ = approved_change()
    book.run(look, ended=Ended.FAILED)
    book.receipt(State.FAILED, obligations=(ObligationMet(name="timeout", met=False, how="took too long"),))
    return book


def test_a_failure_is_called_one_and_what_was_not_met_is_not_called_met() -> None:
    roles = roles_of(make_folder(cut(a_failure()).bundle(), None))

    assert roles["execution_receipt"]["outcome"]["status"] == "failed"
    claims = {claim["claim_type"]: claim for claim in roles["evidence_contract"]["claims"]}
    assert claims["state"]["statement"] == "the operation ended `failed`"
    assert claims["obligation"]["status"] == "not_met"


def test_a_call_whose_answer_was_lost_counts_as_one_that_may_have_reached_what_the_plan_allowed() -> None:
    execution = roles_of(make_folder(cut(OPERATIONS["lost-call"]()).bundle(), None))["execution_receipt"][
        "execution"
    ]

    assert execution["networks_measured"] == ["none", "unknown"]
    assert execution["network_execution_performed"] and execution["executed_command_count"] == 1


def bounded(*, grade: Grade | None, no_network: bool, retry: Retry | None = None) -> Roles:
    book = Book("op_bounds")
    look = read_step(grade=grade, retry=retry)
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED, obligations=Obligations(no_network=no_network))
    book.ticket()
    return roles_of(make_folder(cut(book).bundle(), None))


@pytest.mark.parametrize(
    ("grade", "no_network", "allowed"),
    [(Grade.SHAPE, False, True), (Grade.SHAPE, True, False), (Grade.CONTAINED, False, False)],
)
def test_a_network_is_allowed_where_a_call_may_reach_one_and_no_obligation_forbids_it(
    grade: Grade, no_network: bool, allowed: bool
) -> None:
    roles = bounded(grade=grade, no_network=no_network)

    assert roles["execution_contract"]["execution_bounds"]["network_execution_allowed"] is allowed
    assert roles["execution_ticket"]["spend_limits"]["network_execution_allowed"] is allowed


def test_the_time_allowed_is_that_of_every_try_and_every_wait() -> None:
    retry = Retry(attempts=3, on=(), delay_ms=600)
    bounds = bounded(grade=None, no_network=False, retry=retry)["execution_contract"]["execution_bounds"]

    assert bounds["timeout_seconds"] == 8  # 3 times 2 s and twice 0.6 s, rounded up.


def test_the_decision_shown_is_the_one_the_ticket_rests_on() -> None:
    book, look, _ = approved_change()
    rests_on = next(sealed.digest for sealed in book.records if isinstance(sealed.record, Decision))
    book.run(look, facts=PATHS)
    book.decision(Verdict.BLOCKED)
    roles = roles_of(make_folder(cut(book).bundle(), None))

    assert roles["policy_decision"]["made_from"]["digest"] == rests_on
    assert roles["policy_decision"]["decision"] == "owner_approval_required"


def test_a_receipt_speaks_of_what_stands_before_it_and_the_review_says_that_more_followed() -> None:
    whole = a_change()
    closed = next(n for n, sealed in enumerate(whole.records) if isinstance(sealed.record, Receipt)) + 1
    stories = [
        make_folder(
            cut(Book("op_change", records=whole.records[:count], signatures=whole.signatures)).bundle(), None
        )
        for count in (closed, len(whole.records) - 1)
    ]
    before, reopened = (roles_of(files)["execution_receipt"] for files in stories)
    review = review_of(stories[1])

    assert {**before, "links": {}} == {**reopened, "links": {}}
    assert [review_of(files)["verdict"] for files in stories] == ["pass", "review"]
    assert review["checks"][-1]["detail"] == "no receipt of the end: records follow the newest"


# --- operations that never got that far ---


def waiting() -> Book:
    return planned_change()[0]


def said_no() -> Book:
    book = waiting()
    book.approve(MARA, APPROVER_KEY, approves=False)
    return book


def allowed() -> Book:
    book = Book("op_allowed")
    book.intent(mode=Mode.READ_ONLY)
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.ALLOWED)
    return book


def asked() -> Book:
    book = Book("op_asked")
    book.intent()
    return book


@pytest.mark.parametrize(
    ("make", "absent"),
    [
        (OPERATIONS["refusal"], {"execution_ticket": "policy did not let the plan run"}),
        (waiting, {"execution_ticket": "not started", "execution_receipt": "has not ended"}),
        (said_no, {"execution_ticket": "an approver said no"}),
        (allowed, {"execution_ticket": "not started", "evidence_contract": "no receipt"}),
        (asked, {"policy_decision": "never asked", "execution_contract": "nothing was planned"}),
    ],
    ids=["blocked", "waiting", "denied", "allowed", "asked"],
)
def test_what_is_absent_is_named_with_its_reason_and_the_rest_verifies(
    make: Callable[[], Book], absent: dict[str, str], verified: Verify
) -> None:
    files = make_folder(cut(make()).bundle(), None)
    review = review_of(files)
    detail = next(check["detail"] for check in review["checks"] if check["name"] == "roles_present")

    assert review["verdict"] == "review"
    for role, why in absent.items():
        assert f"no {role}: " in detail and why in detail and FILES[role] not in files
    assert verified(files).findings == ()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_beginning_of_an_operation_has_a_folder(name: str, verified: Verify) -> None:
    book = OPERATIONS[name]()
    for count in range(1, len(book.records) + 1):
        part = Book(book.operation, records=book.records[:count], signatures=book.signatures)
        files = make_folder(cut(part).bundle(), None)

        assert review_of(files)["verdict"] in {"pass", "review"}, count
        assert "E01f" not in codes(verified(files))


# --- the review ---


def test_every_step_and_code_of_the_verifier_belongs_to_one_check() -> None:
    steps = [step for found in CHECKS.values() for step in found]

    assert sorted(steps) == sorted(STEPS) and {int(code[1:3]) for code in CODES} == set(steps)


def test_a_review_names_what_the_verifier_found_and_fails() -> None:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.attempt(change, process(Effect.CHANGE, "/usr/bin/rm", "-rf", "/"), values=VALUES, target_n=1)
    files = make_folder(cut(book).bundle(), None)
    failed = [check for check in review_of(files)["checks"] if check["status"] == "fail"]

    assert review_of(files)["verdict"] == "fail"
    assert [check["name"] for check in failed] == ["scope_fidelity"]
    assert failed[0]["detail"].startswith("E07l") and failed[0]["count"] == 1
    assert b"# Review: fail" in files["REVIEW.md"] and b"E07l" in files["REVIEW.md"]


def test_the_page_for_people_gives_no_meaning_to_what_others_wrote() -> None:
    book = Book("op_a|`<b>[x](y)\u202e")
    book.intent()
    page = make_folder(cut(book).bundle(), None)["REVIEW.md"].decode()

    assert "op\\_a\\|\\`\\<b\\>\\[x\\]\\(y\\)\\\\u\\{202e\\}" in page and "\u202e" not in page


# --- forgeries ---


def zero_policy_link(roles: Roles) -> None:
    roles["execution_ticket"]["links"]["policy_decision"]["digest"] = "0" * 64


def downgrade(roles: Roles) -> None:
    ticket = roles["execution_ticket"]
    ticket |= {"schema_version": "v0.2", "schema_ref": "sclite/execution_ticket@v0.2"}
    for name in ("ticket_profile", "ticket_semantics", "subject_binding", "scope_binding", "spend_limits"):
        del ticket[name]


def retarget(roles: Roles) -> None:
    for role, artifact in roles.items():
        roles[role] = json.loads(json.dumps(artifact).replace("host-1", "host-2"))


def live_by_a_dry_ticket(roles: Roles) -> None:
    roles["execution_ticket"]["approval"]["status"] = "approved_for_dry_run"


def many_commands(roles: Roles) -> None:
    roles["execution_receipt"]["execution"] |= {"executed_command_count": 5000, "attempts": 5000}


def another_plan(roles: Roles) -> None:
    roles["execution_contract"]["execution_shape"]["plan"] = [{"id": "look", "argv": ["rm", "-rf", "/"]}]


def big_claim(roles: Roles) -> None:
    roles["evidence_contract"]["claims"][0]["statement"] = "database fully migrated and verified"


FORGERIES: Final[Mapping[str, Callable[[Roles], object]]] = {
    "re-hashed bundle": retarget,
    "missing approver": lambda roles: roles["execution_ticket"]["approval"].update(approvers=[]),
    "approver same as actor": lambda roles: roles["execution_ticket"]["approval"].update(
        approvers=[roles["intent_contract"]["actor"]]
    ),
    "dry-run ticket used live": live_by_a_dry_ticket,
    "plan unrelated to call": another_plan,
    "more commands than allowed": many_commands,
    "downgraded ticket": downgrade,
    "claim text beyond the receipt": big_claim,
    "ticket's policy link wrong": zero_policy_link,
    "unknown extra fields": lambda roles: roles["evidence_contract"].update(api_key="hunter2"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_folder_in_which_every_digest_fits_is_refused(name: str, verified: Verify) -> None:
    files = forged(FOLDER, FORGERIES[name])

    report = verified(files)

    assert seed_accepts(files) and files != FOLDER
    assert codes(report) == {"E01f"} and report.answer().startswith("refused: E01f")
    assert not report.holds(Rung.CONSISTENT)


@pytest.mark.parametrize("name", ["REVIEW.md", REVIEW])
def test_a_junk_review_file_is_refused(name: str, verified: Verify) -> None:
    assert codes(verified({**FOLDER, name: b"looks good to me\n"})) == {"E01f"}


# The same forgeries by somebody who writes records, and lets the folder follow from them.


def retargeted() -> bytes:
    made = cut(a_change())
    known: dict[Digest, Digest] = {}
    bodies = []
    for body in made.contents.records:
        changed = body.replace(b"host-1", b"host-2")
        for old, new in known.items():
            changed = changed.replace(old.encode(), new.encode())
        known[digest_of(body)] = digest_of(changed)
        bodies.append(changed)
    receipts = [sealed for sealed in map(unseal, bodies) if isinstance(sealed.record, Receipt)]
    envelopes = {sealed.digest: record_envelope(sealed, STRANGER_KEY) for sealed in receipts}
    return build(replace(made.contents, records=tuple(bodies), envelopes=envelopes))


def no_approver() -> bytes:
    book, _, _ = planned_change()
    book.ticket()
    return cut(book).bundle()


def own_approver() -> bytes:
    book, _, _ = planned_change()
    book.approve(JAN, REQUESTER_KEY)
    book.ticket()
    return cut(book).bundle()


def live_in_a_dry_run() -> bytes:
    book = Book("op_dry")
    look = read_step()
    book.intent(mode=Mode.DRY_RUN)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look)
    return cut(book).bundle()


def unplanned_call() -> bytes:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.attempt(change, process(Effect.CHANGE, "/usr/bin/rm", "-rf", "/"), values=VALUES)
    return cut(book).bundle()


def twice() -> bytes:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES))
    book.outcome("set", book.attempt(change, values=VALUES, number=2))
    return cut(book).bundle()


def old_ticket() -> bytes:
    made = cut(a_change())
    bodies = [body.replace(b'"ticket/1"', b'"ticket/0"') for body in made.contents.records]
    return build(replace(made.contents, records=tuple(bodies)))


def completed_after_a_failure() -> bytes:
    book, look, _ = approved_change()
    book.run(look, ended=Ended.FAILED)
    book.receipt(State.COMPLETED)
    return cut(book).bundle()


def other_decision() -> bytes:
    book, _, _ = planned_change()
    book.approve(MARA, APPROVER_KEY)
    book.ticket(decision=Digest("sha256:" + "0" * 64))
    return cut(book).bundle()


def extra_field() -> bytes:
    made = cut(a_change())
    bodies = [body.replace(b'{"at"', b'{"api_key":"hunter2","at"', 1) for body in made.contents.records]
    return build(replace(made.contents, records=tuple(bodies)))


FALSE_RECORDS: Final[Mapping[str, tuple[Callable[[], bytes], str]]] = {
    "re-hashed bundle": (retargeted, "E05c"),
    "missing approver": (no_approver, "E08c"),
    "approver same as actor": (own_approver, "E08a"),
    "dry-run ticket used live": (live_in_a_dry_run, "E09g"),
    "plan unrelated to call": (unplanned_call, "E07l"),
    "more commands than allowed": (twice, "E07q"),
    "downgraded ticket": (old_ticket, "E02c"),
    "claim text beyond the receipt": (completed_after_a_failure, "E09a"),
    "ticket's policy link wrong": (other_decision, "E07e"),
    "unknown extra fields": (extra_field, "E02b"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_the_same_forgery_in_the_records_is_refused_by_its_own_code(name: str, verified: Verify) -> None:
    make, code = FALSE_RECORDS[name]
    bundle = make()
    try:
        files = make_folder(bundle, None)
        assert review_of(files)["verdict"] == "fail"
    except ProofError:
        files = {"op_change.rxb": bundle}  # No record of it can be read.

    report = verified(files)

    assert code in codes(report) and not report.holds(Rung.CONSISTENT)


# --- the folder as it lies there ---


@given(data=st.data())
def test_any_byte_changed_in_any_file_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name = data.draw(st.sampled_from(sorted(set(FOLDER) - {"op_change.rxb"})))
    place = data.draw(st.integers(0, len(FOLDER[name]) - 1))
    changed = bytearray(FOLDER[name])
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    folder = tmp_path_factory.mktemp("flipped") / "folder"
    write_folder(folder, {**FOLDER, name: bytes(changed)})

    report = verify_bundle(folder, trust_dir=None, checkpoint=None, root=None)

    assert codes(report) == {"E01f"}


def test_a_file_more_or_less_or_under_another_name_is_refused(verified: Verify) -> None:
    less = {name: data for name, data in FOLDER.items() if name != CHAIN}
    renamed = {("other.rxb" if name.endswith(".rxb") else name): data for name, data in FOLDER.items()}

    assert codes(verified({**FOLDER, "07_extra.json": b"{}"})) == {"E01f"}
    assert codes(verified({**FOLDER, ".hidden": b""})) == {"E01f"}
    assert codes(verified(less)) == {"E01f"}
    assert codes(verified(renamed)) == {"E01f"}


def test_a_folder_whose_bundle_is_junk_ends_in_a_verdict(verified: Verify) -> None:
    report = verified({**FOLDER, "op_change.rxb": b"junk"})

    assert {"E01a", "E01f"} <= codes(report)


def test_a_folder_that_is_not_one_of_plain_files_with_one_bundle_is_refused(tmp_path: Path) -> None:
    def refused(name: str, *, link: bool = False, files: Mapping[str, bytes] = FOLDER) -> type[Exception]:
        folder = tmp_path / name
        write_folder(folder, files)
        if link:
            (folder / "REVIEW.md").unlink()
            (folder / "REVIEW.md").symlink_to(tmp_path / "elsewhere")
        with pytest.raises((FileMissing, FileRefused)) as found:
            open_folder(folder, None)
        return found.type

    assert refused("none", files={"REVIEW.md": b""}) is FileRefused
    assert refused("two", files={**FOLDER, "b.rxb": b""}) is FileRefused
    assert refused("link", link=True) is FileRefused
    assert refused("many", files={**FOLDER, **{f"{n}": b"" for n in range(FILES_MAX)}}) is FileRefused
    (tmp_path / "nested" / "inside").mkdir(parents=True)
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped" / "op.rxb")
    for name in ("nested", "piped", "nowhere"):
        with pytest.raises(FileRefused):
            open_folder(tmp_path / name, None)


@given(values(Intent), st.lists(records(), max_size=6))
def test_records_of_any_content_and_order_yield_a_folder_or_a_refusal(
    first: Intent, others: list[Record]
) -> None:
    """Whatever a stranger's bundle says, nothing but a refusal with a code comes of it."""
    bodies = tuple(encode(record) for record in (first, *others))
    bundle = build(replace(cut(a_change()).contents, records=bodies, signatures={}, envelopes={}))
    try:
        files = make_folder(bundle, b"k" * 32)
    except ProofError:
        return
    assert FILES["intent_contract"] in files and review_of(files)["verdict"] == "fail"


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    (full / "mine").write_text("keep")
    empty.mkdir()

    with pytest.raises(FileRefused, match="not empty"):
        write_folder(full, FOLDER)
    with pytest.raises(FileRefused):
        write_folder(empty, {"good": b"x", "good/below-a-file": b"x"})
    assert [path.name for path in full.iterdir()] == ["mine"] and list(empty.iterdir()) == []
    write_folder(empty, FOLDER)
    assert {path.name: path.read_bytes() for path in empty.iterdir()} == FOLDER
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]


# --- the kernel guard ---


def test_a_guard_is_checked_with_its_key_and_said_not_to_be_without(verified: Verify) -> None:
    files = make_folder(CHANGE, guard_key(KEY))

    assert verified(files, KEY).findings == ()
    without = verified(files)
    assert without.findings == ()
    assert "the kernel guard" in {skipped.what for skipped in without.not_checked}
    assert "the kernel guard" not in {skipped.what for skipped in verified(files, KEY).not_checked}


def test_a_guard_that_was_stripped_made_with_another_key_or_edited_is_refused(verified: Verify) -> None:
    files = make_folder(CHANGE, guard_key(KEY))
    guard = json.loads(files[GUARD])
    edited = json.dumps({**guard, "root_tag": guard["first_tag"]}, sort_keys=True).encode()

    assert codes(verified(FOLDER, KEY)) == {"E01f"}
    assert codes(verified(files, KEY + "!")) == {"E01f"}
    assert codes(verified({**files, GUARD: edited}, KEY)) == {"E01f"}


def test_every_file_is_guarded_and_each_tag_takes_in_the_one_before() -> None:
    files = make_folder(CHANGE, guard_key(KEY))
    guards = json.loads(files[GUARD])["entry_guards"]

    assert [entry["path"] for entry in guards] == sorted(FOLDER)
    assert [entry["previous_tag"] for entry in guards] == [None, *(entry["tag"] for entry in guards[:-1])]
    assert KEY.encode() not in b"".join(files.values())


def test_a_short_guard_key_is_refused_and_never_shown() -> None:
    assert guard_key(None) is None and guard_key("k" * 32) == b"k" * 32
    with pytest.raises(GuardKeyRefused) as found:
        guard_key("hunter2")
    assert "hunter2" not in f"{found.value!r} {found.value.facts} {found.value.next_steps}"
    assert found.value.message == "the kernel guard key has 7 bytes, at least 32 are needed"
