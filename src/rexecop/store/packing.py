"""How values lie in the file: ids, digests and times as few bytes, long records deflated.

A record's body is stored as it is (it starts with `{`), or, from `DEFLATE_FROM_BYTES`
on, as a zlib stream (it does not) when that is shorter.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from rexecop.proof.canonical import Digest, is_digest
from rexecop.proof.codec import PLAN_RECORD_BYTES_MAX
from rexecop.store.errors import StoreDamaged


class Short(bytes):
    """A few bytes that stand for `text`; a column that holds nothing but texts keeps the text."""

    text: str

    @classmethod
    def of(cls, text: str, digits: str) -> Short:
        """Return what the hex `digits` of `text` say of it."""
        made = cls.fromhex(digits)
        made.text = text
        return made


Packed: TypeAlias = bytes | str
"""What stands for a text in the file: 16 or 32 bytes if it is an id or a digest, else itself."""

# Measured: plans and decisions shrink to half for 17 µs each; the short records would cost
# as much and save little, and stay readable with any SQLite tool.
DEFLATE_FROM_BYTES: Final = 700

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_HEX: Final = frozenset("0123456789abcdef")
_OPERATION_LENGTH: Final = len("op_") + 32
_WINDOW_BITS: Final = 12  # Records are small: a small window costs less to set up than it saves.
_MEMORY_LEVEL: Final = 5


def pack_operation(operation: str) -> Packed:
    """Return 16 bytes for `op_` and 32 hex digits, and any other id as it is."""
    if len(operation) == _OPERATION_LENGTH and operation.startswith("op_") and _HEX.issuperset(operation[3:]):
        return Short.of(operation, operation[3:])
    return operation


def unpack_operation(packed: Packed) -> str:
    """Return the id that `pack_operation` packed."""
    return f"op_{packed.hex()}" if isinstance(packed, bytes) else packed


def pack_digest(digest: Digest) -> bytes:
    """Return the 32 bytes of `digest`."""
    return bytes.fromhex(digest[7:])


def unpack_digest(packed: bytes) -> Digest:
    """Return the digest that has these 32 bytes."""
    return Digest(f"sha256:{packed.hex()}")


def pack_key(key: str) -> Packed:
    """Return 32 bytes for a digest, and any other key as it is."""
    return Short.of(key, key[7:]) if is_digest(key) else key


def pack_time(moment: datetime) -> int:
    """Return the milliseconds from 1970 to `moment`."""
    return (moment - _EPOCH) // _MILLISECOND


def unpack_time(milliseconds: int) -> datetime:
    """Return the moment that `pack_time` packed."""
    return _EPOCH + milliseconds * _MILLISECOND


def pack_body(body: bytes) -> bytes:
    """Return `body` as it is stored."""
    if len(body) < DEFLATE_FROM_BYTES:
        return body
    deflate = zlib.compressobj(1, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL)
    short = deflate.compress(body) + deflate.flush()
    return short if len(short) < len(body) else body


def unpack_body(stored: bytes) -> bytes:
    """Return the body that `pack_body` stored.

    Raises:
        StoreDamaged: the bytes are neither a body nor a whole stream of one within limits.
    """
    if stored[:1] == b"{":
        return stored
    inflate = zlib.decompressobj(_WINDOW_BITS)
    try:
        body = inflate.decompress(stored, PLAN_RECORD_BYTES_MAX + 1)
    except zlib.error as error:
        raise StoreDamaged("stored bytes are not those of a record") from error
    if not inflate.eof or len(body) > PLAN_RECORD_BYTES_MAX:
        raise StoreDamaged("stored bytes are not those of one whole record")
    return body
