"""Import: a policy pack of GovEngine, YAML or JSON, as a pack that means the same here.

allow and allow_with_obligations become permits, deny a forbid, approval_required a permit
with an approval. Conditions are joined by *and*, as they were there; `neq` and `not_in`
match where the attribute is absent. Priorities chose between controls there; here all
controls of all matching rules hold, so they are not needed. What cannot be said is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NoReturn, TypeAlias

from rexecop.execution.strict_yaml import Document, Path, Yaml, load_yaml
from rexecop.governance.actions import CALL
from rexecop.governance.errors import ImportRefused
from rexecop.governance.grammar import GROUP, ID, REASON_LENGTH_MAX
from rexecop.governance.schema import SCHEMA

RULES_MAX: Final = 256  # As many as a pack had there.
CONDITIONS_MAX: Final = 32
VALUES_MAX: Final = 256
CONTROLS_MAX: Final = 64
LIMIT_MAX: Final = 10**8  # Seconds, steps or bytes: what is more limits nothing.
VALUE_LENGTH_MAX: Final = 256  # A name or a word; what is longer is no fact policy sees.

PACK_FIELDS: Final = frozenset(
    [
        "policy_id",
        "version",
        "schema_version",
        "rules",
        "metadata",
        "issuer_ref",
        "policy_epoch",
        "validity",
        "supersedes",
    ]
)
RULE_FIELDS: Final = frozenset(
    [
        "rule_id",
        "effect",
        "conditions",
        "priority",
        "reason_code",
        "risk_class",
        "risk_score",
        "obligations",
        "constraints",
    ]
)
_CONDITION: Final = frozenset({"path", "operator", "value"})
_CONTROL: Final = frozenset({"id", "kind", "value", "metadata"})
EFFECTS: Final = {"allow": "permit", "allow_with_obligations": "permit", "approval_required": "permit"} | {
    "deny": "forbid"
}
_NEGATED: Final = {"neq": "eq", "not_in": "in"}
_TIME: Final = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(T([01]\d|2[0-3]):[0-5]\d:[0-5]\dZ)?", re.ASCII
)
CALLS: Final = 'action in [Action::"call:read", Action::"call:change", Action::"call:destroy"]'
# What a rule there said of an operation or a call by itself, and is settled before policy is asked.
_SETTLED: Final = ("action.category", "action.backend", "action.connector", "action.name")
_OPERATION: Final = {"action.category": "operation"}
_ANY_CALL: Final = {"action.category": "connector"}
_SHAPING: Final = ("read_only_required", "mutation_requires_approval")
_CHANGES: Final = 'action in [Action::"change", Action::"destroy"]'
_ENTITIES: Final = {
    "person": ("User", "=="),
    "group": ("Group", "in"),
    "target": ("Target", "=="),
    "target group": ("TargetGroup", "in"),
}
_ORDER: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_MODES: Final = {
    **dict.fromkeys(("read", "read_only"), ("read",)),
    **dict.fromkeys(("mutating", "mutation", "write", "apply"), ("change", "destroy")),
    "change": ("change",),
    **dict.fromkeys(("destroy", "delete", "destructive"), ("destroy",)),
}
_TYPES: Final = {"user": "User", "human": "User", "agent": "Agent", "service": "Service"}
_CONTEXT: Final[Mapping[str, tuple[str, bool]]] = {
    name: (kind, optional == "?")
    for name, optional, kind in re.findall(r"^ {4}(\w+)(\??): (\w+(?:<\w+>)?),", SCHEMA, re.MULTILINE)
} | {
    f"{owner}.{name}": (kind, False)
    for owner, inner in re.findall(r"^ {4}(\w+): \{.*?\n(.*?)^ {4}\}", SCHEMA, re.MULTILINE | re.DOTALL)
    for name, kind in re.findall(r"(\w+): (\w+),", inner)
}
# What a kind of control becomes; `{}` is its value. An empty one is true of everything done here.
_CONTROLS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("receipt", "receipt_required"), "receipt"),
    "output_digest_required": "output_digest",
    "no_raw_shell": "",  # Programs are called by their arguments, never through a shell.
    "timeout": "timeout<={}s",
    "max_steps": "steps<={}",
    "output_limit": "output_bytes<={}",
}
INVARIANTS: Final = """\
// What the engine this was imported from did before it looked at any rule.

@id("imported-never-destroys")
@reason("the pack was imported from an engine that refuses to destroy")
forbid (principal, action in Action::"destroy", resource);
"""
ASKED: Final = """\
// What the engine this was imported from asked for before it looked at any rule.

@id("imported-critical-needs-approval")
@approvals("1 of {}")
permit (principal, action in [Action::"change", Action::"destroy"], resource)
when {{ ["high", "critical"].contains(resource.criticality) }};
"""


Condition: TypeAlias = tuple[Path, str, str, Yaml]
"""Where it stands, the path it is about, the operator, the value."""

Calls: TypeAlias = Mapping[tuple[str, str], str]
"""The backend of every call there is, by connector and action."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a rule is about: operations, calls by their names, under `clauses`, one of which may need a thing.

    `everything` is that it does not tell operations and calls apart.
    """

    operations: bool
    calls: tuple[str, ...]
    everything: bool
    clauses: list[str]
    absent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """What a path stands for: how it is compared, as what Cedar, and what has to hold for it to be there."""

    kind: str
    text: str
    guard: str | None = None


_NAMED: Final[Mapping[str, Operand]] = {
    **dict.fromkeys(
        ("principal.id", "principal.name", "principal.ref"), Operand(kind="person", text="principal")
    ),
    **dict.fromkeys(
        ("principal.role", "principal.roles", "principal.group", "principal.groups"),
        Operand(kind="group", text="principal"),
    ),
    **dict.fromkeys(("principal.type", "principal.kind"), Operand(kind="type", text="principal")),
    **dict.fromkeys(
        ("action.mode", "action.effect", "action.side_effect_class"), Operand(kind="effect", text="action")
    ),
    "action.destructive": Operand(kind="flag", text='(action in Action::"destroy")'),
    "action.intent": Operand(kind="intent", text="context.intent"),
    "action.risk": Operand(kind="text", text="context.risk"),
    **dict.fromkeys(("resource.target_ref", "resource.id"), Operand(kind="target", text="resource")),
    **dict.fromkeys(("resource.group", "resource.groups"), Operand(kind="target group", text="resource")),
    "resource.criticality": Operand(kind="text", text="resource.criticality"),
    **dict.fromkeys(("resource.type", "resource.kind"), Operand(kind="text", text="resource.kind")),
}
_KINDS: Final = {"String": "text", "Bool": "flag", "Long": "number", "datetime": "time", "Set<String>": "set"}
# Every target is asked about by itself and all must be allowed: a subset is each of them in the list.
_OPERATORS: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"eq", "in", "exists", "matches_namespace"}),
    "intent": frozenset({"eq", "in", "matches_namespace"}),
    "person": frozenset({"eq", "in"}),
    "type": frozenset({"eq", "in"}),
    "effect": frozenset({"eq", "in"}),
    "group": frozenset({"eq", "in", "contains"}),
    "target group": frozenset({"eq", "in", "contains"}),
    "target": frozenset({"eq", "in", "subset_of"}),
    "flag": frozenset({"eq", "exists"}),
    "number": frozenset({"eq", "in", "exists", *_ORDER}),
    "time": frozenset({"eq", *_ORDER}),
    "set": frozenset({"contains", "subset_of", "exists"}),
}


class Import:
    """One pack being read; `names` gathers who it names, by their type.

    `calls` are those of `profile`, where they are known.
    """

    def __init__(self, document: Document, approvers: str, profile: str, calls: Calls | None) -> None:
        self._document = document
        self._field: str | None = None
        self._single = calls is not None
        self._calls: Mapping[str, Mapping[str, str]] = {CALL: _ANY_CALL}
        if calls is not None:
            self._calls = {
                f"{CALL}{profile}/{connector}/{name}": {
                    **_ANY_CALL,
                    "action.backend": backend,
                    "action.connector": connector,
                    "action.name": name,
                }
                for (connector, name), backend in calls.items()
            }
        # Every call is listed, and whatever else there is: a listing that has some knows no others.
        self.known = (*self._calls, f"{CALL}{profile}/*") if calls else ()
        self.asked = f'@approvals("1 of {approvers}")'
        self.names: dict[str, set[str]] = {"User": set(), "Group": {approvers}, "TargetGroup": set()}
        self._ids: set[str] = set()
        self.rules: list[str] = []
        self.requirements: list[str] = []

    def refuse(self, place: Path, what: str) -> NoReturn:
        if self._field is not None and f"`{self._field}`" not in what:
            what = f"`{self._field:.60}`: {what}"
        raise ImportRefused(what, source=self._document.source, line=self._document.line(place))

    @property
    def listing(self) -> str:
        """The section of `entities.yaml` that lists the calls there are; nothing where they are not known."""
        listed = "".join(f"  {yaml_word(call)}: destroy\n" for call in self.known)
        return f"actions:\n{listed}" if listed else ""

    def fields(self, place: Path, allowed: frozenset[str] | None) -> Mapping[str, Yaml]:
        """Return the mapping at `place`, which may lie in a list."""
        value = self._at(place)
        if not isinstance(value, dict):
            self.refuse(place, f"`{place[-1] if place else 'pack'}` is not a mapping")
        for name in value:
            if allowed is not None and name not in allowed:
                known = ", ".join(sorted(allowed))
                self.refuse((*place, name), f"unknown field `{name:.60}`; allowed are {known}")
        return value

    def entries(self, place: Path, most: int) -> list[Path]:
        """Return the places of the entries of the list at `place`; none where there is none."""
        value = self._at(place)
        if not isinstance(value, list | None) or len(value or ()) > most:
            self.refuse(place, f"`{place[-1]}` is a list of at most {most}")
        return [(*place, index) for index, _ in enumerate(value or ())]

    def word(self, place: Path, form: re.Pattern[str] = ID) -> str:
        """Return the short word at `place`."""
        value = self._at(place)
        text = str(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else ""
        if not form.fullmatch(text):
            self.refuse(place, f"`{place[-1]}` is {shown(value)}, not a short word like `{form.pattern}`")
        return text

    def _at(self, place: Path) -> Yaml:
        value = self._document.value
        for key in place:
            if isinstance(value, list) and isinstance(key, int):
                value = value[key]
            else:
                value = value.get(str(key)) if isinstance(value, dict) else None
        return value

    def rule(self, place: Path) -> None:
        """Add what the rule at `place` becomes."""
        fields, name, effect = self.headed(place)
        about = self.about((*place, "conditions"))
        clauses, absent = [*self._scope(about), *about.clauses], about.absent
        obligations, kinds = self.controls(place)
        if (obligations or kinds) and (effect == "deny" or not about.operations):
            self.refuse(place, f"`{name}` denies or is about calls, so nothing can be asked on top of it")
        if not about.operations and not about.calls:
            self.rules.append(f"// {name} is about no operation and no call there is.\n")
            return
        reads = ['action in Action::"read"'] if "read_only_required" in kinds else []
        reason = fields.get("reason_code")
        notes = (
            [f"@reason({quoted(reason[:REASON_LENGTH_MAX])})"] if isinstance(reason, str) and reason else []
        )
        notes += [self.asked] if effect == "approval_required" else []
        notes += [f'@obligations("{", ".join(obligations)}")'] if obligations else []
        # There, too, a rule about something did not match where it was absent.
        silent = ['@absent("permits")'] if absent else []
        notes += silent if effect == "deny" else []
        self.rules.append(cedar_policy(name, notes, EFFECTS[effect], "action", [*clauses, *reads]))
        if "mutation_requires_approval" in kinds:
            self.requirements.append(
                cedar_policy(f"{name}-changes", [self.asked, *silent], "permit", _CHANGES, clauses)
            )

    def headed(self, place: Path) -> tuple[Mapping[str, Yaml], str, str]:
        """Return the rule at `place`, its name, which no other rule has, and its effect."""
        fields = self.fields(place, RULE_FIELDS)
        name, effect = self.word((*place, "rule_id")), str(fields.get("effect"))
        if name in self._ids:
            self.refuse((*place, "rule_id"), f"`rule_id` `{name}` is used already")
        self._ids |= {name, f"{name}-changes"}
        if effect not in EFFECTS:
            here = (*place, "effect")
            self.refuse(here, f"`effect` is {shown(effect)}, not one of {', '.join(sorted(EFFECTS))}")
        return fields, name, effect

    def about(self, place: Path) -> About:
        """Return what a rule with the conditions at `place` is about."""
        listed = self._listed(place)
        settled = [one for one in listed if one[1] in _SETTLED]
        clauses, absent = self._clauses(one for one in listed if one[1] not in _SETTLED)
        return About(
            operations=self._hold(settled, _OPERATION),
            calls=tuple(call for call, facts in self._calls.items() if self._hold(settled, facts)),
            everything=not settled,
            clauses=clauses,
            absent=absent,
        )

    def _hold(self, conditions: list[Condition], facts: Mapping[str, str]) -> bool:
        """Return whether what is known beforehand passes `conditions`."""
        for here, path, operator, value in conditions:
            self._field = path
            found, negated = facts.get(path), operator in _NEGATED
            if path != "action.category" and not self._single:
                words = "which calls there are is not in a pack; import the environment that carries it"
                self.refuse(here, f"`{path}` is about single calls, and {words}")
            match _NEGATED.get(operator, operator), value:
                case "eq", str():
                    same = found == value
                case "in", list():
                    same = found in value
                case "exists", bool():
                    same = (found is not None) is value
                case "matches_namespace", str():
                    same = found is not None and (found == value or found.startswith(f"{value}."))
                case _:
                    self.refuse(here, f"`{operator:.40}` of `{path}` with {shown(value)} cannot be said here")
            self._field = None
            if same == negated:
                return False
        return True

    def _scope(self, about: About) -> list[str]:
        """Return the clause by which a rule about some of it tells operations and calls apart."""
        if about.everything or (about.operations and about.calls and about.calls == tuple(self._calls)):
            return []
        calls = among(about.calls) if self._single else CALLS
        if not about.calls:
            return [f"!({CALLS})"]
        return [f"(!({CALLS}) || {calls})"] if about.operations else [f"({calls})"]

    def _clauses(self, listed: Iterable[Condition]) -> tuple[list[str], bool]:
        """Return one expression for each condition, and whether one is false where a thing is absent."""
        clauses, absent = [], False
        for here, path, operator, value in listed:
            self._field = path
            operand, base = self._operand(here, path), _NEGATED.get(operator, operator)
            if base not in _OPERATORS[operand.kind]:
                known = ", ".join(sorted(_OPERATORS[operand.kind]))
                self.refuse(here, f"`{operator:.40}` cannot be said of `{path}`; what can: {known}")
            holds = self._compared(here, operand, base, value)
            negative = operator in _NEGATED or (operator == "exists" and value is False)
            held = " && ".join(part for part in (operand.guard, holds) if part) or "true"
            clauses.append(f"!({held})" if negative else f"({held})")
            absent = absent or (operand.guard is not None and not negative)
            self._field = None
        return clauses, absent

    def _listed(self, place: Path) -> list[Condition]:
        """Return the conditions at `place`, each with its own place."""
        found = self._at(place)
        if isinstance(found, dict):
            listed = [((*place, path), path, "eq", value) for path, value in found.items()]
        else:
            listed = []
            for here in self.entries(place, CONDITIONS_MAX):
                said = self.fields(here, _CONDITION)
                listed.append((here, str(said.get("path")), str(said.get("operator")), said.get("value")))
        if len(listed) > CONDITIONS_MAX:
            self.refuse(place, f"{len(listed)} conditions, at most {CONDITIONS_MAX} are read")
        return listed

    def _operand(self, here: Path, path: str) -> Operand:
        if path in _NAMED:
            return _NAMED[path]
        owner, _, name = path.partition(".")
        if owner in ("context", "request_context"):
            if name.startswith("parameters.") and len(name) > len("parameters."):
                tag = quoted(name.removeprefix("parameters."))
                guard = f"context.parameters.hasTag({tag})"
                return Operand(kind="text", text=f"context.parameters.getTag({tag})", guard=guard)
            kind, optional = _CONTEXT.get(name, ("", False))
            if kind in _KINDS:
                guarded = f"context has {name}" if optional else None
                return Operand(kind=_KINDS[kind], text=f"context.{name}", guard=guarded)
        known = ", ".join((*sorted(_NAMED), *(f"context.{name}" for name in sorted(_CONTEXT))))
        self.refuse(here, f"`{path:.60}` is nothing policy knows here; known are {known}.NAME")

    def _compared(self, here: Path, operand: Operand, operator: str, value: Yaml) -> str:
        """Return the comparison; empty for `exists`, which the guard alone answers."""
        if operator == "exists":
            if not isinstance(value, bool):
                self.refuse(here, f"`exists` takes true or false, not {shown(value)}")
            return ""
        if operator in ("in", "subset_of"):
            if not isinstance(value, list) or len(value) > VALUES_MAX:
                self.refuse(here, f"`{operator}` takes a list of at most {VALUES_MAX}, not {shown(value)}")
            if operand.kind == "set":
                words = ", ".join(quoted(self._str(here, one)) for one in value)
                return f"[{words}].containsAll({operand.text})" if value else f"{operand.text}.isEmpty()"
            return "(" + (" || ".join(self._is(here, operand, one) for one in value) or "false") + ")"
        if operator in _ORDER:
            return self._is(here, operand, value).replace("==", _ORDER[operator], 1)
        if operator == "matches_namespace":
            lead = "*/" if operand.kind == "intent" else ""
            word = _pattern(self._str(here, value))
            return f'({operand.text} like "{lead}{word}" || {operand.text} like "{lead}{word}.*")'
        if operand.kind == "set":
            return f"{operand.text}.contains({quoted(self._str(here, value))})"
        return self._is(here, operand, value)

    def _is(self, here: Path, operand: Operand, value: Yaml) -> str:
        """Return that `operand` is `value`, or for groups is in it."""
        text, kind = operand.text, operand.kind
        if kind in ("flag", "number"):
            if type(value) is not (bool if kind == "flag" else int):
                self.refuse(here, f"{shown(value)} is no {kind}")
            return f"{text} == {str(value).lower()}"
        if kind == "text" and operand.guard is not None and type(value) in (bool, int):
            return f'{text} == "{str(value).lower()}"'  # Parameters are compared as canonical text.
        word = self._str(here, value)
        if kind == "time" and not _TIME.fullmatch(word):
            self.refuse(here, f"{shown(word)} is no UTC time like `2026-01-31T09:30:00Z`")
        if kind in ("group", "target group") and not GROUP.fullmatch(word):
            self.refuse(here, f"{shown(word)} cannot be a group's name: {GROUP.pattern}")
        if kind == "time":
            return f"{text} == datetime({quoted(word)})"
        if kind in _ENTITIES:
            entity, relation = _ENTITIES[kind]
            if entity in self.names:
                self.names[entity].add(word)
            return f"{text} {relation} {entity}::{quoted(word)}"
        table = _TYPES.keys() if kind == "type" else _MODES.keys()
        if kind in ("type", "effect") and word not in table:
            self.refuse(here, f"{shown(word)} is no {kind} known here; known are {', '.join(sorted(table))}")
        if kind == "type":
            return f"{text} is {_TYPES[word]}"
        if kind == "effect":
            return f"{text} in [" + ", ".join(f'Action::"{effect}"' for effect in _MODES[word]) + "]"
        return f'{text} like "*/{_pattern(word)}"' if kind == "intent" else f"{text} == {quoted(word)}"

    def _str(self, here: Path, value: Yaml) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= VALUE_LENGTH_MAX or not value.isprintable():
            self.refuse(here, f"{shown(value)} is not text of up to {VALUE_LENGTH_MAX} printable characters")
        return value

    def controls(self, place: Path) -> tuple[list[str], set[str]]:
        """Return the obligations that the controls of the rule become, and those that shape rules instead."""
        obligations: list[str] = []
        shaping: set[str] = set()
        for group in ("obligations", "constraints"):
            for here in self.entries((*place, group), CONTROLS_MAX):
                fields = self.fields(here, _CONTROL)
                kind, value = str(fields.get("kind")), fields.get("value")
                if kind in _SHAPING:
                    shaping.add(kind)
                elif kind == "allowed_network_egress" and value in ([], ["no_network"], "no_network"):
                    obligations.append("no_network")
                elif kind not in _CONTROLS:
                    known = ", ".join(sorted((*_CONTROLS, *_SHAPING)))
                    self.refuse(here, f"control {shown(kind)} cannot be kept here; what can: {known}")
                elif "{}" in _CONTROLS[kind] and (type(value) is not int or not 0 < value <= LIMIT_MAX):
                    self.refuse(here, f"`{kind}` is from 1 to {LIMIT_MAX}, not {shown(value)}")
                else:
                    obligations.append(_CONTROLS[kind].format(value))
        return sorted({one for one in obligations if one}), shaping


def convert(
    data: bytes, *, source: str, approvers: str, profile: str = "any", calls: Calls | None = None
) -> dict[str, bytes]:
    """Return the files of the pack that means what the pack in `data`, alone or in an environment, says.

    `approvers` is the group whose approval stands for "approval required"; `calls` of `profile` are
    those there are in that environment.

    Raises:
        ImportRefused: it says what cannot be said here, with the line. YamlRefused: it is no strict YAML.
    """
    document = load_yaml(data, source=source)
    whole = document.value
    root: Path = ("policy_pack",) if isinstance(whole, dict) and "policy_pack" in whole else ()
    root = ("environment", "policy_pack") if isinstance(whole, dict) and "environment" in whole else root
    found = Import(document, approvers, profile, calls)
    if not GROUP.fullmatch(approvers):
        found.refuse((), f"{shown(approvers)} cannot be a group's name")
    manifest = manifest_of(found, root, f"imported from {source}")
    places = found.entries((*root, "rules"), RULES_MAX)
    if not places:
        found.refuse((*root, "rules"), "`rules` is a list of rules, and there is none")
    for place in places:
        found.rule(place)
    people = "".join(f"  {yaml_word(person)}: {{}}\n" for person in sorted(found.names["User"]))
    entities = (
        "# Who is in which group is not in what was imported: put people in.\n"
        f"groups: [{', '.join(map(yaml_word, sorted(found.names['Group'])))}]\n"
        f"target_groups: [{', '.join(map(yaml_word, sorted(found.names['TargetGroup'])))}]\n"
        f"people:{' {}' if not people else ''}\n{people}{found.listing}"
    )
    texts = {
        "pack.yaml": manifest,
        "entities.yaml": entities,
        "rules.cedar": "\n".join((INVARIANTS, *found.rules)),
        "requirements/approvals.cedar": "\n".join((ASKED.format(approvers), *found.requirements)),
    }
    return {path: text.encode() for path, text in texts.items()}


def manifest_of(found: Import, root: Path, description: str) -> str:
    """Return the `pack.yaml` of the pack at `root`."""
    fields = found.fields(root, PACK_FIELDS)
    name, version = (found.word((*root, word)) for word in ("policy_id", "version"))
    manifest = [
        f"id: {yaml_word(name)}",
        f"version: {yaml_word(version)}",
        f"description: {yaml_word(description)}",
    ]
    if isinstance(issuer := fields.get("issuer_ref"), str):
        manifest.append(f"issuer: {yaml_word(issuer)}")
    if fields.get("validity") is not None:
        said = found.fields((*root, "validity"), frozenset({"not_before", "expires_at"}))
        bounds = {"not_before": said.get("not_before"), "not_after": said.get("expires_at")}
        told = ", ".join(f"{word}: {yaml_word(str(moment))}" for word, moment in bounds.items() if moment)
        manifest.append(f"validity: {{{told}}}")
    return "\n".join((*manifest, ""))


def cedar_policy(name: str, notes: list[str], effect: str, action: str, clauses: list[str]) -> str:
    lines = [f'@id("{name}")', *notes, f"{effect} (principal, {action}, resource)"]
    if clauses:
        lines.append("when {\n    " + " &&\n    ".join(clauses) + "\n}")
    return "\n".join(lines) + ";\n"


def among(calls: Iterable[str]) -> str:
    """Return that an action is one of `calls`."""
    return "action in [" + ", ".join(f"Action::{quoted(call)}" for call in calls) + "]"


def quoted(word: str) -> str:
    """Return `word` as a string of Cedar."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _pattern(word: str) -> str:
    """Return `word` as part of a pattern of Cedar that matches it alone."""
    return quoted(word)[1:-1].replace("*", "\\*")


def yaml_word(word: str) -> str:
    return "'" + word.replace("'", "''") + "'"


def shown(value: Yaml) -> str:
    text = str(value)[:60]
    return f"`{text}`" if text.isprintable() else f"`{text!a}`"
