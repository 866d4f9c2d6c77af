"""Time stamps in bundles: a trusted authority makes a claim, a wrong stamp a fault, any other is named."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import pytest

from conformance.succession import AFTER, SECOND_KEY, rotated, trusting
from conformance.worlds import (
    INSTANCE_KEY,
    START,
    TRUSTED,
    WITNESS_KEY,
    Made,
    a_change,
    a_read,
    codes,
    cut,
    judged,
)
from rexecop.proof import note
from rexecop.proof.container import pack, unpack
from rexecop.proof.errors import TrustFileMalformed
from rexecop.proof.verify import Report, Rung, TrustedKeys, parse_trust
from tests.proof.authority import IS_AUTHORITY, STAMPS, Holder, certify, info, new_key, token

YEARS: Final = timedelta(days=3 * 365)
ROOT: Final = certify("the root", IS_AUTHORITY, begins=-YEARS, lasts=2 * YEARS)
CLOCK: Final = certify("the clock", STAMPS, by=ROOT, key=new_key("p256", 1), begins=-YEARS, lasts=2 * YEARS)
LATER: Final = START + timedelta(days=1)


def text_of(made: Made) -> bytes:
    return note.parse(made.contents.checkpoint).text.encode()


def stamped(made: Made, *stamps: bytes) -> Made:
    return replace(made, contents=replace(made.contents, stamps=stamps))


def stamp(made: Made, at: datetime = LATER, signer: Holder = CLOCK, message: bytes | None = None) -> bytes:
    return token(info(text_of(made) if message is None else message, at=at), signer)


def trusting_tsa(**files: Holder) -> TrustedKeys:
    found = parse_trust({f"tsa-{name}.pem": holder.pem for name, holder in files.items()})
    return replace(TRUSTED, authorities=found.authorities)


def seen(made: Made, **files: Holder) -> Report:
    return judged(made, trust=trusting_tsa(**files or {"house": ROOT}))


def unchecked(report: Report) -> dict[str, str]:
    return {skipped.what: skipped.why for skipped in report.not_checked}


def test_a_good_stamp_is_a_claim_with_the_name_the_verifier_gave_its_authority() -> None:
    made = cut(a_change())
    report = seen(stamped(made, stamp(made), stamp(made, at=LATER - timedelta(hours=1))))

    assert report.findings == () and report.holds(Rung.LOGGED)
    assert [(one.authority, one.at) for one in report.claims.stamped] == [
        ("house", LATER - timedelta(hours=1)),
        ("house", LATER),
    ]
    assert "whether certificates of time stamp authorities were revoked" in unchecked(report)


def test_a_stamp_says_nothing_about_who_signed_the_checkpoint_and_lifts_no_rung() -> None:
    made = stamped(cut(a_change()), stamp(cut(a_change())))

    report = judged(made, trust=replace(trusting_tsa(house=ROOT), keys=()))

    assert report.claims.stamped and report.answer() == "not verified: no trusted key"
    assert report.rungs == (Rung.CONSISTENT,)


def test_a_stamp_by_an_authority_nobody_here_trusts_is_named_and_not_checked() -> None:
    made = stamped(cut(a_change()), stamp(cut(a_change())))

    for report in (judged(made), seen(made, house=certify("the root", IS_AUTHORITY, key=new_key("p256", 3)))):
        assert report.findings == () and report.claims.stamped == ()
        ((what, why),) = [(w, y) for w, y in unchecked(report).items() if w.startswith("time stamp `")]
        assert "2026-03-02T09:00:00.000Z" in what and "the clock" in why


def test_a_stamp_survives_cosignatures_and_a_new_signature_by_a_new_key() -> None:
    made = rotated(a_change(), (AFTER, INSTANCE_KEY, SECOND_KEY), key=SECOND_KEY)
    mine = stamp(made)
    found = note.parse(made.contents.checkpoint)
    more = (
        note.cosign(found.text, "witness.example", WITNESS_KEY, at_seconds=1_772_000_000),
        note.sign(found.text, "elsewhere", WITNESS_KEY),
    )
    grown = replace(found, signatures=(*found.signatures, *more)).encode()
    both = stamped(replace(made, contents=replace(made.contents, checkpoint=grown)), mine)

    trust = replace(trusting(INSTANCE_KEY), authorities=trusting_tsa(house=ROOT).authorities)
    assert judged(both, trust=trust).claims.stamped == judged(stamped(made, mine), trust=trust).claims.stamped
    assert judged(both, trust=trust).claims.stamped


@pytest.mark.parametrize("trust", [True, False], ids=["trusted", "untrusted"])
def test_a_stamp_of_something_else_is_a_fault_whoever_made_it(trust: bool) -> None:
    made, other = cut(a_change()), cut(a_read())
    for wrong in (stamp(other), stamp(made, message=made.contents.checkpoint), stamp(made)[:-1], b"\x00"):
        report = seen(stamped(made, stamp(made), wrong)) if trust else judged(stamped(made, wrong))
        assert codes(report) == {"E04o"}


def test_a_record_dated_after_the_stamp_that_covers_it_is_a_fault() -> None:
    made = cut(a_change())
    newest = START + timedelta(hours=1, seconds=2)

    for at in (START, newest - timedelta(seconds=8)):
        report = seen(stamped(made, stamp(made, at=at)))
        assert codes(report) == {"E04o"} and report.claims.stamped == ()
    assert seen(stamped(made, stamp(made, at=newest))).findings == ()


def test_a_stamp_by_what_cannot_be_checked_here_is_named_and_never_passed() -> None:
    made = cut(a_change())
    by_pss = token(info(text_of(made), at=LATER), CLOCK, algorithm="rsa_pss")

    report = seen(stamped(made, by_pss))

    assert report.findings == () and report.claims.stamped == ()
    assert any("cannot be checked here" in why for why in unchecked(report).values())


def test_a_bundle_holds_eight_stamps_each_under_its_own_digest() -> None:
    made = cut(a_read())
    eight = [stamp(made, at=LATER + timedelta(seconds=n)) for n in range(8)]
    one_more = stamp(made, at=LATER - timedelta(seconds=1))

    assert len(seen(stamped(made, *eight)).claims.stamped) == 8
    assert "E01d" in codes(seen(stamped(made, *eight, one_more)))
    members = dict(unpack(stamped(made, one_more).bundle()).members)
    (name,) = [member for member in members if member.startswith("stamps/")]
    members[name.replace(name[7:9], "00" if name[7:9] != "00" else "11", 1)] = members.pop(name)
    assert "E01d" in codes(judged(replace_bundle(pack(members))))


def replace_bundle(data: bytes) -> Made:
    class Raw(Made):
        def bundle(self) -> bytes:
            return data

    made = cut(a_read())
    return Raw(contents=made.contents, log=made.log, held=made.held)


def test_a_trust_folder_names_time_stamp_authorities_by_file_name() -> None:
    files = {
        "tsa.pem": ROOT.pem,
        "tsa-eu.pem": b"first\n" + CLOCK.pem + b"second\n" + ROOT.pem,
        "tsa/far away.pem": CLOCK.pem,
        "other.pem": b"left alone",
        "instance.pub": INSTANCE_KEY.public.line.encode(),
    }

    found = parse_trust(files)

    assert [(one.name, one.certificate.name) for one in found.authorities] == [
        ("eu", "the clock"),
        ("eu", "the root"),
        ("tsa", "the root"),
        ("far away", "the clock"),
    ]
    assert [key.name for key in found.keys] == ["instance"]
    for wrong in (b"", b"no certificate", ROOT.pem[:-40], b"\xff", ROOT.pem * 200):
        with pytest.raises(TrustFileMalformed):
            parse_trust({"tsa.pem": wrong})
