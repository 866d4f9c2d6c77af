"""`triggers/trigger_rules.yaml` of a profile: which events ask for which plan, and which are for people.

    id: tecrax.network
    version: "0.1"
    rules:
      - id: known-host
        priority: 10                       # the lowest that matches decides, then the id
        event_type: network.host_observed
        when: [{path: payload.known, operator: equals, value: true}]
        decision: plan_operation           # ignore, escalate
        operation: {intent: collect_basic_host_inventory, target_from: subject, mode: dry_run}
        cooldown_seconds: 300

A rule only ever plans. Whether that is started is the word of the operator who lets the events in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rexecop.operations.errors import EventRefused
from rexecop.operations.events import Event
from rexecop.operations.reading import NAME, Fields, Node, Place, unknown
from rexecop.operations.requests import AutoReact
from rexecop.proof.message import Scalar
from rexecop.proof.payload import Value
from rexecop.proof.vocabulary import Mode

FILE: Final = "triggers/trigger_rules.yaml"
RULES_MAX: Final = 128
CONDITIONS_MAX: Final = 16
VALUES_MAX: Final = 256
COOLDOWN_MAX: Final = 24 * 3600  # As old as an event may be.
PRIORITY: Final = 1000
PRIORITY_MAX: Final = 1_000_000
_ROOTS: Final = ("id", "source", "type", "subject", "data", "payload")
_WHERE: Final = ("target", "target_from", "catalog_target", "catalog_target_from")


class Decision(StrEnum):
    """What a rule makes of an event."""

    PLAN = "plan_operation"
    IGNORE = "ignore"
    ESCALATE = "escalate"


class Operator(StrEnum):
    """How a condition compares."""

    EXISTS = "exists"
    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    IN = "in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must hold of the value at `path`; one that is not there equals nothing."""

    path: str
    operator: Operator
    values: tuple[Scalar, ...]

    def holds(self, event: Event) -> bool:
        """Return whether it holds of `event`."""
        found = [_comparable(value) for value in event.at_path(self.path)]
        wanted = [(type(value), value) for value in self.values]
        if self.operator is Operator.EXISTS:
            return bool(found) is (self.values != (False,))
        return any(one in wanted for one in found) is not (self.operator is Operator.NOT_EQUALS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What a rule plans: on `target`, or with `taken` on the one that the event names at that path.

    With `catalog` that is an entry of a catalog, else a target of an environment.
    With `auto_react` the reaction to what that observes is planned, too.
    """

    intent: str
    target: str
    taken: bool
    catalog: bool
    mode: Mode
    auto_react: AutoReact | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRule:
    """One rule; see the module."""

    id: str
    place: Place
    priority: int
    event_type: str
    when: tuple[Condition, ...]
    decision: Decision
    operation: Planned | None
    cooldown_seconds: int

    def target_of(self, event: Event) -> str:
        """Return the target that is meant.

        Raises:
            EventRefused: the event names none where the rule looks for it.
        """
        assert self.operation is not None
        if not self.operation.taken:
            return self.operation.target
        for found in event.at_path(self.operation.target):
            if isinstance(found, str) and NAME.fullmatch(found):
                return found
        words = f"the event names no target at `{self.operation.target}`, where rule `{self.id}` looks for it"
        raise EventRefused(words, field=self.operation.target, allowed=NAME.pattern)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerRules:
    """The trigger rules of a profile, in the order in which they decide."""

    id: str
    version: str
    rules: tuple[TriggerRule, ...]

    def rule_for(self, event: Event) -> TriggerRule | None:
        """Return the rule that decides about `event`, or None.

        Raises:
            EventRefused: it asks for another set of rules.
        """
        if event.rule_set not in (None, self.id):
            raise unknown(EventRefused, "no such set of rules", event.rule_set or "", (self.id,), "rule_set")
        for rule in self.rules:
            if rule.event_type == event.type and all(one.holds(event) for one in rule.when):
                return rule
        return None


def read_trigger_rules(root: Node) -> TriggerRules:
    """Return the rules in a file, with its section `trigger_rules` or without it."""
    wrapped = isinstance(root.value, dict) and "trigger_rules" in root.value
    fields = (root.section("trigger_rules") if wrapped else root).fields("id version rules", "id rules")
    rules = [_rule(node) for node in fields.items("rules", RULES_MAX)]
    names = [rule.id for rule in rules]
    for name in {name for name in names if names.count(name) > 1}:
        fields.node.refuse(f"two rules are called `{name}`", found=name)
    return TriggerRules(
        id=fields.token("id"),
        version=fields.text("version", most=64),
        rules=tuple(sorted(rules, key=lambda rule: (rule.priority, rule.id))),
    )


def _rule(node: Node) -> TriggerRule:
    known = "id priority event_type when decision operation cooldown_seconds"
    fields = node.fields(known, "id event_type decision")
    decision = fields.one_of("decision", Decision, Decision.IGNORE)
    operation = fields.maybe("operation", _operation)
    if (operation is None) == (decision is Decision.PLAN):
        node.refuse(f"`operation` belongs to `{Decision.PLAN}`, and to nothing else", allowed="both or none")
    return TriggerRule(
        id=fields.token("id"),
        place=node.place,
        priority=fields.integer("priority", PRIORITY, 0, PRIORITY_MAX),
        event_type=fields.text("event_type", most=256),
        when=tuple(_condition(one) for one in fields.items("when", CONDITIONS_MAX)),
        decision=decision,
        operation=operation,
        cooldown_seconds=fields.integer("cooldown_seconds", 0, 0, COOLDOWN_MAX),
    )


def _condition(node: Node) -> Condition:
    fields = node.fields("path operator value", "path operator")
    operator = fields.one_of("operator", Operator, Operator.EQUALS)
    given = fields.get("value")
    if given is None and operator is not Operator.EXISTS:
        node.refuse(f"`{operator}` needs a `value`")
    listed = [] if given is None else given.items(VALUES_MAX) if operator is Operator.IN else [given]
    return Condition(
        path=_path(fields, "path"), operator=operator, values=tuple(one.scalar() for one in listed)
    )


def _operation(node: Node) -> Planned:
    fields = node.fields(f"intent mode auto_react {' '.join(_WHERE)}", "intent")
    named = [key for key in _WHERE if key in fields.values]
    if len(named) != 1:
        node.refuse(f"`{node.name}` names its target in one way", allowed=", ".join(_WHERE))
    where = named[0] if named else _WHERE[0]
    taken = where.endswith("_from")
    return Planned(
        intent=fields.token("intent"),
        target=_path(fields, where) if taken else fields.text(where),
        taken=taken,
        catalog=where.startswith("catalog_"),
        mode=fields.one_of("mode", Mode, Mode.DRY_RUN),
        auto_react=fields.maybe("auto_react", lambda node: node.one_of(AutoReact)),
    )


def _path(fields: Fields, key: str) -> str:
    path = fields.text(key, most=256)
    if path.removeprefix("event.").split(".")[0] not in _ROOTS:
        allowed = ", ".join(_ROOTS)
        fields.node.refuse(f"`{path:.60}` begins with none of {allowed}", found=path, allowed=allowed)
    return path


def _comparable(value: Value) -> tuple[type, Value]:
    """Return a value as YAML has it, where a number with a fraction is its digits."""
    value = str(value) if isinstance(value, float) else value
    return type(value), value
