"""Ed25519 verification (RFC 8032) in plain Python, for verifiers that carry nothing else.

It only ever handles public values, so it need not run in constant time. Rules are
the strict ones: S below the group order, canonical point encodings, no point of
small order, and the equation without cofactor, compared on the encoded R. So
there is one verdict for a signature, whichever library is asked.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Final, TypeAlias

from rexecop.proof.canonical import sha512
from rexecop.proof.errors import PublicKeyMalformed, SignatureMalformed, SignatureWrong

PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
POINTS_KEPT: Final = 256  # One key signs much of a bundle, and finding its point costs most of a check.

P: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P
_ROOT_OF_MINUS_ONE: Final = pow(2, (P - 1) // 4, P)
_Y_MASK: Final = 2**255 - 1
_BASE_Y: Final = 4 * pow(5, -1, P) % P
# The y of the two order-8 points above the equator; their mirror images have -y.
_Y_OF_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL_ORDER_Y: Final = frozenset({0, 1, P - 1, _Y_OF_ORDER_8, P - _Y_OF_ORDER_8})

Point: TypeAlias = tuple[int, int, int, int]
"""Extended coordinates (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z."""

_IDENTITY: Final[Point] = (0, 1, 1, 0)


def require_point(public: bytes) -> None:
    """Return only if `public` is a usable public key.

    Raises:
        PublicKeyMalformed: wrong length, not canonical, off the curve, or of small order.
    """
    if len(public) != PUBLIC_BYTES:
        raise PublicKeyMalformed(f"an Ed25519 key has {PUBLIC_BYTES} bytes, not {len(public)}")
    if _is_weak(public):
        raise PublicKeyMalformed("an Ed25519 key is not canonical or has small order")
    decompress(public)


def require_form(signature: bytes) -> None:
    """Return only if `signature` has the strict form; whether it is right is another question.

    Raises:
        SignatureMalformed: wrong length, S not reduced, R not canonical or of small order.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureMalformed(f"an Ed25519 signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    if int.from_bytes(signature[32:], "little") >= ORDER:
        raise SignatureMalformed("the scalar of an Ed25519 signature is not reduced")
    if _is_weak(signature[:32]):
        raise SignatureMalformed("the point of an Ed25519 signature is not canonical or has small order")


def verify(public: bytes, message: bytes, signature: bytes) -> None:
    """Return only if `signature` over `message` is by the key `public`.

    Raises:
        PublicKeyMalformed, SignatureMalformed: see `require_point` and `require_form`.
        SignatureWrong: the key did not sign `message`.
    """
    require_point(public)
    require_form(signature)
    x, y, z, t = decompress(public)
    scalar = int.from_bytes(signature[32:], "little")
    challenge = int.from_bytes(sha512(signature[:32] + public + message), "little") % ORDER
    found = _double_multiply(scalar, challenge, (P - x, y, z, P - t))
    if compress(found) != signature[:32]:
        raise SignatureWrong("the key did not sign these bytes")


@lru_cache(maxsize=POINTS_KEPT)
def decompress(encoded: bytes) -> Point:
    """Return the point that `encoded` names.

    Raises:
        PublicKeyMalformed: not the canonical encoding of a point of the curve.
    """
    number = int.from_bytes(encoded, "little")
    y, sign = number & _Y_MASK, number >> 255
    if y >= P:
        raise PublicKeyMalformed("an Ed25519 point is not canonical")
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * _ROOT_OF_MINUS_ONE % P
    if v * x * x % P != u or (x == 0 and sign):
        raise PublicKeyMalformed("an Ed25519 point is not on the curve")
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def compress(point: Point) -> bytes:
    """Return the canonical encoding of `point`."""
    x, y, z, _ = point
    inverse = pow(z, -1, P)
    return (y * inverse % P | (x * inverse % P & 1) << 255).to_bytes(32, "little")


def add(left: Point, right: Point) -> Point:
    """Return the sum of two points."""
    x1, y1, z1, t1 = left
    x2, y2, z2, t2 = right
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = 2 * t1 * t2 * D % P
    d = 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def double(point: Point) -> Point:
    """Return twice the point."""
    x, y, z, _ = point
    a, b = x * x % P, y * y % P
    h = a + b
    e = h - (x + y) ** 2
    g = a - b
    f = 2 * z * z + g
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def _is_weak(encoded: bytes) -> bool:
    y = int.from_bytes(encoded, "little") & _Y_MASK
    return y >= P or y in SMALL_ORDER_Y


def _multiples(point: Point) -> tuple[Point, ...]:
    found = [_IDENTITY]
    for _ in range(15):
        found.append(add(found[-1], point))
    return tuple(found)


@cache
def _base_multiples() -> tuple[Point, ...]:
    return _multiples(decompress(_BASE_Y.to_bytes(32, "little")))


def _double_multiply(scalar: int, other_scalar: int, other: Point) -> Point:
    """Return scalar * base + other_scalar * other, four bits of both at a time."""
    base_table, other_table = _base_multiples(), _multiples(other)
    found = _IDENTITY
    for shift in range(252, -1, -4):
        found = double(double(double(double(found))))
        found = add(found, base_table[scalar >> shift & 15])
        found = add(found, other_table[other_scalar >> shift & 15])
    return found
