"""Admission: the answer of the packs in force to one request.

Only the operator's packs grant and say who is who; packs that come with a profile add
forbids and requirements. Forbid beats permit and silence is a no. Whatever is unknown,
expired, unreadable or fails to evaluate denies: a forbid that was skipped because it
broke would let through what it was written to stop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import cedarpy
from cedarpy import pst

from rexecop.governance.cedar import Rule
from rexecop.governance.entities import NOBODY, Entities, merge_entities
from rexecop.governance.facts import Facts, Question
from rexecop.governance.grammar import Asked
from rexecop.governance.obligations import (
    NO_OBLIGATIONS,
    approvals_in_words,
    merge_approvals,
    merge_limits,
    merge_obligations,
)
from rexecop.governance.pack import Pack
from rexecop.governance.schema import schema
from rexecop.proof.errors import NotCanonical
from rexecop.proof.records.decision import (
    ApprovalLimit,
    PackRef,
    PolicyRequest,
    RequestTarget,
    RuleRef,
    Terms,
)
from rexecop.proof.vocabulary import READ_MODES, Effect, Mode, Verdict

ANSWERS_MAX: Final = 512  # As many kinds of request as a busy instance sees; beyond it all are asked anew.
ERROR_LENGTH_MAX: Final = 300  # One line of a decision record; the engine's words can be long.

# A pack is one JSON text: a line break stands in it as `\\n`. An escape in a Cedar string could hide a name.
_NOW: Final = re.compile(rb"(?:\b|\\[nrt])now\b|\\\\[ux]")
_ANY_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a decision record says beside request and plan: `rules` took part, `reason` is for people."""

    terms: Terms
    rules: tuple[RuleRef, ...]
    packs: tuple[PackRef, ...]
    errors: tuple[str, ...]
    reason: str


class Policy:
    """The packs in force, parsed once and ready to answer.

    `operator` packs grant; `profile` packs can only forbid and require, and their people
    and groups count for nothing. `unreadable` are packs that should be in force and
    cannot be read, in words: while there is one, everything is denied.
    """

    def __init__(
        self, operator: Sequence[Pack], profile: Sequence[Pack] = (), unreadable: Sequence[str] = ()
    ) -> None:
        self.packs: tuple[PackRef, ...] = tuple(
            sorted((pack.ref for pack in (*operator, *profile)), key=lambda ref: (ref.id, ref.digest))
        )
        self._all: tuple[Pack, ...] = (*operator, *profile)
        self.entities, contradiction = merge_entities(
            # A profile's pack may add nothing to who is who but names for groups of targets.
            [
                *(pack.entities for pack in operator),
                *(replace(NOBODY, target_groups=pack.entities.target_groups) for pack in profile),
            ]
        )
        self._by_name: dict[str, Rule] = {}
        rules, requirements, problems = self._collect(operator, profile)
        standing = (
            *(f"a policy pack cannot be read: {words}" for words in unreadable),
            None if operator else "no policy pack of the operator is in force",
            contradiction,
            *problems,
        )
        self._problem: str | None = next(filter(None, standing), None)
        self.rules: Final = _policy_set(rules)
        self.requirements: Final = _policy_set(requirements) if requirements else None
        named = frozenset(name for rule in self._by_name.values() for name in rule.names)
        self.facts: Final = Facts(self.entities, named)
        self._timeless = not any(_NOW.search(pack.data) for pack in self._all)
        self._answers: dict[PolicyRequest, Answer] = {}

    @property
    def rule_ids(self) -> tuple[str, ...]:
        """The names of all rules and requirements in force, each with its pack."""
        return tuple(sorted(self._by_name))

    def groups(self) -> Mapping[str, frozenset[str]]:
        """Return each group with the persons in it, as quorums need it."""
        return self.entities.members()

    def problem_at(self, moment: datetime) -> str | None:
        """Return in words why no request can be allowed at `moment`, or None."""
        if self._problem is not None:
            return self._problem
        return next((words for pack in self._all if (words := pack.invalid_at(moment))), None)

    def rule(self, name: str) -> Rule:
        """Return the rule that the engine knows as `name` (`pack/id`)."""
        return self._by_name[name]

    def remembered(self, request: PolicyRequest) -> tuple[PolicyRequest | None, Answer | None]:
        """Return what stands for all requests that differ from `request` in time only, and their answer.

        Nothing stands for them while any pack so much as names `now`, or where there are parameters.
        """
        if not self._timeless or request.parameters is not None:
            return None, None
        key = replace(request, now=_ANY_TIME)
        return key, self._answers.get(key)

    def remember(self, key: PolicyRequest, answer: Answer) -> None:
        """Keep the answer to all requests that `key` stands for."""
        if len(self._answers) >= ANSWERS_MAX:
            self._answers.clear()
        self._answers[key] = answer

    def _collect(
        self, operator: Sequence[Pack], profile: Sequence[Pack]
    ) -> tuple[dict[str, Rule], dict[str, Rule], list[str]]:
        rules: dict[str, Rule] = {}
        requirements: dict[str, Rule] = {}
        problems: list[str] = []
        seen: set[str] = set()
        for pack, grants in (*((pack, True) for pack in operator), *((pack, False) for pack in profile)):
            if pack.ref.id in seen:
                problems.append(f"two policy packs are called `{pack.ref.id}`")
            seen.add(pack.ref.id)
            named = {f"{pack.ref.id}/{rule.id}": rule for rule in pack.rules}
            rules |= {name: rule for name, rule in named.items() if grants or rule.forbids}
            requirements |= {f"{pack.ref.id}/{rule.id}": rule for rule in pack.requirements}
        self._by_name = rules | requirements
        for name, rule in self._by_name.items():
            missing = self.entities.lacks(rule)
            if missing is not None:
                problems.append(f"rule `{name}` names {missing}, which the operator's packs do not have")
        return rules, requirements, problems


def decide(policy: Policy, request: PolicyRequest) -> Answer:
    """Return the answer of `policy` to `request`; it never raises for what a request says.

    Every target is asked about by itself: all must be allowed, and what any of them
    requires is required of the whole.
    """
    problem = policy.problem_at(request.now)
    if problem is not None:
        return _blocked(policy, (), (), problem)
    key, answer = policy.remembered(request)
    if answer is None:
        answer = _decide(policy, request)
        if key is not None and not answer.errors:
            policy.remember(key, answer)
    return answer


def _decide(policy: Policy, request: PolicyRequest) -> Answer:
    problem = _unknown(policy.entities, request)
    if problem is not None:
        return _blocked(policy, (), (), problem)
    try:
        questions, entities = policy.facts.of(request)
    except (ValueError, NotCanonical) as error:
        return _failed(policy, (), (_one_line(str(error)),))
    found = _ask(policy.rules, questions, entities, request.targets)
    if found.errors:
        return _failed(policy, found.names, found.errors)
    if found.denied is not None:
        return _blocked(policy, found.denied_by, (), _denial(policy, found, request))
    required = _NOTHING
    if policy.requirements is not None:
        required = _ask(policy.requirements, questions, entities, request.targets)
        if required.errors:
            return _failed(policy, required.names, required.errors)
    return _allowed(policy, request, found.names, required.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the engine said: permits that matched for any target, what failed, the first target denied."""

    names: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    denied: RequestTarget | None = None
    denied_by: tuple[str, ...] = ()


_NOTHING: Final = _Found()


def _ask(
    rules: cedarpy.PolicySet,
    questions: list[Question],
    entities: cedarpy.Entities,
    targets: Sequence[RequestTarget],
) -> _Found:
    """Ask `rules` one question per target."""
    try:
        results = cedarpy.is_authorized_batch(questions, rules, entities, schema())
    except ValueError as error:
        return _Found(errors=(_one_line(str(error)),))
    names: set[str] = set()
    errors: set[str] = set()
    denied: RequestTarget | None = None
    denied_by: tuple[str, ...] = ()
    for target, result in zip(targets, results, strict=True):
        errors.update(map(_one_line, result.diagnostics.errors))
        if result.decision is cedarpy.Decision.Allow:
            names.update(result.diagnostics.reasons)
        elif result.decision is not cedarpy.Decision.Deny:
            errors.add(f"the policy engine gave no answer about `{target.id}`")
        elif denied is None:
            denied, denied_by = target, tuple(sorted(result.diagnostics.reasons))
    return _Found(
        names=tuple(sorted(names)), errors=tuple(sorted(errors)), denied=denied, denied_by=denied_by
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())[:ERROR_LENGTH_MAX]


def _unknown(entities: Entities, request: PolicyRequest) -> str | None:
    """Return in words what of the request policy knows nothing about, or what no policy can allow."""
    person = request.principal.person
    kind = entities.type_of(person)
    if kind is None:
        return f"`{person}` is in none of the policy packs in force"
    if kind == "Agent" and request.sponsor != entities.agents[person]:
        found = f"not `{request.sponsor}`" if request.sponsor else "and none is named"
        return f"agent `{person}` acts for `{entities.agents[person]}`, {found}"
    if not request.targets:
        return "the request names no target"
    if len({target.id for target in request.targets}) != len(request.targets):
        return "the request describes one target twice"
    if request.effect is not Effect.READ and request.mode in READ_MODES and request.mode is not Mode.DRY_RUN:
        return f"mode `{request.mode}` only reads, and this would {request.effect}"
    return None


def _allowed(
    policy: Policy, request: PolicyRequest, permits: tuple[str, ...], required: tuple[str, ...]
) -> Answer:
    names = (*permits, *required)
    rules = [policy.rule(name) for name in names]
    obligations = merge_obligations(rule.obligations for rule in rules)
    asked = [rule.asked for rule in rules]
    approvals = merge_approvals(one.rules for one in asked)
    targets = len(request.targets)
    if obligations.targets_max is not None and targets > obligations.targets_max:
        words = f"{targets} targets are asked for, at most {obligations.targets_max} are allowed"
        return _blocked(policy, names, (), words)
    reason = f"allowed by {_quoted(permits)}"
    if approvals:
        asking = [name for name, rule in zip(names, rules, strict=True) if rule.asked.rules]
        reason += f", needs approval by {approvals_in_words(approvals)} because of {_quoted(asking)}"
    verdict = Verdict.APPROVAL_REQUIRED if approvals else Verdict.ALLOWED
    terms = Terms(verdict=verdict, approvals=approvals, obligations=obligations)
    if approvals:
        terms = replace(
            terms,
            approval_limits=_limits(policy.entities, request, asked),
            sponsor_may_approve=bool(request.sponsor) and all(one.sponsor for one in asked if one.rules),
        )
    return Answer(terms=terms, rules=_refs(policy, names), packs=policy.packs, errors=(), reason=reason)


def _limits(entities: Entities, request: PolicyRequest, asked: Sequence[Asked]) -> tuple[ApprovalLimit, ...]:
    """Return how many of which group may approve, now that it is known who asks."""
    mine = entities.groups_of(request.principal.person)
    if request.sponsor is not None:
        mine |= entities.groups_of(request.sponsor)
    peers = [
        [ApprovalLimit(at_most=0, group=group) for group in one.no_peers if group in mine] for one in asked
    ]
    return merge_limits([*(one.limits for one in asked), *peers])


def _failed(policy: Policy, names: Sequence[str], errors: tuple[str, ...]) -> Answer:
    reason = f"a policy could not be evaluated, and that denies: {errors[0]}"
    return _blocked(policy, names, errors, reason)


def _blocked(policy: Policy, names: Sequence[str], errors: tuple[str, ...], reason: str) -> Answer:
    terms = Terms(verdict=Verdict.BLOCKED, approvals=(), obligations=NO_OBLIGATIONS)
    return Answer(terms=terms, rules=_refs(policy, names), packs=policy.packs, errors=errors, reason=reason)


def _denial(policy: Policy, found: _Found, request: PolicyRequest) -> str:
    assert found.denied is not None
    if not found.denied_by:
        what = f"{request.effect} `{found.denied.id}` in mode `{request.mode}`"
        return f"no rule allows `{request.principal.person}` to {what}"
    words = f"forbidden by {_quoted(found.denied_by)}"
    reasons = [reason for name in found.denied_by if (reason := policy.rule(name).reason)]
    return f"{words}: {'; '.join(reasons)}" if reasons else words


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _refs(policy: Policy, names: Iterable[str]) -> tuple[RuleRef, ...]:
    return tuple(RuleRef(id=name, digest=policy.rule(name).digest) for name in sorted(set(names)))


def _policy_set(rules: Mapping[str, Rule]) -> cedarpy.PolicySet:
    """Return `rules` as the engine takes them, each under its full name."""
    named = {
        name: pst.Template(
            id=name,
            effect=rule.template.effect,
            principal=rule.template.principal,
            action=rule.template.action,
            resource=rule.template.resource,
            clauses=rule.template.clauses,
            annotations=pst.FrozenMap({"id": name}),
        )
        for name, rule in rules.items()
    }
    return cedarpy.PolicySet.from_pst(
        pst.PolicySet(templates=pst.FrozenMap({}), static_policies=pst.FrozenMap(named), template_links=())
    )
