"""The last steps of a process before it becomes the program: confine, show, wait, execute.

Runs in the forked child of a keeper. Every step that fails is written to the report
pipe with its name, and the child ends: a class of isolation is reached as a whole or
the program does not start.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import socket
import struct
import termios
from collections.abc import Sequence
from typing import Final, NoReturn

from rexecop.lanes import kernel, landlock, seccomp, wire
from rexecop.lanes.wire import GIVEN_FD, REPORT_FD, Launch

GO_BYTES: Final = 8
# What Python, the spawner or who started the runner ignores or handles; a program expects the defaults.
DEFAULT_SIGNALS: Final = (
    signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM,
    signal.SIGHUP,
)  # fmt: skip
LANDLOCK_VERSION_MIN: Final = 1
BUBBLEWRAP: Final = "bubblewrap"
_LIMITS: Final = {
    "cpu_seconds": "Max cpu time",
    "open_files": "Max open files",
    "memory_bytes": "Max address space",
    "file_bytes": "Max file size",
    "user_processes": "Max processes",
    "core_bytes": "Max core file size",
}
_WRITE_CANARY: Final = "/dev/full"  # Everyone may write to it, so only a sandbox can refuse.


def become(
    launch: Launch,
    argv: list[bytes],
    stdio: tuple[int, int, int],
    given: Sequence[int],
    report_write: int,
    go_read: int,
) -> NoReturn:
    """Become the program of `launch`, or report why not and end.

    Bubblewrap is executed at once: it waits at a gate of its own.
    """
    stage = "prepare"
    try:
        _reset()
        for number, opened in places(launch, stdio, given, report_write):
            os.dup2(opened, number, inheritable=True)
        os.umask(launch.umask)
        stage = "cwd"
        os.chdir(launch.cwd)
        stage = "isolation"
        if launch.isolation.startswith(BUBBLEWRAP):
            limit(launch, 0)
            _switch_user(launch)
        else:
            if launch.tty:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            facts = _enter(launch)
            os.write(report_write, wire.pack([wire.READY, *wire.pairs(facts)]))
            stage = "late"
            wait_for_go(go_read)
        stage = "exec"
        os.execve(launch.program, argv, launch.env)
    except OSError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number else str(error)
        os.write(report_write, wire.pack(wire.refusal(stage, number, reason)))
    except BaseException as error:  # noqa: BLE001 - a child must never return into the keeper's code
        os.write(report_write, wire.pack(wire.refusal(stage, 0, type(error).__name__)))
    os._exit(127)


def places(
    launch: Launch, stdio: Sequence[int], given: Sequence[int], report_write: int
) -> list[tuple[int, int]]:
    """Return where each descriptor of a program stands: (number, the keeper's own)."""
    found = [*enumerate(stdio), *enumerate(given, GIVEN_FD)]
    return (
        [*found, (REPORT_FD, report_write)]
        if launch.tty and launch.isolation.startswith(BUBBLEWRAP)
        else found
    )


def _reset() -> None:
    """Own session and default signals: nothing of the keeper's state is inherited."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _enter(launch: Launch) -> dict[str, str]:
    """Enter the class of `launch` and return what the child itself saw of it."""
    limit(launch, 0)
    if launch.isolation == "none":
        _switch_user(launch)
        return limits_in_force(0)
    kernel.no_new_privileges()
    if launch.isolation == "rlimits":
        _switch_user(launch)
        return limits_in_force(0)
    if launch.isolation != "landlock-seccomp":
        raise _failed(errno.ENOTSUP)
    version = landlock.landlock_version()
    machine = kernel.machine()
    if version < LANDLOCK_VERSION_MIN or not seccomp.supported(machine):
        raise _failed(errno.ENOSYS)
    landlock.restrict(launch.readable, launch.writable, version)
    _switch_user(launch)
    kernel.drop_capabilities()
    kernel.install_filter(seccomp.read_filter(machine, changes_files=launch.write))
    return limits_in_force(0) | {
        "landlock": str(version),
        "write_outside": _write_outside(),
        "socket": _open_socket(),
    }


def _switch_user(launch: Launch) -> None:
    """Become the user of `launch` for good, with no group of the keeper's left."""
    if launch.uid >= 0:
        os.setgroups([int(group) for group in launch.groups])
        os.setresgid(launch.gid, launch.gid, launch.gid)
        os.setresuid(launch.uid, launch.uid, launch.uid)


def limit(launch: Launch, pid: int) -> None:
    """Keep `pid` (0 for this process) and what it starts to the limits of `launch`.

    Raises:
        OSError: the kernel refused.
    """
    for which, value in (
        (resource.RLIMIT_CPU, launch.cpu_seconds),
        (resource.RLIMIT_NOFILE, launch.open_files),
        (resource.RLIMIT_FSIZE, launch.file_bytes),
        (resource.RLIMIT_AS, launch.address_bytes),
        (resource.RLIMIT_NPROC, launch.user_processes),
    ):
        if value:
            _lower(pid, which, value)


def _lower(pid: int, which: int, value: int) -> None:
    """Set both limits to `value`; a hard limit that is lower already stays."""
    hard = resource.prlimit(pid, which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, which, (value, value))


def limits_in_force(pid: int) -> dict[str, str]:
    """Return the limits of `pid` (0 for this process) as the kernel tells them."""
    with open(f"/proc/{pid or 'self'}/limits", "rb", buffering=0) as file:
        lines = file.read(1 << 14).decode().splitlines()[1:]
    soft = {line[:26].strip(): line[26:].split()[0] for line in lines}
    return {name: soft[title] for name, title in _LIMITS.items() if soft[title] != "unlimited"}


def _write_outside() -> str:
    """Try to open for writing what everyone may write to; return `allowed` or the refusal."""
    try:
        os.close(os.open(_WRITE_CANARY, os.O_WRONLY))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "refused")
    return "allowed"


def _open_socket() -> str:
    """Try to make sockets of the families that reach outside; return `allowed` or the refusal."""
    refusals = set()
    for family in (socket.AF_INET, socket.AF_UNIX, socket.AF_NETLINK):
        try:
            socket.socket(family, socket.SOCK_DGRAM).close()
        except OSError as error:
            refusals.add(errno.errorcode.get(error.errno or 0, "refused"))
        else:
            return "allowed"
    return "/".join(sorted(refusals))


def wait_for_go(go_read: int) -> None:
    """Return when the keeper lets the program start, and only in time.

    Raises:
        OSError: the keeper is gone, or its word came too late to be acted on.
    """
    word = os.read(go_read, GO_BYTES)
    if len(word) != GO_BYTES:
        raise _failed(errno.ECANCELED)
    if kernel.boot_ms() > struct.unpack(">q", word)[0]:
        raise _failed(errno.ETIME)


def _failed(number: int) -> OSError:
    return OSError(number, os.strerror(number))
