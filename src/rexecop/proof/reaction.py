"""What a reaction rests on: facts that an operation yielded, and the rule that they meet.

Both are kept as canonical bytes that the intent of the reaction names, so that whoever holds the evidence
can ask the rule again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar, Final

from rexecop.proof.canonical import Digest, Json

REACTION: Final = "reaction"  # The channel of an intent that a rule asked for.
OBSERVATION_ROLE: Final = "observation"  # Of the pinned input that holds the facts.
RULE_ROLE: Final = "reaction-rule"
ARTIFACT: Final = "observation_envelope"
START: Final = "facts."  # How the path of every condition begins.
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?")


class Operator(StrEnum):
    """How the fact at a path is compared with a value."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    IN = "in"
    EXISTS = "exists"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"


class Severity(StrEnum):
    """How much a finding matters."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Reacts(StrEnum):
    """What a rule asks for."""

    RUN = "run_intent"
    RETRY = "retry_intent"
    ESCALATE = "escalate"
    NO_OP = "no_op"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedProfile:
    """The profile an operation was planned from."""

    id: str
    version: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The operation that yielded facts of one target."""

    operation_id: str
    intent_id: str
    target_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Facts of one target, as the operation `source` recorded them at `observed_at`."""

    artifact_type: str
    schema_ref: str
    schema_version: str
    observation_id: str
    observed_at: datetime
    profile_ref: ObservedProfile
    source: Source
    facts: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The fact at `path` compared with `value`."""

    path: str
    operator: Operator
    value: Json

    def holds(self, facts: Mapping[str, Json]) -> bool:
        """Return whether it holds of `facts`; of a fact that is not there only `exists: false` does."""
        there, found = _at(facts, self.path.removeprefix(START))
        if self.operator is Operator.EXISTS:
            return there is self.value
        if not there:
            return False
        if self.operator in (Operator.EQUALS, Operator.NOT_EQUALS):
            return _same(found, self.value) is (self.operator is Operator.EQUALS)
        if self.operator is Operator.IN:
            return isinstance(self.value, list) and any(_same(found, item) for item in self.value)
        one, other = _number(found), _number(self.value)
        if one is None or other is None:
            return False
        if one == other:
            return self.operator in (Operator.GTE, Operator.LTE)
        return (one > other) is (self.operator in (Operator.GT, Operator.GTE))


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFinding:
    """What it means that the conditions of a rule hold."""

    kind: str
    severity: Severity
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactionRule:
    """Rule `id` of a pack: where all of `when` hold, `finding` is found and `outcome` follows.

    The lowest `priority` of the rules that hold decides. One without conditions stands for whatever
    no other rule knows.
    """

    kind: ClassVar[str] = "reaction-rule/1"

    pack: str
    version: str
    id: str
    priority: int
    when: tuple[Condition, ...]
    finding: RuleFinding
    outcome: Reacts
    intent_ref: str | None = None

    def holds(self, facts: Mapping[str, Json]) -> bool:
        """Return whether every condition holds of `facts`."""
        return all(condition.holds(facts) for condition in self.when)


def _at(facts: Mapping[str, Json], path: str) -> tuple[bool, Json]:
    """Return whether there is a fact at the dotted `path`, and which; null is none."""
    found: Json = dict(facts)
    for part in path.split("."):
        if not isinstance(found, dict) or part not in found:
            return False, None
        found = found[part]
    return found is not None, found


def _same(one: Json, other: Json) -> bool:
    return type(one) is type(other) and isinstance(one, str | int) and one == other  # `true` is no 1.


def _number(value: Json) -> Decimal | None:
    """Return the number that an integer or the digits of a decimal are."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return Decimal(value) if _NUMBER.fullmatch(str(value)) else None
