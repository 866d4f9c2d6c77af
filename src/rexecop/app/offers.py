"""What may be asked for at the service: profiles by name, environments and catalogs that its root names.

No path comes in over HTTP: a caller could have files of this machine read by naming them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rexecop.app.catalogs import Placed, base_of, open_catalog, place, placed, route
from rexecop.app.door import Matter
from rexecop.app.errors import NotOffered
from rexecop.app.gateways import accepted
from rexecop.app.instance import Instance
from rexecop.app.profiles import installed_profiles
from rexecop.operations.catalogs import Offer, Status, Through, offers
from rexecop.proof.canonical import Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.message import Scalar

if TYPE_CHECKING:
    from rexecop.operations.environment import Environment
    from rexecop.operations.profile_model import Profile

ENDING: Final = ".environment.yaml"
CATALOG: Final = ".catalog.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLine:
    """A target of an environment: a thing, or a group with its `members`."""

    environment: str
    target: str
    type: str
    members: tuple[str, ...]
    criticality: str | None
    attributes: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentLine:
    """An intent of a profile; `parameters` is the JSON Schema (2020-12) that they are held to."""

    profile: str
    intent: str
    title: str
    summary: str
    effect: str
    risk: str
    modes: tuple[str, ...]
    target_kinds: tuple[str, ...]
    parameters: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryLine:
    """A target of a catalog and what it stands for; `intents` are those that can be planned for it."""

    catalog: str
    target: str
    kind: str
    profile: str
    environment: str
    environment_target: str
    intents: tuple[str, ...]


class Offers:
    """The profiles, environments and catalogs of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._settings = instance.settings
        self._planner = instance.parts.planner

    def profiles(self) -> Iterator[Profile]:
        """Yield each profile once, the one of the settings first; what is broken is left out."""
        own = () if self._settings.profile is None else (self._settings.profile,)
        seen: set[str] = set()
        gateways = (source for _, source, _ in accepted(self._settings.root))
        for source in (*own, *(found.name for found in installed_profiles()), *gateways):
            with suppress(RexecopError):
                found = self._planner.profile(source)
                if found.name not in seen:
                    seen.add(found.name)
                    yield found

    def environments(self) -> Iterator[tuple[str, Environment]]:
        """Yield path and environment, that of the settings first; what is broken is left out."""
        own = () if self._settings.env is None else (Path(self._settings.env),)
        seen: set[str] = set()
        gateways = (path for _, _, path in accepted(self._settings.root))
        for path in (*own, *sorted(self._settings.root.glob(f"*{ENDING}")), *gateways):
            with suppress(RexecopError):
                found = self._planner.environment(path)
                if found.id not in seen:
                    seen.add(found.id)
                    yield str(path), found

    def profile(self, name: str | None) -> tuple[str, Profile]:
        """Return what names the profile called `name`, and the profile; without one that of the settings.

        Raises:
            NotOffered: there is none. ProfileRefused: it is broken.
        """
        own = self._settings.profile
        if own is not None and (found := self._planner.profile(own)).name == (name or found.name):
            return own, found
        if name is not None and name in {one.name for one in installed_profiles()}:
            return name, self._planner.profile(name)
        for called, source, _ in accepted(self._settings.root) if name is not None else ():
            if name == called:
                return source, self._planner.profile(source)
        raise NotOffered(
            f"no profile `{name:.60}`" if name else "no `profile` is named, here or in the settings"
        )

    def environment(self, name: str | None) -> tuple[str, Environment]:
        """Return path and environment of that id; without one that of the settings.

        Raises:
            NotOffered: there is none. EnvironmentRefused: that of the settings is broken.
        """
        if name is None and self._settings.env is not None:
            return self._settings.env, self._planner.environment(Path(self._settings.env))
        for source, found in self.environments() if name is not None else ():
            if name == found.id:
                return source, found
        raise NotOffered(
            f"no environment `{name:.60}`" if name else "no `environment` is named, here or in the settings"
        )

    def catalogs(self) -> Iterator[tuple[str, Path]]:
        """Yield each catalog in the root by its name, that of its file without the ending."""
        found = self._settings.root.glob(f"*{CATALOG}")
        named = ((path.name.removesuffix(CATALOG), path) for path in found)
        yield from sorted(named, key=lambda one: f"{one[0]}/")  # As cursors compare them.

    def matter_of(self, catalog: str, target: str, intent: str) -> Matter:
        """Return what `intent` for `target` of a catalog is about.

        Raises:
            NotOffered: there is no such catalog. TargetUnknown, CatalogRefused: as `catalogs.place`.
        """
        there = self.placed(catalog, target)
        return Matter(
            intent=f"{there.profile.name}/{intent}",
            target=there.entry.environment_target,
            environment=there.environment.id,
        )

    def placed(self, catalog: str, target: str) -> Placed:
        """Return what `target` of a catalog stands for; raises as `matter_of`."""
        return place(open_catalog(self._catalog(catalog))[0], target)

    def through(self, catalog: str, target: str, intent: str, profile: str | None) -> Through:
        """Return what `intent` for `target` of a catalog stands for, with the `profile` called so, if any.

        Raises:
            NotOffered: there is no such catalog or profile. Else as `catalogs.route`.
        """
        named = None if profile is None else self.profile(profile)[0]
        return route(self._catalog(catalog), target, intent, base_of(self._settings.root), named)

    def _catalog(self, name: str) -> Path:
        for known, path in self.catalogs():
            if known == name:
                return path
        raise NotOffered(f"no catalog `{name:.60}`")

    def entries(self) -> Iterator[EntryLine]:
        """Yield every target of every catalog, by catalog and name; what is broken is left out."""
        for name, path in self.catalogs():
            with suppress(RexecopError):
                found = sorted(placed(open_catalog(path)[0]), key=lambda one: one.entry.id)
                for there in found:
                    fits = (
                        offer.operation
                        for offer in offers(there.profile)
                        if there.stands(offer).status is Status.ADMISSION_REQUIRED
                    )
                    yield EntryLine(
                        catalog=name,
                        target=there.entry.id,
                        kind=there.entry.kind,
                        profile=there.profile.name,
                        environment=there.environment.id,
                        environment_target=there.entry.environment_target,
                        intents=tuple(fits),
                    )

    def targets(self) -> Iterator[TargetLine]:
        """Yield every target of every environment, by its environment's id and its name."""
        for environment in sorted((found for _, found in self.environments()), key=lambda one: one.id):
            for name, target in sorted(environment.targets.items()):
                yield TargetLine(
                    environment=environment.id,
                    target=name,
                    type=target.type,
                    members=target.members,
                    criticality=target.criticality,
                    attributes=target.attributes,
                )

    def intents(self) -> Iterator[IntentLine]:
        """Yield every intent of every profile, by name."""
        for profile in sorted(self.profiles(), key=lambda one: one.name):
            for offer in offers(profile):
                yield intent_line(profile, offer)


def intent_line(profile: Profile, offer: Offer) -> IntentLine:
    """Return an intent of `profile` as it is listed."""
    schema = profile.intents[offer.operation].parameters
    return IntentLine(
        profile=profile.name,
        intent=offer.operation,
        title=offer.title,
        summary=offer.summary,
        effect=str(offer.effect),
        risk=offer.risk,
        modes=offer.modes,
        target_kinds=offer.target_kinds,
        parameters={"type": "object", "properties": {}, "additionalProperties": False}
        if schema is None
        else schema.schema,
    )
