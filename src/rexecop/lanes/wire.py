"""What lane, spawner and keeper say to each other: lists of byte strings in frames.

A frame is a length and a body; a body is a sequence of length-prefixed fields. It
imports nothing of ours, because the spawner loads it and must start fast.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

FRAME_BYTES_MAX: Final = 4 * 1024 * 1024  # A call of 128 KiB with its secrets is far below.
HEAD_BYTES: Final = 4

# lane → keeper
LAUNCH: Final = b"launch"
GO: Final = b"go"
STOP: Final = b"stop"
# keeper → lane
READY: Final = b"ready"
REFUSED: Final = b"refused"
ENDED: Final = b"ended"


def pack(fields: Sequence[bytes]) -> bytes:
    """Return one frame holding `fields`."""
    body = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    return struct.pack(">I", len(body)) + body


def unpack(body: bytes) -> list[bytes]:
    """Return the fields of a frame's body.

    Raises:
        ValueError: the body is not a sequence of whole fields.
    """
    fields: list[bytes] = []
    at = 0
    while at < len(body):
        if at + HEAD_BYTES > len(body):
            raise ValueError("a field is cut short")
        (size,) = struct.unpack_from(">I", body, at)
        at += HEAD_BYTES + size
        if at > len(body):
            raise ValueError("a field is cut short")
        fields.append(body[at - size : at])
    return fields


def take_frame(buffer: bytearray) -> list[bytes] | None:
    """Remove and return the first whole frame of `buffer`, or None if there is none yet.

    Raises:
        ValueError: the frame is larger than `FRAME_BYTES_MAX` or broken.
    """
    if len(buffer) < HEAD_BYTES:
        return None
    (size,) = struct.unpack_from(">I", buffer)
    if size > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {size} bytes, at most {FRAME_BYTES_MAX}")
    if len(buffer) < HEAD_BYTES + size:
        return None
    body = bytes(buffer[HEAD_BYTES : HEAD_BYTES + size])
    del buffer[: HEAD_BYTES + size]
    return unpack(body)


def pairs(values: Mapping[str, str]) -> list[bytes]:
    """Return `values` as alternating names and values."""
    return [part.encode() for pair in values.items() for part in pair]


def from_pairs(fields: Sequence[bytes]) -> dict[str, str]:
    """Return the mapping `pairs` made fields of."""
    decoded = [field.decode("utf-8", "replace") for field in fields]
    return dict(zip(decoded[::2], decoded[1::2], strict=True))
