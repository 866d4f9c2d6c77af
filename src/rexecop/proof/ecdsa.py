"""ECDSA verification over P-256, P-384 and P-521 (FIPS 186-5) in plain Python.

It only ever handles public values, so it need not run in constant time. Points are
uncompressed and on the curve, r and s stand between 1 and the group order; a large s
is as good as a small one, since SSH asks for neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

from rexecop.proof.errors import (
    PublicKeyMalformed,
    SignatureMalformed,
    SignatureUnsupported,
    SignatureWrong,
)

Point: TypeAlias = tuple[int, int, int]
"""Jacobian coordinates (X, Y, Z) with x = X/Z², y = Y/Z³; the point at infinity has Z = 0."""

_INFINITY: Final[Point] = (1, 1, 0)
_UNCOMPRESSED: Final = 4  # First byte of a point written with both coordinates (SEC 1, 2.3.3).


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """y² = x³ - 3x + `b` over the integers mod `p`, with a base point of prime `order`."""

    p: int
    b: int
    order: int
    base: tuple[int, int]

    @property
    def coordinate_bytes(self) -> int:
        """How many bytes a coordinate is written in."""
        return (self.p.bit_length() + 7) // 8


# FIPS 186-4, D.1.2; the names are those of SSH (RFC 5656).
CURVES: Final[Mapping[str, Curve]] = {
    "nistp256": Curve(
        p=2**256 - 2**224 + 2**192 + 2**96 - 1,
        b=0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        order=0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        base=(
            0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
            0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        ),
    ),
    "nistp384": Curve(
        p=2**384 - 2**128 - 2**96 + 2**32 - 1,
        b=0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        order=0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        base=(
            0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
            0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
        ),
    ),
    "nistp521": Curve(
        p=2**521 - 1,
        b=int(
            "0051953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef1"
            "09e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00",
            16,
        ),
        order=int(
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa"
            "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
            16,
        ),
        base=(
            int(
                "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3d"
                "baa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
                16,
            ),
            int(
                "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e66"
                "2c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
                16,
            ),
        ),
    ),
}


def curve_of(name: str) -> Curve:
    """Return the curve that SSH calls `name`.

    Raises:
        SignatureUnsupported: it is not one of `CURVES`.
    """
    if name not in CURVES:
        allowed = ", ".join(CURVES)
        raise SignatureUnsupported(f"curve `{name[:32]!a}` is not one of `{allowed}`", allowed=allowed)
    return CURVES[name]


def require_point(curve: str, point: bytes) -> tuple[int, int]:
    """Return the coordinates of the public key `point`.

    Raises:
        PublicKeyMalformed: not uncompressed, of another length, or off the curve.
        SignatureUnsupported: an unknown curve.
    """
    found = curve_of(curve)
    size = found.coordinate_bytes
    if len(point) != 1 + 2 * size or point[0] != _UNCOMPRESSED:
        raise PublicKeyMalformed(f"a key on `{curve}` is not an uncompressed point of {1 + 2 * size} bytes")
    x, y = int.from_bytes(point[1 : 1 + size], "big"), int.from_bytes(point[1 + size :], "big")
    if x >= found.p or y >= found.p or (y * y - (x * x - 3) * x - found.b) % found.p:
        raise PublicKeyMalformed(f"a key on `{curve}` is not a point of the curve")
    return x, y


def require_form(curve: str, r: int, s: int) -> None:
    """Return only if `r` and `s` are numbers a signature may have.

    Raises:
        SignatureMalformed: one of them is not between 1 and the group order.
        SignatureUnsupported: an unknown curve.
    """
    order = curve_of(curve).order
    if not (0 < r < order and 0 < s < order):
        raise SignatureMalformed("a number of an ECDSA signature is out of range")


def verify(curve: str, point: bytes, digest: bytes, r: int, s: int) -> None:
    """Return only if (`r`, `s`) signs what hashes to `digest`, by the key `point`.

    A digest longer than the group order is cut here, as the standard says.

    Raises:
        PublicKeyMalformed, SignatureMalformed, SignatureUnsupported: see `require_point`, `require_form`.
        SignatureWrong: the key did not sign it.
    """
    x, y = require_point(curve, point)
    require_form(curve, r, s)
    found = CURVES[curve]
    number = int.from_bytes(digest, "big") >> max(0, 8 * len(digest) - found.order.bit_length())
    inverse = pow(s, -1, found.order)
    one, two = number * inverse % found.order, r * inverse % found.order
    sum_x, _, sum_z = _double_multiply(found, one, two, (x, y, 1))
    if sum_z == 0 or sum_x * pow(sum_z, -2, found.p) % found.p % found.order != r:
        raise SignatureWrong("the key did not sign these bytes")


def _double(point: Point, p: int) -> Point:
    x, y, z = point
    delta, gamma = z * z % p, y * y % p
    beta, alpha = x * gamma % p, 3 * (x - delta) * (x + delta) % p
    new_x = (alpha * alpha - 8 * beta) % p
    return (new_x, (alpha * (4 * beta - new_x) - 8 * gamma * gamma) % p, 2 * y * z % p)


def _add(left: Point, right: Point, p: int) -> Point:
    (x1, y1, z1), (x2, y2, z2) = left, right
    if z1 == 0 or z2 == 0:
        return right if z1 == 0 else left
    square1, square2 = z1 * z1 % p, z2 * z2 % p
    u1, s1 = x1 * square2 % p, y1 * z2 * square2 % p
    h, d = (x2 * square1 - u1) % p, (y2 * z1 * square1 - s1) % p
    if h == 0:
        return _double(left, p) if d == 0 else _INFINITY
    h2 = h * h % p
    h3, v = h * h2 % p, u1 * h2 % p
    x3 = (d * d - h3 - 2 * v) % p
    return (x3, (d * (v - x3) - s1 * h3) % p, h * z1 * z2 % p)


def _multiples(point: Point, p: int) -> tuple[Point, ...]:
    found = [_INFINITY]
    for _ in range(15):
        found.append(_add(found[-1], point, p))
    return tuple(found)


@cache
def _base_multiples(curve: Curve) -> tuple[Point, ...]:
    return _multiples((*curve.base, 1), curve.p)


def _double_multiply(curve: Curve, scalar: int, other_scalar: int, other: Point) -> Point:
    """Return scalar * base + other_scalar * other, four bits of both at a time."""
    p, base_table, other_table = curve.p, _base_multiples(curve), _multiples(other, curve.p)
    found = _INFINITY
    for shift in range((curve.order.bit_length() - 1) // 4 * 4, -1, -4):
        found = _double(_double(_double(_double(found, p), p), p), p)
        found = _add(found, base_table[scalar >> shift & 15], p)
        found = _add(found, other_table[other_scalar >> shift & 15], p)
    return found
