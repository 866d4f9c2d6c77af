"""What the policy engine is told about one request: the questions, and the entities they are about.

A request sees a part of the entity set: who asks, his groups, the sponsor of an agent,
the targets with their groups, and whoever a condition needs facts of. Of the context it
sees what conditions read. So the cost of a decision grows neither with the number of
people nor with that of facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

import cedarpy

from rexecop.governance.actions import Action, action_of
from rexecop.governance.conditions import WHOLE_CONTEXT, Sight
from rexecop.governance.entities import Entities
from rexecop.governance.schema import schema
from rexecop.governance.slicing import Heads, Reach, Uid, heads_of
from rexecop.proof.canonical import INTEGER_MAX, Json, canonical_bytes, trusted_bytes
from rexecop.proof.errors import NotCanonical
from rexecop.proof.records.decision import PolicyRequest, Recent, RequestTarget
from rexecop.proof.times import format_time

Question: TypeAlias = dict[str, dict[str, str] | str]

HANDLES_MAX: Final = 512  # Enough for the targets a busy instance works on; beyond it all are made anew.
KEPT_LENGTH_MAX: Final = 4096  # Larger parameters and target sets are asked about once, and would only
KEPT_TARGETS_MAX: Final = 64  # fill memory.

_PARAMETERS: Final = "request"
# What was not counted may have been often; only packs that do not ask see this.
_UNCOUNTED: Final[dict[str, Json]] = dict.fromkeys((field.name for field in fields(Recent)), INTEGER_MAX)


class _Fact(NamedTuple):
    """One attribute of the context: its type, where it is found, and whether a request may lack it."""

    kind: type
    of: Callable[[PolicyRequest], Json]
    optional: bool = False


# The schema names the same ones; a request is held to the types here, as what nobody reads is not sent.
FACTS: Final[Mapping[str, _Fact]] = {
    "gate": _Fact(str, attrgetter("gate")),
    "mode": _Fact(str, attrgetter("mode")),
    "risk": _Fact(str, attrgetter("risk")),
    "profile": _Fact(str, attrgetter("profile")),
    "intent": _Fact(str, lambda request: f"{request.profile}/{request.intent}"),
    "environment": _Fact(str, attrgetter("environment")),
    "simulated": _Fact(bool, attrgetter("simulated")),
    "pinned": _Fact(bool, attrgetter("pinned")),
    "origin": _Fact(str, attrgetter("origin")),
    "principal_established": _Fact(str, attrgetter("principal.established")),
    "now": _Fact(dict, lambda request: {"__extn": {"fn": "datetime", "arg": format_time(request.now)}}),
    "parameters": _Fact(dict, lambda _: {"__entity": {"type": "Parameters", "id": _PARAMETERS}}),
    "break_glass": _Fact(bool, attrgetter("break_glass")),
    "override_window": _Fact(bool, attrgetter("override_window")),
    "recent": _Fact(dict, lambda request: _UNCOUNTED if request.recent is None else asdict(request.recent)),
    "grade": _Fact(str, attrgetter("grade"), optional=True),
    "sponsor": _Fact(str, attrgetter("sponsor"), optional=True),
    "step": _Fact(str, attrgetter("step"), optional=True),
}


@dataclass(frozen=True, slots=True)
class Questions:
    """One question per target, by which heads a policy about it is found, and what there is to know."""

    questions: tuple[Question, ...]
    reaches: tuple[Reach, ...]
    entities: cedarpy.Entities


@dataclass(frozen=True, slots=True)
class _Known:
    """The entities of requests by one principal about the same targets, and the heads of both."""

    entities: cedarpy.Entities
    principal: Heads
    resources: tuple[Heads, ...]


class Facts:
    """Turns requests into questions for policies that look at `sights`."""

    def __init__(self, entities: Entities, sights: Iterable[Sight]) -> None:
        sights = tuple(sights)
        read = frozenset[str]().union(*(sight.context for sight in sights))
        self.read: Final = frozenset(FACTS) if WHOLE_CONTEXT in read else read & FACTS.keys()
        self._by_action = any(sight.action for sight in sights)
        self._entities = entities
        self._named = sorted(frozenset[Uid]().union(*(sight.entities for sight in sights)))
        self._known: dict[tuple[str, tuple[RequestTarget, ...], str, Heads], _Known] = {}

    def ignores(self, parameters: Mapping[str, Json] | None) -> bool:
        """Return whether it is the same to every policy which parameters a request has, these among them."""
        if not parameters or "parameters" in self.read:
            return not parameters
        try:
            trusted_bytes(_tags(parameters))
        except NotCanonical:
            return False
        return True

    def of(self, request: PolicyRequest) -> Questions:
        """Return what to ask about `request`.

        Raises:
            ValueError: the request does not fit the schema.
            NotCanonical: its parameters hold what evidence may not.
        """
        person, action = request.principal.person, action_of(request)
        same: Question = {
            "principal": {"type": self._entities.type_of(person) or "User", "id": person},
            "action": {"type": "Action", "id": action.name},
            "context": trusted_bytes(self._context(request)).decode(),
        }
        known = self._of_entities(request, action)
        return Questions(
            questions=tuple(
                same | {"resource": {"type": "Target", "id": target.id}} for target in request.targets
            ),
            reaches=tuple((known.principal, action.heads, resource) for resource in known.resources),
            entities=known.entities,
        )

    def _context(self, request: PolicyRequest) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for name in self.read:
            kind, fact_of, optional = FACTS[name]
            value = fact_of(request)
            if value is None and optional:
                continue
            if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
                raise ValueError(f"fact `{name}` is `{value!r:.60}`, which is no {kind.__name__}")
            found[name] = value
        return found

    def _of_entities(self, request: PolicyRequest, action: Action) -> _Known:
        text = "" if request.parameters is None else trusted_bytes(_tags(request.parameters)).decode()
        tags = text if "parameters" in self.read else ""
        heads: Heads = action.heads if self._by_action else frozenset()
        key = (request.principal.person, request.targets, tags, heads)
        known = self._known.get(key)
        if known is None:
            known = self._looked_up(request, action)
            if len(key[2]) <= KEPT_LENGTH_MAX and len(request.targets) <= KEPT_TARGETS_MAX:
                if len(self._known) >= HANDLES_MAX:
                    self._known.clear()
                self._known[key] = known
        return known

    def _looked_up(self, request: PolicyRequest, action: Action) -> _Known:
        person = request.principal.person
        principal = (self._entities.type_of(person) or "User", person)
        found: dict[Uid, _Entity] = {}
        for uid in (principal, *self._named):
            self._add(found, uid)
        for target in request.targets:
            for group in target.groups:
                self._add(found, ("TargetGroup", group))
            facts: dict[str, Json] = {"kind": target.type, "criticality": target.criticality}
            parents = tuple(("TargetGroup", group) for group in target.groups)
            found["Target", target.id] = _Entity(facts, parents)
        listed = [entity.listed(uid) for uid, entity in found.items()]
        if "parameters" in self.read:
            tags = _tags(request.parameters or {})
            listed.append(_Entity().listed(("Parameters", _PARAMETERS)) | {"tags": tags})
        above = {uid: entity.parents for uid, entity in found.items()}
        entities = cedarpy.Entities.from_json_str(trusted_bytes(listed).decode(), schema())
        if self._by_action:
            # The schema has the groups; what the plan is made of comes on top.
            more = [_Entity(parents=tuple(parents)).listed(uid) for uid, parents in action.parents.items()]
            entities = entities.with_added_json_str(trusted_bytes(more).decode())
        return _Known(
            entities=entities,
            principal=heads_of(principal, above),
            resources=tuple(heads_of(("Target", target.id), above) for target in request.targets),
        )

    def _add(self, found: dict[Uid, _Entity], uid: Uid) -> None:
        kind, name = uid
        if uid in found:
            return
        if kind == "User":
            groups = tuple(("Group", group) for group in sorted(self._entities.people.get(name, ())))
            found[uid] = _Entity(parents=groups)
            for group in groups:
                self._add(found, group)
        elif kind == "Agent":
            sponsor = self._entities.agents[name]
            found[uid] = _Entity({"sponsor": {"__entity": {"type": "User", "id": sponsor}}})
            self._add(found, ("User", sponsor))
        elif kind in ("Group", "Service", "TargetGroup"):
            found[uid] = _Entity()


class _Entity(NamedTuple):
    """An entity's own facts, and what it is directly in."""

    facts: Mapping[str, Json] = {}
    parents: tuple[Uid, ...] = ()

    def listed(self, uid: Uid) -> dict[str, Json]:
        """Return this entity as the engine reads it."""
        parents: list[Json] = [{"type": kind, "id": name} for kind, name in self.parents]
        return {"uid": {"type": uid[0], "id": uid[1]}, "attrs": dict(self.facts), "parents": parents}


def _tags(parameters: Mapping[str, Json]) -> dict[str, str]:
    """Return parameters as text: words as they are, everything else in its canonical form."""
    return {
        name: value if isinstance(value, str) else canonical_bytes(value).decode()
        for name, value in parameters.items()
    }
