"""Where each reference resolves, and what is in the way: never what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rexecop.app.access import read_access
from rexecop.app.catalogs import references_of
from rexecop.app.files import read_file
from rexecop.app.root import Root
from rexecop.app.secrets import Locator, variable_of
from rexecop.lanes.errors import RequestRefused
from rexecop.operations.environment import load_environment, secret_references
from rexecop.proof.errors import RexecopError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceView:
    """One reference: `where` it resolves, None for nowhere; `problem` is None where nothing is in the way.

    `used_by` are the connectors, targets and files that name it.
    """

    reference: str
    where: str | None
    problem: str | None
    used_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretsView:
    """What `secrets doctor` found: `status` is `ok` or `failed`; `problems` are of no single reference."""

    status: str
    references: tuple[ReferenceView, ...]
    problems: tuple[str, ...]


async def secrets_doctor(
    root: Root, environment: Path | None, environ: Mapping[str, str], catalog: Path | None = None
) -> SecretsView:
    """Look up every reference of the root, `environment` and what `catalog` names. No value is read.

    Raises:
        FileMissing, FileRefused, EnvironmentRefused, SecretInline: the environment cannot be read.
        CatalogRefused: the catalog cannot, or what it names.
    """
    problems: list[str] = []
    used: dict[str, list[str]] = {} if catalog is None else references_of(catalog)
    if environment is not None:
        found = load_environment({environment.name: read_file(environment)})
        for name, places in secret_references(found).items():
            used.setdefault(name, []).extend(places)
    locator = Locator(root, environ)
    try:
        for name in locator.declared():
            used.setdefault(name, [])
    except RexecopError as error:
        problems.append(error.message)
    try:
        token = (read_access(root).pdp or {}).get("token_secret")
        if isinstance(token, str):
            used.setdefault(token, []).append(root.authzen.name)
    except RexecopError as error:
        problems.append(error.message)
    by_variable: dict[str, list[str]] = {}
    for name in sorted(used):
        by_variable.setdefault(variable_of(name), []).append(f"`{name}`")
    for variable, names in by_variable.items():
        if len(names) > 1 and variable in environ:
            problems.append(f"`{variable}` is the variable of {' and '.join(names)}")
    views = [await _view(locator, name, tuple(used[name])) for name in sorted(used)]
    bad = bool(problems) or any(view.problem is not None for view in views)
    return SecretsView(status="failed" if bad else "ok", references=tuple(views), problems=tuple(problems))


async def _view(locator: Locator, name: str, used_by: tuple[str, ...]) -> ReferenceView:
    try:
        place = locator(name)
    except RequestRefused as refused:
        return ReferenceView(reference=name, where=None, problem=refused.message, used_by=used_by)
    field = f", field `{place.field}`" if place.field else ""
    problem = await place.source.doubt()
    return ReferenceView(
        reference=name, where=f"{place.source.where}{field}", problem=problem, used_by=used_by
    )
