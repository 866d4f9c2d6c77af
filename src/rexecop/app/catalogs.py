"""Catalogs as files: read with what they refer to, listed, checked, planned through, and compared again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
    load_catalog,
    offers,
    read_catalog,
    usable_connectors,
)
from rexecop.operations.environment import Environment, load_environment, secret_references
from rexecop.operations.errors import CatalogDrifted, CatalogRefused, NotApplicable
from rexecop.operations.fold import Operation
from rexecop.operations.pinned_files import environment_snapshot, profile_snapshot
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.operations.reading import Finding, close_to, listed
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.errors import RexecopError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """An operation, and whether it can be planned for the target that was named."""

    operation: Offer
    digest: Digest
    applicability: Applicability | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An entry with the profile and the environment that it names."""

    entry: CatalogTarget
    profile: Profile
    environment: Environment

    def stands(self, offer: Offer) -> Applicability:
        """Return how `offer` stands for this target."""
        return applicability(offer, self.entry, self.profile.name, self.environment)


def open_catalog(path: Path) -> tuple[Catalog, bytes]:
    """Return the catalog in the file at `path`, and its bytes.

    Raises:
        FileMissing, FileRefused: it cannot be read. CatalogRefused, SecretInline: it is none.
    """
    data = read_file(path)
    return load_catalog(str(path), data), data


def _find(entry: CatalogTarget, folder: Path) -> FoundProfile:
    """Return the profile an entry names: by its name, or by a path that begins at the catalog."""
    ref = entry.profile_ref
    return find_profile(str(folder / ref) if "/" in ref or ref.startswith(".") else ref)


def _profiles(catalog: Catalog) -> dict[str, Profile]:
    folder = Path(catalog.file).parent
    return _each(catalog, "profile_ref", lambda entry: load_profile(_find(entry, folder).files))


def _environments(catalog: Catalog) -> dict[str, Environment]:
    def load(entry: CatalogTarget) -> Environment:
        path = Path(catalog.file).parent / entry.environment_ref
        return load_environment({path.name: read_file(path)})

    return _each(catalog, "environment_ref", load)


def _each(catalog: Catalog, key: str, load: Callable[[CatalogTarget], T]) -> dict[str, T]:
    """Return what the entries name at `key`, each read once; a finding at every entry where it cannot be."""
    found: dict[str, T] = {}
    failed: dict[str, str] = {}
    for entry in catalog.targets.values():
        part, name = entry.part(key), str(entry.part(key).value)
        if part is not entry.node and name not in found and name not in failed:
            try:
                found[name] = load(entry)
            except RexecopError as error:
                failed[name] = error.message
        if name in failed:
            part.refuse(f"target `{entry.id}`: {failed[name]}", found=name)
    return found


def place(catalog: Catalog, target: str) -> Placed:
    """Return entry `target` with its profile and environment.

    Raises:
        TargetUnknown: there is no such entry.
        CatalogRefused: what it refers to is missing, broken or other than it says.
    """
    entry = catalog.target(target)
    alone = replace(catalog, targets={target: entry})
    profiles, environments = _profiles(alone), _environments(alone)
    for environment in environments.values():
        check_target(entry, environment)
    catalog.problems.raise_first(CatalogRefused)
    (profile,), (environment,) = profiles.values(), environments.values()
    return Placed(entry=entry, profile=profile, environment=environment)


def placed(catalog: Catalog) -> Iterator[Placed]:
    """Yield each entry with what it names; what is broken is left out."""
    profiles, environments = _profiles(catalog), _environments(catalog)
    for entry in catalog.targets.values():
        profile, environment = profiles.get(entry.profile_ref), environments.get(entry.environment_ref)
        if profile is not None and environment is not None:
            known = len(catalog.problems.findings)
            check_target(entry, environment)
            if len(catalog.problems.findings) == known:
                yield Placed(entry=entry, profile=profile, environment=environment)


def offered(
    profile: str | None, catalog: Path | None, target: str | None, intent: str | None = None
) -> tuple[Offered, ...]:
    """Return what `profile` offers, for `target` of `catalog` where one is named.

    Raises:
        IntentUnknown: there is no such `intent`. Else as `open_catalog`, `place` and `find_profile`.
    """
    placed = None if catalog is None or target is None else place(open_catalog(catalog)[0], target)
    found = load_profile(find_profile(profile or "").files) if profile or placed is None else placed.profile
    return tuple(
        Offered(operation=one, digest=one.digest, applicability=placed.stands(one) if placed else None)
        for one in offers(found, intent)
    )


def lint_catalog(path: Path) -> tuple[Finding, ...]:
    """Return everything that is wrong in a catalog, and between it and what it refers to."""
    catalog = read_catalog(str(path), read_file(path))
    profiles, environments = _profiles(catalog), _environments(catalog)
    for entry in catalog.targets.values():
        profile, environment = profiles.get(entry.profile_ref), environments.get(entry.environment_ref)
        if environment is not None:
            check_target(entry, environment)
            usable = usable_connectors(environment)
            for name in entry.connectors:
                if name not in usable:
                    message = f"environment `{environment.id}` has no connector `{name}` that is switched on"
                    entry.part("connector_refs").refuse(message, found=name, allowed=listed(sorted(usable)))
        if profile is not None:
            _lint_fit(entry, profile, environment)
    return tuple(sorted(catalog.problems.findings, key=lambda one: one.severity))


def _lint_fit(entry: CatalogTarget, profile: Profile, environment: Environment | None) -> None:
    if environment is not None and environment.profile not in (None, profile.name):
        words = f"is for profile `{environment.profile}`, not `{profile.name}`"
        entry.part("environment_ref").refuse(f"environment `{environment.id}` {words}", allowed=profile.name)
    asked = {name for intent in profile.intents.values() for name in intent.capabilities}
    for name in entry.capabilities:
        if name not in asked:
            message = f"no operation of `{profile.name}` asks for `{name}`{close_to(name, asked)}"
            entry.part("capabilities").refuse(message, found=name, severity="warning")


def catalog_check(path: Path) -> CheckView:
    """Return how a catalog stands, as a line of `doctor`."""
    errors = [one.text() for one in lint_catalog(path) if one.severity == "error"]
    more = f" (and {len(errors) - 1} more)" if errors[1:] else ""
    words = f"{errors[0]}{more}" if errors else "every target is as its environment has it"
    return CheckView(name="catalog", status="failed" if errors else "ok", message=words)


def references_of(path: Path) -> dict[str, list[str]]:
    """Return the references to secrets of every environment a catalog names, each with what uses it.

    Raises:
        as `open_catalog`; CatalogRefused: an environment cannot be read.
    """
    catalog, _ = open_catalog(path)
    environments = _environments(catalog)
    catalog.problems.raise_first(CatalogRefused)
    found: dict[str, list[str]] = {}
    for environment in environments.values():
        for name, users in secret_references(environment).items():
            found.setdefault(name, []).extend(f"{user} of `{environment.id}`" for user in users)
    return found


# --- planning through a catalog, and what changed since ---


def base_of(root: Path) -> Path:
    """Return where the paths that plans keep begin: beside the root, not at the top of somebody's machine."""
    return Path(os.path.abspath(root)).parent


def route(catalog: Path, target: str, intent: str, base: Path, profile: str | None = None) -> Through:
    """Return what `intent` on entry `target` of a catalog stands for; the path that is kept begins at `base`.

    A `profile` that is named, too, has to be the very one that the entry names.

    Raises:
        NotApplicable: the catalog says that it is not for that target. IntentUnknown.
        Else as `open_catalog` and `place`.
    """
    found, data = open_catalog(catalog)
    placed = place(found, target)
    asked = placed.profile if profile is None else load_profile(find_profile(profile).files)
    (offer,) = offers(asked, intent)
    stands = placed.stands(offer)
    if asked.digest != placed.profile.digest and asked.name == placed.profile.name:
        reason = f"target `{target}` is for another copy of profile `{asked.name}`"
        stands = Applicability(Status.UNSUPPORTED_PROFILE, reason, (asked.digest,))
    if stands.status is not Status.ADMISSION_REQUIRED:
        look = f"rexecop operations unavailable --catalog {catalog} --target {target}"
        raise NotApplicable(
            f"operation `{intent}` is not for target `{target}`: {stands.status}: {stands.reason}",
            next_steps=(*stands.next, look),
            status=str(stands.status),
        )
    binding = Binding(file=os.path.relpath(catalog, base), digest=found.digest, target=target)
    return Through(
        profile=str(_find(placed.entry, catalog.parent).folder),
        env=str(catalog.parent / placed.entry.environment_ref),
        target=placed.entry.environment_target,
        binding=binding,
        data=data,
    )


def again(op: Operation, base: Path) -> tuple[str, str] | None:
    """Return profile and environment as the catalog names them now; None where it was planned without one.

    Raises:
        RexecopError: the catalog has gone, or names none any more.
    """
    binding = binding_of(op.the_plan)
    if binding is None:
        return None
    path = Path(os.path.normpath(base / binding.file))
    entry = open_catalog(path)[0].target(binding.target)
    return str(_find(entry, path.parent).folder), str(path.parent / entry.environment_ref)


def drift(op: Operation, base: Path, pinned: Callable[[Digest], bytes]) -> Iterator[str]:
    """Yield what is another now of what `op` was planned from through a catalog; nothing where it was not."""
    binding, plan = binding_of(op.the_plan), op.the_plan
    if binding is None:
        return
    path = Path(os.path.normpath(base / binding.file))
    try:
        now, _ = open_catalog(path)
        entry = now.target(binding.target)
        if now.digest != binding.digest:
            before = load_catalog(binding.file, pinned(binding.digest)).target(binding.target)
            same = f"catalog `{binding.file}` has other content; target `{binding.target}` in it is the same"
            said = differences(before.node.json(), entry.node.json())
            yield from (f"target `{binding.target}`: {line}" for line in said) if said else (same,)
        if digest_of(profile_snapshot(_find(entry, path.parent).files)) != plan.profile:
            yield f"profile `{op.the_intent.profile.name}` has other content"
        env = path.parent / entry.environment_ref
        if digest_of(environment_snapshot({env.name: read_file(env)})) != plan.environment:
            yield f"environment `{entry.environment_ref}` has other content"
    except RexecopError as error:
        yield error.message


def require_unchanged(op: Operation, base: Path, pinned: Callable[[Digest], bytes]) -> None:
    """Return only if everything is as it was when `op` was planned through a catalog, or it was without one.

    Raises:
        CatalogDrifted: it is not, with the first of what is another.
    """
    for what in drift(op, base, pinned):
        raise CatalogDrifted(
            f"what it was planned from is another now: {what}; it is not started, plan it again",
            next_steps=(f"rexecop diff {op.id}", f"rexecop cancel {op.id} --reason 'planned again'"),
            found=what,
        )
