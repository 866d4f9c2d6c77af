"""What the policy engine is told about one request: the questions, and the entities they are about.

A request sees a slice of the entity set: who asks, his groups, the sponsor of an agent,
the targets with their groups, and everybody a policy names. So the cost of a decision
does not grow with the number of people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import cedarpy

from rexecop.governance.entities import Entities
from rexecop.governance.schema import schema
from rexecop.proof.canonical import Json, canonical_bytes, trusted_bytes
from rexecop.proof.records.decision import PolicyRequest, RequestTarget
from rexecop.proof.times import format_time

Uid: TypeAlias = dict[str, str]
Question: TypeAlias = dict[str, Uid | str]

HANDLES_MAX: Final = 512  # Enough for the targets a busy instance works on; beyond it all are made anew.
KEPT_LENGTH_MAX: Final = 4096  # Larger parameters and target sets are asked about once, and would only
KEPT_TARGETS_MAX: Final = 64  # fill memory.


class Facts:
    """Turns requests into questions; `named` are the entities that policies name themselves."""

    def __init__(self, entities: Entities, named: frozenset[tuple[str, str]]) -> None:
        self._entities = entities
        self._named = tuple(sorted(named))
        self._handles: dict[tuple[str, tuple[RequestTarget, ...], str], cedarpy.Entities] = {}

    def of(self, request: PolicyRequest) -> tuple[list[Question], cedarpy.Entities]:
        """Return one question per target of `request`, and the entities to answer them with.

        Raises:
            ValueError: the request does not fit the schema.
            NotCanonical: its parameters hold what evidence may not.
        """
        person = request.principal.person
        same: Question = {
            "principal": {"type": self._entities.type_of(person) or "User", "id": person},
            "action": {"type": "Action", "id": str(request.effect)},
            "context": _context(request),
        }
        questions = [same | {"resource": {"type": "Target", "id": target.id}} for target in request.targets]
        return questions, self._handle(request)

    def _handle(self, request: PolicyRequest) -> cedarpy.Entities:
        tags = _tags(request.parameters or {})
        key = (request.principal.person, request.targets, trusted_bytes(tags).decode())
        found = self._handles.get(key)
        if found is None:
            listed = self._slice(request, tags)
            found = cedarpy.Entities.from_json_str(trusted_bytes(listed).decode(), schema())
            if len(key[2]) <= KEPT_LENGTH_MAX and len(request.targets) <= KEPT_TARGETS_MAX:
                if len(self._handles) >= HANDLES_MAX:
                    self._handles.clear()
                self._handles[key] = found
        return found

    def _slice(self, request: PolicyRequest, tags: Mapping[str, str]) -> list[Json]:
        """Return the entities as the engine reads them, each once."""
        found: dict[tuple[str, str], Json] = {}
        person = request.principal.person
        self._add(found, self._entities.type_of(person) or "User", person)
        for kind, name in self._named:
            self._add(found, kind, name)
        for target in request.targets:
            for group in target.groups:
                self._add(found, "TargetGroup", group)
            facts = {"kind": target.type, "criticality": target.criticality}
            found["Target", target.id] = _entity("Target", target.id, facts, "TargetGroup", target.groups)
        found["Parameters", _PARAMETERS] = _entity("Parameters", _PARAMETERS) | {"tags": tags}
        return list(found.values())

    def _add(self, found: dict[tuple[str, str], Json], kind: str, name: str) -> None:
        if (kind, name) in found:
            return
        if kind == "User":
            groups = sorted(self._entities.people.get(name, ()))
            found[kind, name] = _entity(kind, name, {}, "Group", groups)
            for group in groups:
                self._add(found, "Group", group)
        elif kind == "Agent":
            sponsor = self._entities.agents[name]
            reference = {"__entity": {"type": "User", "id": sponsor}}
            found[kind, name] = _entity(kind, name, {"sponsor": reference})
            self._add(found, "User", sponsor)
        elif kind in ("Group", "Service", "TargetGroup"):
            found[kind, name] = _entity(kind, name)


_PARAMETERS: Final = "request"


def _entity(
    kind: str,
    name: str,
    facts: Mapping[str, Json] | None = None,
    parent_kind: str = "",
    parents: Iterable[str] = (),
) -> dict[str, Json]:
    return {
        "uid": {"type": kind, "id": name},
        "attrs": facts or {},
        "parents": [{"type": parent_kind, "id": parent} for parent in parents],
    }


def _context(request: PolicyRequest) -> str:
    found: dict[str, Json] = {
        "gate": str(request.gate),
        "mode": str(request.mode),
        "risk": request.risk,
        "profile": request.profile,
        "intent": f"{request.profile}/{request.intent}",
        "environment": request.environment,
        "simulated": request.simulated,
        "pinned": request.pinned,
        "origin": request.origin,
        "principal_established": str(request.principal.established),
        "now": {"__extn": {"fn": "datetime", "arg": format_time(request.now)}},
        "override_window": request.override_window,
        "parameters": {"__entity": {"type": "Parameters", "id": _PARAMETERS}},
    }
    optional = {"grade": request.grade, "sponsor": request.sponsor, "step": request.step}
    found |= {name: value for name, value in optional.items() if value is not None}
    return trusted_bytes(found).decode()


def _tags(parameters: Mapping[str, Json]) -> dict[str, str]:
    """Return parameters as text: words as they are, everything else in its canonical form."""
    return {
        name: value if isinstance(value, str) else canonical_bytes(value).decode()
        for name, value in parameters.items()
    }
