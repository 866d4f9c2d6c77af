"""Our Ed25519 verifier, against RFC 8032's vectors and another implementation."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof import ed25519
from rexecop.proof.canonical import sha512
from rexecop.proof.errors import (
    PublicKeyMalformed,
    SignatureError,
    SignatureMalformed,
    SignatureWrong,
)

# RFC 8032 section 7.1: public key, message, signature.
VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        b"",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        bytes.fromhex("72"),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        bytes.fromhex("af82"),
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        sha512(b"abc"),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
        "3dca179c138ac17ad9bef1177331a704",
    ),
]
# Every encoding of a point of small order, canonical or not.
SMALL_ORDER = [
    (y + sign * 2**255).to_bytes(32, "little")
    for y in (*ed25519.SMALL_ORDER_Y, ed25519.P, ed25519.P + 1)
    for sign in (0, 1)
]

seeds = st.binary(min_size=32, max_size=32)
messages = st.binary(max_size=200)


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_the_published_signatures_verify(public: str, message: bytes, signature: str) -> None:
    ed25519.verify(bytes.fromhex(public), message, bytes.fromhex(signature))


@given(seeds, messages)
def test_what_another_implementation_signs_verifies(seed: bytes, message: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)

    ed25519.verify(private.public_key().public_bytes_raw(), message, private.sign(message))


@given(seeds, messages, st.integers(0, 511))
def test_a_signature_with_one_bit_flipped_refuses(seed: bytes, message: bytes, bit: int) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    flipped = int.from_bytes(private.sign(message), "little") ^ 1 << bit

    with pytest.raises((SignatureWrong, SignatureMalformed)):
        ed25519.verify(private.public_key().public_bytes_raw(), message, flipped.to_bytes(64, "little"))


@given(seeds, messages)
def test_another_message_or_another_key_refuses(seed: bytes, message: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    other = Ed25519PrivateKey.from_private_bytes(sha512(seed)[:32])
    signature = private.sign(message)

    with pytest.raises(SignatureWrong):
        ed25519.verify(private.public_key().public_bytes_raw(), message + b"\n", signature)
    with pytest.raises(SignatureWrong):
        ed25519.verify(other.public_key().public_bytes_raw(), message, signature)


@given(st.binary(min_size=32, max_size=32))
def test_any_bytes_that_we_take_for_a_key_the_other_implementation_takes_too(public: bytes) -> None:
    signature = Ed25519PrivateKey.from_private_bytes(public).sign(b"")
    try:
        ed25519.verify(public, b"", signature)
    except SignatureError:
        with pytest.raises(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(public).verify(signature, b"")


def test_a_scalar_that_is_not_reduced_refuses() -> None:
    public, message, signature = VECTORS[1]
    encoded = bytes.fromhex(signature)
    scalar = int.from_bytes(encoded[32:], "little") + ed25519.ORDER

    with pytest.raises(SignatureMalformed):
        ed25519.verify(bytes.fromhex(public), message, encoded[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("point", SMALL_ORDER, ids=bytes.hex)
def test_no_key_and_no_signature_has_a_point_of_small_order(point: bytes) -> None:
    public, message, _ = VECTORS[1]

    with pytest.raises(PublicKeyMalformed):
        ed25519.verify(point, message, bytes.fromhex(VECTORS[1][2]))
    with pytest.raises(SignatureMalformed):
        ed25519.verify(bytes.fromhex(public), message, point + bytes(32))


def test_the_points_listed_as_small_are_all_of_order_eight_or_less() -> None:
    for y in ed25519.SMALL_ORDER_Y:
        point = ed25519.decompress(y.to_bytes(32, "little"))
        for _ in range(3):
            point = ed25519.double(point)
        assert ed25519.compress(point) == (1).to_bytes(32, "little")


@given(st.integers(0, 18))
def test_a_key_that_is_not_canonical_refuses(excess: int) -> None:
    with pytest.raises(PublicKeyMalformed):
        ed25519.require_point((ed25519.P + excess).to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_or_signature_of_another_length_is_malformed(length: int) -> None:
    public, message, signature = VECTORS[0]

    with pytest.raises(PublicKeyMalformed):
        ed25519.verify(bytes(length), message, bytes.fromhex(signature))
    with pytest.raises(SignatureMalformed):
        ed25519.verify(bytes.fromhex(public), message, bytes(length - 1 if length == 64 else length))


def test_a_key_off_the_curve_is_malformed() -> None:
    with pytest.raises(PublicKeyMalformed):
        ed25519.require_point((2).to_bytes(32, "little"))
