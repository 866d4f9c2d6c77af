"""Step 7 for operations that nobody asked for: what a reaction names really leads to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rexecop.proof.canonical import Json, parse_json
from rexecop.proof.codec import RECORD_BYTES_MAX
from rexecop.proof.errors import ProofError
from rexecop.proof.reaction import OBSERVATION_ROLE, REACTION, RULE_ROLE, Condition, Operator
from rexecop.proof.records import Intent
from rexecop.proof.verify.evidence import Evidence, Notes

CODE: Final = "E07ah"


def check(evidence: Evidence, notes: Notes) -> None:
    """The intent of a reaction names observation, rule and parent, and follows from them if they are here."""
    asked = evidence.first(Intent)
    if asked is None:
        return
    sealed, intent = asked
    origin = intent.origin
    if origin.channel != REACTION:
        other = origin.rule is not None or origin.parent is not None
        notes.when(other, CODE, sealed, "is no reaction, and names a rule or a parent")
        return
    if origin.event is None or origin.rule is None or origin.parent is None:
        notes.when(True, CODE, sealed, "is a reaction that does not name observation, rule and parent")
        return
    observation = evidence.bundle.inputs(OBSERVATION_ROLE).get(origin.event)
    rule = evidence.bundle.inputs(RULE_ROLE).get(origin.rule)
    if observation is not None and rule is not None:
        wrong = _differs(intent, _object(observation), _object(rule))
        notes.when(bool(wrong), CODE, sealed, f"does not follow from what it names: {wrong}")


def _differs(intent: Intent, observation: Mapping[str, Json], rule: Mapping[str, Json]) -> str:
    """Return what the intent does not have from observation and rule, or nothing."""
    for what, found, wanted in (
        ("the parent", _at(observation, "source", "operation_id"), intent.origin.parent),
        ("the target", _at(observation, "source", "target_id"), intent.target),
        ("the profile", _at(observation, "profile_ref", "digest"), intent.profile.digest),
        ("the intent", _at(rule, "intent_ref"), intent.intent),
    ):
        if found != wanted:
            return what
    facts, conditions = observation.get("facts"), rule.get("when")
    if not isinstance(facts, dict) or not isinstance(conditions, list):
        return "facts or conditions"
    return "" if all(_holds(item, facts) for item in conditions) else "a condition does not hold"


def _holds(item: Json, facts: Mapping[str, Json]) -> bool:
    if not isinstance(item, dict):
        return False
    path, operator = item.get("path"), item.get("operator")
    if not isinstance(path, str) or operator not in tuple(Operator):
        return False
    return Condition(path=path, operator=Operator(str(operator)), value=item.get("value")).holds(facts)


def _at(value: Mapping[str, Json], *path: str) -> Json:
    found: Json = dict(value)
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _object(data: bytes) -> Mapping[str, Json]:
    """Return the object that `data` is, an empty one for anything else."""
    try:
        found = parse_json(data, bytes_max=RECORD_BYTES_MAX)
    except ProofError:
        return {}
    return found if isinstance(found, dict) else {}
