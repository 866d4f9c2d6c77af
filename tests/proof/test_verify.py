"""A bundle is believed only whole: whatever is changed is refused, and called by its own name."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import conformance.asked_anew
import conformance.called
import conformance.delegations
import conformance.publishing
import conformance.reactions
import conformance.sessions
import conformance.windows  # noqa: F401
from conformance.signers import RsaSigner, signer_of
from conformance.tamperings import TABLE, Tampering
from conformance.worlds import (
    APPROVER_KEY,
    ENROLMENTS,
    INSTANCE,
    INSTANCE_KEY,
    MARA,
    ONE_OF_OPS,
    OPERATIONS,
    ORIGIN,
    REQUESTER_KEY,
    START,
    STRANGER_KEY,
    TRUSTED,
    WITNESS_KEY,
    Book,
    a_change,
    a_read,
    codes,
    cut,
    enrolled_with,
    erasing,
    instance_chain,
    judged,
    planned_change,
    read_step,
)
from rexecop.proof import note
from rexecop.proof.errors import TrustFileMalformed
from rexecop.proof.principal import Principal
from rexecop.proof.quorum import ProvedBy
from rexecop.proof.suites import SUITES
from rexecop.proof.trust import enrolments
from rexecop.proof.verify import (
    CODES,
    NO_KEYS,
    STEPS,
    Rung,
    TrustedKey,
    TrustedKeys,
    parse_trust,
    trust_of,
    verify,
)
from rexecop.proof.vocabulary import Effect, Established, Role, State, Verdict

MARA_LINE = APPROVER_KEY.public.line
CHANGED = cut(a_change()).bundle()


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_honest_operation_reaches_logged_and_nothing_is_wrong_with_it(name: str) -> None:
    made = cut(OPERATIONS[name]())

    report = judged(made, checkpoint=made.held)

    assert report.findings == ()
    assert report.answer() == "verified: logged"
    assert report.rungs == (Rung.CONSISTENT, Rung.SIGNED, Rung.LOGGED)


@pytest.mark.parametrize(("code", "name", "make"), TABLE, ids=[f"{code}-{name}" for code, name, _ in TABLE])
def test_every_tampering_is_refused_with_its_own_code(code: str, name: str, make: Tampering) -> None:
    case = make()

    report = verify(case.bundle, case.trust, **dict(case.more or {}))

    assert code in codes(report), report.findings
    assert not report.holds(Rung.CONSISTENT)
    assert report.answer().startswith("refused: E")


def test_every_code_is_earned_by_a_tampering_and_belongs_to_a_step() -> None:
    assert {code for code, _, _ in TABLE} == set(CODES)
    assert {int(code[1:3]) for code in CODES} == set(STEPS) == set(range(1, 12))


@pytest.mark.parametrize("seed", range(4))
def test_any_single_byte_flipped_anywhere_is_refused(seed: int) -> None:
    chance = random.Random(seed)
    whole = bytearray(CHANGED)
    for place in chance.sample(range(len(whole)), 150):
        kept = whole[place]
        whole[place] ^= 1 << chance.randrange(8)
        report = verify(bytes(whole), TRUSTED)
        whole[place] = kept

        assert report.findings and not report.holds(Rung.CONSISTENT), place


@given(st.binary(max_size=400))
def test_anything_at_all_ends_in_a_verdict(data: bytes) -> None:
    assert verify(data, TRUSTED).findings
    assert verify(b"PK\x03\x04" + data, TRUSTED).findings


@given(st.integers(0, len(CHANGED) - 1), st.integers(0, 200), st.binary(max_size=20))
def test_any_stretch_cut_out_or_put_in_is_refused(place: int, length: int, put: bytes) -> None:
    changed = CHANGED[:place] + put + CHANGED[place + length :]

    assert changed == CHANGED or verify(changed, TRUSTED).findings


def test_without_a_trusted_key_nothing_is_verified_and_the_answer_says_why() -> None:
    report = judged(cut(a_change()), trust=NO_KEYS)

    assert report.findings == ()
    assert report.rungs == (Rung.CONSISTENT,)
    assert report.answer() == "not verified: no trusted key"
    assert report.answer(Rung.CONSISTENT) == "verified: consistent"
    assert report.claims.instance_keys == (INSTANCE_KEY.key_id,)


def test_an_operation_re_signed_under_a_strangers_key_is_refused() -> None:
    report = judged(cut(a_change(), key=STRANGER_KEY))

    assert {"E04a", "E04d"} <= codes(report)
    assert report.rungs == (Rung.CONSISTENT,)


def test_a_trusted_witness_lifts_the_verdict_to_witnessed() -> None:
    made = cut(a_change())
    found = note.parse(made.contents.checkpoint)
    seen = note.cosign(found.text, "witness.example", WITNESS_KEY, at_seconds=1_772_000_000)
    signed = replace(found, signatures=(*found.signatures, seen)).encode()
    made = replace(made, contents=replace(made.contents, checkpoint=signed))
    witness = TrustedKey(role=Role.WITNESS, name="witness.example", public=WITNESS_KEY.public)

    report = judged(made, trust=TrustedKeys(keys=(*TRUSTED.keys, witness)))

    assert report.answer(Rung.WITNESSED) == "verified: witnessed"
    assert report.claims.witnesses == ("witness.example",)
    assert judged(made).answer(Rung.WITNESSED) == "not verified: logged is reached, witnessed is required"


def test_a_checkpoint_held_earlier_is_compared_and_one_of_a_longer_log_means_a_rewind() -> None:
    made = cut(a_change())
    unknown = "whether the log was rewound"

    assert unknown not in {skipped.what for skipped in judged(made, checkpoint=made.held).not_checked}
    made.log.append(b"one more")
    assert codes(judged(made, checkpoint=made.log.checkpoint())) == {"E06e"}
    other_epoch = judged(made, checkpoint=made.log.checkpoint(origin=f"rexecop/{INSTANCE}/2"))
    assert other_epoch.findings == ()
    assert unknown in {skipped.what for skipped in other_epoch.not_checked}


def test_the_claims_say_how_approvals_and_duties_were_proved() -> None:
    own = judged(cut(a_change())).claims
    foreign = judged(cut(a_change()), trust=TrustedKeys(keys=TRUSTED.keys[:1])).claims

    assert (own.approvals, own.approvals_own, own.duties) == (1, 1, ProvedBy.KEYS)
    assert (foreign.approvals, foreign.approvals_own, foreign.duties) == (1, 0, ProvedBy.ASSERTED)


def test_a_requester_known_by_session_only_makes_duties_proved_by_sessions() -> None:
    paul = Principal(person="paul", established=Established.OS_USER, credential="uid:1000")
    book = Book("op_session")
    book.intent(by=paul)
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS)
    book.approve(MARA, APPROVER_KEY)
    book.ticket()

    report = judged(cut(book))

    assert report.findings == ()
    assert report.claims.duties is ProvedBy.SESSIONS
    assert "who asked" in {skipped.what for skipped in report.not_checked}


def test_an_erased_output_is_named_as_erased_and_not_as_missing() -> None:
    book = a_read()
    (commitment,) = book.blobs

    report = judged(
        cut(book, instance=instance_chain((*ENROLMENTS, erasing(commitment))), with_outputs=False)
    )

    assert report.findings == ()
    assert (f"output `{commitment}`", "erased by `root` under `30d`") in {
        (skipped.what, skipped.why) for skipped in report.not_checked
    }


def test_an_operation_without_its_end_is_no_fault_but_is_said() -> None:
    book, _, _ = planned_change()

    report = judged(cut(book))

    assert report.findings == ()
    assert report.state is None
    assert "the end of the operation" in {skipped.what for skipped in report.not_checked}
    assert judged(cut(a_change())).state is State.UNDONE


def test_what_is_left_out_is_said_to_be_unchecked() -> None:
    made = cut(a_change(), with_outputs=False)
    made = replace(made, contents=replace(made.contents, inputs=()))

    what = {skipped.what for skipped in judged(made).not_checked}

    assert {"the profile", "the environment", "the policy-pack", "outputs", "who is in which group"} <= what


def test_a_damaged_record_still_lets_its_place_in_the_log_be_checked() -> None:
    made = cut(a_read())
    lines = list(made.contents.records)
    lines[2] = lines[2].replace(b"because", b"becaus\xff")
    made = replace(made, contents=replace(made.contents, records=tuple(lines)))

    report = judged(made)

    assert codes(report) == {"E02a", "E05c"}
    assert "step 7, plan, decision, approvals, ticket, attempts and outcomes fit" in {
        skipped.what for skipped in report.not_checked
    }


def test_a_trust_folder_says_role_and_person_by_file_name() -> None:
    vkey = note.NoteKey(name=ORIGIN, public=INSTANCE_KEY.public, type=note.SignatureType.ED25519).encode()
    files = {
        "instance.pub": f"{INSTANCE_KEY.public.line} a comment\n".encode(),
        "instance-backup.vkey": vkey.encode(),
        "approver/mara.pub": APPROVER_KEY.public.pem.encode(),
        "approver-otto.pub": f"# two\n{MARA_LINE}\n\n{STRANGER_KEY.public.line}\n".encode(),
        "README.md": b"for people",
    }

    trust = parse_trust(files)

    assert {(key.role, key.name, key.public, key.note_name) for key in trust.keys} == {
        (Role.INSTANCE, "instance", INSTANCE_KEY.public, None),
        (Role.INSTANCE, "backup", INSTANCE_KEY.public, ORIGIN),
        (Role.APPROVER, "mara", APPROVER_KEY.public, None),
        (Role.APPROVER, "otto", APPROVER_KEY.public, None),
        (Role.APPROVER, "otto", STRANGER_KEY.public, None),
    }
    assert judged(cut(a_change()), trust=trust).answer() == "verified: logged"


def trusting(**files: str) -> TrustedKeys:
    named = {name.replace("_", ".", 1): text.encode() for name, text in files.items()}
    return parse_trust({"instance.pub": INSTANCE_KEY.public.line.encode()} | named)


def test_a_trust_folder_takes_allowed_signers_with_their_limits() -> None:
    text = (
        f'mara,otto namespaces="approval@rexecop",valid-after="20260101Z" {MARA_LINE}\n'
        f"*@ops,!eve@ops {STRANGER_KEY.public.line}\n"
    )

    plain_one, plain_two, pattern = trusting(approver_allowed_signers=text).of(Role.APPROVER)

    assert (plain_one.name, plain_two.name, pattern.name) == ("mara", "otto", "*@ops,!eve@ops")
    assert plain_one.speaks_for("mara") and not plain_one.speaks_for("otto")
    assert pattern.speaks_for("mara@ops") and not pattern.speaks_for("eve@ops")
    assert plain_one.counts("approval@rexecop", START) and not plain_one.counts("intent@rexecop", START)
    assert not plain_one.counts("approval@rexecop", START - timedelta(days=99))
    assert not plain_one.counts("approval@rexecop", None)
    assert pattern.counts("intent@rexecop", None)


def test_a_file_for_one_person_speaks_for_nobody_else() -> None:
    (key,) = parse_trust({"approver-mara.allowed_signers": f"m* {MARA_LINE}".encode()}).keys

    assert (key.name, key.principals) == ("mara", None)
    assert key.speaks_for("mara") and not key.speaks_for("mallory")
    with pytest.raises(TrustFileMalformed, match="for `'mara'`"):
        parse_trust({"approver-mara.allowed_signers": f"otto {MARA_LINE}".encode()})


# The approval of `a_change` is of 10:00:00.400, its receipts and newest record of 10:00:01 to 02.
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('valid-after="20260301Z",valid-before="20260302Z"', None),
        ('namespaces="approval@rexecop"', None),
        ('namespaces="*@rexecop,!intent@rexecop"', None),
        ('valid-before="20260301100000Z"', "outside the validity"),
        ('valid-after="20260301100001Z"', "outside the validity"),
        ('namespaces="intent@rexecop,git"', "outside the validity"),
    ],
)
def test_an_approvers_key_counts_only_within_its_validity_and_for_approvals(
    options: str, message: str | None
) -> None:
    trust = trusting(approver_allowed_signers=f"mara {options} {MARA_LINE}\n")

    report = judged(cut(a_change()), trust=trust)

    if message is None:
        assert (report.findings, report.claims.approvals_own) == ((), 1)
    else:
        assert codes(report) == {"E04l"}
        assert message in report.findings[0].message
        assert report.claims.approvals_own == 0


def test_of_two_lines_for_a_key_one_that_holds_is_enough() -> None:
    text = f'mara valid-before="20250101Z" {MARA_LINE}\nm?ra valid-after="20260101Z" {MARA_LINE}\n'

    report = judged(cut(a_change()), trust=trusting(approver_allowed_signers=text))

    assert (report.findings, report.claims.approvals_own) == ((), 1)


@pytest.mark.parametrize(
    ("options", "proved"),
    [("", True), ('namespaces="approval@rexecop"', False), ('valid-before="20260301Z"', False)],
)
def test_a_requesters_key_counts_only_within_its_validity_and_for_intents(options: str, proved: bool) -> None:
    line = f"jan {options} {REQUESTER_KEY.public.line}\n"
    trust = trusting(requester_allowed_signers=line, approver_allowed_signers=f"mara {MARA_LINE}\n")

    report = judged(cut(a_change()), trust=trust)

    assert (report.claims.duties is ProvedBy.KEYS) is proved
    assert codes(report) == (set() if proved else {"E04l"})


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ("", set()),
        ('valid-after="20260301Z",valid-before="20260302Z"', set()),
        ('namespaces="receipt@rexecop,checkpoint@rexecop"', set()),
        ('namespaces="receipt@rexecop"', {"E04a"}),
        ('namespaces="checkpoint@rexecop"', {"E04d"}),
        ('namespaces="approval@rexecop"', {"E04a", "E04d"}),
        ('valid-before="20260301100000Z"', {"E04a", "E04d"}),
        ('valid-before="20260301100001Z"', {"E04a", "E04d"}),
        ('valid-after="20270101Z"', {"E04a", "E04d"}),
    ],
)
def test_an_instances_key_counts_only_within_its_validity_and_for_what_it_is_trusted(
    options: str, wrong: set[str]
) -> None:
    trust = parse_trust({"instance.allowed_signers": f"this {options} {INSTANCE_KEY.public.line}".encode()})

    report = judged(cut(a_change()), trust=trust)

    assert codes(report) == wrong
    assert all("within its validity" in finding.message for finding in report.findings)
    assert (Rung.SIGNED in report.rungs) is (not wrong)


def test_a_witness_outside_its_validity_is_none() -> None:
    made = cut(a_change())
    found = note.parse(made.contents.checkpoint)
    seen = note.cosign(found.text, "witness.example", WITNESS_KEY, at_seconds=1_772_000_000)
    signed = replace(found, signatures=(*found.signatures, seen)).encode()
    made = replace(made, contents=replace(made.contents, checkpoint=signed))
    line = WITNESS_KEY.public.line

    for options, rung in (("", "witnessed"), ('valid-before="20260101Z"', "logged")):
        trust = trusting(witness_allowed_signers=f"witness.example {options} {line}\n")
        assert judged(made, trust=trust).rungs[-1] == rung


@pytest.mark.parametrize("suite", [suite.id for suite in SUITES.entries])
def test_an_approval_by_a_key_of_any_kind_counts(suite: str) -> None:
    key = signer_of(suite)
    trust = trusting(approver_allowed_signers=f"mara {key.public.line}\n")

    report = judged(cut(a_change(key), instance=enrolled_with(key)), trust=trust)

    assert report.findings == ()
    assert (report.claims.approvals, report.claims.approvals_own) == (1, 1)


def test_an_approval_that_cannot_be_checked_is_said_to_be_and_counts_for_nobody() -> None:
    key = RsaSigner(suite="ssh-rsa")

    report = judged(cut(a_change(key), instance=enrolled_with(key)))

    assert report.claims.approvals == 0
    assert "E08c" in codes(report)
    assert any("`ssh-rsa`" in skipped.why or "'ssh-rsa'" in skipped.why for skipped in report.not_checked)


def test_an_instance_verifies_by_the_keys_it_enrolled() -> None:
    made = cut(a_change())
    trust = trust_of(enrolments(instance_chain()))

    report = judged(made, trust=trust)

    assert report.answer() == "verified: logged"
    assert report.claims.approvals_own == 1


def test_groups_are_read_by_whoever_can_read_the_packs() -> None:
    made = cut(a_change())

    assert judged(made, members=lambda packs: {"ops": frozenset({"mara"})}).findings == ()
    assert "E08h" in codes(judged(made, members=lambda packs: {"ops": frozenset({"otto"})}))


def test_a_key_kept_to_one_log_signs_no_other() -> None:
    elsewhere = TrustedKey(
        role=Role.INSTANCE, name="x", public=INSTANCE_KEY.public, note_name="rexecop/inst_other/1"
    )

    assert "E04a" in codes(judged(cut(a_change()), trust=TrustedKeys(keys=(elsewhere,))))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("boss.pub", b"ssh-ed25519 AAAA"),
        ("instance.pub", b"ssh-ed25519 AAAA"),
        ("instance.pub", b"\xff"),
        ("instance.pub", b"x" * 70_000),
        ("instance.pub", signer_of("ecdsa-sha2-nistp384").public.line.encode()),
        ("witness.allowed_signers", b"w " + signer_of("ecdsa-sha2-nistp256").public.line.encode()),
        ("approver.allowed_signers", MARA_LINE.encode()),
        ("approver.allowed_signers", b"mara cert-authority " + MARA_LINE.encode()),
        ("approver.allowed_signers", b'mara valid-before="20260101" ' + MARA_LINE.encode()),
        ("approver.allowed_signers", b"# nobody\n"),
        ("boss.allowed_signers", b"mara " + MARA_LINE.encode()),
        ("instance.vkey", b"a+b+c"),
        ("instance.pub", b"# nothing\n"),
        ("in stance.pub", INSTANCE_KEY.public.line.encode()),
    ],
)
def test_a_trust_file_that_says_nothing_clear_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(TrustFileMalformed):
        parse_trust({name: data})
