"""Isolation classes: what is started for each, and which measured values prove it was reached."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rexecop.lanes import cgroup, scout
from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.format import check_format
from rexecop.lanes.gvisor import GATE, NOTHING, PLACE, WAITER
from rexecop.lanes.landlock import readable_around
from rexecop.lanes.wire import REPORT_FD, Launch
from rexecop.proof.call import Call, Limits, ProcessRequest, ResourceLimits
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.egress import holds_egress
from rexecop.proof.records.outcome import EGRESS_LIST
from rexecop.proof.vocabulary import CONFINING, PRIVATE_NETWORK, Effect, Grade, Isolation

SAFE_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_ENVIRONMENT: Final = {"PATH": SAFE_PATH, "LANG": "C.UTF-8"}
DEFAULT_UMASK: Final = "0022"
OPEN_FILES_MAX: Final = 1_024
CPU_MARGIN_SECONDS: Final = 5  # The timeout ends a call; this only catches what outlives its keeper.
ALLOWED: Final = "allowed"
FILE_BYTES_MAX: Final = 1 << 30  # No action writes a larger file by accident; a full disk stops everyone.
NEIGHBOURS_MAX: Final = 2_048  # Rules Landlock takes in a few milliseconds; past it hiding is not done.
LANDLOCK_VERSION_CONTAINED: Final = 6  # From here on signals to the outside are denied too.
GVISOR_PROCESSES: Final = (
    8  # What gVisor itself starts, and its own process for each of the first few inside.
)
WRAPPERS: Final = 2  # bubblewrap outside and bubblewrap as the first process inside

_RLIMITS: Final = {
    "address_bytes": "RLIMIT_AS",
    "file_bytes": "RLIMIT_FSIZE",
    "cpu_seconds": "RLIMIT_CPU",
    "open_files": "RLIMIT_NOFILE",
    "user_processes": "RLIMIT_NPROC",
}
_OTHER_NAMESPACES: Final = ("mnt", "pid", "net", "ipc", "uts")
_INIT_CONTROL: Final = "/run/initctl"
# Gives the program the terminal as its own: bubblewrap keeps a session around it that must not hear Ctrl-C.
_IN_TERMINAL: Final = f"""
import fcntl, os, sys, termios
try:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.set_inheritable({REPORT_FD}, False)
    os.execv(sys.argv[1], sys.argv[2:])
except OSError as error:
    os.write({REPORT_FD}, b"%d" % error.errno)
os._exit(127)
"""


def find_program(name: str, path: str) -> str:
    """Return the file that `name` means under the search path `path`.

    Raises:
        RequestRefused: `not_found` or `permission_denied`; nothing happened.
    """
    folders = [folder for folder in path.split(":") if folder.startswith("/")]
    candidates = [name] if "/" in name else [os.path.join(folder, name) for folder in folders]
    files = [candidate for candidate in candidates if os.path.isfile(candidate)]
    for candidate in files:
        if os.access(candidate, os.X_OK):
            return candidate
    if files:
        raise RequestRefused(Failure.PERMISSION_DENIED, f"`{files[0]:.200}` may not be executed")
    raise RequestRefused(Failure.NOT_FOUND, f"program `{name:.200}` does not exist")


def find_gvisor() -> str | None:
    """Return the file of gVisor, or None if it is not installed."""
    return shutil.which("runsc", path=SAFE_PATH)


def find_bubblewrap() -> str | None:
    """Return the file of bubblewrap, or None if it is not installed."""
    return shutil.which("bwrap", path=SAFE_PATH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a program is started with: argument list, environment, and what its lane holds for it.

    `ports` are those of the canary of a proxy, listed and unlisted, zeros where there is none.
    """

    argv: Sequence[bytes]
    env: Mapping[bytes, bytes]
    hidden: Sequence[str]
    ports: tuple[int, int] = (0, 0)


def prepare(
    call: Call, request: ProcessRequest, given: Given, isolation: Isolation, limits: Limits
) -> tuple[Launch, dict[str, Json]]:
    """Return what to launch for `request` of `call` in class `isolation`, and facts known beforehand.

    Raises:
        RequestRefused: a program or path does not exist, or the class has no means here.
    """
    _check_class(request, isolation)
    program = find_program(os.fsdecode(given.argv[0]), os.fsdecode(given.env.get(b"PATH", b"")))
    cwd = request.cwd or "/"
    if not os.path.isdir(cwd):
        raise RequestRefused(Failure.NOT_FOUND, f"working directory `{cwd:.200}` does not exist")
    for path in request.writable:
        if not os.path.exists(path):
            raise RequestRefused(Failure.NOT_FOUND, f"writable path `{path:.200}` does not exist")
    uid, gid, groups = account(request.user)
    facts: dict[str, Json] = {"executable": program}
    existing = [os.path.realpath(path) for path in given.hidden if os.path.exists(path)]
    readable: list[str] = ["/"]
    hides = isolation in PRIVATE_NETWORK or isolation is Isolation.GVISOR
    if isolation is Isolation.LANDLOCK_SECCOMP and existing:
        around = readable_around(existing, NEIGHBOURS_MAX)
        hides = around is not None
        readable = around or readable
    if given.hidden:
        facts["root"] = "hidden" if hides or not existing else "visible"
    start, arguments = program, list(given.argv)
    if isolation in PRIVATE_NETWORK:
        check_format(program)
        covered = existing if uid < 0 else [_topmost_closed(path) for path in existing]
        start, arguments = _wrapped(request, given.argv, program, cwd, covered)
    cgroups = cgroup.find() if isolation is Isolation.BUBBLEWRAP_CGROUP else []
    if isolation is Isolation.BUBBLEWRAP_CGROUP and not cgroups:
        what = "no control group with bounds on memory and processes is delegated to this user"
        raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, what)
    sandboxed = isolation in PRIVATE_NETWORK
    kernel_limits = _kernel_limits(request.rlimits or ResourceLimits(), isolation, limits)
    if isolation is Isolation.GVISOR:
        sandboxed = True
        start, arguments = (
            find_gvisor() or "",
            [_bundle(request, given, program, cwd, existing, kernel_limits)],
        )
    launch = Launch(
        isolation=isolation.value,
        program=start,
        argv=arguments,
        env={} if isolation is Isolation.GVISOR else dict(given.env),
        cwd="/" if sandboxed else cwd,
        readable=readable,
        writable=list(request.writable),
        groups=[str(group) for group in groups],
        cgroups=cgroups,
        write=call.effect is not Effect.READ,
        skip=WRAPPERS if isolation in PRIVATE_NETWORK else 0,
        timeout_ms=limits.timeout_ms,
        grace_ms=limits.grace_ms,
        processes=limits.processes + (GVISOR_PROCESSES if isolation is Isolation.GVISOR else 0),
        memory_bytes=limits.memory_bytes or 0,
        **kernel_limits,
        umask=int(request.umask or DEFAULT_UMASK, 8),
        uid=uid,
        gid=gid,
        tty=request.tty is not None,
        listed=given.ports[0],
        unlisted=given.ports[1],
    )
    return launch, facts


def _wrapped(
    request: ProcessRequest, argv: Sequence[bytes], program: str, cwd: str, hidden: Sequence[str]
) -> tuple[str, list[bytes]]:
    """Return bubblewrap and its arguments to run `program` with `argv`."""
    start = find_bubblewrap()
    if start is None:
        raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, "bubblewrap is not installed")
    options = bubblewrap_options(
        cwd=cwd, writable=request.writable, hidden=hidden, bare=request.script is not None
    )
    inner: list[str | bytes] = [program, *argv[1:]]
    if request.tty is not None:
        inner = [os.path.realpath(sys.executable), "-I", "-S", "-B", "-c", _IN_TERMINAL, program, *argv]
    return start, [os.fsencode(text) for text in [start, *options, "--", *inner]]


def _bundle(
    request: ProcessRequest,
    given: Given,
    program: str,
    cwd: str,
    hidden: Sequence[str],
    kernel_limits: Mapping[str, int],
) -> bytes:
    """Return the configuration (OCI) of a sandbox of gVisor that runs `program` behind its gate.

    Everything is read-only, nothing shared but `writable`, `hidden` covered last.
    """
    args = [os.path.realpath(sys.executable), "-I", "-S", "-B", "-c", WAITER]
    try:
        args += [str(int(request.umask or DEFAULT_UMASK, 8)), program]
        args += [word.decode() for word in given.argv]
        env = [f"{name.decode()}={value.decode()}" for name, value in given.env.items()]
    except UnicodeDecodeError:
        raise RequestRefused(Failure.UNSUPPORTED, "class `gvisor` carries words in UTF-8 only") from None
    binds = [(GATE, PLACE.decode()), *((path, path) for path in request.writable)]
    binds += [(path, NOTHING) for path in hidden if not os.path.isdir(path)]
    covered = [path for path in hidden if os.path.isdir(path)]
    rlimits = {_RLIMITS[name]: value for name, value in kernel_limits.items() if value}
    config: Json = {
        "ociVersion": "1.0.0",
        "hostname": "localhost",
        "root": {"path": "/", "readonly": True},
        "process": {
            "args": [*args],
            "env": [*env],
            "cwd": cwd,
            "user": {"uid": os.getuid(), "gid": os.getgid()},
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [{"type": name, "soft": value, "hard": value} for name, value in rlimits.items()],
        },
        "mounts": [
            {"type": "proc", "source": "proc", "destination": "/proc"},
            *({"type": "bind", "source": source, "destination": path} for path, source in binds),
            *({"type": "tmpfs", "source": "tmpfs", "destination": path} for path in covered),
        ],
        "linux": {"namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount")]},
    }
    return canonical_bytes(config)


def _kernel_limits(asked: ResourceLimits, isolation: Isolation, limits: Limits) -> dict[str, int]:
    """Return the limits on each process: those asked for, in every class but `none` also our own."""
    held = isolation is not Isolation.NONE
    seconds = limits.timeout_ms // 1000 + limits.grace_ms // 1000 + CPU_MARGIN_SECONDS
    # A control group bounds the memory of the whole tree; of one process it would bound mere addresses.
    memory = limits.memory_bytes if held and isolation is not Isolation.BUBBLEWRAP_CGROUP else None
    return {
        "address_bytes": asked.address_bytes or memory or 0,
        "file_bytes": asked.file_bytes or (FILE_BYTES_MAX if held else 0),
        "cpu_seconds": asked.cpu_seconds or (seconds if held else 0),
        "open_files": asked.open_files or (OPEN_FILES_MAX if held else 0),
        "user_processes": asked.user_processes or 0,
    }


def _check_class(request: ProcessRequest, isolation: Isolation) -> None:
    """Return only if `isolation` is a class that can do what `request` asks of it."""
    if isolation is Isolation.GVISOR:
        asked = (request.tty, request.script, request.user)
        if find_gvisor() is None:
            raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, "gVisor (`runsc`) is not installed")
        if os.geteuid() != 0:
            raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, "gVisor takes a runner of root")
        if any(part is not None for part in asked):
            what = "class `gvisor` has neither terminals nor pinned scripts nor other users"
            raise RequestRefused(Failure.UNSUPPORTED, what)
    if request.egress is not None and not holds_egress(isolation, request.egress):
        hosts = ", ".join(request.egress) or "no host"
        what = f"class `{isolation}` cannot keep a program to {hosts:.200}"
        raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, what)


def account(user: str | None) -> tuple[int, int, list[int]]:
    """Return user, group and supplementary groups to change to; negative ones for no change."""
    if user is None:
        return -1, -1, []
    import pwd

    try:
        found = pwd.getpwnam(user)
    except KeyError:
        raise RequestRefused(Failure.UNSUPPORTED, f"there is no user `{user:.60}` here") from None
    if found.pw_uid == os.geteuid():
        return -1, -1, []
    if os.geteuid() != 0:
        what = f"only a runner of root may run a program as `{user:.60}`"
        raise RequestRefused(Failure.UNSUPPORTED, what)
    return found.pw_uid, found.pw_gid, os.getgrouplist(user, found.pw_gid)


def _topmost_closed(path: str) -> str:
    """Return what to cover so that a user who may not pass every folder above `path` can cover it."""
    above = "/"
    for part in path.strip("/").split("/")[:-1]:
        above = os.path.join(above, part)
        if not os.stat(above).st_mode & stat.S_IXOTH:
            return above
    return path


def bubblewrap_options(*, cwd: str, writable: Sequence[str], hidden: Sequence[str], bare: bool) -> list[str]:
    """Return bubblewrap's options: everything read-only, nothing shared, `hidden` covered last.

    With `bare` nothing is added to the environment.
    """
    options = [
        *("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
    ]
    if not bare:
        # Programs that need room for temporary files get a private one; `/tmp` is the machine's, read-only.
        options += ["--setenv", "TMPDIR", "/dev/shm"]
    if os.path.exists(_INIT_CONTROL):
        # A pipe can be written through a read-only mount, and this one reboots machines.
        options += ["--ro-bind", "/dev/null", _INIT_CONTROL]
    for path in writable:
        options += ["--bind", path, path]
    for path in hidden:
        options += ["--tmpfs", path] if os.path.isdir(path) else ["--ro-bind", "/dev/null", path]
    return [*options, "--chdir", cwd]


def why_not_reached(isolation: Isolation, facts: Mapping[str, str], host: Mapping[str, str]) -> str | None:
    """Return the first measured value that contradicts class `isolation`, or None if it was reached.

    `facts` are what the waiting process shows, `host` the name spaces of this process.
    A value that could not be measured contradicts.
    """
    wanted: dict[str, str] = {}
    if isolation is Isolation.GVISOR:
        # Its own kernel grants what privileges there are, and its root is none of the host's.
        wanted = {"gvisor": "true", "interfaces": "lo", "root_read_only": "true"}
        wanted |= dict.fromkeys(("CapEff", "CapBnd"), "0" * 16)
    elif isolation is not Isolation.NONE:
        wanted["NoNewPrivs"] = "1"
    if isolation is Isolation.RLIMITS and "cpu_seconds" not in facts:
        return "no limit on processor time is in force"
    if isolation in CONFINING:
        wanted |= {"Seccomp": "2", "CapEff": "0" * 16}
    if isolation is Isolation.LANDLOCK_SECCOMP:
        wanted |= {"write_outside": "EACCES", "socket": "EPERM"}
    if isolation is Isolation.BUBBLEWRAP_CGROUP:
        wanted["cgroup"] = "member"
    if isolation in PRIVATE_NETWORK:
        wanted |= {"CapBnd": "0" * 16, "root_read_only": "true"}
        for name in _OTHER_NAMESPACES:
            if name not in host or facts.get(f"ns_{name}", host[name]) == host[name]:
                return f"the {name} name space is the host's or could not be read"
    for name, value in wanted.items():
        if facts.get(name) != value:
            return f"`{name}` is `{facts.get(name, 'unknown')}`, not `{value}`"
    return None


def why_not_held(launch: Launch, facts: Mapping[str, str]) -> str | None:
    """Return the first measured value by which the program is not held to what `launch` says, else None."""
    for name, value in (
        ("cpu_seconds", launch.cpu_seconds),
        ("open_files", launch.open_files),
        ("file_bytes", launch.file_bytes),
        ("memory_bytes", launch.address_bytes),
        ("user_processes", launch.user_processes),
        ("cgroup_memory", launch.memory_bytes if launch.cgroups else 0),
        ("cgroup_processes", launch.processes + launch.skip if launch.cgroups else 0),
    ):
        told = facts.get(name, "")
        if value and not (told.isdigit() and int(told) <= value):
            return f"limit `{name}` is `{told or 'not in force'}`, not `{value}`"
    if launch.uid >= 0 and set(facts.get("Uid", "").split()) != {str(launch.uid)}:
        return f"it runs as user `{facts.get('Uid', 'unknown')}`, not `{launch.uid}`"
    if launch.listed:
        wanted = {"canary_listed": scout.ADMITTED, "canary_unlisted": scout.REFUSED}
        for name, word in wanted.items():
            if facts.get(name) != word:
                return f"a connection through the proxy was answered `{facts.get(name)}`, not `{word}`"
        for name in ("canary_direct", "canary_beyond"):
            if facts.get(name, ALLOWED) == ALLOWED:
                return f"a connection past the proxy was not refused: `{name}`"
    return None


def network_of(isolation: Isolation, egress: Sequence[str] | None) -> str:
    """Return the network a process of a reached class has: `none`, `egress-list` or `host`."""
    if egress:
        return EGRESS_LIST
    return "none" if isolation in CONFINING or isolation is Isolation.GVISOR else "host"


def grade_of(isolation: Isolation, egress: Sequence[str] | None, facts: Mapping[str, Json]) -> Grade:
    """Return the best read grade that a reached class with these measured values backs."""
    version = facts.get("landlock")
    landlocked = isinstance(version, int) and version >= LANDLOCK_VERSION_CONTAINED
    contained = isolation in PRIVATE_NETWORK or (isolation is Isolation.LANDLOCK_SECCOMP and landlocked)
    # Whoever is reached may act on what it is sent.
    return Grade.CONTAINED if contained and not egress else Grade.SHAPE
