"""Intents as tools of a program: what each takes, on what, and what its steps declare they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rexecop.app.catalogs import Placed, open_catalog, placed
from rexecop.app.door import Matter
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.operations.catalogs import Offer, Status, effect_of, offers
from rexecop.operations.environment import Backend, Environment, TargetSpec
from rexecop.operations.errors import CatalogRefused
from rexecop.operations.profile_model import ActionSpec, Profile
from rexecop.proof.canonical import Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Effect, Mode, Verdict

NOTHING: Final[Mapping[str, Json]] = {"type": "object", "properties": {}, "additionalProperties": False}
_READS: Final = (Mode.READ_ONLY, Mode.OBSERVE, Mode.EMERGENCY_READONLY, Mode.DRY_RUN)
_CHANGES: Final = (Mode.APPLY, Mode.RECOVERY, Mode.DRY_RUN)
_HERE: Final = frozenset({Backend.SCRIPTED, Backend.PROCESS})  # They talk to nobody beyond this machine.


@dataclass(frozen=True, slots=True, kw_only=True)
class Tooling:
    """One intent as a tool. `parameters` is its JSON Schema; the first of `modes` does what it says.

    `name` is what it is called, `matters` what it is about on each target, and `where` those are.
    `undoable` and `idempotent` hold where every changing step declares it; `beyond` where a step leaves
    this machine.
    """

    name: str
    intent: str
    profile: str
    where: str
    title: str
    summary: str
    effect: Effect
    parameters: Mapping[str, Json]
    modes: tuple[str, ...]
    matters: Mapping[str, Matter]
    undoable: bool
    idempotent: bool
    beyond: bool


def toolings(instance: Instance, profile: str, env: str) -> tuple[Tooling, ...]:
    """Return every intent of `profile` in the environment at `env` as a tool, by name.

    Raises:
        OperationsError, FileMissing: one of them cannot be read.
    """
    planner = instance.parts.planner
    found, environment = planner.profile(profile), planner.environment(Path(env))

    def matters(offer: Offer) -> dict[str, Matter]:
        kinds = frozenset(offer.target_kinds)
        named = [one.name for one in environment.targets.values() if _fits(one, kinds)]
        return {name: _matter(found, offer, name, environment) for name in named}

    return tuple(_tooling(found, (environment,), matters, f"in environment {environment.id}"))


def catalog_toolings(path: Path) -> tuple[Tooling, ...]:
    """Return every intent that can be planned for a target of the catalog at `path` as a tool.

    Where several profiles have an intent of one name, the tools have that of the profile before it.

    Raises:
        FileMissing, FileRefused: it cannot be read. CatalogRefused, SecretInline: it is none, or what
            it names is missing, broken or other than it says, or there are two profiles of one name.
    """
    catalog, _ = open_catalog(path)
    groups: dict[str, list[Placed]] = {}
    for there in placed(catalog):
        entries = groups.setdefault(there.profile.name, [])
        if entries and entries[0].profile.digest != there.profile.digest:
            words = f"names another copy of profile `{there.profile.name}` than `{entries[0].entry.id}`"
            there.entry.part("profile_ref").refuse(f"target `{there.entry.id}` {words}")
        entries.append(there)
    catalog.problems.raise_first(CatalogRefused)
    found = [one for group in groups.values() for one in _catalogued(group, path.name)]
    often = Counter(one.intent for one in found)
    return tuple(
        replace(one, name=f"{one.profile}_{one.intent}") if often[one.intent] > 1 else one for one in found
    )


def _catalogued(group: Sequence[Placed], file: str) -> Iterator[Tooling]:
    profile = group[0].profile

    def matters(offer: Offer) -> dict[str, Matter]:
        fit = [there for there in group if there.stands(offer).status is Status.ADMISSION_REQUIRED]
        return {
            there.entry.id: _matter(profile, offer, there.entry.environment_target, there.environment)
            for there in fit
        }

    for one in _tooling(profile, [there.environment for there in group], matters, f"in catalog {file}"):
        if one.matters:
            yield one


def _fits(target: TargetSpec, kinds: frozenset[str]) -> bool:
    return not kinds or bool(target.members) or target.type in kinds


def _matter(profile: Profile, offer: Offer, target: str, environment: Environment) -> Matter:
    return Matter(intent=f"{profile.name}/{offer.operation}", target=target, environment=environment.id)


def _tooling(
    profile: Profile,
    environments: Sequence[Environment],
    matters: Callable[[Offer], Mapping[str, Matter]],
    where: str,
) -> Iterator[Tooling]:
    for offer in offers(profile):
        spec = profile.intents[offer.operation]
        changing = [one for one in _actions(profile, spec.workflow) if one.effect is not Effect.READ]
        effect = effect_of(profile, spec)
        usual = _READS if effect is Effect.READ else _CHANGES
        named = [mode for mode in usual if not spec.modes or mode in spec.modes]
        backends = {
            environment.connectors[name].backend
            for environment in environments
            for name in offer.required_connectors
            if name in environment.connectors
        }
        yield Tooling(
            name=spec.id,
            intent=spec.id,
            profile=profile.name,
            where=where,
            title=spec.title,
            summary=spec.summary,
            effect=effect,
            parameters=NOTHING if spec.parameters is None else spec.parameters.schema,
            modes=tuple(map(str, named or usual)),
            matters=matters(offer),
            undoable=all(one.undo is not None for one in changing),
            idempotent=all(one.idempotent is True for one in changing),
            beyond=not backends <= _HERE,
        )


def _actions(profile: Profile, workflow: str) -> Iterator[ActionSpec]:
    """Yield the actions of the connector steps of a workflow, and of the intents that it calls."""
    names = [workflow]
    for name in names:
        for step in profile.workflows[name].steps:
            if step.calls is not None and (called := profile.intents.get(step.calls.intent)) is not None:
                names += [called.workflow] if called.workflow not in names else []
            connector = profile.connectors.get(step.connector)
            if connector is not None and step.action in connector.actions:
                yield connector.actions[step.action]


def would_be_blocked(instance: Instance, asked: PlanInput) -> bool:
    """Return whether policy blocks `asked`, as far as can be said: what is no plan yet is not blocked."""
    try:
        answer, _, _ = instance.parts.planner.foresee(asked, instance.identity())
    except RexecopError:
        return False
    return answer.terms.verdict is Verdict.BLOCKED
