"""Catalogs as files: read with what they refer to, listed, checked, planned through, and compared again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from rexecop.app.files import read_file
from rexecop.app.profiles import FoundProfile, find_profile
from rexecop.app.views import CheckView
from rexecop.engines.rereading import differences
from rexecop.operations.catalogs import (
    Applicability,
    Binding,
    Catalog,
    CatalogTarget,
    Offer,
    Status,
    Through,
    applicability,
    binding_of,
    check_target,
    is_path,
    load_catalog,
    offer_of,
    offers,
    read_catalog,
)
from rexecop.operations.environment import Environment, load_environment, secret_references
from rexecop.operations.errors import CatalogDrifted, CatalogRefused, NotApplicable
from rexecop.operations.fold import Operation
from rexecop.operations.pinned_files import environment_snapshot, profile_snapshot
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.operations.reading import Finding, Problems, close_to
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.errors import RexecopError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLine:
    """One target of a catalog, and what the catalog says of it."""

    id: str
    target_kind: str
    profile_ref: str
    environment_ref: str
    environment_target: str
    capabilities: tuple[str, ...]
    connector_refs: tuple[str, ...]
    classification: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """An operation, and whether it can be planned for the target that was named."""

    operation: Offer
    digest: Digest
    applicability: Applicability | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An entry with what it refers to. `served` is the name of the profile it is for."""

    entry: CatalogTarget
    served: str
    profile: Profile
    environment: Environment
    env: Path

    def stands(self, offer: Offer) -> Applicability:
        """Return how `offer` stands for this target."""
        return applicability(offer, self.entry, self.served, self.environment)


def open_catalog(path: Path) -> tuple[Catalog, bytes]:
    """Return the catalog in the file at `path`, and its bytes.

    Raises:
        FileMissing, FileRefused: it cannot be read. CatalogRefused, SecretInline: it is none.
    """
    data = read_file(path)
    return load_catalog(str(path), data), data


def target_lines(catalog: Catalog) -> tuple[TargetLine, ...]:
    """Return every target of `catalog`, in its order."""
    return tuple(map(target_line, catalog.targets.values()))


def target_line(entry: CatalogTarget) -> TargetLine:
    """Return one target as it is shown."""
    return TargetLine(
        id=entry.id,
        target_kind=entry.kind,
        profile_ref=entry.profile_ref,
        environment_ref=entry.environment_ref,
        environment_target=entry.environment_target,
        capabilities=entry.capabilities,
        connector_refs=entry.connectors,
        classification=entry.classification,
    )


# --- what an entry refers to ---


def _find(ref: str, folder: Path) -> FoundProfile:
    """Return the profile an entry names: by its name, or by a path that begins at the catalog."""
    return find_profile(str(folder / ref) if is_path(ref) else ref)


def _load_profile(ref: str, folder: Path) -> Profile:
    return load_profile(_find(ref, folder).files)


def _load_environment(path: Path) -> Environment:
    return load_environment({path.name: read_file(path)})


@contextmanager
def _told_at(entry: CatalogTarget, key: str) -> Iterator[None]:
    """Put the place of `key` in the catalog before what is wrong with what it refers to."""
    try:
        yield
    except RexecopError as error:
        part = entry.part(key)
        raise CatalogRefused(
            f"{entry.where(key)}: target `{entry.id}`: {error.message}",
            next_steps=error.next_steps,
            file=part.place.file,
            line=part.place.line,
            field=part.name,
        ) from error


def place(catalog: Catalog, target: str, profile: str | None = None) -> Placed:
    """Return entry `target` with its profile and environment; a named `profile` stands in for its own.

    Raises:
        TargetUnknown: there is no such entry. CatalogRefused: what it refers to is missing, broken or other
            than it says. ProfileUnknown, ProfileRefused: `profile` is none.
    """
    entry, folder = catalog.target(target), Path(catalog.file).parent
    found = None if profile is None else load_profile(find_profile(profile).files)
    served = entry.profile_ref
    # A name says which profile it is for; that need not be installed where another copy was named.
    if found is None or is_path(served):
        with _told_at(entry, "profile_ref"):
            own = _load_profile(served, folder)
        found, served = found or own, own.name
    env = folder / entry.environment_ref
    with _told_at(entry, "environment_ref"):
        environment = _load_environment(env)
    problems = entry.node.problems
    check_target(entry, environment, problems, connectors=False)
    problems.raise_first(CatalogRefused)
    return Placed(entry=entry, served=served, profile=found, environment=environment, env=env)


def offered(
    profile: str | None, catalog: Path | None, target: str | None, intent: str | None = None
) -> tuple[Offered, ...]:
    """Return what `profile` offers, or what is offered for `target` of `catalog`; `intent` alone where named.

    Raises:
        as `open_catalog`, `place` and `operations.catalogs.offer_of`.
    """
    placed = None
    if catalog is not None and target is not None:
        placed = place(open_catalog(catalog)[0], target, profile)
    found = load_profile(find_profile(profile or "").files) if placed is None else placed.profile
    chosen = offers(found) if intent is None else (offer_of(found, intent),)
    return tuple(
        Offered(
            operation=one, digest=one.digest, applicability=None if placed is None else placed.stands(one)
        )
        for one in chosen
    )


def lint_catalog(path: Path) -> tuple[Finding, ...]:
    """Return everything that is wrong in a catalog, and between it and what it refers to."""
    problems, folder = Problems(CatalogRefused.code), path.parent
    catalog = read_catalog(str(path), read_file(path), problems)
    profile_at = cache(lambda ref: _tried(lambda: _load_profile(ref, folder)))
    environment_at = cache(lambda ref: _tried(lambda: _load_environment(folder / ref)))
    for entry in catalog.targets.values():
        profile = environment = None
        if entry.profile_ref:
            profile = _good(entry, "profile_ref", profile_at(entry.profile_ref))
        if entry.environment_ref:
            environment = _good(entry, "environment_ref", environment_at(entry.environment_ref))
        if environment is not None:
            check_target(entry, environment, problems)
        if profile is not None:
            _lint_fit(entry, profile, environment)
    return tuple(sorted(problems.findings, key=lambda one: one.severity))


def _lint_fit(entry: CatalogTarget, profile: Profile, environment: Environment | None) -> None:
    if environment is not None and environment.profile not in (None, profile.name):
        message = (
            f"environment `{environment.id}` is for profile `{environment.profile}`, not `{profile.name}`"
        )
        entry.part("environment_ref").refuse(message, found=environment.profile, allowed=profile.name)
    asked = {name for intent in profile.intents.values() for name in intent.capabilities}
    for name in entry.capabilities:
        if name not in asked:
            message = f"no operation of `{profile.name}` asks for `{name}`{close_to(name, asked)}"
            entry.part("capabilities").refuse(message, found=name, severity="warning")


def _tried(work: Callable[[], T]) -> T | RexecopError:
    """Return what `work` returns, or the error, so that what many entries name is read once either way."""
    try:
        return work()
    except RexecopError as error:
        return error


def _good(entry: CatalogTarget, key: str, found: T | RexecopError) -> T | None:
    if isinstance(found, RexecopError):
        entry.part(key).refuse(f"target `{entry.id}`: {found.message}")
        return None
    return found


def catalog_check(path: Path) -> CheckView:
    """Return how a catalog stands, as a line of `doctor`."""
    errors = [one for one in lint_catalog(path) if one.severity == "error"]
    if errors:
        more = f" (and {len(errors) - 1} more)" if errors[1:] else ""
        return CheckView(name="catalog", status="failed", message=f"{errors[0].text()}{more}")
    count = len(open_catalog(path)[0].targets)
    return CheckView(name="catalog", status="ok", message=f"targets: {count}, each as its environment has it")


def references_of(path: Path) -> dict[str, list[str]]:
    """Return the references to secrets of every environment a catalog names, each with what uses it.

    Raises:
        as `open_catalog`; CatalogRefused: an environment cannot be read.
    """
    found: dict[str, list[str]] = {}
    entries = open_catalog(path)[0].targets.values()
    for ref, entry in {entry.environment_ref: entry for entry in entries}.items():
        with _told_at(entry, "environment_ref"):
            environment = _load_environment(path.parent / ref)
        for name, users in secret_references(environment).items():
            found.setdefault(name, []).extend(f"{user} of `{environment.id}`" for user in users)
    return found


# --- planning through a catalog, and what changed since ---


def base_of(root: Path) -> Path:
    """Return where the paths that plans keep begin: beside the root, not at the top of somebody's machine."""
    return Path(os.path.abspath(root)).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What a request through a catalog comes to: profile, environment, target, and what is pinned of it."""

    profile: str
    env: str
    target: str
    through: Through


def route(catalog: Path, target: str, intent: str, base: Path, profile: str | None = None) -> Route:
    """Return how `intent` on entry `target` of the file `catalog` is asked for; kept paths begin at `base`.

    Raises:
        NotApplicable: the catalog says that it is not for that target. Else as `open_catalog` and `place`.
    """
    found, data = open_catalog(catalog)
    placed = place(found, target, profile)
    offer = offer_of(placed.profile, intent)
    stands = placed.stands(offer)
    if stands.status is not Status.ADMISSION_REQUIRED:
        raise NotApplicable(
            f"operation `{offer.operation}` is not for target `{target}`: {stands.status}: {stands.reason}",
            next_steps=(
                *stands.next,
                f"rexecop operations unavailable --catalog {catalog} --target {target}",
            ),
            status=str(stands.status),
            file=found.file,
            line=placed.entry.node.place.line,
            found=", ".join(stands.wanted),
        )
    if profile is None:
        named, folder = None, _find(placed.entry.profile_ref, catalog.parent).folder
    else:
        chosen = find_profile(profile)
        by_path = chosen.source == str(chosen.folder)
        named, folder = f"./{os.path.relpath(chosen.folder, base)}" if by_path else profile, chosen.folder
    return Route(
        profile=str(folder),
        env=str(placed.env),
        target=placed.entry.environment_target,
        through=Through(
            binding=Binding(
                file=os.path.relpath(catalog, base), digest=found.digest, target=target, profile=named
            ),
            data=data,
        ),
    )


def again(op: Operation, base: Path) -> tuple[str, str] | None:
    """Return profile and environment as the catalog names them now; None where it was planned without one.

    Raises:
        RexecopError: the catalog has gone, or names none any more.
    """
    binding = binding_of(op.the_plan)
    if binding is None:
        return None
    path = _path(base, binding.file)
    entry = open_catalog(path)[0].target(binding.target)
    profile = _profile_now(binding, entry, path.parent, base)
    return str(profile.folder), str(path.parent / entry.environment_ref)


def _profile_now(binding: Binding, entry: CatalogTarget, folder: Path, base: Path) -> FoundProfile:
    named = binding.profile
    if named is None:
        return _find(entry.profile_ref, folder)
    return find_profile(str(_path(base, named)) if is_path(named) else named)


def _path(base: Path, kept: str) -> Path:
    return Path(os.path.normpath(base / kept))


def drift(op: Operation, base: Path, pinned: Callable[[Digest], bytes]) -> tuple[str, ...]:
    """Return what is another now of what `op` was planned from through a catalog."""
    binding = binding_of(op.the_plan)
    return () if binding is None else tuple(_drift(op, binding, base, pinned))


def _drift(op: Operation, binding: Binding, base: Path, pinned: Callable[[Digest], bytes]) -> Iterable[str]:
    path = _path(base, binding.file)
    try:
        now, _ = open_catalog(path)
        entry = now.target(binding.target)
    except RexecopError as error:
        yield error.message
        return
    if now.digest != binding.digest:
        before = load_catalog(binding.file, pinned(binding.digest)).target(binding.target).node.json()
        said = differences(before, entry.node.json())
        yield from (f"target `{binding.target}`: {line}" for line in said)
        if not said:
            yield f"catalog `{binding.file}` has other content; target `{binding.target}` in it is the same"
    env = path.parent / entry.environment_ref
    try:
        files = _profile_now(binding, entry, path.parent, base).files
        if digest_of(profile_snapshot(files)) != op.the_plan.profile:
            yield f"profile `{op.the_intent.profile.name}` has other content"
        if digest_of(environment_snapshot({env.name: read_file(env)})) != op.the_plan.environment:
            yield f"environment `{entry.environment_ref}` has other content"
    except RexecopError as error:
        yield error.message


def require_unchanged(op: Operation, base: Path, pinned: Callable[[Digest], bytes]) -> None:
    """Return only if everything is as it was when `op` was planned through a catalog, or it was without one.

    Raises:
        CatalogDrifted: it is not, with the first of what is another.
    """
    found = drift(op, base, pinned)
    if found:
        more = f" (and {len(found) - 1} more)" if found[1:] else ""
        raise CatalogDrifted(
            f"what it was planned from is another now: {found[0]}{more}; it is not started, plan it again",
            next_steps=(f"rexecop diff {op.id}", f"rexecop cancel {op.id} --reason 'planned again'"),
            found=found[0],
        )
