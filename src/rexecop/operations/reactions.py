"""Reactions: rules that turn what an operation observed into another look, or into a word for people.

A pack is data of the profile. All rules that hold are found; the one with the lowest priority decides. It
can ask for an intent that only reads, and what it asks for is planned and judged like anybody's request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.operations.errors import ObservationRefused
from rexecop.operations.fold import Operation
from rexecop.operations.profile_model import IntentSpec, Profile, ReactionBudgets, ReactionPack
from rexecop.operations.reading import Fields, Node, Problems, listed
from rexecop.operations.recorded import typed
from rexecop.proof.canonical import Digest, Json, canonical_bytes, digest_of
from rexecop.proof.codec import encode
from rexecop.proof.reaction import (
    ARTIFACT,
    START,
    Condition,
    Observation,
    ObservedProfile,
    Operator,
    ReactionRule,
    Reacts,
    RuleFinding,
    Severity,
    Source,
)
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.vocabulary import READ_MODES, Mode, State

PACK_FILE: Final = "reactions/reaction_pack.yaml"
PACK_BYTES_MAX: Final = 256 * 1024
RULES_MAX: Final = 128
CONDITIONS_MAX: Final = 16
VALUES_MAX: Final = 64  # Of one `in`; a longer list is a table, and belongs into a normalizer.
DEPTH_MAX: Final = 32
REACTIONS_MAX: Final = 1024
PRIORITY_MAX: Final = 1_000_000
SUMMARY_MAX: Final = 512
# Of a fallback that says nothing of its own.
UNCLASSIFIED: Final = RuleFinding(
    kind="unclassified", severity=Severity.LOW, summary="No rule knows what was observed."
)
LAST: Final = 1000  # The priority of the fallback.
SCHEMA: Final = "schemas/observation_envelope.v0.1.json"
VERSION: Final = "v0.1"
PATH: Final = re.compile(r"facts(\.[A-Za-z0-9_-]{1,64}){1,16}")
ID_DIGITS: Final = 24
NOTED: Final = "reaction"  # The topic of notes about what followed from an operation.
ASKING: Final = (Reacts.RUN, Reacts.RETRY)
_COMPARING: Final = (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)

DEPTH: Final = "max_reaction_depth_exceeded"
BUDGET: Final = "reaction_budget_exhausted"
CYCLE: Final = "reaction_cycle_detected"
COOLING: Final = "reaction_cooling_down"


# --- reading a pack ---


def read_pack(files: Mapping[str, bytes], problems: Problems) -> ReactionPack | None:
    """Return the pack among the files of a profile, None where there is none."""
    data = files.get(PACK_FILE)
    root = None if data is None else problems.parse(data, PACK_FILE)
    if data is None or root is None:
        return None
    if len(data) > PACK_BYTES_MAX:
        root.refuse(f"a pack has at most {PACK_BYTES_MAX} bytes", allowed=str(PACK_BYTES_MAX))
    named = isinstance(root.value, dict) and "reaction_pack" in root.value
    top = root.section("reaction_pack") if named else root
    needed = "id version budgets rules fallback"
    fields = top.fields(needed, needed)
    name, version = fields.token("id"), fields.text("version", most=64)
    budgets = fields.part("budgets").fields("max_depth max_reactions cooldown", "max_depth max_reactions")
    nodes = fields.items("rules", RULES_MAX)
    if not nodes:
        top.refuse(f"a pack has 1 to {RULES_MAX} rules", allowed=f"1..{RULES_MAX}")
    rules = [_rule(node, name, version) for node in nodes]
    _refuse_repeats(nodes, rules)
    return ReactionPack(
        id=name,
        version=version,
        place=top.place,
        budgets=ReactionBudgets(
            depth=budgets.integer("max_depth", 1, 1, DEPTH_MAX),
            reactions=budgets.integer("max_reactions", 1, 1, REACTIONS_MAX),
            cooldown_ms=budgets.maybe("cooldown", Node.duration) or 0,
        ),
        rules=tuple(sorted(rules, key=lambda rule: (rule.priority, rule.id))),
        fallback=_fallback(fields.part("fallback"), name, version),
    )


def _rule(node: Node, pack: str, version: str) -> ReactionRule:
    fields = node.fields("id priority when finding outcome intent_ref", "id when finding outcome")
    conditions = fields.items("when", CONDITIONS_MAX)
    if not conditions:
        node.refuse(f"a rule has 1 to {CONDITIONS_MAX} conditions", allowed=f"1..{CONDITIONS_MAX}")
    return _made(fields, pack, version, tuple(map(_condition, conditions)), "", 0)


def _fallback(node: Node, pack: str, version: str) -> ReactionRule:
    fields = node.fields("id priority finding outcome intent_ref", "outcome")
    return _made(fields, pack, version, (), "fallback", LAST)


def _made(
    fields: Fields, pack: str, version: str, when: tuple[Condition, ...], name: str, priority: int
) -> ReactionRule:
    outcome = fields.one_of("outcome", Reacts, Reacts.ESCALATE)
    intent = fields.maybe("intent_ref", Node.token)
    if (outcome in ASKING) is (intent is None):
        word = "names the intent it asks for" if outcome in ASKING else "asks for no intent"
        fields.node.refuse(f"a rule with `outcome: {outcome}` {word}: `intent_ref`", found=intent)
    return ReactionRule(
        pack=pack,
        version=version,
        id=fields.token("id", name),
        priority=fields.integer("priority", priority, 0, PRIORITY_MAX),
        when=when,
        finding=fields.maybe("finding", _finding) or UNCLASSIFIED,
        outcome=outcome,
        intent_ref=intent,
    )


def _finding(node: Node) -> RuleFinding:
    finding = node.fields("kind severity summary", "kind severity summary")
    return RuleFinding(
        kind=finding.token("kind"),
        severity=finding.one_of("severity", Severity, Severity.INFO),
        summary=finding.text("summary", most=SUMMARY_MAX),
    )


def _condition(node: Node) -> Condition:
    fields = node.fields("path operator value", "path operator")
    path, operator = fields.text("path"), fields.one_of("operator", Operator, Operator.EQUALS)
    if not PATH.fullmatch(path):
        node.refuse(f"`path` begins with `{START}` and goes on with names", found=path, allowed=PATH.pattern)
    value = fields.get("value")
    if value is None:
        if operator is not Operator.EXISTS:
            node.refuse(f"`{operator}` compares with a `value`", allowed="value")
        return Condition(path=path, operator=operator, value=True)
    return Condition(path=path, operator=operator, value=_value(value, operator))


def _value(node: Node, operator: Operator) -> Json:
    if operator is Operator.EXISTS:
        return node.boolean()
    if operator is Operator.IN:
        found: list[Json] = [item.scalar() for item in node.items(VALUES_MAX)]
        if not found:
            node.refuse("`in` compares with a list of values")
        return found
    value = node.scalar()
    if operator in _COMPARING and not Condition(path="facts.n", operator=Operator.GTE, value=value).holds(
        {"n": value}
    ):
        node.refuse(f"`{operator}` compares with a number", found=str(value), allowed="a number")
    return value


def _refuse_repeats(nodes: list[Node], rules: list[ReactionRule]) -> None:
    seen: dict[object, str] = {}
    for node, rule in zip(nodes, rules, strict=True):
        # In whatever order they stand, the same conditions hold of the same facts.
        conditions = frozenset(digest_of(encode(item)) for item in rule.when)
        for what, key in (("id", rule.id), ("conditions", conditions)):
            if key in seen:
                node.refuse(f"rule `{rule.id}` has the same {what} as `{seen[key]}`", found=rule.id)
            seen[key] = rule.id


def check_names(profile: Profile, problems: Problems) -> None:
    """Refuse rules that ask for what is not there or does more than read, and observing by no step."""
    for item in profile.intents.values():
        workflow = profile.workflows.get(item.workflow)
        names = [step.id for step in workflow.steps] if workflow is not None else []
        if item.observed_by is not None and item.observed_by not in names:
            message = f"`producer_step` names `{item.observed_by}`, which is no step of the workflow"
            field = "intent.reaction_observation.producer_step"
            problems.add(message, item.place, field=field, found=item.observed_by, allowed=listed(names[:32]))
    pack = profile.reactions
    for rule in () if pack is None else (*pack.rules, pack.fallback):
        if pack is None or rule.intent_ref is None:
            continue
        intent = profile.intents.get(rule.intent_ref)
        if intent is None or not only_reads(intent):
            why = "which is no intent of the profile" if intent is None else "whose modes are not all reading"
            message = f"rule `{rule.id}` asks for `{rule.intent_ref}`, {why}"
            problems.add(message, pack.place, field="intent_ref", found=rule.intent_ref)


def only_reads(intent: IntentSpec) -> bool:
    """Return whether every mode of `intent` only reads."""
    return bool(intent.modes) and all(mode in READ_MODES for mode in intent.modes)


# --- what was observed ---


def observe(op: Operation, target: str | None, profile: Profile) -> Observation:
    """Return what `op` observed of `target`, of its only one where none is named.

    Raises:
        ObservationRefused: it is not completed, looked at nothing, or its intent observes nothing.
    """
    intent = op.the_intent
    if op.state is not State.COMPLETED or intent.mode is Mode.DRY_RUN:
        what = "only looked at what would be done" if intent.mode is Mode.DRY_RUN else f"is {op.state}"
        raise _refused(op, f"operation {op.id} {what}; reactions rest on completed ones")
    spec = profile.intents.get(intent.intent)
    if spec is None or spec.observed_by is None:
        raise _refused(op, f"intent `{intent.intent}` says nothing under `reaction_observation`")
    made = [item for item in op.steps.values() if item.step.id.split("@", 1)[0] == spec.observed_by]
    targets = sorted(item.step.target for item in made)
    wanted = target or (targets[0] if len(targets) == 1 else None)
    if wanted is None and targets:
        raise _refused(op, f"operation {op.id} looked at several targets; name one with `--target`", targets)
    found = next((item for item in made if item.step.target == wanted), None)
    if found is None or found.outcome is None:
        raise _refused(op, f"operation {op.id} has no facts of `{wanted or intent.target}`", targets)
    outcome = typed(found.outcome, Outcome)
    facts = outcome.facts or {}
    inner = facts.get("facts")
    if facts.get("artifact_type") == ARTIFACT and isinstance(inner, dict):
        facts = inner  # The profile wrote the envelope itself; whose it is, the records say better.
    return Observation(
        artifact_type=ARTIFACT,
        schema_ref=SCHEMA,
        schema_version=VERSION,
        observation_id=f"observation:{op.id}:{found.step.target}",
        observed_at=outcome.at,
        profile_ref=ObservedProfile(
            id=intent.profile.name, version=intent.profile.version, digest=intent.profile.digest
        ),
        source=Source(operation_id=op.id, intent_id=intent.intent, target_id=found.step.target),
        facts=facts,
    )


def observed_targets(op: Operation, profile: Profile) -> tuple[str, ...]:
    """Return the targets of which `op` recorded something that its intent observes."""
    spec = profile.intents.get(op.the_intent.intent)
    by = None if spec is None else spec.observed_by
    steps = (item.step for item in op.steps.values())
    return tuple(sorted({step.target for step in steps if step.id.split("@", 1)[0] == by}))


def _refused(op: Operation, message: str, allowed: list[str] | None = None) -> ObservationRefused:
    shown = None if allowed is None else ", ".join(allowed[:32])
    return ObservationRefused(message, allowed=shown, next_steps=(f"rexecop status {op.id}",))


# --- deciding ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What led to an observation: how many reactions deep, by which rules, and how many there were in all.

    `cooling` are the rules that reacted on that target a moment ago.
    """

    depth: int = 0
    rules: frozenset[Digest] = frozenset()
    reactions: int = 0
    cooling: frozenset[Digest] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """What follows from facts: every rule that `held`, the one that decides, and what comes of it.

    `why` is why the outcome is another than the rule's.
    """

    held: tuple[ReactionRule, ...]
    rule: ReactionRule
    outcome: Reacts
    intent: str | None
    why: str | None


def rule_digest(rule: ReactionRule) -> Digest:
    """Return the digest a rule goes by in records."""
    return digest_of(encode(rule))


def react(pack: ReactionPack, facts: Mapping[str, Json], chain: Chain) -> Reaction:
    """Return what follows from `facts` in `chain`.

    A chain that goes round, too deep or on for too long is for people; a rule that reacted a moment ago
    does nothing.
    """
    held = tuple(rule for rule in pack.rules if rule.holds(facts)) or (pack.fallback,)
    rule = held[0]
    outcome, why = rule.outcome, None
    if outcome in ASKING:
        why = _limit(pack.budgets, rule_digest(rule), chain)
        outcome = outcome if why is None else Reacts.NO_OP if why == COOLING else Reacts.ESCALATE
    asked = rule.intent_ref if outcome in ASKING else None
    return Reaction(held=held, rule=rule, outcome=outcome, intent=asked, why=why)


def _limit(budgets: ReactionBudgets, rule: Digest, chain: Chain) -> str | None:
    """Return what stands against one more reaction by `rule`, or None."""
    if rule in chain.rules:
        return CYCLE
    if chain.depth >= budgets.depth:
        return DEPTH
    if chain.reactions >= budgets.reactions:
        return BUDGET
    return COOLING if rule in chain.cooling else None


def reaction_id(observation: Observation, rule: ReactionRule) -> str:
    """Return the name of the one reaction to `observation` by `rule`."""
    parts: list[Json] = [
        observation.profile_ref.digest,
        digest_of(encode(observation)),
        rule_digest(rule),
        observation.source.target_id,
    ]
    return f"reaction-{digest_of(canonical_bytes(parts)).removeprefix('sha256:')[:ID_DIGITS]}"
