"""Time stamps: what a real authority answers is believed under its root, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof import der, stamp
from rexecop.proof.canonical import sha256
from rexecop.proof.errors import (
    DerMalformed,
    ProofError,
    SignatureUnsupported,
    SignatureWrong,
    StampUntrusted,
    StampWrong,
)
from rexecop.proof.x509 import parse, parse_pem
from tests.needs import needs
from tests.proof import authority as tsa
from tests.proof.authority import IS_AUTHORITY, NOW, STAMPS, Holder, certify, new_key, usage

MESSAGE: Final = b"rexecop/inst_demo/1\n38\nUJbUENbf2TNDatwCP+FhXk81m0nYAokO2ghHpZBB06Y=\n"
ROOT: Final = certify("the root", IS_AUTHORITY, usage("key_cert_sign", "crl_sign"))
SIGNER: Final = certify("the clock", STAMPS, usage("digital_signature"), by=ROOT, key=new_key("p256", 1))
STRANGER: Final = certify("the root", IS_AUTHORITY, key=new_key("p256", 2))
GOOD: Final = tsa.token(tsa.info(MESSAGE), SIGNER)
TRUSTED: Final = (ROOT.trusted(),)


def verified(data: bytes, *trusted: Holder, message: bytes = MESSAGE) -> str:
    return stamp.verify(stamp.decode(data), message, [one.trusted() for one in trusted or (ROOT,)]).name


# --- real answers ---


@needs("openssl")
@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "p521"])
def test_a_real_answer_by_any_of_these_keys_and_hashes_is_believed(kind: str, digest: str) -> None:
    root = certify("r", IS_AUTHORITY, key=new_key(kind, 1), digest=digest)
    signer = certify("s", STAMPS, by=root, key=new_key(kind, 2), digest=digest)

    data = tsa.answer(MESSAGE, signer, root, digest=digest, hash_name=digest)
    found = stamp.decode(data)

    assert verified(data, root) == "house"
    assert found.hash_name == digest and abs(found.at - NOW) < timedelta(hours=1)
    assert tsa.approved(data, MESSAGE, root)
    with pytest.raises(StampUntrusted):
        verified(data, STRANGER)


@needs("openssl")
def test_an_answer_is_believed_under_its_root_an_intermediate_or_its_own_certificate() -> None:
    between = certify("between", IS_AUTHORITY, by=ROOT, key=new_key("rsa2048", 3))
    signer = certify("deep", STAMPS, by=between, key=new_key("p384", 3))
    data = tsa.answer(MESSAGE, signer, between)

    assert [verified(data, one) for one in (ROOT, between, signer)] == ["house"] * 3
    # Where the intermediate is not sent along, whoever trusts the root cannot get there.
    short = tsa.answer(MESSAGE, signer)
    assert verified(short, between) == verified(short, ROOT, between) == "house"
    with pytest.raises(StampUntrusted):
        verified(short, ROOT)


@needs("openssl")
@pytest.mark.parametrize("ess", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize("certificates", [True, False])
@pytest.mark.parametrize("bare", [True, False])
def test_an_answer_may_be_a_bare_token_without_certificates_and_name_its_own_by_any_hash(
    ess: str, certificates: bool, bare: bool
) -> None:
    data = tsa.answer(MESSAGE, SIGNER, ess=ess, certificates=certificates, token=bare)

    assert verified(data, SIGNER) == "house"
    if certificates:
        assert verified(data) == "house"
    else:
        with pytest.raises(StampUntrusted):
            verified(data)


@needs("openssl")
@given(nonce=st.integers(0, 2**128 - 1))
def test_what_we_ask_is_what_an_authority_reads(nonce: int) -> None:
    if nonce % 16:  # One process for each is enough for some.
        assert der.parse(stamp.request(sha256(MESSAGE), nonce)).whole
        return
    found = stamp.decode(tsa.answer(b"", SIGNER, query=stamp.request(sha256(MESSAGE), nonce)))

    assert (found.nonce, found.hash_name, found.imprint) == (nonce, "sha256", sha256(MESSAGE))
    assert found.certificates


@needs("openssl")
def test_an_expired_certificate_stamps_nothing_and_openssl_agrees() -> None:
    expired = certify("old", STAMPS, by=ROOT, begins=timedelta(days=-60), key=new_key("p256", 4))
    data = tsa.answer(MESSAGE, expired)

    with pytest.raises(StampWrong, match="not valid at that time"):
        verified(data)
    assert not tsa.approved(data, MESSAGE, ROOT)


# --- what is refused, and how ---


def test_the_hand_made_stamp_is_good_before_it_is_spoilt() -> None:
    assert verified(GOOD) == "house"
    assert verified(tsa.sequence(tsa.sequence(b"\x02\x01\x00"), GOOD)) == "house"
    assert verified(tsa.sequence(tsa.sequence(b"\x02\x01\x01"), GOOD)) == "house"


def test_a_stamp_is_of_one_message() -> None:
    for other in (MESSAGE[:-1], MESSAGE + b"\n", b""):
        with pytest.raises(StampWrong, match="something else"):
            verified(GOOD, message=other)


CONTENT: Final = tsa.info(MESSAGE)
SIGNED: Final = tsa.attributes(CONTENT, SIGNER)
OTHER: Final = certify("the clock", STAMPS, by=ROOT, key=new_key("p256", 5))

WRONG: Final[dict[str, tuple[type[ProofError], Callable[[], bytes]]]] = {
    "a refusal": (StampWrong, lambda: tsa.sequence(tsa.sequence(b"\x02\x01\x02"))),
    "a refusal with a token": (StampWrong, lambda: tsa.sequence(tsa.sequence(b"\x02\x01\x02"), GOOD)),
    "other content": (StampWrong, lambda: tsa.token(tsa.info(MESSAGE, b"\x01\x01\xff"), SIGNER, SIGNED)),
    "another type signed": (
        StampWrong,
        lambda: tsa.token(CONTENT, SIGNER, tsa.attributes(CONTENT, SIGNER, kind="data")),
    ),
    "another type of content": (DerMalformed, lambda: tsa.token(CONTENT, SIGNER, kind="data")),
    "no digest signed": (StampWrong, lambda: tsa.token(CONTENT, SIGNER, [SIGNED[0], SIGNED[2]])),
    "no type signed": (StampWrong, lambda: tsa.token(CONTENT, SIGNER, SIGNED[1:])),
    "no certificate signed": (StampWrong, lambda: tsa.token(CONTENT, SIGNER, SIGNED[:2])),
    "an attribute twice": (DerMalformed, lambda: tsa.token(CONTENT, SIGNER, [*SIGNED, SIGNED[0]])),
    "an attribute with two values": (
        DerMalformed,
        lambda: tsa.token(
            CONTENT, SIGNER, [tsa.attribute("content_type", *[tsa.oid("tst_info")] * 2), *SIGNED[1:]]
        ),
    ),
    "attributes out of order": (
        DerMalformed,
        lambda: tsa.token(CONTENT, SIGNER, sorted(SIGNED, reverse=True), order=False),
    ),
    "two signers": (StampWrong, lambda: tsa.token(CONTENT, SIGNER, signers=2)),
    "no signer": (StampWrong, lambda: tsa.token(CONTENT, SIGNER, signers=0)),
    "names two certificates": (
        StampWrong,
        lambda: tsa.token(CONTENT, SIGNER, certificates=[SIGNER.der, OTHER.der], names=OTHER),
    ),
    "by another key": (SignatureWrong, lambda: tsa.token(CONTENT, replace(SIGNER, key=new_key("p256", 6)))),
    "names a certificate that is not there": (
        StampUntrusted,
        lambda: tsa.token(CONTENT, SIGNER, tsa.attributes(CONTENT, OTHER)),
    ),
    "stamped by SHA-1": (
        SignatureUnsupported,
        lambda: tsa.token(tsa.info(MESSAGE, hash_name="sha1"), SIGNER),
    ),
    "by RSA-PSS": (SignatureUnsupported, lambda: tsa.token(CONTENT, SIGNER, algorithm="rsa_pss")),
    "with a critical extension": (
        SignatureUnsupported,
        lambda: _extended(tsa.sequence(tsa.oid("policy"), b"\x01\x01\xff", b"\x04\x00")),
    ),
    "of version 2": (DerMalformed, lambda: tsa.token(tsa.info(MESSAGE, version=2), SIGNER)),
    "without a body": (DerMalformed, lambda: b"\x30\x00"),
    "nothing": (DerMalformed, lambda: b""),
    "longer than any": (DerMalformed, lambda: der.encode(der.SEQUENCE, bytes(70_000))),
}


def _extended(extension: bytes) -> bytes:
    return tsa.token(tsa.info(MESSAGE, der.encode(der.tagged(1), extension)), SIGNER)


@pytest.mark.parametrize("name", WRONG)
def test_a_stamp_that_is_wrong_is_refused_by_its_own_name(name: str) -> None:
    error, make = WRONG[name]

    with pytest.raises(ProofError) as refused:
        verified(make())
    assert type(refused.value) is error, refused.value


def test_what_else_a_stamp_may_say_changes_nothing() -> None:
    accuracy = tsa.sequence(b"\x02\x01\x01", b"\x80\x01\x05")
    name = der.encode(der.tagged(0), b"\xa4\x00")
    said = tsa.token(tsa.info(MESSAGE, accuracy, b"\x01\x01\xff", b"\x02\x01\x09", name), SIGNER)

    assert verified(said) == "house" and stamp.decode(said).nonce == 9
    assert verified(_extended(tsa.sequence(tsa.oid("policy"), b"\x04\x00"))) == "house"


# --- certificates ---

SERVERS: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
BOTH: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING])
OTHERWISE: Final = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.6"), b"\x05\x00")
UNHEARD: Final = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")

OF_NO_CLOCK: Final[dict[str, list[tsa.Extension]]] = {
    "for servers": [(SERVERS, True)],
    "for anything": [],
    "not critical": [(STAMPS[0], False)],
    "for more than stamps": [(BOTH, True)],
    "not for signatures": [STAMPS, usage("key_agreement")],
}


@pytest.mark.parametrize("name", OF_NO_CLOCK)
def test_a_certificate_that_is_not_for_time_stamps_alone_stamps_nothing(name: str) -> None:
    signer = certify("c", *OF_NO_CLOCK[name], by=ROOT, key=new_key("p256", 7))
    data = tsa.token(CONTENT, signer)

    for trusted in (ROOT, signer):
        with pytest.raises(StampWrong, match="not one for time stamps alone"):
            verified(data, trusted)


def test_a_certificate_with_what_nobody_here_understands_is_not_used() -> None:
    strange = certify("c", STAMPS, (UNHEARD, True), by=ROOT, key=new_key("p256", 7))
    plain = certify("c", STAMPS, (UNHEARD, False), by=ROOT, key=new_key("p256", 7))

    assert verified(tsa.token(CONTENT, plain)) == "house"
    with pytest.raises(SignatureUnsupported):
        parse(strange.der)
    with pytest.raises(StampUntrusted):
        verified(tsa.token(CONTENT, strange, names=plain))


def rewritten(holder: Holder, old: bytes, new: bytes) -> bytes:
    """The certificate with `old` in its body made `new`, of the same length."""
    assert len(old) == len(new) and holder.der.count(old) >= 1
    return holder.der.replace(old, new, 1)


def test_a_certificate_that_says_one_thing_twice_is_refused() -> None:
    both = certify("c", STAMPS, (UNHEARD, False), (OTHERWISE, False), by=ROOT, key=new_key("p256", 7))
    algorithm = tsa.oid("ecdsa_sha256")

    assert parse(both.der).name == "c"
    with pytest.raises(DerMalformed, match="twice"):
        parse(rewritten(both, bytes.fromhex("06042a030406"), bytes.fromhex("06042a030405")))
    with pytest.raises(DerMalformed, match="two algorithms"):
        parse(rewritten(both, algorithm, algorithm[:-1] + b"\x03"))


DAY: Final = timedelta(days=1)
NOT_ISSUING: Final[dict[str, Callable[[], Holder]]] = {
    "no authority": lambda: certify("between", by=ROOT),
    "said to be none": lambda: certify("between", (x509.BasicConstraints(False, None), True), by=ROOT),
    "not for certificates": lambda: certify("between", IS_AUTHORITY, usage("crl_sign"), by=ROOT),
    "for servers": lambda: certify("between", IS_AUTHORITY, (SERVERS, False), by=ROOT),
    "over": lambda: certify("between", IS_AUTHORITY, by=ROOT, begins=-60 * DAY),
    "not begun": lambda: certify("between", IS_AUTHORITY, by=ROOT, begins=DAY),
    "of a stranger": lambda: certify("between", IS_AUTHORITY, by=STRANGER),
    "under another name": lambda: certify("elsewhere", IS_AUTHORITY, by=ROOT),
}


@pytest.mark.parametrize("name", NOT_ISSUING)
def test_a_chain_over_a_certificate_that_may_not_issue_leads_nowhere(name: str) -> None:
    between = NOT_ISSUING[name]()
    signer = certify("leaf", STAMPS, by=between, issuer="between", key=new_key("p256", 8))
    data = tsa.token(CONTENT, signer, certificates=[signer.der, between.der])
    good = certify("between", IS_AUTHORITY, (STAMPS[0], False), by=ROOT)
    fine = certify("leaf", STAMPS, by=good, key=new_key("p256", 8))

    with pytest.raises(StampUntrusted):
        verified(data)
    assert verified(tsa.token(CONTENT, fine, certificates=[fine.der, between.der, good.der])) == "house"


def chained(length: int, path_length: int | None = None) -> tuple[Holder, list[Holder]]:
    """A root and the certificates below it, `length` in all, the last one for stamps."""
    limited = (x509.BasicConstraints(ca=True, path_length=path_length), True)
    chain = [certify("c0", limited, key=new_key("p256", 10))]
    for n in range(1, length - 1):
        chain.append(certify(f"c{n}", IS_AUTHORITY, by=chain[-1], key=new_key("p256", 10 + n)))
    chain.append(certify("last", STAMPS, by=chain[-1], key=new_key("p256", 20)))
    return chain[0], chain[1:]


@pytest.mark.parametrize("length", range(2, 8))
@pytest.mark.parametrize("path_length", [None, 0, 1, 3])
def test_a_chain_is_followed_as_far_as_its_root_allows_and_five_at_most(
    length: int, path_length: int | None
) -> None:
    root, below = chained(length, path_length)
    data = tsa.token(CONTENT, below[-1], certificates=[one.der for one in reversed(below)])

    if length <= 5 and (path_length is None or length - 2 <= path_length):
        assert verified(data, root) == "house"
    else:
        with pytest.raises(StampUntrusted):
            verified(data, root)


def test_a_ring_of_certificates_is_walked_once() -> None:
    one = certify("one", IS_AUTHORITY, key=new_key("p256", 21))
    other = certify("other", IS_AUTHORITY, by=one, key=new_key("p256", 22))
    back = certify("one", IS_AUTHORITY, by=other, key=new_key("p256", 21))
    signer = certify("leaf", STAMPS, by=back, key=new_key("p256", 23))

    with pytest.raises(StampUntrusted):
        verified(tsa.token(CONTENT, signer, certificates=[h.der for h in (signer, back, other, one)]))


def test_certificates_are_read_from_pem_with_words_between() -> None:
    text = f"The root\n{ROOT.pem.decode()}\nand the clock:\r\n{SIGNER.pem.decode()}"

    assert [one.name for one in parse_pem(text)] == ["the root", "the clock"]
    for wrong in ("", "no block", ROOT.pem.decode()[:-30], text.replace("MI", "M!", 1), text * 9):
        with pytest.raises(DerMalformed):
            parse_pem(wrong)


@pytest.mark.parametrize("holder", [ROOT, SIGNER, STRANGER], ids=["root", "clock", "stranger"])
def test_a_certificate_says_here_what_it_says_to_another_library(holder: Holder) -> None:
    ours, theirs = holder.certificate, holder.made

    assert (ours.issuer, ours.subject.whole) == (theirs.issuer.public_bytes(), theirs.subject.public_bytes())
    assert (ours.not_before, ours.not_after) == (theirs.not_valid_before_utc, theirs.not_valid_after_utc)
    assert der.integer(der.parse(ours.serial, der.INTEGER)) == theirs.serial_number
    assert (ours.body, ours.signature) == (theirs.tbs_certificate_bytes, theirs.signature)
    assert ours.algorithm == theirs.signature_algorithm_oid.dotted_string


# --- anything else ---


@given(st.data())
def test_no_byte_of_a_stamp_can_be_changed_unseen_except_what_nobody_signed(data: st.DataObject) -> None:
    changed = bytearray(GOOD)
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    try:
        found = stamp.decode(bytes(changed))
        stamp.verify(found, MESSAGE, TRUSTED)
    except ProofError:
        return
    whole = stamp.decode(GOOD)
    assert (found.content, found.at, found.certificates) == (whole.content, whole.at, whole.certificates)


@given(st.data())
def test_any_bytes_are_a_stamp_or_an_error_of_ours(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, len(GOOD)))
    put = data.draw(st.binary(max_size=30))
    for found in (GOOD[:start] + put + GOOD[end:], put, b"\x30\x80" + put):
        try:
            stamp.verify(stamp.decode(found), MESSAGE, TRUSTED)
        except ProofError:
            continue
