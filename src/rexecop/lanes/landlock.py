"""Landlock through three system calls: read anywhere, write only below the paths given, no TCP.

What the running kernel's Landlock cannot confine (older versions know fewer rights) is
told by `landlock_version`; the caller decides whether that is enough.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Sequence
from typing import Final

from rexecop.lanes import kernel

# Bits of the file system rights, by the version that brought them.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_VERSION_1: Final = (1 << 13) - 1
_NET: Final = 0b11  # bind and connect TCP
_SCOPES: Final = 0b11  # abstract Unix sockets, signals
_READ: Final = EXECUTE | READ_FILE | READ_DIR
_OF_A_FILE: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_RULE_PATH_BENEATH: Final = 1
_CREATE_RULESET_VERSION: Final = 1

# Where programs throw output away; writing there reaches nothing.
_SINKS: Final = ("/dev/null", "/dev/zero")


def landlock_version() -> int:
    """Return the Landlock version of the running kernel, 0 for none."""
    try:
        return kernel.syscall(
            kernel.SYS_LANDLOCK_CREATE_RULESET,
            ctypes.c_void_p(None),
            ctypes.c_size_t(0),
            ctypes.c_uint32(_CREATE_RULESET_VERSION),
        )
    except OSError:
        return 0


def handled(version: int) -> int:
    """Return the file system rights that Landlock `version` can take away."""
    rights = _VERSION_1
    rights |= REFER if version >= 2 else 0
    rights |= TRUNCATE if version >= 3 else 0
    return rights | (IOCTL_DEV if version >= 5 else 0)


def restrict(readable: Sequence[str], writable: Sequence[str], version: int) -> None:
    """From here on this process reads only below `readable` and writes only below `writable`.

    `no_new_privs` must be set. TCP is denied from version 4 on, abstract Unix sockets and
    signals to the outside from version 6 on.

    Raises:
        OSError: the kernel refused, or a path to write below does not exist; callers must not go on.
    """
    rights = handled(version)
    attributes = struct.pack("=QQQ", rights, _NET if version >= 4 else 0, _SCOPES if version >= 6 else 0)[
        : 24 if version >= 6 else 16 if version >= 4 else 8
    ]
    ruleset = kernel.syscall(
        kernel.SYS_LANDLOCK_CREATE_RULESET,
        ctypes.create_string_buffer(attributes, len(attributes)),
        ctypes.c_size_t(len(attributes)),
        ctypes.c_uint32(0),
    )
    try:
        for path in readable:
            # What was listed a moment ago may be gone by now; it then needs no leave, and less is allowed.
            with contextlib.suppress(FileNotFoundError):
                _allow(ruleset, path, _READ)
        for path in _SINKS:
            _allow(ruleset, path, WRITE_FILE | READ_FILE)
        for path in writable:
            _allow(ruleset, path, rights)
        kernel.syscall(kernel.SYS_LANDLOCK_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):
            rights &= _OF_A_FILE
        rule = struct.pack("=Qi", rights, opened)
        kernel.syscall(
            kernel.SYS_LANDLOCK_ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_RULE_PATH_BENEATH),
            ctypes.create_string_buffer(rule, len(rule)),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(opened)


def readable_around(hidden: Sequence[str], entries_max: int) -> list[str] | None:
    """Return paths that together hold everything but `hidden`, or None if there are too many.

    Landlock can only allow, so hiding a folder means to allow its neighbours, and the
    neighbours of each folder above it. Folders above a hidden one cannot be listed then.
    """
    chain = {"/"}
    targets = {os.path.realpath(path) for path in hidden}
    for path in targets:
        while (path := os.path.dirname(path)) != "/":
            chain.add(path)
    found: list[str] = []
    for folder in sorted(chain):
        if not os.path.isdir(folder):
            continue
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if path in targets or path in chain or os.path.islink(path):
                continue
            found.append(path)
            if len(found) > entries_max:
                return None
    return found
