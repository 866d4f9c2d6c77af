"""Targets: from the name that was asked for to the things it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.operations.environment import CRITICALITIES, TARGETS_MAX, Environment
from rexecop.operations.errors import EnvironmentRefused, PlanTooLarge, TargetUnknown
from rexecop.operations.reading import unknown
from rexecop.proof.canonical import Json
from rexecop.proof.message import Scalar

Parents = Mapping[str, list[str]]
EVERYTHING: Final = "all"
"""Stands for every target of an environment, unless one is called so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTarget:
    """One thing to act on: never a group. `groups` are the groups it was reached through or is in."""

    id: str
    type: str
    criticality: str
    groups: tuple[str, ...]
    attributes: Mapping[str, Scalar]
    connection: Mapping[str, Json]


def resolve_targets(environment: Environment, name: str) -> tuple[ResolvedTarget, ...]:
    """Return the targets `name` stands for: a group's members, or the target itself.

    Several names stand with commas between them, and `all` for everything. A name that only a
    group lists is a target too, of type `host`.

    Raises:
        TargetUnknown: the environment has no such target.
        EnvironmentRefused: a group contains itself. PlanTooLarge: more than one operation takes.
    """
    parents: dict[str, list[str]] = {}
    for target in environment.targets.values():
        for member in target.members:
            parents.setdefault(member, []).append(target.name)
    known = sorted({*environment.targets, *parents})
    asked = known if name == EVERYTHING and name not in known else name.split(",")
    for one in asked:
        if one not in environment.targets and one not in parents:
            message = f"environment `{environment.id}` has no target `{one:.60}`"
            raise unknown(TargetUnknown, message, one, known)
    names = tuple(dict.fromkeys(thing for one in asked for thing in _things(environment, one, ())))
    if len(names) > TARGETS_MAX:
        raise PlanTooLarge(
            f"`{name}` stands for {len(names)} targets, at most {TARGETS_MAX}", limit=TARGETS_MAX
        )
    return tuple(_resolved(environment, thing, parents) for thing in names)


def _things(environment: Environment, name: str, above: tuple[str, ...]) -> Iterator[str]:
    spec = environment.targets.get(name)
    if spec is None or not spec.members:
        yield name
        return
    if name in above:
        raise EnvironmentRefused(
            f"group `{name}` contains itself", field=f"environment.targets.{name}.members"
        )
    for member in spec.members:
        yield from _things(environment, member, (*above, name))


def _resolved(environment: Environment, name: str, parents: Parents) -> ResolvedTarget:
    spec = environment.targets.get(name)
    groups, waiting = set[str](), [name]
    while waiting:
        more = set(parents.get(waiting.pop(), ())) - groups
        groups |= more
        waiting += more
    return ResolvedTarget(
        id=name,
        type="host" if spec is None else spec.type,
        criticality=_criticality(environment, name, groups),
        groups=tuple(sorted(groups)),
        attributes={} if spec is None else spec.attributes,
        connection={} if spec is None else spec.connection,
    )


def _criticality(environment: Environment, name: str, groups: set[str]) -> str:
    """Return the declared criticality, else the strictest of its groups, else what the names say."""
    spec = environment.targets.get(name)
    if spec is not None and spec.criticality is not None:
        return spec.criticality
    found = [
        group.criticality for key in groups if (group := environment.targets.get(key)) and group.criticality
    ]
    if any("critical" in word for word in (name, *groups)):
        found.append("critical")
    return max((word for word in found if word), key=CRITICALITIES.index, default="low")
