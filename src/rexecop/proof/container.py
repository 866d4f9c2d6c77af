"""The container of a bundle: a zip whose bytes follow from its members, and from nothing else.

Members are stored, sorted by name and dated 1980-01-01; there are no extra fields,
comments, flags or attributes. Any zip tool opens it. One set of members has one
spelling, so reading ends by writing the members again and comparing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rexecop.proof.errors import ContainerMalformed

CONTAINER_BYTES_MAX: Final = 256 * 1024 * 1024  # Read whole into memory; a bundle of outputs stays far below.
MEMBERS_MAX: Final = 20_000  # Zip without extensions counts to 65,535; readers elsewhere stop earlier.
NAME_BYTES_MAX: Final = 160  # A role, a folder and a digest.

_VERSION: Final = 20
_DATE: Final = 0x21  # 1980-01-01, the zero of the format.
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")
_END: Final = struct.Struct("<4s4H2IH")
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_CENTRAL_MAGIC: Final = b"PK\x01\x02"
_END_MAGIC: Final = b"PK\x05\x06"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """The members of a container. `damaged` names those whose checksum does not fit.

    `exact` says that writing the members again yields the very same bytes.
    """

    members: Mapping[str, bytes]
    damaged: tuple[str, ...]
    exact: bool


def pack(members: Mapping[str, bytes]) -> bytes:
    """Return the container of `members`.

    Raises:
        ContainerMalformed: a name or number that the container cannot hold.
    """
    return b"".join(_parts(members))


def _parts(members: Mapping[str, bytes]) -> tuple[bytes, ...]:
    """Return what the container of `members` is made of; no member is copied."""
    if len(members) > MEMBERS_MAX:
        raise ContainerMalformed(f"{len(members)} members, at most {MEMBERS_MAX} fit", limit=MEMBERS_MAX)
    body: list[bytes] = []
    directory: list[bytes] = []
    offset = 0
    for name in sorted(members):
        data = members[name]
        if not name.isascii() or not 0 < len(name) <= NAME_BYTES_MAX or min(name) <= " ":
            raise ContainerMalformed(f"`{name[:64]!a}` cannot name a member", member=name[:64])
        encoded = name.encode("ascii")
        crc, size = zlib.crc32(data), len(data)
        common = (_VERSION, 0, 0, 0, _DATE, crc, size, size, len(encoded), 0)
        body += (_LOCAL.pack(_LOCAL_MAGIC, *common), encoded, data)
        directory += (_CENTRAL.pack(_CENTRAL_MAGIC, _VERSION, *common, 0, 0, 0, 0, offset), encoded)
        offset += _LOCAL.size + len(encoded) + size
        if offset > CONTAINER_BYTES_MAX:
            raise ContainerMalformed(f"more than {CONTAINER_BYTES_MAX} bytes of members")
    listing = b"".join(directory)
    count = len(members)
    end = _END.pack(_END_MAGIC, 0, 0, count, count, len(listing), offset, 0)
    return (*body, listing, end)


def unpack(data: bytes) -> Unpacked:
    """Return the members of the container `data`, read in order from its first byte.

    Raises:
        ContainerMalformed: `data` is not a container within limits, or repeats a name.
    """
    if len(data) > CONTAINER_BYTES_MAX:
        raise ContainerMalformed(f"{len(data)} bytes, at most {CONTAINER_BYTES_MAX} are read")
    members: dict[str, bytes] = {}
    damaged: list[str] = []
    offset = 0
    while data[offset : offset + 4] == _LOCAL_MAGIC:
        name, content, crc, offset = _member(data, offset)
        if name in members:
            raise ContainerMalformed(f"member `{name}` stands there twice", member=name)
        if len(members) >= MEMBERS_MAX:
            raise ContainerMalformed(f"more than {MEMBERS_MAX} members", limit=MEMBERS_MAX)
        members[name] = content
        if zlib.crc32(content) != crc:
            damaged.append(name)
    if not members:
        raise ContainerMalformed("file does not begin with a member of a zip")
    return Unpacked(members=members, damaged=tuple(damaged), exact=_is_joined(data, _parts(members)))


def _is_joined(data: bytes, parts: Sequence[bytes]) -> bool:
    """Return whether `data` is `parts` one after the other, without joining what may be large."""
    offset, view = 0, memoryview(data)
    for part in parts:
        if view[offset : offset + len(part)] != part:
            return False
        offset += len(part)
    return offset == len(data)


def _member(data: bytes, offset: int) -> tuple[str, bytes, int, int]:
    """Return name, content, stated checksum and the end of the member at `offset`."""
    start = offset + _LOCAL.size
    if start > len(data):
        raise ContainerMalformed("file ends inside the header of a member", offset=offset)
    (_, _, flags, method, _, _, crc, size, raw_size, name_length, extra) = _LOCAL.unpack_from(data, offset)
    end = start + name_length + size
    if flags or method or extra or size != raw_size or name_length > NAME_BYTES_MAX or end > len(data):
        raise ContainerMalformed("a member is compressed, encrypted, extended or cut off", offset=offset)
    name = data[start : start + name_length]
    if not name.isascii() or not name or min(name) <= 0x20:
        raise ContainerMalformed("the name of a member is not plain text", offset=offset)
    return name.decode("ascii"), data[start + name_length : end], crc, end
