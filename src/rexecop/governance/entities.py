"""`entities.yaml`: the people, groups, agents, services, target groups and actions that policies may name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.execution.strict_yaml import Document, Path, Yaml, load_yaml
from rexecop.governance.actions import LISTED, Listing
from rexecop.governance.cedar import Rule
from rexecop.governance.errors import EntitiesWrong, PackRefused
from rexecop.governance.grammar import GROUP
from rexecop.proof.kinship import person_key
from rexecop.proof.vocabulary import Effect

NAME_LENGTH_MAX: Final = 128  # A login, a mail address, a token's name.
ACTIONS_MAX: Final = 1000  # The schema is checked for each; a profile has some dozens.
SECTIONS: Final = frozenset({"people", "groups", "agents", "services", "target_groups", "actions"})
RESERVED: Final = frozenset({"engine"})  # The engine acts on behalf of people; it is granted nothing itself.


@dataclass(frozen=True, slots=True, kw_only=True)
class Entities:
    """Who and what there is. `people` maps to the groups they are in, `agents` to their sponsor.

    `actions` are the intents and calls of some profiles, each with the most that it may do.
    """

    people: Mapping[str, frozenset[str]]
    groups: frozenset[str]
    agents: Mapping[str, str]
    services: frozenset[str]
    target_groups: frozenset[str]
    actions: Listing

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

    def groups_of(self, person: str) -> frozenset[str]:
        """Return the groups `person` is in."""
        return self.people.get(person, frozenset())

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
        emergency = rule.break_glass[0] if rule.break_glass is not None else ()
        told = (*rule.obligations.notify, *(one.group for one in rule.escalations))
        groups = (*rule.asked.groups, *(one.group for one in emergency), *told)
        named = (*sorted(rule.names), *(("Group", group) for group in groups))
        missing = (f'`{kind}::"{name}"`' for kind, name in named if name not in known.get(kind, (name,)))
        return next(missing, None)

    def ambiguity(self) -> str | None:
        """Return in words which name could mean two: it is reserved, or another differs in case only."""
        seen: dict[str, str] = {}
        for name in (*self.people, *self.agents, *self.services):
            key = person_key(name)
            if key in RESERVED:
                return f"`{name}` is a reserved name"
            if key in seen:
                return f"`{seen[key]}` and `{name}` could be taken for one another"
            seen[key] = name
        return None


NOBODY: Final = Entities(
    people={}, groups=frozenset(), agents={}, services=frozenset(), target_groups=frozenset(), actions={}
)


def read_entities(data: bytes, *, source: str) -> Entities:
    """Return what an `entities.yaml` says.

    Raises:
        YamlRefused: it is not strict YAML.
        EntitiesWrong: an unknown section or field, a bad name, or a name of nobody.
    """
    document = load_yaml(data, source=source)
    mapping(document, (), SECTIONS, EntitiesWrong)
    entities = Entities(
        people={
            person: _names(document, ("people", person), "groups")
            for person in _section(document, "people", "groups")
        },
        groups=_names(document, (), "groups"),
        agents={agent: _sponsor(document, agent) for agent in _section(document, "agents", "sponsor")},
        services=_names(document, (), "services"),
        target_groups=_names(document, (), "target_groups"),
        actions=_actions(document),
    )
    for person, member_of in entities.people.items():
        for group in sorted(member_of - entities.groups):
            what = f"`{person}` is in group `{group}`, which `groups` does not list"
            raise _wrong(document, ("people", person), what)
    if (problem := entities.ambiguity()) is not None:
        raise _wrong(document, (), problem)
    for agent, sponsor in entities.agents.items():
        if sponsor not in entities.people:
            what = f"sponsor `{sponsor}` of `{agent}` is not among the people"
            raise _wrong(document, ("agents", agent), what)
    return entities


def merge_entities(parts: Iterable[Entities]) -> tuple[Entities, str | None]:
    """Return all parts as one, and what contradicts itself in them, in words, or None.

    A person is in every group that any part puts him in. Actions are judged pack by pack.
    """
    parts = tuple(parts)
    people: dict[str, frozenset[str]] = {}
    agents: dict[str, str] = {}
    problem: str | None = None
    for part in parts:
        for person, member_of in part.people.items():
            people[person] = people.get(person, frozenset()) | member_of
        for agent, sponsor in part.agents.items():
            if agents.setdefault(agent, sponsor) != sponsor:
                problem = f"agent `{agent}` has two sponsors in different packs"
    merged = Entities(
        people=people,
        groups=frozenset().union(*(part.groups for part in parts)),
        agents=agents,
        services=frozenset().union(*(part.services for part in parts)),
        target_groups=frozenset().union(*(part.target_groups for part in parts)),
        actions={},
    )
    return merged, problem or merged.ambiguity()


def mapping(
    document: Document, place: Path, allowed: frozenset[str] | None, refusal: type[PackRefused]
) -> Mapping[str, Yaml]:
    """Return the mapping at `place`, empty where there is none, that holds no field but `allowed`.

    Raises:
        PackRefused: as `refusal`, with the line: it is none, or has another field.
    """
    value: Yaml = document.value
    for key in place:
        value = value.get(str(key)) if isinstance(value, dict) else None
    if value is None:
        return {}
    if not isinstance(value, dict):
        what = f"`{'.'.join(map(str, place)) or document.source}` is a mapping"
        raise refusal(what, source=document.source, line=document.line(place))
    for unknown in sorted(value.keys() - allowed) if allowed is not None else ():
        field = ".".join(map(str, (*place, f"{unknown:.60}")))
        what = f"unknown field `{field}`; allowed are {', '.join(sorted(allowed or ()))}"
        raise refusal(what, source=document.source, line=document.line((*place, unknown)))
    return value


def _section(document: Document, name: str, field: str) -> Iterable[str]:
    """Return the names in section `name`, each of which may say `field` and nothing else."""
    found = mapping(document, (name,), None, EntitiesWrong)
    for key in found:
        _require_name(document, (name, key), key)
        mapping(document, (name, key), frozenset({field}), EntitiesWrong)
    return found


def _actions(document: Document) -> Listing:
    """Return the actions listed, by kind and profile."""
    found: dict[str, dict[str, Effect]] = {}
    listed = mapping(document, ("actions",), None, EntitiesWrong)
    if len(listed) > ACTIONS_MAX:
        raise _wrong(document, ("actions",), f"{len(listed)} actions, at most {ACTIONS_MAX} are read")
    for name, effect in listed.items():
        if not LISTED.fullmatch(name):
            forms = "`intent:PROFILE/INTENT`, `call:PROFILE/CONNECTOR/ACTION`, or `*` after the profile"
            raise _wrong(document, ("actions", name), f"`{name:.100}` is no action; one is {forms}")
        if effect not in tuple(Effect):
            what = f"`{name}` says at most what it does: {', '.join(Effect)}"
            raise _wrong(document, ("actions", name), what)
        scope, _, rest = name.partition("/")
        found.setdefault(scope, {})[rest] = Effect(str(effect))
    return found


def _sponsor(document: Document, agent: str) -> str:
    place: Path = ("agents", agent)
    sponsor = mapping(document, place, None, EntitiesWrong).get("sponsor")
    if not isinstance(sponsor, str):
        raise _wrong(document, place, f"agent `{agent}` names no `sponsor`, the person who answers for it")
    return sponsor


def _names(document: Document, around: Path, name: str) -> frozenset[str]:
    value = mapping(document, around, None, EntitiesWrong).get(name)
    place = (*around, name)
    if not isinstance(value, list | None):
        raise _wrong(document, place, f"`{name}` is a list of names")
    found: set[str] = set()
    for index, entry in enumerate(value or ()):
        here = (*place, index)
        if not isinstance(entry, str):
            raise _wrong(document, here, f"`{name}` is a list of names; put `{entry}` in quotes")
        _require_name(document, here, entry)
        if name != "services" and not GROUP.fullmatch(entry):
            raise _wrong(document, here, f"group `{entry:.60}` has other signs than A-Z a-z 0-9 _ . -")
        if entry in found:
            raise _wrong(document, here, f"`{entry}` is listed twice")
        found.add(entry)
    return frozenset(found)


def _require_name(document: Document, place: Path, name: str) -> None:
    if not is_name(name):
        what = f"name {name[:60]!a} is not 1 to {NAME_LENGTH_MAX} printable characters"
        raise _wrong(document, place, what)


def is_name(text: str) -> bool:
    """Return whether `text` can be the name of a person, agent or service."""
    return 0 < len(text) <= NAME_LENGTH_MAX and text.isprintable() and text == text.strip()


def _wrong(document: Document, place: Path, what: str) -> EntitiesWrong:
    return EntitiesWrong(what, source=document.source, line=document.line(place))
