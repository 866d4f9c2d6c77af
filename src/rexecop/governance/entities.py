"""`entities.yaml`: the people, groups, agents, services and target groups that policies may name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.execution.strict_yaml import Document, Path, Yaml, load_yaml
from rexecop.governance.cedar import Rule
from rexecop.governance.errors import EntitiesWrong
from rexecop.governance.grammar import GROUP
from rexecop.proof.quorum import person_key

NAME_LENGTH_MAX: Final = 128  # A login, a mail address, a token's name.
SECTIONS: Final = frozenset({"people", "groups", "agents", "services", "target_groups"})
RESERVED: Final = frozenset({"engine"})  # The engine acts on behalf of people; it is granted nothing itself.


@dataclass(frozen=True, slots=True, kw_only=True)
class Entities:
    """Who and what there is. `people` maps to the groups they are in, `agents` to their sponsor."""

    people: Mapping[str, frozenset[str]]
    groups: frozenset[str]
    agents: Mapping[str, str]
    services: frozenset[str]
    target_groups: frozenset[str]

    def type_of(self, name: str) -> str | None:
        """Return `User`, `Agent` or `Service` for a principal's name, or None when it is unknown."""
        if name in self.people:
            return "User"
        if name in self.agents:
            return "Agent"
        return "Service" if name in self.services else None

    def members(self) -> Mapping[str, frozenset[str]]:
        """Return each group with the persons in it."""
        return {
            group: frozenset(person for person, groups in self.people.items() if group in groups)
            for group in sorted(self.groups)
        }

    def lacks(self, rule: Rule) -> str | None:
        """Return what `rule` names and these entities do not have, in words, or None.

        A rule about something misspelt would never match, so it is no rule.
        """
        known: Mapping[str, Iterable[str]] = {
            "Group": self.groups,
            "TargetGroup": self.target_groups,
            "User": self.people.keys(),
            "Agent": self.agents.keys(),
            "Service": self.services,
        }
        for kind, name in sorted(rule.names):
            if kind in known and name not in known[kind]:
                return f'`{kind}::"{name}"`'
        for approval in rule.approvals:
            if approval.group not in self.groups:
                return f'`Group::"{approval.group}"`'
        return None


NOBODY: Final = Entities(
    people={}, groups=frozenset(), agents={}, services=frozenset(), target_groups=frozenset()
)


def read_entities(data: bytes, *, source: str) -> Entities:
    """Return what an `entities.yaml` says.

    Raises:
        YamlRefused: it is not strict YAML.
        EntitiesWrong: an unknown section or field, a bad name, or a name of nobody.
    """
    document = load_yaml(data, source=source)
    top = _mapping(document, (), SECTIONS)
    groups = _names(document, top, "groups")
    entities = Entities(
        people=_people(document, top, groups),
        groups=groups,
        agents=_agents(document, top),
        services=_names(document, top, "services"),
        target_groups=_names(document, top, "target_groups"),
    )
    _require_one_meaning(document, entities)
    for agent, sponsor in entities.agents.items():
        if sponsor not in entities.people:
            raise _wrong(
                document, ("agents", agent), f"sponsor `{sponsor}` of `{agent}` is not among the people"
            )
    return entities


def merge_entities(parts: Iterable[Entities]) -> tuple[Entities, str | None]:
    """Return all parts as one, and what contradicts itself in them, in words, or None.

    A person is in every group that any part puts him in.
    """
    people: dict[str, frozenset[str]] = {}
    groups: set[str] = set()
    agents: dict[str, str] = {}
    services: set[str] = set()
    target_groups: set[str] = set()
    problem: str | None = None
    for part in parts:
        for person, member_of in part.people.items():
            people[person] = people.get(person, frozenset()) | member_of
        for agent, sponsor in part.agents.items():
            if agents.setdefault(agent, sponsor) != sponsor:
                problem = f"agent `{agent}` has two sponsors in different packs"
        groups |= part.groups
        services |= part.services
        target_groups |= part.target_groups
    merged = Entities(
        people=people,
        groups=frozenset(groups),
        agents=agents,
        services=frozenset(services),
        target_groups=frozenset(target_groups),
    )
    return merged, problem or _ambiguity(merged)


def _people(
    document: Document, top: Mapping[str, Yaml], groups: frozenset[str]
) -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for person in _section(document, top, "people"):
        place: Path = ("people", person)
        fields = _mapping(document, place, frozenset({"groups"}))
        member_of = _names(document, fields, "groups", place)
        unknown = sorted(member_of - groups)
        if unknown:
            raise _wrong(
                document, place, f"`{person}` is in group `{unknown[0]}`, which `groups` does not list"
            )
        found[person] = member_of
    return found


def _agents(document: Document, top: Mapping[str, Yaml]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for agent in _section(document, top, "agents"):
        place: Path = ("agents", agent)
        sponsor = _mapping(document, place, frozenset({"sponsor"})).get("sponsor")
        if not isinstance(sponsor, str):
            raise _wrong(
                document, place, f"agent `{agent}` names no `sponsor`, the person who answers for it"
            )
        found[agent] = sponsor
    return found


def _section(document: Document, top: Mapping[str, Yaml], name: str) -> Iterable[str]:
    if top.get(name) is None:
        return ()
    found = _mapping(document, (name,), None)
    for key in found:
        _require_name(document, (name, key), key)
    return found


def _names(document: Document, fields: Mapping[str, Yaml], name: str, around: Path = ()) -> frozenset[str]:
    value = fields.get(name)
    if value is None:
        return frozenset()
    place = (*around, name)
    if not isinstance(value, list):
        raise _wrong(document, place, f"`{name}` is a list of names")
    found: set[str] = set()
    for index, entry in enumerate(value):
        if not isinstance(entry, str):
            raise _wrong(document, (*place, index), f"`{name}` is a list of names; put `{entry}` in quotes")
        _require_name(document, (*place, index), entry)
        if name != "services" and not GROUP.fullmatch(entry):
            raise _wrong(
                document, (*place, index), f"group `{entry:.60}` has other signs than A-Z a-z 0-9 _ . -"
            )
        if entry in found:
            raise _wrong(document, (*place, index), f"`{entry}` is listed twice")
        found.add(entry)
    return frozenset(found)


def _mapping(document: Document, place: Path, allowed: frozenset[str] | None) -> Mapping[str, Yaml]:
    value: Yaml = document.value
    for key in place:
        assert isinstance(value, dict) and isinstance(key, str)
        value = value[key]
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(document, place, f"`{'.'.join(map(str, place)) or document.source}` is a mapping")
    unknown = sorted(value.keys() - allowed) if allowed is not None else []
    if allowed is not None and unknown:
        what = f"unknown field `{unknown[0]:.60}`; allowed are {', '.join(sorted(allowed))}"
        raise _wrong(document, (*place, unknown[0]), what)
    return value


def _require_name(document: Document, place: Path, name: str) -> None:
    fits = 0 < len(name) <= NAME_LENGTH_MAX and name.isprintable() and name == name.strip()
    if not fits:
        raise _wrong(
            document, place, f"name {name[:60]!a} is not 1 to {NAME_LENGTH_MAX} printable characters"
        )


def _require_one_meaning(document: Document, entities: Entities) -> None:
    problem = _ambiguity(entities)
    if problem is not None:
        raise _wrong(document, (), problem)


def _ambiguity(entities: Entities) -> str | None:
    """Return which name could mean two, in words: one is reserved, or two differ in case only."""
    seen: dict[str, str] = {}
    for name in (*entities.people, *entities.agents, *entities.services):
        key = person_key(name)
        if key in RESERVED:
            return f"`{name}` is a reserved name"
        if key in seen:
            return f"`{seen[key]}` and `{name}` could be taken for one another"
        seen[key] = name
    return None


def _wrong(document: Document, place: Path, what: str) -> EntitiesWrong:
    return EntitiesWrong(what, source=document.source, line=document.line(place))
