"""Narrowing: the rules an environment of the seed carries, as a pack that can only forbid and require.

There, what no rule allowed was denied, for the operation and again for each of its calls. Here
that is a forbid of everything no rule allows: whoever names an environment brings its rules into
force, and gains nothing by them that the operator's packs do not grant. Which calls a rule is about is
settled beforehand, from the connectors of environment and profile.
"""

from __future__ import annotations

from typing import Final

from rexecop.execution.strict_yaml import Path, Yaml, load_yaml
from rexecop.governance.importing import (
    ASKED,
    CALLS,
    INVARIANTS,
    RULES_MAX,
    About,
    Calls,
    Import,
    among,
    cedar_policy,
    manifest_of,
    quoted,
    yaml_word,
)

APPROVERS: Final = "approvers"  # As in the starter pack; whoever calls them otherwise imports the rules.


class _Narrowing(Import):
    """One pack of an environment being read."""

    def __init__(self, data: bytes, source: str, profile: str, calls: Calls) -> None:
        super().__init__(load_yaml(data, source=source), APPROVERS, profile, calls)
        self.operations: list[str] = []
        # By what holds of them: most rules say only which calls, and a policy has a length it keeps to.
        self.allowed_calls: dict[str, list[str]] = {}

    def rule(self, place: Path) -> None:
        """Add what the rule at `place` forbids, requires, or leaves allowed."""
        fields, name, effect = self.headed(place)
        about = self.about((*place, "conditions"))
        of_operations, named, clauses = about.operations, about.calls, about.clauses
        obligations, kinds = self.controls(place)
        if (obligations or kinds) and (effect == "deny" or not of_operations):
            self.refuse(place, f"`{name}` denies or is about calls, so nothing can be asked on top of it")
        holds = " && ".join(clauses) or "true"
        if effect != "deny":
            self.operations += [f"({holds})"] if of_operations else []
            self.allowed_calls.setdefault(holds, []).extend(named)
        self._add(name, effect, fields.get("reason_code"), about)
        notes = [self.asked] if effect == "approval_required" and of_operations else []
        notes += [f'@obligations("{", ".join(obligations)}")'] if obligations else []
        if notes:
            silent = ['@absent("permits")'] if about.absent else []
            self.requirements.append(
                cedar_policy(f"{name}-asks", [*notes, *silent], "permit", "action", [f"!({CALLS})", *clauses])
            )

    def _add(self, name: str, effect: str, reason: Yaml, about: About) -> None:
        """Add the forbids of a rule that denies, of operations and calls each."""
        if effect != "deny":
            return
        notes = [f"@reason({quoted(reason[:120])})"] if isinstance(reason, str) and reason else []
        notes += ['@absent("permits")'] if about.absent else []
        if about.operations:
            lines = [f"!({CALLS})", *about.clauses]
            self.rules.append(cedar_policy(name, notes, "forbid", "action", lines))
        if about.calls:
            lines = [among(about.calls), *about.clauses]
            self.rules.append(cedar_policy(f"{name}-calls", notes, "forbid", "action", lines))


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
    calls_allowed = [
        f"({among(sorted(set(named)))} && {holds})" for holds, named in found.allowed_calls.items() if named
    ]
    forbids = [
        _unless("no-rule-allows-it", f"!({CALLS})", found.operations),
        _unless("no-rule-allows-the-call", CALLS, calls_allowed),
    ]
    groups, targets = (sorted(found.names[kind]) for kind in ("Group", "TargetGroup"))
    entities = f"groups: [{', '.join(map(yaml_word, groups))}]\n" + (
        f"target_groups: [{', '.join(map(yaml_word, targets))}]\n" if targets else ""
    )
    people = "".join(f"  {yaml_word(person)}: {{}}\n" for person in sorted(found.names["User"]))
    entities += (f"people:\n{people}" if people else "") + found.listing
    texts = {
        "pack.yaml": manifest,
        "entities.yaml": entities,
        "rules.cedar": "\n".join((INVARIANTS, *forbids, *found.rules)),
        "requirements/asked.cedar": "\n".join((ASKED.format(APPROVERS), *found.requirements)),
    }
    return {path: text.encode() for path, text in texts.items()}


def _unless(name: str, what: str, allowed: list[str]) -> str:
    clause = " ||\n    ".join(allowed) or "false"
    return (
        f'@id("{name}")\n@reason("no rule of the environment allows it")\n'
        f"forbid (principal, action, resource)\nwhen {{ {what} }}\nunless {{\n    {clause}\n}};\n"
    )
