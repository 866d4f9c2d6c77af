"""Certificates of time stamp authorities (RFC 5280): read, and followed to one that is trusted.

Only what a time stamp needs is understood. A certificate with a critical extension
beyond that is refused, and so is every algorithm but RSA PKCS#1 v1.5 and ECDSA.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.proof import der, ecdsa, rsa
from rexecop.proof.base64text import decode_base64
from rexecop.proof.canonical import hash_bytes
from rexecop.proof.der import Element
from rexecop.proof.errors import (
    DerMalformed,
    ProofError,
    SignatureUnsupported,
    StampUntrusted,
    StampWrong,
)

CHAIN_MAX: Final = 5  # Certificates from an authority's own to a trusted one, both counted.
PEM_CERTIFICATES_MAX: Final = 16  # An authority with roots and intermediates of a decade has fewer.
NAME_SHOWN_MAX: Final = 64

RSA_KEY: Final = "1.2.840.113549.1.1.1"
EC_KEY: Final = "1.2.840.10045.2.1"
TIME_STAMPING: Final = "1.3.6.1.5.5.7.3.8"
_HASH_NAMES: Final = ("sha256", "sha384", "sha512")
HASHES: Final = {f"2.16.840.1.101.3.4.2.{n}": name for n, name in enumerate(_HASH_NAMES, 1)}
# What signs, and over which hash; an algorithm named by its key alone leaves the hash to be said elsewhere.
SIGNATURES: Final[Mapping[str, tuple[str, str | None]]] = {
    RSA_KEY: (RSA_KEY, None),
    **{f"1.2.840.113549.1.1.{n}": (RSA_KEY, name) for n, name in enumerate(_HASH_NAMES, 11)},
    **{f"1.2.840.10045.4.3.{n}": (EC_KEY, name) for n, name in enumerate(_HASH_NAMES, 2)},
}
CURVES: Final = {"1.2.840.10045.3.1.7": "nistp256", "1.3.132.0.34": "nistp384", "1.3.132.0.35": "nistp521"}

_KEY_USAGE: Final = "2.5.29.15"
_BASIC_CONSTRAINTS: Final = "2.5.29.19"
_EXTENDED_USAGE: Final = "2.5.29.37"
_ANY_USAGE: Final = "2.5.29.37.0"
_UNDERSTOOD: Final = frozenset({_KEY_USAGE, _BASIC_CONSTRAINTS, _EXTENDED_USAGE})
_COMMON_NAME: Final = "2.5.4.3"
_SIGNING: Final = 0xC0  # digitalSignature, nonRepudiation
_CERTIFYING: Final = 0x04  # keyCertSign
_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]*)-----END CERTIFICATE-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says; nothing vouches for it before it was followed to a trusted one.

    `key` is its SubjectPublicKeyInfo, `body` what its issuer signed, `extensions` are
    (critical, value) by identifier. `serial` and `issuer` are as they are written.
    """

    whole: bytes
    serial: bytes
    issuer: bytes
    subject: Element
    not_before: datetime
    not_after: datetime
    key: Element
    extensions: Mapping[str, tuple[bool, bytes]]
    body: bytes
    algorithm: str
    signature: bytes

    @property
    def name(self) -> str:
        """The common name of its subject, for people; it is only what the certificate says."""
        for group in der.elements(self.subject.body):
            for part in der.elements(group.body):
                fields = part.fields()
                if der.oid(fields.take(der.OID)) == _COMMON_NAME:
                    text = fields.next().body.decode("utf-8", "replace")[:NAME_SHOWN_MAX]
                    return "".join(letter if letter.isprintable() else "?" for letter in text)
        return "an authority without a name"

    def usages(self) -> tuple[bool, tuple[str, ...]] | None:
        """Return the extended key usages and whether they are critical; None where any use is meant."""
        critical, value = self.extensions.get(_EXTENDED_USAGE, (False, b""))
        if not value:
            return None
        return critical, tuple(der.oid(one) for one in der.elements(der.parse(value).body))

    def may(self, uses: int) -> bool:
        """Return whether its key usage, where it has one, allows one of `uses`."""
        _, value = self.extensions.get(_KEY_USAGE, (False, b""))
        return not value or bool((der.bits(der.parse(value, der.BIT_STRING)) + b"\0")[0] & uses)

    def valid_at(self, moment: datetime) -> bool:
        """Return whether its time holds `moment`."""
        return self.not_before <= moment <= self.not_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate a verifier trusts for time stamps, under the name it has for it."""

    name: str
    certificate: Certificate


def parse_pem(text: str) -> tuple[Certificate, ...]:
    """Return the certificates of the PEM blocks in `text`; what stands between is for people.

    Raises:
        DerMalformed: no block, one that holds no certificate, or more than `PEM_CERTIFICATES_MAX`.
        SignatureUnsupported: see `parse`.
    """
    blocks = _PEM.findall(text.replace("\r\n", "\n"))
    if not 0 < len(blocks) <= PEM_CERTIFICATES_MAX or len(blocks) != text.count("BEGIN CERTIFICATE"):
        raise DerMalformed(f"not 1 to {PEM_CERTIFICATES_MAX} well-formed PEM certificates")
    try:
        return tuple(parse(decode_base64(block.replace("\n", ""))) for block in blocks)
    except ValueError as error:
        raise DerMalformed(f"a PEM certificate cannot be read: {error}") from error


def parse(data: bytes) -> Certificate:
    """Return the X.509 certificate, version 3, that `data` is.

    Raises:
        DerMalformed: it is none.
        SignatureUnsupported: it has a critical extension that is not understood here.
    """
    outer = der.parse(data).fields()
    inner = outer.take(der.SEQUENCE)
    stated = outer.take(der.SEQUENCE)
    signature = der.bits(outer.take(der.BIT_STRING))
    outer.end()
    fields = inner.fields()
    if fields.take(der.tagged(0)).body != b"\x02\x01\x02":
        raise DerMalformed("a certificate is not of version 3")
    serial = fields.take(der.INTEGER).whole
    if fields.take(der.SEQUENCE).whole != stated.whole:
        raise DerMalformed("a certificate names two algorithms for its signature")
    issuer = fields.take(der.SEQUENCE).whole
    times = fields.take(der.SEQUENCE).fields()
    not_before, not_after = der.moment(times.next()), der.moment(times.next())
    times.end()
    subject, key = fields.take(der.SEQUENCE), fields.take(der.SEQUENCE)
    for number in (1, 2):
        fields.optional(der.tagged(number, constructed=False))
    listed = fields.optional(der.tagged(3))
    fields.end()
    found = Certificate(
        whole=data,
        serial=serial,
        issuer=issuer,
        subject=subject,
        not_before=not_before,
        not_after=not_after,
        key=key,
        extensions={} if listed is None else extensions(der.parse(listed.body), _UNDERSTOOD),
        body=inner.whole,
        algorithm=algorithm(stated),
        signature=signature,
    )
    # Read once here, so that nothing of it can fail later.
    found.name, found.usages(), found.may(0), _depth_below(found)
    return found


def algorithm(element: Element) -> str:
    """Return the identifier of an AlgorithmIdentifier; DerMalformed when it is none.

    Parameters are left alone: those supported here have none that say anything.
    """
    return der.oid(element.fields().take(der.OID))


def extensions(listed: Element, understood: Iterable[str]) -> dict[str, tuple[bool, bytes]]:
    """Return the extensions of a certificate or time stamp as (critical, value) by identifier.

    Raises:
        DerMalformed: they cannot be read, or one stands there twice.
        SignatureUnsupported: one is critical and not `understood`.
    """
    found: dict[str, tuple[bool, bytes]] = {}
    for element in der.elements(listed.body):
        fields = element.fields()
        name, stated = der.oid(fields.take(der.OID)), fields.optional(der.BOOLEAN)
        critical = stated is not None and der.boolean(stated)
        value = fields.take(der.OCTET_STRING).body
        fields.end()
        if name in found:
            raise DerMalformed(f"extension `{name}` stands there twice")
        if critical and name not in understood:
            raise SignatureUnsupported(f"critical extension `{name}` is not understood here")
        found[name] = (critical, value)
    return found


def check_signature(
    key: Element, named: str, hash_name: str | None, message: bytes, signature: bytes
) -> None:
    """Return only if `key` (a SubjectPublicKeyInfo) signed `message` by the algorithm `named`.

    `hash_name` is the hash where something beside the signature names it.

    Raises:
        SignatureUnsupported: algorithm, hash or curve is not one of those checked here.
        DerMalformed, PublicKeyMalformed, SignatureMalformed: key or signature cannot be read.
        SignatureWrong: the key did not sign `message`.
    """
    of_key, over = SIGNATURES.get(named, ("", None))
    fields = key.fields()
    about, value = fields.take(der.SEQUENCE).fields(), der.bits(fields.take(der.BIT_STRING))
    fields.end()
    kind = der.oid(about.take(der.OID))
    hash_used = over or hash_name
    if kind != of_key or hash_used is None or hash_name not in (None, hash_used):
        text = f"signature algorithm `{named}` with a key of `{kind}` cannot be checked here"
        raise SignatureUnsupported(text, algorithm=named)
    if kind == RSA_KEY:
        numbers = der.parse(value).fields()
        modulus, exponent = (der.integer(numbers.take(der.INTEGER)) for _ in range(2))
        numbers.end()
        rsa.verify(modulus, exponent, hash_used, message, signature)
        return
    curve = CURVES.get(der.oid(about.take(der.OID)))
    if curve is None:
        raise SignatureUnsupported("the curve of a key is none that can be checked here")
    pair = der.parse(signature).fields()
    r, s = (der.integer(pair.take(der.INTEGER)) for _ in range(2))
    pair.end()
    ecdsa.verify(curve, value, hash_bytes(hash_used, message), r, s)


def require_stamps(certificate: Certificate, at: datetime) -> None:
    """Return only if `certificate` is one for time stamps and for nothing else, valid `at` that moment.

    Raises:
        StampWrong: it is not.
    """
    if certificate.usages() != (True, (TIME_STAMPING,)) or not certificate.may(_SIGNING):
        raise StampWrong(f"the certificate of `{certificate.name}` is not one for time stamps alone")
    if not certificate.valid_at(at):
        raise StampWrong(f"the certificate of `{certificate.name}` was not valid at that time")


def follow(
    leaf: Certificate, others: Sequence[Certificate], trusted: Sequence[Authority], at: datetime
) -> Authority:
    """Return the trusted authority that `leaf` leads to, over `others` where it takes that.

    Raises:
        StampUntrusted: it leads to none within `CHAIN_MAX` certificates that were valid `at` that moment.
    """
    ways, pool = [(leaf, 0)], list(others)
    while ways:
        current, below = ways.pop()
        for authority in trusted:
            if authority.certificate.whole == current.whole:
                return authority
        if below + 1 < CHAIN_MAX:
            known = (*pool, *(authority.certificate for authority in trusted))
            issuers = [one for one in known if _issued(current, one, below, at)]
            # Each is gone through once, so that neither a ring nor a crowd of them costs more.
            pool = [one for one in pool if one not in issuers]
            ways += [(one, below + 1) for one in issuers]
    raise StampUntrusted(
        f"the certificate of `{leaf.name}` leads to none that is trusted for time stamps", authority=leaf.name
    )


def _issued(certificate: Certificate, issuer: Certificate, below: int, at: datetime) -> bool:
    """Return whether `issuer` may issue `certificate`, above `below` other authorities, and did."""
    if issuer.subject.whole != certificate.issuer or not issuer.valid_at(at) or not issuer.may(_CERTIFYING):
        return False
    usages, depth = issuer.usages(), _depth_below(issuer)
    if depth is None or below > depth or (usages and not {TIME_STAMPING, _ANY_USAGE} & set(usages[1])):
        return False
    try:
        check_signature(issuer.key, certificate.algorithm, None, certificate.body, certificate.signature)
    except ProofError:
        return False
    return True


def _depth_below(certificate: Certificate) -> int | None:
    """Return how many authorities may stand below this one; None where it is no authority."""
    _, value = certificate.extensions.get(_BASIC_CONSTRAINTS, (False, b"\x30\x00"))
    fields = der.parse(value).fields()
    stated, depth = fields.optional(der.BOOLEAN), fields.optional(der.INTEGER)
    fields.end()
    if stated is None or not der.boolean(stated):
        return None
    return CHAIN_MAX if depth is None else der.integer(depth)
