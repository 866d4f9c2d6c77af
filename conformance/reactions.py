"""Reads that nobody asked for: what they follow from, and origins that only say so."""

# ruff: noqa: ANN401 - see worlds

from __future__ import annotations

from typing import Any, Final

from conformance.honest import logged
from conformance.tamperings import Case, earns, of
from conformance.worlds import PROFILE, START, TARGET, a_read, cut
from rexecop.proof.bundle import BundleInput
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.records.intent import Origin
from rexecop.proof.times import format_time

PARENT: Final = "op_look"
FACTS: Final[dict[str, Json]] = {"components": {"ntp": {"status": "unhealthy"}}, "load": "2.5", "full": 91}
WHEN: Final[tuple[dict[str, Json], ...]] = (
    {"path": "facts.components.ntp.status", "operator": "in", "value": ["unhealthy", "degraded"]},
    {"path": "facts.components.ntp.status", "operator": "equals", "value": "unhealthy"},
    {"path": "facts.components.ntp.status", "operator": "not_equals", "value": "healthy"},
    {"path": "facts.components.ntp", "operator": "exists", "value": True},
    {"path": "facts.components.docker", "operator": "exists", "value": False},
    {"path": "facts.load", "operator": "gt", "value": "2.25"},
    {"path": "facts.load", "operator": "gte", "value": "2.50"},
    {"path": "facts.full", "operator": "lt", "value": 92},
    {"path": "facts.full", "operator": "lte", "value": "91"},
)


def observed(**changes: Json) -> BundleInput:
    seen: dict[str, Json] = {
        "artifact_type": "observation_envelope",
        "schema_ref": "schemas/observation_envelope.v0.1.json",
        "schema_version": "v0.1",
        "observation_id": f"observation:{PARENT}:{TARGET}",
        "observed_at": format_time(START),
        "profile_ref": {"id": "hello", "version": "1.0.0", "digest": PROFILE.digest},
        "source": {"operation_id": PARENT, "intent_id": "look", "target_id": TARGET},
        "facts": FACTS,
    }
    return BundleInput(role="observation", data=canonical_bytes({**seen, **changes}))


def ruled(*when: dict[str, Json], **changes: Json) -> BundleInput:
    rule: dict[str, Json] = {
        "kind": "reaction-rule/1",
        "pack": "site",
        "version": "1",
        "id": "clock",
        "priority": 10,
        "when": list(when or WHEN),
        "finding": {"kind": "clock", "severity": "medium", "summary": "The clock is out of step."},
        "outcome": "run_intent",
        "intent_ref": "set_line",
    }
    return BundleInput(role="reaction-rule", data=canonical_bytes({**rule, **changes}))


def reaction(seen: BundleInput, rule: BundleInput, /, *, left_out: bool = False, **origin: Any) -> Case:
    """Return a read that says it follows from `seen` by `rule`."""
    said = {"channel": "reaction", "event": seen.digest, "rule": rule.digest, "parent": PARENT, **origin}
    made = cut(a_read(origin=Origin(**said)))
    further = () if left_out else (seen, rule)
    inputs = sorted((*made.contents.inputs, *further), key=lambda item: (item.role, item.digest))
    return of(made, inputs=tuple(inputs))


@logged("A read that follows from what another operation observed, by a rule with every kind of condition.")
def reaction_to_an_observation() -> Case:
    return reaction(observed(), ruled())


@logged("A reaction whose bundle goes without the observation and the rule it names.")
def reaction_without_what_it_rests_on() -> Case:
    return reaction(observed(), ruled(), left_out=True)


@earns("E07ah")
def a_reaction_that_names_no_rule() -> Case:
    return reaction(observed(), ruled(), left_out=True, rule=None)


@earns("E07ah")
def a_reaction_that_names_no_parent() -> Case:
    return reaction(observed(), ruled(), parent=None)


@earns("E07ah")
def a_parent_of_what_is_no_reaction() -> Case:
    return reaction(observed(), ruled(), left_out=True, channel="cli")


@earns("E07ah")
def a_reaction_to_what_another_operation_observed() -> Case:
    return reaction(observed(), ruled(), parent="op_other")


@earns("E07ah")
def a_reaction_to_what_was_observed_elsewhere() -> Case:
    source: Json = {"operation_id": PARENT, "intent_id": "look", "target_id": "db-2"}
    return reaction(observed(source=source), ruled())


@earns("E07ah")
def a_reaction_by_a_rule_for_something_else() -> Case:
    return reaction(observed(), ruled(intent_ref="look"))


@earns("E07ah")
def a_reaction_by_a_rule_that_does_not_hold() -> Case:
    return reaction(observed(facts={"components": {"ntp": {"status": "healthy"}}}), ruled(WHEN[0]))


@earns("E07ah")
def a_reaction_by_a_condition_on_what_is_not_there() -> Case:
    return reaction(observed(), ruled({"path": "facts.disk", "operator": "not_equals", "value": "full"}))


@earns("E07ah")
def a_reaction_where_true_stands_for_one() -> Case:
    return reaction(observed(facts={"n": 1}), ruled({"path": "facts.n", "operator": "equals", "value": True}))


@earns("E07ah")
def a_reaction_to_no_observation_at_all() -> Case:
    return reaction(BundleInput(role="observation", data=b"the clock is wrong"), ruled())


@earns("E07w")
def an_observation_that_no_reaction_names() -> Case:
    made = cut(a_read())
    return of(made, inputs=(*made.contents.inputs, observed()))
