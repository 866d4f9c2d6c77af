"""Seccomp filters written by hand: classic BPF over the number and arguments of system calls.

Two filters. `contain_filter` goes before bubblewrap: name spaces do the rest, so it
only closes what they leave open (Unix sockets reached through the file system, kernel
interfaces). `read_filter` stands without name spaces: no socket at all, no new name
space, and none of the calls that change files without opening them, which Landlock
does not see. Everything not denied is allowed; another processor's calls end the process.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

ALLOW: Final = 0x7FFF0000
KILL_PROCESS: Final = 0x80000000
DENY: Final = 0x00050001  # EPERM
ABSENT: Final = 0x00050026  # ENOSYS: the C library then falls back to a call that can be judged

AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT: Final = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in seccomp_data

# name: (x86-64, aarch64); None where that processor has no such call.
_KERNEL: Final = {
    "ptrace": (101, 117),
    "read_process_memory": (310, 270),
    "write_process_memory": (311, 271),
    "pidfd_getfd": (438, 438),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "ioperm": (173, None),
    "iopl": (172, None),
}
_NAMESPACES: Final = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "quotactl": (179, 60),
    # Message queues and shared memory reach other processes without a file.
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
}
_FILE_CHANGES: Final = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "truncate": (76, 45),
}
_SOCKET: Final = {"x86_64": 41, "aarch64": 198}
_CLONE: Final = {"x86_64": 56, "aarch64": 220}
_IOCTL: Final = {"x86_64": 16, "aarch64": 29}
_CLONE3: Final = 435
_NEW_NAMESPACES: Final = 0x7E020000  # CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET
_TYPE_INTO_TERMINAL: Final = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_FILE_FLAGS: Final = (0x40086602, 0x40046602, 0x401C5820)  # FS_IOC_SETFLAGS (both sizes), FS_IOC_FSSETXATTR
# Name spaces divide these three; every other family reaches outside.
_DIVIDED_FAMILIES: Final = (2, 10, 16)


class _Program:
    """Instructions of one filter; every rule ends in a return or falls through to the next."""

    def __init__(self, machine: str) -> None:
        self._code: list[bytes] = []
        self._column = 0 if machine == "x86_64" else 1
        self._load(_ARCH)
        self._emit(_EQUAL, AUDIT_ARCH[machine], skip_true=1)
        self._emit(_RETURN, KILL_PROCESS)
        self._load(_NUMBER)
        if machine == "x86_64":
            self._emit(_AT_LEAST, X32_BIT, skip_false=1)
            self._emit(_RETURN, KILL_PROCESS)

    def deny(self, calls: Mapping[str, tuple[int, int | None]]) -> None:
        for numbers in calls.values():
            if (number := numbers[self._column]) is not None:
                self.answer(number, DENY)

    def answer(self, number: int, answer: int) -> None:
        self._emit(_EQUAL, number, skip_false=1)
        self._emit(_RETURN, answer)

    def deny_argument(self, number: int, argument: int, values: Sequence[int]) -> None:
        """Deny call `number` when the low half of `argument` equals one of `values`."""
        self._emit(_EQUAL, number, skip_false=2 + 2 * len(values))
        self._load(_ARGUMENTS + 8 * argument)
        for value in values:
            self.answer(value, DENY)
        self._load(_NUMBER)

    def allow_argument_only(self, number: int, argument: int, values: Sequence[int]) -> None:
        """Deny call `number` unless the low half of `argument` equals one of `values`."""
        self._emit(_EQUAL, number, skip_false=2 + 2 * len(values))
        self._load(_ARGUMENTS + 8 * argument)
        for value in values:
            self.answer(value, ALLOW)
        self._emit(_RETURN, DENY)

    def deny_bits(self, number: int, argument: int, bits: int) -> None:
        """Deny call `number` when `argument` has any of `bits`."""
        self._emit(_EQUAL, number, skip_false=4)
        self._load(_ARGUMENTS + 8 * argument)
        self._emit(_ANY_BIT, bits, skip_false=1)
        self._emit(_RETURN, DENY)
        self._load(_NUMBER)

    def finish(self) -> bytes:
        self._emit(_RETURN, ALLOW)
        return b"".join(self._code)

    def _load(self, offset: int) -> None:
        self._emit(_LOAD, offset)

    def _emit(self, code: int, value: int, *, skip_true: int = 0, skip_false: int = 0) -> None:
        self._code.append(struct.pack("=HBBI", code, skip_true, skip_false, value))


def supported(machine: str) -> bool:
    """Return whether the filters know the system calls of `machine`."""
    return machine in AUDIT_ARCH


def contain_filter(machine: str) -> bytes:
    """Return the filter that goes before bubblewrap: no socket family that name spaces do not divide."""
    program = _Program(machine)
    program.deny(_KERNEL)
    program.deny_argument(_IOCTL[machine], 1, _TYPE_INTO_TERMINAL)
    program.allow_argument_only(_SOCKET[machine], 0, _DIVIDED_FAMILIES)
    return program.finish()


def read_filter(machine: str, *, changes_files: bool) -> bytes:
    """Return the filter that goes with Landlock: no socket, and no change that Landlock does not see.

    With `changes_files` modes, owners, times and attributes may be changed: Landlock does
    not confine them, so the class then says so in its facts.
    """
    program = _Program(machine)
    program.answer(_SOCKET[machine], DENY)
    program.deny(_KERNEL)
    program.deny(_NAMESPACES)
    program.deny_bits(_CLONE[machine], 0, _NEW_NAMESPACES)
    program.answer(_CLONE3, ABSENT)  # Its flags lie in memory that a filter cannot read.
    if changes_files:
        program.deny_argument(_IOCTL[machine], 1, _TYPE_INTO_TERMINAL)
    else:
        program.deny(_FILE_CHANGES)
        program.deny_argument(_IOCTL[machine], 1, (*_TYPE_INTO_TERMINAL, *_FILE_FLAGS))
    return program.finish()
