"""Handlers that come with installed profiles: found by entry point, named by their code, run in a sandbox.

Nothing of them is imported here. The program that runs them (`rexecop.execution.worker`) starts
in an isolation class without network and without sight of the root, and what it says is taken as data.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from rexecop.app.errors import FileRefused
from rexecop.app.files import read_file
from rexecop.lanes.port import Lane, LaneResult
from rexecop.lanes.probe import grades_of, measure_isolation
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.operations.handlers import (
    CLASSES,
    FACTS_BYTES_MAX,
    FILE,
    Handled,
    HandlersRef,
    Handling,
)
from rexecop.proof.call import Call, Limits, ProcessRequest
from rexecop.proof.canonical import Digest, Json, canonical_bytes, digest_of, parse_json
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.vocabulary import Effect, Ended, Isolation

GROUP: Final = "rexecop.internal_actions"
FILES_MAX: Final = 2_000  # More is no package of handlers but a whole application.
# As long as a lease holds, and more than any computation over a few outputs takes.
LIMITS: Final = Limits(timeout_ms=30_000, output_bytes=FACTS_BYTES_MAX * 2, memory_bytes=1 << 30)
_FAILED: Final = "validation_failed"


@cache
def _installed() -> Mapping[str, EntryPoint]:
    """Return the installed handlers by name; what is installed is looked up once in a process."""
    return {point.name: point for point in entry_points(group=GROUP)}


def handlers_called(name: str) -> EntryPoint | None:
    """Return the installed handlers of that name."""
    return _installed().get(name)


def handlers_beside(folder: Path) -> EntryPoint | None:
    """Return the installed handlers in whose package `folder` is."""
    for point in _installed().values():
        package = package_folder(point)
        if package is not None and folder.resolve().is_relative_to(package.resolve()):
            return point
    return None


def package_folder(point: EntryPoint) -> Path | None:
    """Return the folder of the package that `point` leads into, without importing it; None for a module."""
    spec = find_spec(point.module.partition(".")[0])
    found = None if spec is None else spec.submodule_search_locations
    return None if not found else Path(next(iter(found)))


def code_of(point: EntryPoint) -> Digest:
    """Return the digest of all the Python code of the package that `point` leads into.

    Raises:
        FileRefused: the package is not there, or holds more than a package of handlers does.
    """
    folder = package_folder(point)
    if folder is None:
        raise FileRefused(f"handlers `{point.value}` are in no installed package", path=point.value)
    paths = sorted(path for path in folder.rglob("*.py") if path.is_file())
    if len(paths) > FILES_MAX:
        raise FileRefused(f"`{folder}` holds more than {FILES_MAX} files of code", path=str(folder))
    digests: dict[str, Json] = {
        path.relative_to(folder).as_posix(): digest_of(read_file(path)) for path in paths
    }
    return digest_of(canonical_bytes(digests))


def named_in_files(point: EntryPoint | None) -> dict[str, bytes]:
    """Return the file by which a snapshot names the handlers at `point`, nothing where there are none."""
    if point is None:
        return {}
    return {FILE: f"handlers:\n  name: {point.name}\n  code: {code_of(point)}\n".encode()}


class InstalledHandlers:
    """Runs handlers by the process lane of this machine; `reached` says which classes work here."""

    def __init__(self, lanes: Mapping[str, Lane], reached: Callable[[], Mapping[Isolation, bool]]) -> None:
        self._lanes = lanes
        self._reached = reached

    async def run(self, request: Handling) -> Handled:
        """Return what the last handler of `request` said; see `operations.handlers.Handlers`."""
        try:
            return await self._run(request)
        except RexecopError as error:
            return Handled(facts=None, error_class=_FAILED, message=error.message)

    async def names(self, point: EntryPoint) -> tuple[str, ...] | str:
        """Return the names of the handlers at `point`, or why that cannot be said."""
        said = await self._ask("-", _where(point))
        found = said if isinstance(said, str) else said.get("actions")
        return tuple(map(str, found)) if isinstance(found, list) else f"handlers `{point.name}`: {found}"

    async def _run(self, request: Handling) -> Handled:
        point = _planned(request.handlers)
        steps: list[Json] = [
            {"id": step, "type": "internal", "action": action} for step, action in request.actions.items()
        ]
        said = await self._ask(
            request.target,
            {
                **_where(point),
                "operation_id": request.operation,
                "target": request.target,
                "mode": request.mode,
                "steps": steps,
                "connector_results": dict(request.results),
                "continued_failures": dict(request.failures),
            },
        )
        last = list(request.actions.values())[-1]
        if isinstance(said, str):
            return Handled(facts=None, error_class=_FAILED, message=f"handler `{last}`: {said}")
        facts = said.get("facts")
        if not isinstance(facts, dict):
            return Handled(facts=None, error_class=_FAILED, message=f"handler `{last}` said no facts")
        if len(canonical_bytes(facts)) > FACTS_BYTES_MAX:
            what = f"handler `{last}` said more than {FACTS_BYTES_MAX} bytes"
            return Handled(facts=None, error_class="output_limit", message=what)
        return Handled(facts=facts)

    async def _ask(self, target: str, asked: Mapping[str, Json]) -> Mapping[str, Json] | str:
        """Return what the program answers, or in words why it gave no answer that counts."""
        isolation = next((item for item in CLASSES if self._reached().get(item)), None)
        if isolation is None:
            return "no isolation class that holds code of others was reached here"
        call = Call(
            target=target,
            connector="handlers",
            action="run",
            effect=Effect.READ,
            request=ProcessRequest(
                argv=(sys.executable, "-I", "-B", "-m", "rexecop.execution.worker"),
                stdin=canonical_bytes(dict(asked)).decode(),
            ),
        )
        result: LaneResult | None = None
        async for event in self._lanes[ProcessRequest.kind].open(call, LIMITS, isolation, 1, lambda: None):
            result = event if isinstance(event, LaneResult) else result
        if result is None or result.ended is not Ended.OK:
            return (result.message if result is not None else None) or "the program gave no answer"
        if (result.measured.facts or {}).get("root") == "visible":
            return f"isolation `{isolation}` did not hide the root from it, so nothing it says counts"
        try:
            said = parse_json(result.stdout, bytes_max=LIMITS.output_bytes)
        except ProofError as error:
            return f"its answer is no JSON: {error.message}"
        if not isinstance(said, dict):
            return "its answer is no object"
        return str(said["error"]) if "error" in said else said


def handler_names(point: EntryPoint) -> tuple[str, ...] | str:
    """Return the names of the handlers at `point`, or why not; isolation is measured first."""
    probes, found = measure_isolation(), list[tuple[str, ...] | str]()
    lane = ProcessLane(isolation=grades_of(probes), secrets=NO_SECRETS, hidden=())
    asked = InstalledHandlers(
        {ProcessRequest.kind: lane}, lambda: {name: probe.reached for name, probe in probes.items()}
    )
    # In a thread of its own, because the caller may itself run in an event loop.
    thread = threading.Thread(target=lambda: found.append(asyncio.run(asked.names(point))), name="handlers")
    try:
        thread.start()
        thread.join()
    finally:
        lane.close()
    return found[0] if found else f"handlers `{point.name}` could not be asked"


def _where(point: EntryPoint) -> dict[str, Json]:
    folder = package_folder(point)
    return {"entry": point.value, "path": None if folder is None else str(folder.parent)}


def _planned(ref: HandlersRef) -> EntryPoint:
    """Return the installed handlers of `ref`, if their code is still what was planned with.

    Raises:
        FileRefused: they are not installed, or are others.
    """
    point = handlers_called(ref.name)
    if point is None:
        raise FileRefused(f"no handlers `{ref.name}` are installed", path=ref.name)
    if (found := code_of(point)) != ref.code:
        raise FileRefused(
            f"the code of the handlers `{ref.name}` is `{found}`, and the plan was made with `{ref.code}`",
            path=ref.name,
        )
    return point
