"""Targets: from the name that was asked for to the things it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from rexecop.operations.environment import TARGETS_MAX, Environment
from rexecop.operations.errors import EnvironmentRefused, PlanTooLarge, TargetUnknown
from rexecop.operations.reading import close_to, listed
from rexecop.proof.call import Scalar
from rexecop.proof.canonical import Json

CRITICAL_WORD: Final = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTarget:
    """One thing to act on: never a group. `groups` are the groups it was reached through or is in."""

    id: str
    type: str
    criticality: str
    groups: tuple[str, ...]
    attributes: Mapping[str, Scalar]
    connection: Mapping[str, Json]
    thresholds: Mapping[str, int]


def resolve_targets(environment: Environment, name: str) -> tuple[ResolvedTarget, ...]:
    """Return the targets `name` stands for: a group's members, or the target itself.

    A name that only a group lists is a target too, of type `host`.

    Raises:
        TargetUnknown: the environment has no such target.
        EnvironmentRefused: a group contains itself. PlanTooLarge: more than one operation takes.
    """
    known = _known(environment)
    if name not in known:
        raise TargetUnknown(
            f"environment `{environment.id}` has no target `{name:.60}`{close_to(name, known)}; "
            f"known: {listed(sorted(known)[:32]) or 'none'}",
            found=name[:60],
            allowed=listed(sorted(known)[:32]),
        )
    found: dict[str, ResolvedTarget] = {}
    _expand(environment, name, (), found, _parents(environment))
    if len(found) > TARGETS_MAX:
        raise PlanTooLarge(
            f"`{name}` stands for {len(found)} targets, at most {TARGETS_MAX}", limit=TARGETS_MAX
        )
    return tuple(found.values())


Parents = Mapping[str, tuple[str, ...]]


def _known(environment: Environment) -> set[str]:
    members = {member for target in environment.targets.values() for member in target.members}
    return members | set(environment.targets)


def _parents(environment: Environment) -> Parents:
    """Return the groups that list each name."""
    found: dict[str, tuple[str, ...]] = {}
    for target in environment.targets.values():
        for member in target.members:
            found[member] = (*found.get(member, ()), target.name)
    return found


def _expand(
    environment: Environment,
    name: str,
    above: tuple[str, ...],
    found: dict[str, ResolvedTarget],
    parents: Parents,
) -> None:
    spec = environment.targets.get(name)
    if spec is None or not spec.members:
        if name not in found:
            found[name] = _thing(environment, name, parents)
        return
    if name in above:
        raise EnvironmentRefused(
            f"group `{name}` contains itself", field=f"environment.targets.{name}.members"
        )
    for member in spec.members:
        _expand(environment, member, (*above, name), found, parents)


def _thing(environment: Environment, name: str, parents: Parents) -> ResolvedTarget:
    groups = tuple(sorted(_groups(name, parents)))
    spec = environment.targets.get(name)
    thing = ResolvedTarget(
        id=name,
        type="host",
        criticality=_criticality(environment, name, groups),
        groups=groups,
        attributes={},
        connection={},
        thresholds={},
    )
    if spec is None:
        return thing
    return replace(
        thing,
        type=spec.type,
        attributes=spec.attributes,
        connection=spec.connection,
        thresholds=spec.thresholds,
    )


def _groups(name: str, parents: Parents) -> set[str]:
    """Return all groups `name` is in, directly or through groups."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for group in parents.get(waiting.pop(), ()):
            if group not in found:
                found.add(group)
                waiting.append(group)
    return found


def _criticality(environment: Environment, name: str, groups: tuple[str, ...]) -> str:
    """Return the declared criticality, else the strictest of its groups, else what the names say."""
    order = ("low", "medium", "high", CRITICAL_WORD)
    spec = environment.targets.get(name)
    if spec is not None and spec.criticality is not None:
        return spec.criticality
    declared = [
        group.criticality
        for key in groups
        if (group := environment.targets.get(key)) is not None and group.criticality is not None
    ]
    if any(CRITICAL_WORD in word for word in (name, *groups)):
        declared.append(CRITICAL_WORD)
    return max(declared, key=order.index, default="low")
