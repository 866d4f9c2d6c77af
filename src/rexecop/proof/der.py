"""DER, the one encoding of ASN.1 that signatures are made over: read strictly, and no deeper than asked.

Lengths are definite and minimal, tags are single bytes, and a value holds nothing
beside what is read from it. Nothing here descends by itself: whoever reads a structure
opens each level, so its schema bounds the depth, and `BYTES_MAX` the size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rexecop.proof.errors import DerMalformed

BYTES_MAX: Final = 64 * 1024  # A time stamp with a chain of five RSA certificates takes under 16 KiB.
OID_BYTES_MAX: Final = 64  # The longest in use has half of that.

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

_CENTURY_TURN: Final = "50"  # UTCTime has two digits of the year: from 50 on it is 19xx (RFC 5280).
_TIME: Final = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d*[1-9]))?Z", re.ASCII)


def tagged(number: int, *, constructed: bool = True) -> int:
    """Return the tag `[number]` of a structure's own fields."""
    return (0xA0 if constructed else 0x80) | number


@dataclass(frozen=True, slots=True)
class Element:
    """One value: `body` is what it holds, `whole` is how it was written."""

    tag: int
    body: bytes
    whole: bytes

    def fields(self) -> Fields:
        """Return what this structure holds, to be read in order."""
        return Fields(elements(self.body))


class Fields:
    """The fields of a structure, taken one by one."""

    def __init__(self, found: tuple[Element, ...]) -> None:
        self._found = found
        self._at = 0

    def next(self) -> Element:
        """Return the next field, whatever its tag.

        Raises:
            DerMalformed: nothing is left.
        """
        if self._at == len(self._found):
            raise DerMalformed("a structure lacks a field")
        self._at += 1
        return self._found[self._at - 1]

    def take(self, tag: int) -> Element:
        """Return the next field, which has `tag`.

        Raises:
            DerMalformed: it has another, or nothing is left.
        """
        found = self.next()
        if found.tag != tag:
            raise DerMalformed(f"a field has tag 0x{found.tag:02x}, not 0x{tag:02x}")
        return found

    def optional(self, tag: int) -> Element | None:
        """Return the next field if it has `tag`, else nothing."""
        there = self._at < len(self._found) and self._found[self._at].tag == tag
        return self.next() if there else None

    def end(self) -> None:
        """Return only if nothing is left.

        Raises:
            DerMalformed: something is.
        """
        if self._at < len(self._found):
            raise DerMalformed("a structure has a field too many")


def parse(data: bytes, tag: int = SEQUENCE) -> Element:
    """Return the one value that `data` is.

    Raises:
        DerMalformed: it is none, has another tag, or more than `BYTES_MAX` bytes.
    """
    if len(data) > BYTES_MAX:
        raise DerMalformed(f"{len(data)} bytes, at most {BYTES_MAX} are read", limit=BYTES_MAX)
    fields = Fields(elements(data))
    found = fields.take(tag)
    fields.end()
    return found


def elements(data: bytes) -> tuple[Element, ...]:
    """Return the values that stand in `data` one after the other.

    Raises:
        DerMalformed: one is cut off, of indefinite length, or not minimally written.
    """
    found: list[Element] = []
    at = 0
    while at < len(data):
        if len(data) - at < 2 or data[at] & 0x1F == 0x1F:
            raise DerMalformed("a value is cut off, or its tag is longer than a byte")
        start, length = at + 2, data[at + 1]
        if length >= 0x80:
            start += length & 0x7F
            size = data[at + 2 : start]
            length = int.from_bytes(size, "big")
            if not 0 < len(size) <= 4 or size[0] == 0 or length < 0x80:
                raise DerMalformed("a length is indefinite or not minimally written")
        end = start + length
        if end > len(data):
            raise DerMalformed("a value is longer than what holds it")
        found.append(Element(data[at], data[start:end], data[at:end]))
        at = end
    return tuple(found)


def integer(element: Element) -> int:
    """Return the number that an INTEGER is; DerMalformed when it is not minimally written."""
    body = element.body
    padded = len(body) > 1 and (body[0], body[1] >> 7) in ((0x00, 0), (0xFF, 1))
    if element.tag != INTEGER or not body or padded:
        raise DerMalformed("an integer is not minimally written")
    return int.from_bytes(body, "big", signed=True)


def boolean(element: Element) -> bool:
    """Return what a BOOLEAN says; DerMalformed when it is neither 0x00 nor 0xff."""
    if element.tag != BOOLEAN or element.body not in (b"\x00", b"\xff"):
        raise DerMalformed("a truth value is neither 0x00 nor 0xff")
    return element.body == b"\xff"


def oid(element: Element) -> str:
    """Return an OBJECT IDENTIFIER with dots; DerMalformed when it is not minimally written."""
    body = element.body
    if element.tag != OID or not 0 < len(body) <= OID_BYTES_MAX or body[-1] & 0x80:
        raise DerMalformed("an object identifier is empty, too long or cut off")
    arcs: list[int] = []
    arc = 0
    for byte in body:
        if arc == 0 and byte == 0x80:
            raise DerMalformed("an object identifier is not minimally written")
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def bits(element: Element) -> bytes:
    """Return the bytes of a BIT STRING; DerMalformed when its unused bits are not zero."""
    body = element.body
    unused = body[0] if body else 8
    if (
        element.tag != BIT_STRING
        or unused > 7
        or (unused and (len(body) < 2 or body[-1] & (1 << unused) - 1))
    ):
        raise DerMalformed("a string of bits says wrongly how many are used")
    return body[1:]


def moment(element: Element) -> datetime:
    """Return the moment that a UTCTime or GeneralizedTime names, cut to microseconds.

    Raises:
        DerMalformed: it is written another way than DER writes it, or does not exist.
    """
    text = element.body.decode("ascii", "replace")
    if element.tag == UTC_TIME:
        text = ("20" if text < _CENTURY_TURN else "19") + text
    match = _TIME.fullmatch(text)
    if (
        match is None
        or element.tag not in (UTC_TIME, GENERALIZED_TIME)
        or (match[7] and element.tag == UTC_TIME)
    ):
        raise DerMalformed(f"time `{text[:32]!a}` is not like `20260131093000Z`")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    micro = int((match[7] or "")[:6].ljust(6, "0"))
    try:
        return datetime(year, month, day, hour, minute, second, micro, tzinfo=UTC)
    except ValueError as error:
        raise DerMalformed(f"time `{text}` does not exist: {error}") from error


def encode(tag: int, body: bytes) -> bytes:
    """Return the value `body` under `tag`, as it is written."""
    length = len(body)
    if length < 0x80:
        return bytes((tag, length)) + body
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + body
