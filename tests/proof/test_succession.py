"""Trust outlives a key: whoever trusts one key of an instance follows to the next, and no further."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.memory_signer import MemorySigner
from conformance.succession import AFTER, BEFORE, SECOND_KEY, THIRD_KEY, rotated, trusting, vouch
from conformance.worlds import (
    ENROLMENTS,
    INSTANCE_KEY,
    ORIGIN,
    START,
    STRANGER_KEY,
    a_change,
    a_read,
    codes,
    enrol,
    instance_chain,
    judged,
)
from rexecop.proof import dsse, note
from rexecop.proof.bundle import build
from rexecop.proof.chain import unseal
from rexecop.proof.receipts import record_envelope
from rexecop.proof.records import Receipt
from rexecop.proof.trust import enrolments, in_force, retired
from rexecop.proof.verify import Rung, TrustedKey, TrustedKeys, verify
from rexecop.proof.vocabulary import Role

ONE_LATER = (AFTER, INSTANCE_KEY, SECOND_KEY)
TWO_LATER = (AFTER + timedelta(hours=1), SECOND_KEY, THIRD_KEY)


@pytest.mark.parametrize("pinned", [INSTANCE_KEY, SECOND_KEY], ids=["the first key", "the second key"])
def test_an_operation_from_before_a_rotation_is_believed_by_whoever_trusts_either_key(
    pinned: MemorySigner,
) -> None:
    report = judged(rotated(a_change(), ONE_LATER, key=SECOND_KEY), trust=trusting(pinned))

    assert report.findings == ()
    assert report.answer() == "verified: logged"
    assert report.signer == SECOND_KEY.key_id
    path = (SECOND_KEY.key_id,) if pinned is SECOND_KEY else (INSTANCE_KEY.key_id, SECOND_KEY.key_id)
    assert report.claims.signer_path == path


@pytest.mark.parametrize("pinned", [INSTANCE_KEY, SECOND_KEY, THIRD_KEY])
def test_two_rotations_are_followed_one_by_one_in_both_directions(pinned: MemorySigner) -> None:
    early = rotated(a_change(), ONE_LATER, TWO_LATER, key=THIRD_KEY)
    begun = (BEFORE, INSTANCE_KEY, SECOND_KEY)
    between = rotated(a_change(), begun, TWO_LATER, key=THIRD_KEY, receipts=SECOND_KEY)
    late = rotated(a_change(), begun, (BEFORE, SECOND_KEY, THIRD_KEY), key=THIRD_KEY, receipts=THIRD_KEY)

    for made in (early, between, late):
        report = judged(made, trust=trusting(pinned))
        assert report.findings == () and report.holds(Rung.LOGGED)
        assert report.claims.signer_path[0] == pinned.key_id
        assert report.claims.signer_path[-1] == THIRD_KEY.key_id


def test_a_succession_that_nobody_signed_is_not_followed_and_that_is_said() -> None:
    made = rotated(a_change(), ONE_LATER, key=SECOND_KEY, vouched=False)

    first, second = judged(made, trust=trusting(INSTANCE_KEY)), judged(made, trust=trusting(SECOND_KEY))

    assert codes(first) == {"E04a"} and not first.claims.signer_path
    assert (f"whether `{SECOND_KEY.key_id}` follows a trusted key", "no key before it signed it") in {
        (skipped.what, skipped.why) for skipped in first.not_checked
    }
    assert second.findings == () and second.holds(Rung.LOGGED)


def test_a_strangers_instance_key_is_not_followed_however_well_its_own_log_vouches_for_it() -> None:
    report = judged(rotated(a_change(), ONE_LATER, key=SECOND_KEY), trust=trusting(STRANGER_KEY))

    assert codes(report) == {"E04a", "E04d"}


def test_a_retired_key_signs_no_checkpoint_over_its_own_end() -> None:
    made = rotated(a_change(), ONE_LATER, key=INSTANCE_KEY)

    report = judged(made, trust=trusting(INSTANCE_KEY))

    assert codes(report) == {"E04m"}
    assert report.signer is None and Rung.SIGNED not in report.rungs


def test_a_retired_key_publishes_nothing_that_was_written_after_its_end() -> None:
    begun = (BEFORE, INSTANCE_KEY, SECOND_KEY)

    stale = rotated(a_change(), begun, key=SECOND_KEY, receipts=INSTANCE_KEY)
    fresh = rotated(a_change(), begun, key=SECOND_KEY, receipts=SECOND_KEY)

    for pinned in (INSTANCE_KEY, SECOND_KEY):
        assert codes(judged(stale, trust=trusting(pinned))) == {"E04m"}
        assert judged(fresh, trust=trusting(pinned)).findings == ()


def test_a_key_that_follows_publishes_nothing_from_before_its_time_unless_it_signs_the_checkpoint() -> None:
    made = rotated(a_change(), ONE_LATER, TWO_LATER, key=THIRD_KEY, receipts=SECOND_KEY)

    assert codes(judged(made, trust=trusting(INSTANCE_KEY))) == {"E04d"}
    own = rotated(a_change(), ONE_LATER, TWO_LATER, key=THIRD_KEY, receipts=THIRD_KEY)
    assert judged(own, trust=trusting(INSTANCE_KEY)).findings == ()


def test_an_expired_key_neither_signs_nor_vouches() -> None:
    ends = START + timedelta(minutes=30)
    signs = rotated(
        a_change(), (BEFORE, INSTANCE_KEY, SECOND_KEY), key=SECOND_KEY, receipts=SECOND_KEY, expires=ends
    )
    vouches = rotated(a_read(), (BEFORE, INSTANCE_KEY, SECOND_KEY), TWO_LATER, key=THIRD_KEY, expires=ends)

    assert codes(judged(signs, trust=trusting(SECOND_KEY))) == {"E04m"}
    report = judged(vouches, trust=trusting(SECOND_KEY))
    assert "E04a" in codes(report) and "E04n" not in codes(report)
    assert "the key that signed it had expired" in {skipped.why for skipped in report.not_checked}


@pytest.mark.parametrize("pinned", [INSTANCE_KEY, SECOND_KEY, STRANGER_KEY])
@pytest.mark.parametrize(
    "signature",
    [
        lambda sealed: vouch(STRANGER_KEY, sealed),
        lambda sealed: vouch(SECOND_KEY, sealed),
        lambda sealed: vouch(INSTANCE_KEY, sealed, "approval@rexecop"),
        lambda sealed: vouch(INSTANCE_KEY, replace(sealed, body=sealed.body + b" ")),
        lambda sealed: b"-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n",
        lambda sealed: b"\xff\x00",
    ],
    ids=[
        "by a stranger",
        "by itself",
        "for something else",
        "over something else",
        "cut off",
        "no signature",
    ],
)
def test_a_false_succession_is_refused_whomever_the_verifier_trusts(
    pinned: MemorySigner, signature: object
) -> None:
    made = rotated(a_change(), ONE_LATER, key=SECOND_KEY)
    chain = instance_chain(
        (
            *ENROLMENTS,
            enrol("instance", Role.INSTANCE, SECOND_KEY, at=AFTER),
            enrol("instance", Role.INSTANCE, INSTANCE_KEY, at=AFTER, revoked=True),
        )
    )
    assert callable(signature)
    signatures = {**made.contents.signatures, chain[-2].digest: signature(chain[-2])}

    report = judged(
        replace(made, contents=replace(made.contents, signatures=signatures)), trust=trusting(pinned)
    )

    assert "E04n" in codes(report)


def test_a_key_that_was_replaced_cannot_name_another_successor() -> None:
    thief = (AFTER + timedelta(hours=1), INSTANCE_KEY, STRANGER_KEY)
    made = rotated(a_change(), ONE_LATER, thief, key=STRANGER_KEY)

    report = judged(made, trust=trusting(INSTANCE_KEY))

    assert "E04n" in codes(report)
    assert STRANGER_KEY.key_id not in report.claims.signer_path


def test_a_succession_signed_by_what_is_not_included_is_neither_followed_nor_called_false() -> None:
    contents = rotated(a_read(), ONE_LATER, TWO_LATER, key=THIRD_KEY).contents
    left = len(ENROLMENTS) + 2  # All up to the enrolment of the third key.
    unsigned = unseal(contents.instance_records[len(ENROLMENTS)]).digest
    part = replace(
        contents,
        instance_records=contents.instance_records[left:],
        proofs=replace(contents.proofs, instance=contents.proofs.instance[left:]),
        signatures={d: data for d, data in contents.signatures.items() if d != unsigned},
    )

    report = verify(build(part), trusting(SECOND_KEY))

    assert codes(report) == {"E04a", "E04d"}
    assert "what made the key before it one of the instance is not included" in {
        skipped.why for skipped in report.not_checked
    }


def test_a_key_whose_end_is_included_names_nobody_even_where_its_beginning_is_not() -> None:
    contents = rotated(a_read(), ONE_LATER, (AFTER, INSTANCE_KEY, THIRD_KEY), key=THIRD_KEY).contents
    left = len(ENROLMENTS) + 1  # From the end of the first key on.
    unsigned = unseal(contents.instance_records[len(ENROLMENTS)]).digest
    part = replace(
        contents,
        instance_records=contents.instance_records[left:],
        proofs=replace(contents.proofs, instance=contents.proofs.instance[left:]),
        signatures={d: data for d, data in contents.signatures.items() if d != unsigned},
    )

    assert "E04n" in codes(verify(build(part), trusting(INSTANCE_KEY)))


def test_an_enrolment_that_names_another_key_than_it_holds_leads_nowhere() -> None:
    made = rotated(a_read(), ONE_LATER, key=SECOND_KEY, fingerprint=THIRD_KEY.key_id)

    report = judged(made, trust=trusting(INSTANCE_KEY))

    assert codes(report) == {"E04a"}
    assert "its enrolment names another key than it holds" in {item.why for item in report.not_checked}


def test_an_envelope_signed_twice_by_one_key_is_that_and_nothing_else() -> None:
    book = a_read()
    made = rotated(book, ONE_LATER, key=SECOND_KEY)
    receipt = next(s for s in book.records if isinstance(s.record, Receipt))
    once = dsse.decode(record_envelope(receipt, INSTANCE_KEY))
    twice = dsse.encode(replace(once, signatures=once.signatures * 2))
    made = replace(made, contents=replace(made.contents, envelopes={receipt.digest: twice}))

    for pinned in (INSTANCE_KEY, STRANGER_KEY):
        assert codes(judged(made, trust=trusting(pinned))) - {"E04a"} == {"E04p"}


def test_a_key_trusted_for_one_log_only_is_followed_within_that_log_only() -> None:
    for name, expected in ((ORIGIN, set()), ("rexecop/inst_other/1", {"E04a"})):
        key = TrustedKey(role=Role.INSTANCE, name="x", public=INSTANCE_KEY.public, note_name=name)
        report = judged(rotated(a_change(), ONE_LATER, key=SECOND_KEY), trust=TrustedKeys(keys=(key,)))
        assert codes(report) == expected


def limited(key: MemorySigner, **limits: object) -> TrustedKey:
    return replace(trusting(key).keys[0], **limits)  # type: ignore[arg-type]


def test_a_key_is_followed_within_the_limits_its_verifier_set_and_no_further() -> None:
    made = rotated(a_change(), ONE_LATER, key=SECOND_KEY)
    hour = timedelta(hours=1)
    for limits, expected in (
        ({"not_after": AFTER + hour}, set()),
        ({"not_after": AFTER - hour / 2}, {"E04a"}),  # It had ended for this verifier when it named the next.
        ({"namespaces": ("checkpoint@rexecop", "receipt@rexecop")}, {"E04a"}),  # It may name none.
        ({"namespaces": ("*@rexecop",)}, set()),
        ({"namespaces": ("trust@rexecop", "checkpoint@rexecop")}, {"E04d"}),  # It may publish nothing.
    ):
        report = judged(made, trust=TrustedKeys(keys=(limited(INSTANCE_KEY, **limits),)))
        assert codes(report) == expected, limits


def test_two_keys_each_trusted_for_its_own_time_cover_a_history_over_both() -> None:
    keys = TrustedKeys(keys=(limited(INSTANCE_KEY, not_after=AFTER), limited(SECOND_KEY, not_before=AFTER)))

    by_first = rotated(a_change(), ONE_LATER, key=SECOND_KEY, receipts=INSTANCE_KEY, vouched=False)
    by_second = rotated(a_change(), ONE_LATER, key=SECOND_KEY, receipts=SECOND_KEY, vouched=False)

    # Who signs the checkpoint publishes what the log holds, however old.
    for made in (by_first, by_second):
        assert judged(made, trust=keys).findings == ()


def test_a_checkpoint_by_the_old_and_the_new_key_is_the_new_ones() -> None:
    made = rotated(a_change(), ONE_LATER, key=INSTANCE_KEY)
    found = note.parse(made.contents.checkpoint)
    both = replace(found, signatures=(*found.signatures, note.sign(found.text, ORIGIN, SECOND_KEY))).encode()

    report = judged(
        replace(made, contents=replace(made.contents, checkpoint=both)), trust=trusting(INSTANCE_KEY)
    )

    assert report.findings == () and report.signer == SECOND_KEY.key_id


def test_an_envelope_with_a_second_signature_by_the_key_in_force_counts() -> None:
    book = a_read()
    made = rotated(book, (BEFORE, INSTANCE_KEY, SECOND_KEY), key=SECOND_KEY)
    receipt = next(s for s in book.records if isinstance(s.record, Receipt))
    old, new = (dsse.decode(record_envelope(receipt, key)) for key in (INSTANCE_KEY, SECOND_KEY))
    both = dsse.encode(replace(old, signatures=(*old.signatures, *new.signatures)))

    report = judged(
        replace(made, contents=replace(made.contents, envelopes={receipt.digest: both})),
        trust=trusting(INSTANCE_KEY),
    )

    assert report.findings == ()


@given(st.integers(2, 6), st.integers(0, 5))
def test_a_chain_of_rotations_of_any_length_is_followed_from_any_key_on(length: int, start: int) -> None:
    keys = [INSTANCE_KEY, *(MemorySigner(30 + n) for n in range(length - 1))]
    steps = [(AFTER + timedelta(hours=n), old, new) for n, (old, new) in enumerate(pairwise(keys))]
    pinned = keys[start % length]

    report = judged(rotated(a_read(), *steps, key=keys[-1]), trust=trusting(pinned))

    assert report.findings == ()
    assert report.claims.signer_path == tuple(key.key_id for key in keys[start % length :])


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=8), st.integers(0, 25))
def test_a_key_is_never_in_force_and_retired_and_before_its_enrolment_neither(
    events: list[tuple[int, bool]], moment: int
) -> None:
    made = [
        enrol("instance", Role.INSTANCE, SECOND_KEY, at=START + timedelta(minutes=at), revoked=revoked)
        for at, revoked in sorted(events)
    ]
    enrolled = enrolments(instance_chain(made))
    at = START + timedelta(minutes=moment)
    key = SECOND_KEY.key_id

    assert not (in_force(enrolled, Role.INSTANCE, key, at) and retired(enrolled, Role.INSTANCE, key, at))
    if not any(one.since <= at for one in enrolled):
        assert not in_force(enrolled, Role.INSTANCE, key, at)
        assert not retired(enrolled, Role.INSTANCE, key, at)
    assert not retired(enrolled, Role.APPROVER, key, at)
