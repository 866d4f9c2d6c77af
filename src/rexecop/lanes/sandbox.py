"""Isolation classes: what is started for each, and which measured values prove it was reached."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from typing import Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.landlock import readable_around
from rexecop.lanes.port import CONFINING
from rexecop.lanes.wire import Launch
from rexecop.proof.call import Call, Limits, ProcessRequest
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Grade, Isolation

SAFE_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASE_ENVIRONMENT: Final = {"PATH": SAFE_PATH, "LANG": "C.UTF-8"}
FILE_BYTES_MAX: Final = 1 << 30  # No action writes a larger file by accident; a full disk stops everyone.
NEIGHBOURS_MAX: Final = 2_048  # Rules Landlock takes in a few milliseconds; past it hiding is not done.
LANDLOCK_VERSION_CONTAINED: Final = 6  # From here on signals to the outside are denied too.
WRAPPERS: Final = 2  # bubblewrap outside and bubblewrap as the first process inside

_OTHER_NAMESPACES: Final = ("mnt", "pid", "net", "ipc", "uts")
_INIT_CONTROL: Final = "/run/initctl"


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


def find_bubblewrap() -> str | None:
    """Return the file of bubblewrap, or None if it is not installed."""
    return shutil.which("bwrap", path=SAFE_PATH)


def prepare(
    call: Call,
    request: ProcessRequest,
    argv: Sequence[bytes],
    env: Mapping[bytes, bytes],
    isolation: Isolation,
    limits: Limits,
    hidden: Sequence[str],
) -> tuple[Launch, dict[str, Json]]:
    """Return what to launch for `request` of `call` in class `isolation`, and facts known beforehand.

    Raises:
        RequestRefused: a program or path does not exist, or the class has no means here.
    """
    program = find_program(os.fsdecode(argv[0]), os.fsdecode(env[b"PATH"]))
    cwd = request.cwd or "/"
    if not os.path.isdir(cwd):
        raise RequestRefused(Failure.NOT_FOUND, f"working directory `{cwd:.200}` does not exist")
    for path in request.writable:
        if not os.path.exists(path):
            raise RequestRefused(Failure.NOT_FOUND, f"writable path `{path:.200}` does not exist")
    facts: dict[str, Json] = {"executable": program}
    existing = [os.path.realpath(path) for path in hidden if os.path.exists(path)]
    readable: list[str] = ["/"]
    hides = isolation is Isolation.BUBBLEWRAP
    if isolation is Isolation.LANDLOCK_SECCOMP and existing:
        around = readable_around(existing, NEIGHBOURS_MAX)
        hides = around is not None
        readable = around or readable
    if hidden:
        facts["root"] = "hidden" if hides or not existing else "visible"
    start, arguments, skip = program, list(argv), 0
    if isolation is Isolation.BUBBLEWRAP:
        start = find_bubblewrap() or ""
        if not start:
            raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, "bubblewrap is not installed")
        options = bubblewrap_options(cwd=cwd, writable=request.writable, hidden=existing)
        arguments = [os.fsencode(text) for text in (start, *options, "--", program)] + list(argv[1:])
        skip = WRAPPERS
    launch = Launch(
        isolation=isolation.value,
        program=start,
        argv=arguments,
        env=dict(env),
        cwd="/" if isolation is Isolation.BUBBLEWRAP else cwd,
        readable=readable,
        writable=list(request.writable),
        write=call.effect is not Effect.READ,
        skip=skip,
        timeout_ms=limits.timeout_ms,
        grace_ms=limits.grace_ms,
        processes=limits.processes,
        memory_bytes=limits.memory_bytes or 0,
        file_bytes=FILE_BYTES_MAX,
    )
    return launch, facts


def bubblewrap_options(*, cwd: str, writable: Sequence[str], hidden: Sequence[str]) -> list[str]:
    """Return bubblewrap's options: everything read-only, nothing shared, `hidden` covered last."""
    options = [
        *("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        # Programs that need room for temporary files get a private one; `/tmp` is the machine's, read-only.
        *("--setenv", "TMPDIR", "/dev/shm"),
    ]
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
    if isolation is not Isolation.NONE:
        wanted["NoNewPrivs"] = "1"
    if isolation is Isolation.RLIMITS and "cpu_seconds" not in facts:
        return "no limit on processor time is in force"
    if isolation in (Isolation.LANDLOCK_SECCOMP, Isolation.BUBBLEWRAP):
        wanted |= {"Seccomp": "2", "CapEff": "0" * 16}
    if isolation is Isolation.LANDLOCK_SECCOMP:
        wanted |= {"write_outside": "EACCES", "socket": "EPERM"}
    if isolation is Isolation.BUBBLEWRAP:
        wanted |= {"CapBnd": "0" * 16, "root_read_only": "true"}
        for name in _OTHER_NAMESPACES:
            if name not in host or facts.get(f"ns_{name}", host[name]) == host[name]:
                return f"the {name} name space is the host's or could not be read"
    for name, value in wanted.items():
        if facts.get(name) != value:
            return f"`{name}` is `{facts.get(name, 'unknown')}`, not `{value}`"
    return None


def network_of(isolation: Isolation) -> str:
    """Return the network a process of a reached class has: `none` or `host`."""
    return "none" if isolation in CONFINING else "host"


def grade_of(isolation: Isolation, facts: Mapping[str, Json]) -> Grade:
    """Return the best read grade that a reached class with these measured values backs."""
    version = facts.get("landlock")
    landlocked = isinstance(version, int) and version >= LANDLOCK_VERSION_CONTAINED
    if isolation is Isolation.BUBBLEWRAP or (isolation is Isolation.LANDLOCK_SECCOMP and landlocked):
        return Grade.CONTAINED
    return Grade.SHAPE
