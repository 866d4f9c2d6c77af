"""The last steps of a process before it becomes the program: confine, show, wait, execute.

Runs in the forked child of a keeper. Every step that fails is written to the report
pipe with its name, and the child ends: a class of isolation is reached as a whole or
the program does not start.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import struct
from typing import Final, NoReturn

from rexecop.lanes import kernel, landlock, seccomp, wire
from rexecop.lanes.wire import Launch

OPEN_FILES_MAX: Final = 1_024
CPU_MARGIN_SECONDS: Final = 5  # The timeout ends a call; this only catches what outlives its keeper.
GO_BYTES: Final = 8
# What Python and the spawner ignore or handle; a program expects the defaults.
DEFAULT_SIGNALS: Final = (
    signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP,
)  # fmt: skip
LANDLOCK_VERSION_MIN: Final = 1
_WRITE_CANARY: Final = "/dev/full"  # Everyone may write to it, so only a sandbox can refuse.


def become(launch: Launch, stdio: tuple[int, int, int], report_write: int, go_read: int) -> NoReturn:
    """Become the program of `launch`, or report why not and end."""
    stage = "prepare"
    try:
        _reset()
        for number, opened in enumerate(stdio):
            os.dup2(opened, number, inheritable=True)
        stage = "cwd"
        os.chdir(launch.cwd)
        stage = "isolation"
        facts = _enter(launch)
        os.write(report_write, wire.pack([wire.READY, *wire.pairs(facts)]))
        stage = "late"
        wait_for_go(go_read)
        stage = "exec"
        os.execve(launch.program, launch.argv, launch.env)
    except OSError as error:
        number = error.errno or 0
        reason = os.strerror(number) if number else str(error)
        os.write(report_write, wire.pack(wire.refusal(stage, number, reason)))
    except BaseException as error:  # noqa: BLE001 - a child must never return into the keeper's code
        os.write(report_write, wire.pack(wire.refusal(stage, 0, type(error).__name__)))
    os._exit(127)


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
    kernel.no_new_privileges()
    if launch.isolation == "rlimits":
        return limits_in_force(0)
    if launch.isolation != "landlock-seccomp":
        raise _failed(errno.ENOTSUP)
    version = landlock.landlock_version()
    machine = kernel.machine()
    if version < LANDLOCK_VERSION_MIN or not seccomp.supported(machine):
        raise _failed(errno.ENOSYS)
    kernel.drop_capabilities()
    landlock.restrict(launch.readable, launch.writable, version)
    kernel.install_filter(seccomp.read_filter(machine, changes_files=launch.write))
    return limits_in_force(0) | {
        "landlock": str(version),
        "write_outside": _write_outside(),
        "socket": _open_socket(),
    }


def limit(launch: Launch, pid: int) -> None:
    """Keep `pid` (0 for this process) and what it starts to the limits of `launch`.

    Raises:
        OSError: the kernel refused.
    """
    seconds = launch.timeout_ms // 1000 + launch.grace_ms // 1000 + CPU_MARGIN_SECONDS
    _lower(pid, resource.RLIMIT_CPU, seconds)
    _lower(pid, resource.RLIMIT_NOFILE, OPEN_FILES_MAX)
    if launch.file_bytes:
        _lower(pid, resource.RLIMIT_FSIZE, launch.file_bytes)
    if launch.memory_bytes:
        _lower(pid, resource.RLIMIT_AS, launch.memory_bytes)


def _lower(pid: int, which: int, value: int) -> None:
    """Set both limits to `value`; a hard limit that is lower already stays."""
    hard = resource.prlimit(pid, which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.prlimit(pid, which, (value, value))


def limits_in_force(pid: int) -> dict[str, str]:
    """Return the limits of `pid` (0 for this process) as the kernel tells them."""
    names = {"cpu_seconds": resource.RLIMIT_CPU, "open_files": resource.RLIMIT_NOFILE}
    names |= {"memory_bytes": resource.RLIMIT_AS, "file_bytes": resource.RLIMIT_FSIZE}
    found = {name: resource.prlimit(pid, which)[0] for name, which in names.items()}
    return {name: str(value) for name, value in found.items() if value != resource.RLIM_INFINITY}


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
