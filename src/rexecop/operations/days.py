"""Days: observations in the order they were made, and what follows from each, tried in memory.

A profile keeps them as `tests/<name>.day.yaml`: what a change of a rule does shows in what follows then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rexecop.operations.errors import ProfileRefused
from rexecop.operations.golden import AT
from rexecop.operations.moments import moment
from rexecop.operations.profile_model import ReactionPack
from rexecop.operations.reactions import Chain, Reaction, react, rule_digest
from rexecop.operations.reading import Node, Problems
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.reaction import Reacts

OBSERVATIONS_MAX: Final = 10_000
_EXPECTED: Final = "outcome intent rule why findings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Facts of `target` at `at`; `after` is the observation whose reaction led to these."""

    name: str
    at: datetime
    target: str
    after: str
    facts: Mapping[str, Json]
    expected: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """What follows from the observation `name`, and how that differs from what is expected."""

    name: str
    target: str
    outcome: str
    rule: str
    intent: str | None
    why: str | None
    findings: tuple[str, ...]
    differences: tuple[str, ...]


def read_day(data: bytes, file: str) -> tuple[Observed, ...]:
    """Return the observations of the day in `data`.

    Raises:
        ProfileRefused: it breaks the format; the message names file, line and field.
    """
    problems = Problems(ProfileRefused.code)
    root = problems.parse(data, file)
    fields = None if root is None else root.section("day").fields("description observations", "observations")
    found: dict[str, Observed] = {}
    last: datetime | None = None
    for node in () if fields is None else fields.items("observations", OBSERVATIONS_MAX):
        item = _observed(node)
        if item.name in found:
            node.refuse(f"`{item.name}` is there already", found=item.name)
        if last is not None and item.at < last:
            node.refuse(f"`{item.name}` is before the observation it follows")
        if item.after and item.after not in found:
            node.refuse(f"`after` names `{item.after}`, which is no earlier observation", found=item.after)
        found[item.name], last = item, item.at
    problems.raise_first(ProfileRefused)
    return tuple(found.values())


def _observed(node: Node) -> Observed:
    fields = node.fields("name at target after facts expect", "name at target facts expect")
    expect = fields.part("expect").fields(_EXPECTED, "outcome")
    expect.one_of("outcome", Reacts, Reacts.ESCALATE)
    at = moment(fields.text("at", most=64))
    if at is None:
        node.refuse("`at` is a time like 2026-01-01T00:00:00Z", found=fields.text("at"))
    return Observed(
        name=fields.token("name"),
        at=at or AT,
        target=fields.token("target"),
        after=fields.token("after"),
        facts=fields.mapping("facts"),
        expected=expect.node.mapping(),
    )


def replay_day(day: tuple[Observed, ...], pack: ReactionPack) -> tuple[Followed, ...]:
    """Return what follows from each observation of `day` by the rules of `pack`."""
    apart, roots, ways = (
        timedelta(milliseconds=pack.budgets.cooldown_ms),
        dict[str, str](),
        dict[str, Chain](),
    )
    counts: dict[str, int] = {}
    newest: dict[tuple[Digest, str], datetime] = {}
    followed = []
    for item in day:
        root = roots[item.name] = roots.get(item.after, item.name)
        way = ways.get(item.after, Chain())
        cooling = frozenset(
            rule for (rule, target), at in newest.items() if target == item.target and item.at - at < apart
        )
        chain = Chain(depth=way.depth, rules=way.rules, reactions=counts.get(root, 0), cooling=cooling)
        reaction = react(pack, item.facts, chain)
        ways[item.name] = way
        if reaction.intent is not None:
            digest = rule_digest(reaction.rule)
            counts[root], newest[digest, item.target] = counts.get(root, 0) + 1, item.at
            ways[item.name] = Chain(depth=way.depth + 1, rules=way.rules | {digest})
        followed.append(_followed(item, reaction))
    return tuple(followed)


def _followed(item: Observed, reaction: Reaction) -> Followed:
    found: dict[str, Json] = {
        "outcome": str(reaction.outcome),
        "intent": reaction.intent,
        "rule": reaction.rule.id,
        "why": reaction.why,
        "findings": [rule.id for rule in reaction.held],
    }
    return Followed(
        name=item.name,
        target=item.target,
        outcome=str(reaction.outcome),
        rule=reaction.rule.id,
        intent=reaction.intent,
        why=reaction.why,
        findings=tuple(rule.id for rule in reaction.held),
        differences=tuple(
            f"{key} is `{found[key]}`, not `{wanted}`"
            for key, wanted in item.expected.items()
            if found[key] != wanted
        ),
    )
