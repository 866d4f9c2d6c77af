"""What lane, spawner and keeper say to each other: lists of byte strings in frames.

A frame is a length and a body; a body is a sequence of length-prefixed fields. It
imports nothing of ours, because the spawner loads it and must start fast.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

FRAME_BYTES_MAX: Final = 4 * 1024 * 1024  # A call of 128 KiB with its secrets is far below.
HEAD_BYTES: Final = 4
GIVEN_FD: Final = 100  # Where a program finds its files; a keeper has far fewer descriptors of its own.
REPORT_FD: Final = GIVEN_FD - 1  # Where what runs inside bubblewrap says why it did not execute the program.

# lane → keeper
LAUNCH: Final = b"launch"
GO: Final = b"go"
STOP: Final = b"stop"
INTERRUPT: Final = b"interrupt"
# keeper → lane
READY: Final = b"ready"
REFUSED: Final = b"refused"
ENDED: Final = b"ended"


class Launch(NamedTuple):
    """One program to start, in class `isolation`, with the limits to keep it to.

    `program` is the resolved file; for bubblewrap it is bubblewrap itself, and `argv`
    holds its options, the keeper inserting the numbers of its pipes after `argv[0]`. For
    gVisor it is `runsc`, and the one word of `argv` is the configuration of its sandbox.
    `skip` generations below the keeper are wrappers that a polite signal must not reach.
    `readable` is what Landlock lets the program read. `write` says whether it may change
    files at all. Times in milliseconds; limits 0 for none. `uid` and `gid` are negative
    where the program runs as the keeper does. `groups` are supplementary ones,
    `cgroups` the folders to make a control group in. `listed` and `unlisted` are ports of
    the lane for the canary of a proxy, 0 where the call has none.
    """

    isolation: str
    program: str
    argv: list[bytes]
    env: dict[bytes, bytes]
    cwd: str
    readable: list[str]
    writable: list[str]
    groups: list[str]
    cgroups: list[str]
    write: bool
    skip: int
    timeout_ms: int
    grace_ms: int
    processes: int
    memory_bytes: int
    address_bytes: int
    file_bytes: int
    cpu_seconds: int
    open_files: int
    user_processes: int
    umask: int
    uid: int
    gid: int
    tty: bool
    listed: int
    unlisted: int

    def fields(self) -> list[bytes]:
        """Return the fields of the frame that carries this."""
        texts = (self.isolation, self.program, self.cwd, " ".join(str(int(number)) for number in self[9:]))
        env = [part for pair in self.env.items() for part in pair]
        paths = ([path.encode() for path in listed] for listed in self[5:9])
        lists = (pack(fields)[HEAD_BYTES:] for fields in (self.argv, env, *paths))
        return [LAUNCH, *(text.encode() for text in texts), *lists]

    @classmethod
    def from_fields(cls, fields: list[bytes]) -> Launch:
        """Return what `fields` wrote; ValueError for something else."""
        kind, isolation, program, cwd, numbers, argv, env, *paths = fields
        if kind != LAUNCH:
            raise ValueError("not a launch")
        flat, count = unpack(env), [int(number) for number in numbers.split()]
        if len(paths) + len(count) != len(cls._fields[5:]):
            raise ValueError("a launch with other fields")
        pairs = dict(zip(flat[::2], flat[1::2], strict=True))
        texts = [isolation.decode(), program.decode(), unpack(argv), pairs, cwd.decode()]
        return cls._make([*texts, *map(_texts, paths), *count])


def _texts(listed: bytes) -> list[str]:
    return [path.decode() for path in unpack(listed)]


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


def refusal(stage: str, number: int, reason: str) -> list[bytes]:
    """Return the fields that say which `stage` failed, with the kernel's error `number` or 0."""
    return [REFUSED, stage.encode(), b"%d" % number, reason.encode()]


def pairs(values: Mapping[str, str]) -> list[bytes]:
    """Return `values` as alternating names and values."""
    return [part.encode() for pair in values.items() for part in pair]


def from_pairs(fields: Sequence[bytes]) -> dict[str, str]:
    """Return the mapping `pairs` made fields of."""
    decoded = [field.decode("utf-8", "replace") for field in fields]
    return dict(zip(decoded[::2], decoded[1::2], strict=True))
