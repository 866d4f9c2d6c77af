"""Our ECDSA verifier, against NIST's vectors and another implementation."""

from __future__ import annotations

import hashlib
from typing import Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from hypothesis import given
from hypothesis import strategies as st

from conformance.signers import CURVES, point_of
from rexecop.proof import ecdsa
from rexecop.proof.canonical import sha256
from rexecop.proof.errors import (
    ProofError,
    PublicKeyMalformed,
    SignatureMalformed,
    SignatureUnsupported,
    SignatureWrong,
)
from tests.proof.vectors import responses

NIST: Final = {"P-256": "nistp256", "P-384": "nistp384", "P-521": "nistp521"}
CASES: Final = [
    (NIST[section.split(",")[0]], section.split(",")[1].replace("-", "").lower(), fields)
    for section, fields in responses("ECDSA/FIPS_186-3/SigVer.rsp")
    if section.split(",")[0] in NIST
]
DIGEST_HASHES: Final = {32: hashes.SHA256(), 48: hashes.SHA384(), 64: hashes.SHA512()}

curves = st.sampled_from(sorted(CURVES))


def library_says(curve: str, point: bytes, digest: bytes, r: int, s: int) -> bool:
    key = ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve][0], point)
    try:
        key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(DIGEST_HASHES[len(digest)])))
    except InvalidSignature:
        return False
    return True


def we_say(curve: str, point: bytes, digest: bytes, r: int, s: int) -> bool:
    try:
        ecdsa.verify(curve, point, digest, r, s)
    except (SignatureWrong, SignatureMalformed):
        return False
    return True


def signed(curve: str, number: int, digest: bytes) -> tuple[bytes, int, int]:
    private = ec.derive_private_key(number, CURVES[curve][0])
    made = private.sign(digest, ec.ECDSA(Prehashed(DIGEST_HASHES[len(digest)]), deterministic_signing=True))
    return (point_of(private), *decode_dss_signature(made))


def test_the_published_cases_are_all_there() -> None:
    assert len(CASES) == 3 * 5 * 15
    assert {fields["Result"][0] for _, _, fields in CASES} == {"P", "F"}


@pytest.mark.parametrize(("curve", "hash_name", "fields"), CASES, ids=range(len(CASES)))
def test_each_published_case_has_its_published_result(
    curve: str, hash_name: str, fields: dict[str, str]
) -> None:
    size = ecdsa.CURVES[curve].coordinate_bytes
    x, y, r, s = (int(fields[name], 16) for name in ("Qx", "Qy", "R", "S"))
    point = b"\x04" + x.to_bytes(size, "big") + y.to_bytes(size, "big")
    digest = hashlib.new(hash_name, bytes.fromhex(fields["Msg"])).digest()

    if fields["Result"].startswith("P"):
        ecdsa.verify(curve, point, digest, r, s)
    else:
        with pytest.raises(ProofError):
            ecdsa.verify(curve, point, digest, r, s)


@given(curves, st.integers(1, 2**250), st.sampled_from([32, 48, 64]))
def test_a_signature_and_every_change_of_it_has_the_verdict_of_another_implementation(
    curve: str, number: int, size: int
) -> None:
    digest = hashlib.shake_256(str(number).encode()).digest(size)
    point, r, s = signed(curve, number, digest)
    order = ecdsa.CURVES[curve].order
    changed = bytes([digest[0] ^ 1, *digest[1:]])

    ecdsa.verify(curve, point, digest, r, s)
    # SSH has no rule about large s: its mirror image is as good.
    ecdsa.verify(curve, point, digest, r, order - s)
    for attempt in ((changed, r, s), (digest, s, r), (digest, r ^ 1, s), (digest, r, s ^ 2), (digest, r, 1)):
        assert we_say(curve, point, *attempt) is library_says(curve, point, *attempt)


@pytest.mark.parametrize("curve", sorted(CURVES))
@pytest.mark.parametrize("number", [1, 2, 3, -1, -2])
def test_keys_that_bring_the_sum_to_equal_or_opposite_points_get_the_right_verdict(
    curve: str, number: int
) -> None:
    """With the base point itself, or its mirror image, as the key, additions meet their special cases."""
    order = ecdsa.CURVES[curve].order
    for digest in (bytes(32), b"\xff" * 64, sha256(b"x"), (1).to_bytes(48, "big")):
        point, r, s = signed(curve, number % order, digest)
        ecdsa.verify(curve, point, digest, r, s)
        for one, two in ((r, s), (1, 1), (order - 1, 1), (r, order - 1), (2, r), (s, s)):
            assert we_say(curve, point, digest, one, two) is library_says(curve, point, digest, one, two)


@pytest.mark.parametrize("curve", sorted(CURVES))
def test_a_sum_that_vanishes_is_no_signature(curve: str) -> None:
    """u1·G + u2·Q is the point at infinity when the digest is minus r times the private key."""
    order, number, r = ecdsa.CURVES[curve].order, 5, 12345
    size = ecdsa.CURVES[curve].coordinate_bytes
    cut = 8 * size - order.bit_length()
    digest = (-r * number % order << cut).to_bytes(size, "big")
    point, _, _ = signed(curve, number, sha256(b"x"))

    with pytest.raises(SignatureWrong):
        ecdsa.verify(curve, point, digest, r, 1)


@pytest.mark.parametrize("curve", sorted(CURVES))
def test_numbers_outside_their_range_are_malformed(curve: str) -> None:
    digest, order = sha256(b"x"), ecdsa.CURVES[curve].order
    point, r, s = signed(curve, 9, digest)

    for one, two in ((0, s), (r, 0), (order, s), (r, order), (r + order, s), (r, s + order), (-r, s)):
        with pytest.raises(SignatureMalformed):
            ecdsa.verify(curve, point, digest, one, two)


@pytest.mark.parametrize("curve", sorted(CURVES))
def test_only_an_uncompressed_point_of_the_curve_is_a_key(curve: str) -> None:
    point, r, s = signed(curve, 9, sha256(b"x"))
    size, p = ecdsa.CURVES[curve].coordinate_bytes, ecdsa.CURVES[curve].p
    x, y = point[1 : 1 + size], int.from_bytes(point[1 + size :], "big")
    bad = [
        b"",
        b"\x00",
        point[:-1],
        point + b"\x00",
        bytes([2 + y % 2]) + x,
        b"\x06" + point[1:],
        b"\x04" + x + ((y + 1) % p).to_bytes(size, "big"),
        b"\x04" + bytes(2 * size),
        b"\x04" + p.to_bytes(size, "big") + point[1 + size :],
    ]
    for attempt in bad:
        with pytest.raises(PublicKeyMalformed):
            ecdsa.verify(curve, attempt, sha256(b"x"), r, s)


def test_a_point_written_with_a_coordinate_too_large_is_not_taken_for_the_one_it_equals() -> None:
    """P-521 has room for it: y plus p still fits its bytes, and is on the curve."""
    curve = "nistp521"
    point, r, s = signed(curve, 9, sha256(b"x"))
    size, p = ecdsa.CURVES[curve].coordinate_bytes, ecdsa.CURVES[curve].p
    y = int.from_bytes(point[1 + size :], "big") + p

    with pytest.raises(PublicKeyMalformed):
        ecdsa.verify(curve, point[: 1 + size] + y.to_bytes(size, "big"), sha256(b"x"), r, s)


def test_a_curve_nobody_named_is_unsupported() -> None:
    with pytest.raises(SignatureUnsupported):
        ecdsa.verify("nistk256", b"", b"", 1, 1)


@given(curves, st.binary(max_size=140), st.binary(max_size=80), st.integers(), st.integers())
def test_anything_at_all_ends_in_an_error_of_ours(
    curve: str, point: bytes, digest: bytes, r: int, s: int
) -> None:
    with pytest.raises(ProofError):
        ecdsa.verify(curve, point, digest, r, s)
