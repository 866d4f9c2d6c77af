"""Measures which isolation classes work here, by running each once with an active canary.

The canary runs inside the class. It must be able to read what lies there, and must fail
to write outside, to connect to a listening port of this machine, and to connect to a
Unix socket. What it reports is compared with what this side can see for itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rexecop.lanes.errors import LaneError
from rexecop.lanes.port import Lane, LaneResult
from rexecop.proof.call import Call, Limits, ProcessRequest
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import CONFINING, Effect, Ended, Grade, Isolation

CANARY_LIMITS: Final = Limits(timeout_ms=5_000, output_bytes=4_096)
CLASSES: Final = tuple(item for item in Isolation if item is not Isolation.NOT_APPLICABLE)  # Weakest first.

# Only built-in modules, so that it starts in the time of a bare interpreter.
_CANARY: Final = """
import sys, errno, _socket
folder, port = sys.argv[1], int(sys.argv[2])
def attempt(name, act):
    try:
        act()
        print(name + "=allowed")
    except OSError as error:
        print(name + "=" + errno.errorcode.get(error.errno, "refused"))
def tcp():
    opened = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    opened.connect(("127.0.0.1", port))
def unix():
    opened = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    opened.connect(folder + "/socket")
attempt("read", lambda: open(folder + "/inside").read())
attempt("write", lambda: open(folder + "/escaped", "w").close())
attempt("tcp", tcp)
attempt("unix", unix)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Whether a class was reached here, why not, the grade a read has in it, and what was measured."""

    reached: bool
    reason: str
    grade: Grade
    facts: Mapping[str, Json]


def measure_isolation() -> dict[Isolation, Probe]:
    """Return what each class of `CLASSES` does here, measured now; takes well under a second.

    Nothing is raised: a class that cannot be measured was not reached, and says why.
    """
    found: dict[Isolation, Probe] = {}
    if sys.platform != "linux":
        return {name: _missed(f"needs Linux, this is `{sys.platform}`") for name in CLASSES}

    def measure() -> None:
        found.update(asyncio.run(_measure()))

    # In a thread of its own, because the caller may itself run in an event loop.
    thread = threading.Thread(target=measure, name="probe")
    thread.start()
    thread.join()
    return {name: found.get(name) or _missed("the probe failed") for name in CLASSES}


def grades_of(probes: Mapping[Isolation, Probe]) -> dict[Isolation, Grade]:
    """Return the reached classes with the best read grade of each: what a process lane is made from."""
    return {name: probe.grade for name, probe in probes.items() if probe.reached}


def best(probes: Mapping[Isolation, Probe]) -> Isolation:
    """Return the strongest reached class: what `isolation: best` means at plan, fixed from then on."""
    return max(
        (name for name, probe in probes.items() if probe.reached), key=CLASSES.index, default=Isolation.NONE
    )


async def _measure() -> dict[Isolation, Probe]:
    from rexecop.lanes.process import ProcessLane  # Measured once a boot; known ever after.
    from rexecop.lanes.secrets import NO_SECRETS

    lane = ProcessLane(isolation=dict.fromkeys(CLASSES, Grade.SHAPE), secrets=NO_SECRETS, hidden=())
    try:
        with tempfile.TemporaryDirectory(prefix="rexecop-probe-") as folder:
            Path(folder, "inside").write_text("seen", encoding="ascii")
            with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as unix:
                unix.bind(f"{folder}/socket")
                unix.listen()
                argv = (sys.executable, "-I", "-S", "-c", _CANARY, folder, str(port.getsockname()[1]))
                probes = await asyncio.gather(*(_probe(lane, name, argv, folder) for name in CLASSES))
    except (OSError, LaneError) as error:
        return {name: _missed(f"the probe could not run: {error}") for name in CLASSES}
    finally:
        lane.close()
    return dict(zip(CLASSES, probes, strict=True))


async def _probe(lane: Lane, isolation: Isolation, argv: Sequence[str], folder: str) -> Probe:
    # Each class has its own folder to escape into, so that one escape is not counted for another.
    own = os.path.join(folder, isolation.value)
    os.mkdir(own)
    for name in ("inside", "socket"):
        os.link(os.path.join(folder, name), os.path.join(own, name))
    call = Call(
        target="local",
        connector="probe",
        action="canary",
        effect=Effect.READ,
        request=ProcessRequest(argv=tuple(own if part == folder else part for part in argv), cwd=own),
    )
    result: LaneResult | None = None
    async for event in lane.open(call, CANARY_LIMITS, isolation, 1, lambda: None):
        if isinstance(event, LaneResult):
            result = event
    if result is None or result.ended is not Ended.OK:
        return _missed((result.message if result else None) or "the canary gave no answer")
    pairs = (
        line.split("=", 1) for line in result.stdout.decode("ascii", "replace").splitlines() if "=" in line
    )
    canary = {f"canary_{name}": answer for name, answer in pairs}
    facts: dict[str, Json] = {**(result.measured.facts or {}), **canary}
    reason = _contradiction(isolation, canary, escaped=os.path.exists(os.path.join(own, "escaped")))
    grade = Grade(str(facts.get("grade", Grade.SHAPE.value)))
    return Probe(reached=not reason, reason=reason, grade=grade, facts=facts)


def _contradiction(isolation: Isolation, canary: Mapping[str, str], *, escaped: bool) -> str:
    """Return what the canary could do and should not, or the other way round; empty if all is well."""
    from rexecop.lanes.sandbox import ALLOWED

    if canary.get("canary_read") != ALLOWED:
        return "a program inside cannot read"
    if isolation not in CONFINING and isolation is not Isolation.GVISOR:
        return ""
    if escaped:
        return "a program inside wrote outside"
    for name in ("write", "tcp", "unix"):
        if canary.get(f"canary_{name}", ALLOWED) == ALLOWED:
            return f"a program inside was not refused `{name}`"
    return ""


def _missed(reason: str) -> Probe:
    return Probe(reached=False, reason=reason, grade=Grade.SHAPE, facts={})
