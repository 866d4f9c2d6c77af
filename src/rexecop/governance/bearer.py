"""Tokens that an identity provider signed (JWT, RFC 7519, 8725): read strictly, judged by its keys.

Which algorithm counts is for the key to say and never for the token: a token names a key, and is
checked as that key is used. None and those with a shared secret are in no table.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, TypeAlias

from rexecop.governance.errors import BearerRefused
from rexecop.proof import ecdsa, ed25519, library, rsa
from rexecop.proof.errors import ProofError
from rexecop.proof.payload import Value, parse_payload

TOKEN_BYTES_MAX: Final = 16 * 1024  # Of providers that list hundreds of groups.
KEYS_BYTES_MAX: Final = 256 * 1024
KEYS_MAX: Final = 64  # A provider has two or three, while one takes the place of another.
LEEWAY_SECONDS: Final = 30  # So far the provider's clock may be off ours.
LIFETIME_SECONDS_MAX: Final = 24 * 3600  # Whom the provider let go is not heard of here before it ends.
TYPES: Final = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
_PART: Final = re.compile(r"[A-Za-z0-9_-]+")
_KID_LENGTH_MAX: Final = 256
_CURVE: Final = "nistp256"

Check: TypeAlias = Callable[[bytes, bytes], None]
Keys: TypeAlias = Mapping[tuple[str, str], Check]
"""What checks a signature over a message, by the id of the key and the algorithm it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """A token as it came, nothing of it believed: `signed` is what `signature` is over."""

    algorithm: str
    kid: str
    claims: Mapping[str, Value]
    signed: bytes
    signature: bytes


def read_bearer(token: str) -> Bearer:
    """Return what `token` says; whether that is so is another question.

    Raises:
        BearerRefused: it is no signed token, or asks to be read in another way.
    """
    parts = token.split(".") if len(token) <= TOKEN_BYTES_MAX else []
    if len(parts) != 3 or not all(map(_PART.fullmatch, parts)):
        raise BearerRefused("it is not three parts of base64url")
    header, claims = _object(parts[0]), _object(parts[1])
    algorithm, kid, kind = (header.get(name) for name in ("alg", "kid", "typ"))
    if not isinstance(kid, str) or not 0 < len(kid) <= _KID_LENGTH_MAX:
        raise BearerRefused("it names no key")
    if not isinstance(algorithm, str) or "crit" in header:
        raise BearerRefused("its header asks for what is not done here")
    if kind is not None and not (isinstance(kind, str) and kind.lower() in TYPES):
        raise BearerRefused("it is a token for something else")
    return Bearer(
        algorithm=algorithm,
        kid=kid,
        claims=claims,
        signed=f"{parts[0]}.{parts[1]}".encode(),
        signature=_bytes(parts[2]),
    )


def require_signed(bearer: Bearer, keys: Keys) -> None:
    """Return only if one of `keys` signed it, in the way that this key is for.

    Raises:
        BearerRefused: none did.
    """
    check = keys.get((bearer.kid, bearer.algorithm))
    if check is None:
        raise BearerRefused("the issuer has no such key for such an algorithm")
    try:
        check(bearer.signed, bearer.signature)
    except (ProofError, ValueError) as error:
        raise BearerRefused("the key did not sign it") from error


def require_good(bearer: Bearer, *, issuer: str, audiences: Collection[str], now: datetime) -> None:
    """Return only if it says that it is by `issuer`, for one of `audiences`, and good at `now`.

    Raises:
        BearerRefused: it does not.
    """
    claims = bearer.claims
    if claims.get("iss") != issuer:
        raise BearerRefused("another issuer made it")
    meant = claims.get("aud")
    if not any(one in audiences for one in (meant if isinstance(meant, list) else [meant])):
        raise BearerRefused("it is for another audience")
    issued, ends, moment = _time(claims, "iat"), _time(claims, "exp"), now.timestamp()
    begins = _time(claims, "nbf") if "nbf" in claims else issued
    if moment >= ends + LEEWAY_SECONDS:
        raise BearerRefused("it has expired")
    if max(issued, begins) > moment + LEEWAY_SECONDS:
        raise BearerRefused("it is not good yet")
    if ends - issued > LIFETIME_SECONDS_MAX:
        raise BearerRefused(f"it is good for longer than {LIFETIME_SECONDS_MAX // 3600} h")


def read_keys(data: bytes) -> Keys:
    """Return the keys of a set (JWKS, RFC 7517) that tokens are signed with here; others are left out.

    Raises:
        BearerRefused: it is no set of keys.
    """
    try:
        value = parse_payload(data, bytes_max=KEYS_BYTES_MAX)
    except ProofError as error:
        raise BearerRefused(f"no set of keys: {error.message}") from error
    listed = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(listed, list) or len(listed) > KEYS_MAX:
        raise BearerRefused(f"no set of at most {KEYS_MAX} keys")
    found: dict[tuple[str, str], Check] = {}
    for one in listed:
        made = _key(one) if isinstance(one, dict) else None
        if made is not None:
            found.setdefault(*made)
    return found


def _key(found: Mapping[str, Value]) -> tuple[tuple[str, str], Check] | None:
    """Return a key by its id and algorithm, None where nothing is checked with it here."""
    kid, kind, curve = found.get("kid"), found.get("kty"), found.get("crv")
    if not isinstance(kid, str) or found.get("use", "sig") != "sig":
        return None
    check: Check
    try:
        if kind == "RSA":
            algorithm, modulus, exponent = "RS256", _number(found, "n"), _number(found, "e")
            rsa.require_key(modulus, exponent)
            check = partial(library.verify_rsa, modulus, exponent, "sha256")
        elif kind == "EC" and curve == "P-256":
            algorithm, point = "ES256", b"\x04" + _bytes(found.get("x")) + _bytes(found.get("y"))
            ecdsa.require_point(_CURVE, point)
            check = partial(_verify_es256, point)
        elif kind == "OKP" and curve == "Ed25519":
            algorithm, public = "EdDSA", _bytes(found.get("x"))
            ed25519.require_point(public)
            check = partial(library.verify_ed25519, public)
        else:
            return None
    except (ProofError, BearerRefused, ValueError):
        return None
    return ((kid, algorithm), check) if found.get("alg", algorithm) == algorithm else None


def _verify_es256(point: bytes, message: bytes, signature: bytes) -> None:
    if len(signature) != 64:
        raise ValueError("an ES256 signature has 64 bytes")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    library.verify_ecdsa(_CURVE, point, message, r, s)


def _object(part: str) -> Mapping[str, Value]:
    try:
        found = parse_payload(_bytes(part), bytes_max=TOKEN_BYTES_MAX)
    except ProofError as error:
        raise BearerRefused("a part of it is no JSON") from error
    if not isinstance(found, dict):
        raise BearerRefused("a part of it is no object")
    return found


def _bytes(text: Value) -> bytes:
    """Return what base64url without padding stands for; another spelling of the same is none."""
    try:
        if not isinstance(text, str):
            raise ValueError
        data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise BearerRefused("a part of it is not base64url") from error
    return data


def _number(found: Mapping[str, Value], name: str) -> int:
    return int.from_bytes(_bytes(found.get(name)))


def _time(claims: Mapping[str, Value], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BearerRefused(f"`{name}` is no time")
    return value
