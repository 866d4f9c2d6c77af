"""Connector backends that installed packages register: found and named, and not run.

Such a backend is handed secrets and makes calls of its own: which, nobody knows before, so none could
be shown, approved or permitted. Nothing of it is imported here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from rexecop.app.handlers import package_folder
from rexecop.app.views import CheckView
from rexecop.operations.environment import BACKENDS
from rexecop.operations.errors import BackendRefused, LaneUnavailable

GROUP: Final = "rexecop.connector_backends"
AS_DATA: Final = (
    "say the call as data: `backend: process`, `ssh` or `http` with its allowlist or actions, "
    "and for answers that are made up `static_fixture`"
)


@cache
def _installed() -> Mapping[str, EntryPoint]:
    """Return the installed backends by name; what is installed is looked up once in a process."""
    return {point.name: point for point in entry_points(group=GROUP)}


def backends_of(folder: Path, named: Iterable[str]) -> tuple[str, ...]:
    """Return the installed backends that a profile in `folder` brings along, or that are among `named`."""
    wanted = set(named) - BACKENDS.keys()

    def is_beside(point: EntryPoint) -> bool:
        package = package_folder(point)
        return package is not None and folder.resolve().is_relative_to(package.resolve())

    return tuple(sorted(name for name, point in _installed().items() if name in wanted or is_beside(point)))


def refusal(error: LaneUnavailable) -> BackendRefused | None:
    """Return why the backend that `error` names does not run, None where no package has it."""
    name, connector = str(error.facts.get("found")), str(error.facts.get("connector"))
    point = _installed().get(name)
    if point is None:
        return None
    code = f"connector `{connector}` has backend `{name}`, code of {_source(point)}"
    return BackendRefused(
        f"{code} that makes calls of its own: nobody can permit them before, so it is not run; {AS_DATA}, "
        f"in `connectors/{connector}.yaml` and in the environment",
        next_steps=("rexecop examples copy",),
        connector=connector,
        found=name,
        allowed=", ".join(BACKENDS),
    )


def backends_check() -> tuple[CheckView, ...]:
    """Return the line of `doctor` about installed backends, none where there are none."""
    if not _installed():
        return ()
    named = ", ".join(f"`{name}` of {_source(point)}" for name, point in sorted(_installed().items()))
    words = f"code that makes calls of its own is not run: {named}; {AS_DATA}"
    return (CheckView(name="backends", status="warning", message=words),)


def _source(point: EntryPoint) -> str:
    return f"package `{point.dist.name if point.dist is not None else point.value}`"
