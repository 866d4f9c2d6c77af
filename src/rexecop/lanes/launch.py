"""What the lane tells a keeper to start, and how it crosses the socket.

Named tuples, because the spawner loads this module and must start fast and stay small.
"""

from __future__ import annotations

from typing import NamedTuple

from rexecop.lanes import wire


class Launch(NamedTuple):
    """One program to start, in class `isolation`, with the limits to keep it to.

    `program` is the resolved file; for bubblewrap it is bubblewrap itself, and `argv`
    holds its options, the keeper inserting the numbers of its pipes after `argv[0]`.
    `skip` generations below the keeper are wrappers that a polite signal must not reach.
    `readable` is what Landlock lets the program read. `write` says whether it may change
    files at all. Times in milliseconds; `memory_bytes` and `file_bytes` 0 for no limit.
    """

    isolation: str
    program: str
    argv: list[bytes]
    env: dict[bytes, bytes]
    cwd: str
    readable: list[str]
    writable: list[str]
    write: bool
    skip: int
    timeout_ms: int
    grace_ms: int
    processes: int
    memory_bytes: int
    file_bytes: int


def to_fields(launch: Launch) -> list[bytes]:
    """Return the fields of the frame that carries `launch`."""
    numbers = (
        launch.write, launch.skip, launch.timeout_ms, launch.grace_ms, launch.processes,
        launch.memory_bytes, launch.file_bytes,
    )  # fmt: skip
    return [
        wire.LAUNCH,
        launch.isolation.encode(),
        launch.program.encode(),
        launch.cwd.encode(),
        " ".join(str(int(number)) for number in numbers).encode(),
        _list(launch.argv),
        _list([part for pair in launch.env.items() for part in pair]),
        _list([path.encode() for path in launch.readable]),
        _list([path.encode() for path in launch.writable]),
    ]


def from_fields(fields: list[bytes]) -> Launch:
    """Return what `to_fields` wrote.

    Raises:
        ValueError: the fields are something else.
    """
    kind, isolation, program, cwd, numbers, argv, env, readable, writable = fields
    if kind != wire.LAUNCH:
        raise ValueError("not a launch")
    write, skip, timeout_ms, grace_ms, processes, memory_bytes, file_bytes = map(int, numbers.split())
    flat = wire.unpack(env)
    return Launch(
        isolation=isolation.decode(),
        program=program.decode(),
        argv=wire.unpack(argv),
        env=dict(zip(flat[::2], flat[1::2], strict=True)),
        cwd=cwd.decode(),
        readable=[path.decode() for path in wire.unpack(readable)],
        writable=[path.decode() for path in wire.unpack(writable)],
        write=bool(write),
        skip=skip,
        timeout_ms=timeout_ms,
        grace_ms=grace_ms,
        processes=processes,
        memory_bytes=memory_bytes,
        file_bytes=file_bytes,
    )


def _list(fields: list[bytes]) -> bytes:
    return wire.pack(fields)[wire.HEAD_BYTES :]
