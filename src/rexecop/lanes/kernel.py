"""The few Linux calls that Python does not offer, through ctypes; no compiler needed.

Importing this module works anywhere; calling into it works on Linux. It imports
nothing of ours, because the spawner loads it and must start fast.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from typing import Final

PR_SET_SECCOMP: Final = 22
PR_CAPBSET_DROP: Final = 24
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
SECCOMP_MODE_FILTER: Final = 2
CAPABILITY_VERSION_3: Final = 0x20080522
CAPABILITIES_MAX: Final = 64  # The kernel's sets have 64 bits; dropping one that does not exist is refused.

# The same numbers on x86-64 and aarch64.
SYS_LANDLOCK_CREATE_RULESET: Final = 444
SYS_LANDLOCK_ADD_RULE: Final = 445
SYS_LANDLOCK_RESTRICT_SELF: Final = 446
SYS_CAPSET: Final = {"x86_64": 126, "aarch64": 91}
SYS_SETNS: Final = {"x86_64": 308, "aarch64": 268}
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
NS_GET_USERNS: Final = 0xB701  # ioctl(2) on a name space: the user name space that owns it

_libc: ctypes.CDLL | None = None


def libc() -> ctypes.CDLL:
    """Return the C library, loaded once.

    Raises:
        OSError: not on Linux.
    """
    global _libc  # noqa: PLW0603 - loading it costs a millisecond, and every child would pay it again
    if _libc is None:
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "needs Linux")
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.syscall.restype = ctypes.c_long
    return _libc


def machine() -> str:
    """Return the kernel's name of this processor."""
    return os.uname().machine


def prctl(option: int, *arguments: int) -> None:
    """Do `prctl(option, ...)`.

    Raises:
        OSError: the kernel refused.
    """
    padded = (*arguments, 0, 0, 0, 0)[:4]
    if libc().prctl(ctypes.c_int(option), *(ctypes.c_ulong(value) for value in padded)) != 0:
        raise _error("prctl")


def syscall(number: int, *arguments: object) -> int:
    """Do the system call `number`; arguments are ctypes values.

    Raises:
        OSError: the kernel refused.
    """
    result = int(libc().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise _error(f"system call {number}")
    return result


def become_subreaper() -> None:
    """Orphans below this process become its children from now on, however they detached."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def no_new_privileges() -> None:
    """Nothing this process executes can gain privileges (set-user-id, file capabilities)."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """This process and what it executes hold no capability, and cannot regain one.

    Raises:
        OSError: the kernel refused; callers must not go on.
    """
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(CAPABILITIES_MAX):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError as error:
            # EINVAL: no such capability. EPERM: never held the right to drop it, so `capset`
            # below still empties the sets, and no_new_privs keeps them empty.
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
    header = ctypes.create_string_buffer(struct.pack("=Ii", CAPABILITY_VERSION_3, 0))
    data = ctypes.create_string_buffer(24)
    syscall(SYS_CAPSET[machine()], header, data)


def install_filter(program: bytes) -> None:
    """Install the seccomp `program` (packed `sock_filter`s) for this process and its children.

    Raises:
        OSError: the kernel refused.
    """
    code = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    buffer = ctypes.create_string_buffer(fprog, len(fprog))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(buffer))


def enter_network(pid: int) -> None:
    """This process joins the network of `pid`, and the user name space that owns it.

    Raises:
        OSError: the kernel refused, or the network belongs to a user name space above this one.
    """
    import fcntl

    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    owner = fcntl.ioctl(network, NS_GET_USERNS)
    for opened, kind in ((owner, CLONE_NEWUSER), (network, CLONE_NEWNET)):
        own = os.stat("/proc/self/ns/user")
        if kind == CLONE_NEWNET or not os.path.samestat(os.fstat(opened), own):
            syscall(SYS_SETNS[machine()], ctypes.c_int(opened), ctypes.c_int(kind))
        os.close(opened)


def boot_ms() -> int:
    """Return milliseconds since boot, suspended time included."""
    import time

    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
