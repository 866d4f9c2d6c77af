"""Narrowing: the rules an environment of the seed carries, as a pack that can only forbid and require.

There, what no rule allowed was denied, for the operation and again for each of its calls. Here
that is a forbid of everything no rule allows: whoever names an environment brings its rules into
force, and gains nothing by them that the operator's packs do not grant. Which calls a rule is about is
settled beforehand, from the connectors of environment and profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rexecop.execution.strict_yaml import Path, Yaml, load_yaml
from rexecop.governance.importing import (
    ASKED,
    INVARIANTS,
    RULES_MAX,
    Condition,
    Import,
    cedar_policy,
    manifest_of,
    quoted,
    shown,
    yaml_word,
)

APPROVERS: Final = "approvers"  # As in the starter pack; whoever calls them otherwise imports the rules.
_CALLS: Final = 'action in [Action::"call:read", Action::"call:change", Action::"call:destroy"]'
_STATIC: Final = ("action.category", "action.backend", "action.connector", "action.name")
_OPERATION: Final = {"action.category": "operation"}

Calls = Mapping[tuple[str, str], str]
"""The backend of every call there is, by connector and action."""


class _Narrowing(Import):
    """One pack of an environment being read."""

    def __init__(self, data: bytes, source: str, profile: str, calls: Calls) -> None:
        super().__init__(load_yaml(data, source=source), APPROVERS)
        self._calls = {
            f"call:{profile}/{connector}/{name}": {
                "action.category": "connector",
                "action.backend": backend,
                "action.connector": connector,
                "action.name": name,
            }
            for (connector, name), backend in calls.items()
        }
        # Every call is listed, and whatever else there is: a listing that has some knows no others.
        self.known = (*self._calls, f"call:{profile}/*") if self._calls else ()
        self.operations: list[str] = []
        self.allowed_calls: list[str] = []

    def rule(self, place: Path) -> None:
        """Add what the rule at `place` forbids, requires, or leaves allowed."""
        fields, name, effect = self.headed(place)
        listed = self.listed((*place, "conditions"))
        static = [one for one in listed if one[1] in _STATIC]
        clauses, absent = self.clauses(one for one in listed if one[1] not in _STATIC)
        of_operations = self._hold(static, _OPERATION)
        named = [call for call, facts in self._calls.items() if self._hold(static, facts)]
        obligations, kinds = self.controls(place)
        if (obligations or kinds) and (effect == "deny" or not of_operations):
            self.refuse(place, f"`{name}` denies or is about calls, so nothing can be asked on top of it")
        holds = " && ".join(clauses) or "true"
        if effect != "deny":
            self.operations += [f"({holds})"] if of_operations else []
            self.allowed_calls += [f"({_among(named)} && {holds})"] if named else []
        self._add(name, effect, fields.get("reason_code"), absent, (of_operations, named, clauses))
        notes = [self.asked] if effect == "approval_required" and of_operations else []
        notes += [f'@obligations("{", ".join(obligations)}")'] if obligations else []
        if notes:
            silent = ['@absent("permits")'] if absent else []
            self.requirements.append(
                cedar_policy(
                    f"{name}-asks", [*notes, *silent], "permit", "action", [f"!({_CALLS})", *clauses]
                )
            )

    def _add(
        self, name: str, effect: str, reason: Yaml, absent: bool, about: tuple[bool, list[str], list[str]]
    ) -> None:
        """Add the forbids of a rule that denies, of operations and calls each."""
        of_operations, named, clauses = about
        if effect != "deny":
            return
        notes = [f"@reason({quoted(reason[:120])})"] if isinstance(reason, str) and reason else []
        notes += ['@absent("permits")'] if absent else []
        if of_operations:
            self.rules.append(cedar_policy(name, notes, "forbid", "action", [f"!({_CALLS})", *clauses]))
        if named:
            self.rules.append(
                cedar_policy(f"{name}-calls", notes, "forbid", "action", [_among(named), *clauses])
            )

    def _hold(self, conditions: list[Condition], facts: Mapping[str, str]) -> bool:
        """Return whether what is known beforehand passes `conditions`."""
        for here, path, operator, value in conditions:
            found = facts.get(path)
            match operator, value:
                case (("eq" | "neq"), str()):
                    same = found == value
                case (("in" | "not_in"), list()):
                    same = found in value
                case _:
                    self.refuse(here, f"`{operator:.40}` of `{path}` with {shown(value)} cannot be said here")
            if same == (operator in ("neq", "not_in")):
                return False
        return True


def narrow(data: bytes, *, source: str, profile: str, calls: Calls) -> dict[str, bytes]:
    """Return the files of the pack that the `policy_pack` of the environment in `data` comes to.

    Raises:
        ImportRefused: it says what cannot be said here, with the line. YamlRefused: it is no strict YAML.
    """
    root: Path = ("environment", "policy_pack")
    found = _Narrowing(data, source, profile, calls)
    manifest = manifest_of(found, root, f"the rules of {source}")
    for place in found.entries((*root, "rules"), RULES_MAX):
        found.rule(place)
    forbids = [
        _unless("no-rule-allows-it", f"!({_CALLS})", found.operations),
        _unless("no-rule-allows-the-call", _CALLS, found.allowed_calls),
    ]
    groups, targets = (sorted(found.names[kind]) for kind in ("Group", "TargetGroup"))
    entities = f"groups: [{', '.join(map(yaml_word, groups))}]\n" + (
        f"target_groups: [{', '.join(map(yaml_word, targets))}]\n" if targets else ""
    )
    people = "".join(f"  {yaml_word(person)}: {{}}\n" for person in sorted(found.names["User"]))
    listed = "".join(f"  {yaml_word(call)}: destroy\n" for call in found.known)
    entities += (f"people:\n{people}" if people else "") + (f"actions:\n{listed}" if listed else "")
    texts = {
        "pack.yaml": manifest,
        "entities.yaml": entities,
        "rules.cedar": "\n".join((INVARIANTS, *forbids, *found.rules)),
        "requirements/asked.cedar": "\n".join((ASKED.format(APPROVERS), *found.requirements)),
    }
    return {path: text.encode() for path, text in texts.items()}


def _among(calls: list[str]) -> str:
    return "action in [" + ", ".join(f"Action::{quoted(call)}" for call in calls) + "]"


def _unless(name: str, what: str, allowed: list[str]) -> str:
    clause = " ||\n    ".join(allowed) or "false"
    return (
        f'@id("{name}")\n@reason("no rule of the environment allows it")\n'
        f"forbid (principal, action, resource)\nwhen {{ {what} }}\nunless {{\n    {clause}\n}};\n"
    )
