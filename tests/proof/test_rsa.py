"""Our RSA verifier, against NIST's vectors and another implementation."""

from __future__ import annotations

from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric import rsa as library
from hypothesis import given
from hypothesis import strategies as st

from conformance.signers import rsa_private
from rexecop.proof import rsa
from rexecop.proof.canonical import hash_bytes
from rexecop.proof.errors import (
    ProofError,
    PublicKeyMalformed,
    SignatureMalformed,
    SignatureUnsupported,
    SignatureWrong,
)
from tests.proof.vectors import responses

HASHES: Final = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
CASES: Final = [
    (fields["SHAAlg"].lower(), fields) for _, fields in responses("RSA/FIPS_186-2/SigVer15_186-3.rsp")
]
KEY: Final = rsa_private(2048)
N: Final = KEY.public_key().public_numbers().n
PREFIX: Final = bytes.fromhex("3031300d060960864801650304020105000420")

hash_names = st.sampled_from(sorted(HASHES))


def test_the_published_cases_are_all_there() -> None:
    assert len(CASES) == 5 * 5 * 18
    assert {fields["Result"][0] for _, fields in CASES} == {"P", "F"}


@pytest.mark.parametrize(("hash_name", "fields"), CASES, ids=range(len(CASES)))
def test_each_published_case_has_its_published_result(hash_name: str, fields: dict[str, str]) -> None:
    n, e = int(fields["n"], 16), int(fields["e"], 16)
    expected: type[ProofError] | None = None
    if n.bit_length() < rsa.MODULUS_BITS_MIN:
        expected = PublicKeyMalformed
    elif hash_name not in HASHES:
        expected = SignatureUnsupported
    elif fields["Result"].startswith("F"):
        expected = SignatureWrong
    signature = bytes.fromhex(fields["S"]).rjust((n.bit_length() + 7) // 8, b"\0")

    if expected is None:
        rsa.verify(n, e, hash_name, bytes.fromhex(fields["Msg"]), signature)
    else:
        with pytest.raises(ProofError) as caught:
            rsa.verify(n, e, hash_name, bytes.fromhex(fields["Msg"]), signature)
        # A changed exponent may make the key one we would not take at all.
        assert isinstance(caught.value, expected | PublicKeyMalformed | SignatureMalformed)


def we_say(n: int, e: int, name: str, message: bytes, signature: bytes) -> bool:
    try:
        rsa.verify(n, e, name, message, signature)
    except (SignatureWrong, SignatureMalformed):
        return False
    return True


def library_says(n: int, e: int, name: str, message: bytes, signature: bytes) -> bool:
    key = library.RSAPublicNumbers(e, n).public_key()
    try:
        key.verify(signature, message, padding.PKCS1v15(), HASHES[name])
    except InvalidSignature:
        return False
    return True


@given(st.sampled_from([2048, 3072]), hash_names, hash_names, st.binary(max_size=99), st.data())
def test_a_signature_and_every_change_of_it_has_the_verdict_of_another_implementation(
    bits: int, name: str, other: str, message: bytes, data: st.DataObject
) -> None:
    key = rsa_private(bits)
    n = key.public_key().public_numbers().n
    good = key.sign(message, padding.PKCS1v15(), HASHES[name])
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(bad) - 1))] ^= data.draw(st.integers(1, 255))

    rsa.verify(n, 65537, name, message, good)
    for attempt in (
        (name, message, bytes(bad)),
        (name, message + b"!", good),
        (other, message, good),
        (name, message, good[1:]),
        (name, message, b"\0" + good),
        (name, message, bytes(len(good))),
    ):
        assert we_say(n, 65537, *attempt) is library_says(n, 65537, *attempt)


def forged(block: bytes) -> bytes:
    """Sign a padded block as it stands, with the private key: what a lenient check is fooled by."""
    numbers = KEY.private_numbers()
    return pow(int.from_bytes(block, "big"), numbers.d, N).to_bytes(256, "big")


NO_NULL: Final = bytes.fromhex("302f300b06096086480165030402010420")
DIGEST: Final = hash_bytes("sha256", b"yes")
WHOLE: Final = b"\0\1" + b"\xff" * (256 - 3 - 51) + b"\0" + PREFIX + DIGEST


def test_the_block_the_bad_ones_are_made_from_is_right() -> None:
    rsa.verify(N, 65537, "sha256", b"yes", forged(WHOLE))


@pytest.mark.parametrize(
    "block",
    [
        WHOLE[:2] + b"\xff" * 8 + WHOLE[-52:] + bytes(256 - 2 - 8 - 52),
        WHOLE[:2] + b"\xff" * 8 + WHOLE[-52:] + b"\xff" * (256 - 2 - 8 - 52),
        WHOLE.replace(b"\0\1\xff", b"\0\2\xff"),
        WHOLE.replace(b"\xff\xff\0", b"\xff\xfe\0"),
        # Without the NULL of the algorithm, which some checks let through.
        b"\0\1" + b"\xff" * (256 - 3 - 49) + b"\0" + NO_NULL + DIGEST,
        # The length in the long form of BER.
        b"\0\1" + b"\xff" * (256 - 3 - 52) + b"\0" + b"\x30\x81" + PREFIX[1:] + DIGEST,
        b"\0\1" + b"\xff" * (256 - 3 - 32) + b"\0" + DIGEST,
    ],
    ids=["rest behind", "rest of ff", "type 2", "gap", "no null", "long form", "bare digest"],
)  # fmt: skip
def test_a_block_that_is_not_exactly_the_one_is_wrong_even_by_the_right_key(block: bytes) -> None:
    assert len(block) == 256
    with pytest.raises(SignatureWrong):
        rsa.verify(N, 65537, "sha256", b"yes", forged(block))


def test_a_signature_is_as_long_as_its_key_and_below_it() -> None:
    good = KEY.sign(b"yes", padding.PKCS1v15(), hashes.SHA256())
    above = int.from_bytes(good, "big") + N

    for attempt in (b"", good[:-1], b"\0" + good, good + b"\0", N.to_bytes(256, "big"), b"\xff" * 256):
        with pytest.raises(SignatureMalformed):
            rsa.verify(N, 65537, "sha256", b"yes", attempt)
    if above < 2**2048:
        with pytest.raises(SignatureMalformed):
            rsa.verify(N, 65537, "sha256", b"yes", above.to_bytes(256, "big"))


@pytest.mark.parametrize(
    ("modulus", "exponent"),
    [
        (2**2046 + 1, 65537),
        (2**16384 + 1, 65537),
        (2**2047, 65537),
        (-N, 65537),
        (0, 65537),
        (N, 1),
        (N, 0),
        (N, -3),
        (N, 2),
        (N, 65536),
        (N, 2**32 + 1),
    ],
    ids=range(11),
)
def test_a_key_too_weak_or_too_costly_is_malformed(modulus: int, exponent: int) -> None:
    with pytest.raises(PublicKeyMalformed):
        rsa.verify(modulus, exponent, "sha256", b"yes", bytes(256))


def test_the_smallest_exponent_is_taken() -> None:
    key = library.generate_private_key(3, 2048)
    signature = key.sign(b"yes", padding.PKCS1v15(), hashes.SHA512())

    rsa.verify(key.public_key().public_numbers().n, 3, "sha512", b"yes", signature)


@pytest.mark.parametrize("name", ["sha1", "md5", "SHA256", ""])
def test_another_hash_is_unsupported(name: str) -> None:
    with pytest.raises(SignatureUnsupported):
        rsa.verify(N, 65537, name, b"yes", bytes(256))


@given(st.integers(), st.integers(), hash_names, st.binary(max_size=300))
def test_anything_at_all_ends_in_an_error_of_ours(n: int, e: int, name: str, signature: bytes) -> None:
    for modulus in (n, N):
        with pytest.raises(ProofError):
            rsa.verify(modulus, e, name, b"yes", signature)
