"""The decision rule in plain Python over a small language of rules, and the same rules written as Cedar.

Written from the design's words, not from the product: forbid beats permit, silence is a
no, a rule that cannot be evaluated denies, and what matching rules ask for adds up.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyRule:
    """A rule with optional conditions; `broken` makes its condition fail when the others hold."""

    word: str  # permit | forbid | require
    effect: str | None
    person_in: str | None
    target_in: str | None
    mode: str | None
    broken: bool
    approvals: tuple[int, str] | None
    output_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyRequest:
    """A request as far as toy rules see it: `targets` gives the groups of each target."""

    effect: str
    groups: frozenset[str]
    targets: tuple[frozenset[str], ...]
    mode: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyAnswer:
    """`approvals` and `output_bytes` are empty for a no."""

    verdict: str
    approvals: frozenset[tuple[int, str]]
    output_bytes: int | None


NO = ToyAnswer(verdict="blocked", approvals=frozenset(), output_bytes=None)


def decide(rules: Sequence[ToyRule], request: ToyRequest) -> ToyAnswer:
    """Answer by walking all rules for all targets."""
    asking: list[ToyRule] = []
    for target in request.targets:
        matching = [rule for rule in rules if _conditions_hold(rule, request, target)]
        if any(rule.broken for rule in matching) or any(rule.word == "forbid" for rule in matching):
            return NO
        if not any(rule.word == "permit" for rule in matching):
            return NO
        asking += matching
    counts: dict[str, int] = {}
    for rule in asking:
        if rule.approvals is not None:
            count, group = rule.approvals
            counts[group] = max(count, counts.get(group, 0))
    limits = [rule.output_bytes for rule in asking if rule.output_bytes is not None]
    return ToyAnswer(
        verdict="approval_required" if counts else "allowed",
        approvals=frozenset((count, group) for group, count in counts.items()),
        output_bytes=min(limits, default=None),
    )


def _conditions_hold(rule: ToyRule, request: ToyRequest, target: frozenset[str]) -> bool:
    return (
        rule.effect in (None, request.effect)
        and (rule.person_in is None or rule.person_in in request.groups)
        and (rule.target_in is None or rule.target_in in target)
        and rule.mode in (None, request.mode)
    )


def cedar(rule: ToyRule, rule_id: str) -> str:
    """Write `rule` as a Cedar policy called `rule_id`."""
    head = f'@id("{rule_id}")\n'
    if rule.word != "forbid":
        if rule.approvals is not None:
            head += f'@approvals("{rule.approvals[0]} of {rule.approvals[1]}")\n'
        obligations = [] if rule.output_bytes is None else [f"output_bytes<={rule.output_bytes}"]
        if rule.word == "require" and rule.approvals is None and not obligations:
            obligations = ["receipt"]
        if obligations:
            head += f'@obligations("{", ".join(obligations)}")\n'
    who = "principal" if rule.person_in is None else f'principal in Group::"{rule.person_in}"'
    what = "action" if rule.effect is None else f'action == Action::"{rule.effect}"'
    where = "resource" if rule.target_in is None else f'resource in TargetGroup::"{rule.target_in}"'
    conditions = [] if rule.mode is None else [f'context.mode == "{rule.mode}"']
    if rule.broken:
        conditions.append("9223372036854775807 + 1 == 0")  # overflows when it is evaluated
    when = f" when {{ {' && '.join(conditions)} }}" if conditions else ""
    return f"{head}{'forbid' if rule.word == 'forbid' else 'permit'} ({who}, {what}, {where}){when};\n"
