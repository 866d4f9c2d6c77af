"""Admission: the answer of the packs in force to one request.

Only the operator's packs grant and say who is who; packs that come with a profile add
forbids and requirements. Forbid beats permit and silence is a no. Whatever is unknown,
expired, unreadable or fails to evaluate denies: a forbid that was skipped because it
broke would let through what it was written to stop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Final

import cedarpy

from rexecop.governance.actions import CALL, Listing, action_of, speaks_of_calls, unknown
from rexecop.governance.cedar import Rule
from rexecop.governance.entities import NOBODY, Entities, merge_entities
from rexecop.governance.facts import Facts, Questions
from rexecop.governance.grammar import NOBODY_ASKED, Asked, Escalation
from rexecop.governance.obligations import (
    NO_OBLIGATIONS,
    Able,
    approvals_in_words,
    merge_limits,
    merge_obligations,
)
from rexecop.governance.pack import Pack
from rexecop.governance.slicing import Index
from rexecop.governance.windows import Schedule, is_held, opening, tzdata_version
from rexecop.proof.errors import NotCanonical
from rexecop.proof.records.decision import (
    ApprovalLimit,
    Opinion,
    PackRef,
    PolicyRequest,
    RequestTarget,
    RuleRef,
    Terms,
)
from rexecop.proof.request import parts_of
from rexecop.proof.steps import merge_approvals
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import READ_MODES, Effect, Mode, Verdict

ANSWERS_MAX: Final = 512  # As many kinds of request as a busy instance sees; beyond it all are asked anew.
ERROR_LENGTH_MAX: Final = 300  # One line of a decision record; the engine's words can be long.

_ABLE: Final = Able()  # Where nobody says otherwise: no rules of a profile, and any group is told.
_ANY_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a decision record says beside request and plan: `rules` took part, `reason` is for people."""

    terms: Terms
    rules: tuple[RuleRef, ...]
    packs: tuple[PackRef, ...]
    errors: tuple[str, ...]
    reason: str
    opinion: Opinion | None = None


class Policy:
    """The packs in force, parsed once and ready to answer.

    `counts` says whether a pack so much as names `recent`, so that others pay nothing for it;
    `calls` whether one speaks of calls: then all of a plan are admitted with it.
    `operator` packs grant; `profile` packs can only forbid and require, and their people
    and groups count for nothing. `unreadable` are packs that should be in force and
    cannot be read, in words: while there is one, everything is denied. `able` says what can be kept.
    """

    def __init__(
        self,
        operator: Sequence[Pack],
        profile: Sequence[Pack] = (),
        unreadable: Sequence[str] = (),
        able: Able = _ABLE,
    ) -> None:
        self.able: Final = able
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
        self.schedules: tuple[Schedule, ...] = (
            *(pack.schedule for pack in operator),
            *(replace(pack.schedule, override=(), lift_halt=()) for pack in profile),
        )
        self.lift_halt: tuple[str, ...] = tuple(
            sorted({group for pack in operator for group in pack.schedule.lift_halt})
        )
        self._by_name: dict[str, Rule] = {}
        rules, problems = self._collect(operator, profile)
        standing = (
            *(f"a policy pack cannot be read: {words}" for words in unreadable),
            None if operator else "no policy pack of the operator is in force",
            contradiction,
            *problems,
        )
        self._problem: str | None = next(filter(None, standing), None)
        self.permits: Final = frozenset(name for name, rule in rules.items() if not rule.forbids)
        self.index: Final = Index({name: rule.template for name, rule in self._by_name.items()})
        self.facts: Final = Facts(self.entities, (rule.sight for rule in self._by_name.values()))
        self.counts: Final = "recent" in self.facts.read
        self.actions: Final[tuple[Listing, ...]] = tuple(
            pack.entities.actions for pack in self._all if pack.entities.actions
        )
        self.calls: Final = any(speaks_of_calls(rule.names) for rule in self._by_name.values()) or any(
            scope.startswith(CALL) for listing in self.actions for scope in listing
        )
        self._merged: dict[tuple[frozenset[str], bool], tuple[Answer, tuple[Asked, ...]]] = {}
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

    def escalations(self, names: Iterable[str]) -> frozenset[Escalation]:
        """Return to whom, and after what time, the rules of these names have what waits escalated."""
        rules = (self._by_name[name] for name in names if name in self._by_name)
        return frozenset(one for rule in rules for one in rule.escalations)

    def remembered(self, request: PolicyRequest) -> tuple[PolicyRequest | None, Answer | None]:
        """Return what stands for all requests that differ from `request` only in what no policy reads.

        That may be the time, and the parameters where they are such as evidence may hold.
        """
        if "now" in self.facts.read or not self.facts.ignores(request.parameters):
            return None, None
        key = replace(request, now=_ANY_TIME, parameters=None)
        return key, self._answers.get(key)

    def remember(self, key: PolicyRequest, answer: Answer) -> None:
        """Keep the answer to all requests that `key` stands for."""
        if len(self._answers) >= ANSWERS_MAX:
            self._answers.clear()
        self._answers[key] = answer

    def merged(self, names: frozenset[str], *, emergency: bool) -> tuple[Answer, tuple[Asked, ...]]:
        """Return the answer to a request that `names` match and nothing denies, and what they ask of whom."""
        found = self._merged.get((names, emergency))
        if found is None:
            asked = (self.rule(name).asked for name in sorted(names))
            answer = _merged(self, sorted(names), emergency=emergency)
            found = (answer, tuple(one for one in asked if one != NOBODY_ASKED))
            if len(self._merged) >= ANSWERS_MAX:
                self._merged.clear()
            self._merged[names, emergency] = found
        return found

    def _collect(
        self, operator: Sequence[Pack], profile: Sequence[Pack]
    ) -> tuple[dict[str, Rule], list[str]]:
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
        return rules, problems


def decide(policy: Policy, request: PolicyRequest, *schedules: Schedule) -> Answer:
    """Return the answer of `policy` to `request`; it never raises for what a request says.

    Every target is asked about by itself, and so is every intent that is called: all must be
    allowed, and what any of them requires is required of the whole. What really changes something
    is held to the windows and freezes of the packs and of `schedules`.
    """
    problem = policy.problem_at(request.now)
    if problem is not None:
        return _blocked(policy, (), (), problem)
    whole, *called = parts_of(request)
    answer = _answer(policy, whole)
    if called:
        answer = _together(policy, answer, [(part, _answer(policy, part)) for part in called])
        targets = dict.fromkeys(target for part in (whole, *called) for target in part.targets)
        whole = replace(whole, targets=tuple(targets))  # A window of any of them is one for all.
    return _in_time(policy, whole, answer, schedules)


def _answer(policy: Policy, request: PolicyRequest) -> Answer:
    key, answer = policy.remembered(request)
    if answer is None:
        answer = _decide(policy, request)
        if key is not None and not answer.errors:
            policy.remember(key, answer)
    return answer


def _together(policy: Policy, whole: Answer, called: Sequence[tuple[PolicyRequest, Answer]]) -> Answer:
    """Return `whole` with what is asked for the intents that it calls on top; a no to one is one to all."""
    if whole.terms.verdict is Verdict.BLOCKED:
        return whole
    said = [(f"intent `{part.intent}`, which it calls: {one.reason}", one) for part, one in called]
    denied = next((item for item in said if item[1].terms.verdict is Verdict.BLOCKED), None)
    if denied is not None:
        return replace(denied[1], reason=denied[0])
    answers = [whole, *(one for _, one in said)]
    asking = [one.terms for one in answers if one.terms.approvals]
    terms = replace(
        whole.terms,
        verdict=Verdict.APPROVAL_REQUIRED if asking else Verdict.ALLOWED,
        approvals=merge_approvals(one.approvals for one in asking),
        obligations=merge_obligations(one.terms.obligations for one in answers),
        approval_limits=merge_limits(one.terms.approval_limits for one in answers),
        sponsor_may_approve=bool(asking) and all(one.sponsor_may_approve for one in asking),
        session_may_approve=bool(asking) and all(one.session_may_approve for one in asking),
    )
    rules = _refs(policy, (rule.id for one in answers for rule in one.rules))
    reason = "; ".join(dict.fromkeys([whole.reason, *(words for words, _ in said)]))
    return replace(whole, terms=terms, rules=rules, reason=reason)


def _in_time(
    policy: Policy, request: PolicyRequest, answer: Answer, schedules: tuple[Schedule, ...]
) -> Answer:
    """Return `answer` with the time in which what it allows may run; a window out of reach is a no."""
    if answer.terms.verdict is Verdict.BLOCKED or not is_held(request):
        return answer
    holding = [one for one in (*policy.schedules, *schedules) if one.holds(request)]
    names = tuple(rule.id for rule in answer.rules)
    if not holding:
        return answer
    terms, reason = replace(answer.terms, tzdata=tzdata_version()), answer.reason
    if request.override_window:
        groups = policy.entities.people.get(request.principal.person, frozenset())
        closed = next((one for one in holding if groups.isdisjoint(one.override)), None)
        if closed is not None:
            may = ", ".join(f"`{group}`" for group in closed.override) or "nobody"
            words = f"`{request.principal.person}` may not override the windows of {closed.source}: {may} may"
            return _blocked(policy, names, (), words)
        return replace(answer, terms=terms, reason=f"{reason}, windows and freezes set aside by override")
    found = opening(holding, request)
    if found is None:
        words = f"no time is open within a year by the windows of {', '.join(one.source for one in holding)}"
        return _blocked(policy, names, (), words)
    if found.start is not None:
        reason += f", from {format_time(found.start)} on"
    if found.end is not None:
        reason += f", until {format_time(found.end)}"
    return replace(answer, terms=replace(terms, not_before=found.start, not_after=found.end), reason=reason)


def _decide(policy: Policy, request: PolicyRequest) -> Answer:
    problem = _unknown(policy.entities, request) or unknown(request, policy.actions)
    if problem is not None:
        return _blocked(policy, (), (), problem)
    try:
        found = _ask(policy, policy.facts.of(request), request.targets)
    except (ValueError, NotCanonical) as error:
        return _failed(policy, (), (_one_line(str(error)),))
    if found.errors:
        return _failed(policy, found.names, found.errors)
    if found.denied is not None:
        return _blocked(policy, found.denied_by, (), _denial(policy, found, request))
    return _allowed(policy, found.names, request)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the engine said: permits that matched for any target, what failed, the first target denied."""

    names: frozenset[str]
    errors: tuple[str, ...]
    denied: RequestTarget | None
    denied_by: tuple[str, ...]


def _ask(policy: Policy, asked: Questions, targets: Sequence[RequestTarget]) -> _Found:
    """Ask about each target the policies whose scope it is in, rules and requirements alike.

    Raises:
        ValueError: the engine does not understand the question.
    """
    waiting: dict[cedarpy.PolicySet, list[int]] = {}
    for place, reach in enumerate(asked.reaches):
        for policies in policy.index.slice(reach):
            waiting.setdefault(policies, []).append(place)
    permits: list[list[str]] = [[] for _ in targets]
    forbids: list[list[str]] = [[] for _ in targets]
    errors: set[str] = set()
    for policies, places in waiting.items():
        questions = [asked.questions[place] for place in places]
        results = cedarpy.is_authorized_batch(questions, policies, asked.entities)
        for place, result in zip(places, results, strict=True):
            said, decision = result.diagnostics, result.decision
            errors.update(map(_one_line, said.errors))
            if decision is cedarpy.Decision.NoDecision:
                errors.add(f"the policy engine gave no answer about `{targets[place].id}`")
            (permits if decision is cedarpy.Decision.Allow else forbids)[place] += said.reasons
    # What a requirement says is that it applies; it takes a rule to allow.
    allowed = [
        not no and not policy.permits.isdisjoint(yes) for yes, no in zip(permits, forbids, strict=True)
    ]
    first = None if all(allowed) else allowed.index(False)
    return _Found(
        names=frozenset(chain.from_iterable(permits)),
        errors=tuple(sorted(errors)),
        denied=None if first is None else targets[first],
        denied_by=() if first is None else tuple(sorted(forbids[first])),
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
    # A group nobody lists is misspelt, and what is said about the right one would pass it by.
    # Where no groups are listed at all, no policy can speak about any.
    for target in request.targets if entities.target_groups else ():
        for group in target.groups:
            if group not in entities.target_groups:
                where = f"target `{target.id}` is in group `{group}`, which no policy pack in force lists"
                return f"{where}; add it to `target_groups` in entities.yaml, or correct the environment"
    if request.effect is not Effect.READ and request.mode in READ_MODES and request.mode is not Mode.DRY_RUN:
        return f"mode `{request.mode}` only reads, and this would {request.effect}"
    return None


def _allowed(policy: Policy, names: frozenset[str], request: PolicyRequest) -> Answer:
    # A step may ask where the whole does not, and then the same conflicts count.
    answer, asked = policy.merged(names, emergency=request.break_glass)
    most, targets = answer.terms.obligations.targets_max, request.targets_planned or len(request.targets)
    if most is not None and targets > most:
        words = f"{targets} targets are asked for, at most {most} are allowed"
        return _blocked(policy, names, (), words)
    if not asked:
        return answer
    sponsor = bool(request.sponsor) and not request.break_glass
    terms = replace(
        answer.terms,
        approval_limits=_limits(policy.entities, request, asked),
        sponsor_may_approve=sponsor and all(one.sponsor for one in asked if one.rules),
        session_may_approve=bool(answer.terms.approvals)
        and not request.break_glass
        and all(one.session for one in asked if one.rules),
    )
    return replace(answer, terms=terms)


def _merged(policy: Policy, names: Sequence[str], *, emergency: bool) -> Answer:
    rules = [policy.rule(name) for name in names]
    obligations = merge_obligations(rule.obligations for rule in rules)
    asked = [rule.asked for rule in rules]
    approvals = merge_approvals(one.rules for one in asked)
    if emergency:
        broken = [rule.break_glass for rule in rules if rule.break_glass is not None]
        if not broken:
            words = f"no rule that takes part has a `@break_glass`: {_quoted(names)}"
            return _blocked(policy, names, (), words)
        # Rules without one ask for what they always ask for.
        usual = (rule.asked.rules for rule in rules if rule.break_glass is None)
        approvals = merge_approvals((*(whose for whose, _ in broken), *usual))
        obligations = merge_obligations((obligations, *(kept for _, kept in broken)))
    by = _quoted(name for name in names if name in policy.permits)
    reason = f"allowed{' in an emergency' if emergency else ''} by {by}"
    if approvals:
        asking = [
            name
            for name, rule in zip(names, rules, strict=True)
            if rule.asked.rules or (emergency and rule.break_glass)
        ]
        reason += f", needs approval by {approvals_in_words(approvals)} because of {_quoted(asking)}"
    verdict = Verdict.APPROVAL_REQUIRED if approvals else Verdict.ALLOWED
    terms = Terms(verdict=verdict, approvals=approvals, obligations=obligations)
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


def _failed(policy: Policy, names: Iterable[str], errors: tuple[str, ...]) -> Answer:
    reason = f"a policy could not be evaluated, and that denies: {errors[0]}"
    return _blocked(policy, names, errors, reason)


def _blocked(policy: Policy, names: Iterable[str], errors: tuple[str, ...], reason: str) -> Answer:
    terms = Terms(verdict=Verdict.BLOCKED, approvals=(), obligations=NO_OBLIGATIONS)
    return Answer(terms=terms, rules=_refs(policy, names), packs=policy.packs, errors=errors, reason=reason)


def _denial(policy: Policy, found: _Found, request: PolicyRequest) -> str:
    assert found.denied is not None
    if not found.denied_by:
        by = "" if request.call is None else f" by `{action_of(request).name}`"
        what = f"{request.effect} `{found.denied.id}`{by} in mode `{request.mode}`"
        return f"no rule allows `{request.principal.person}` to {what}"
    words = f"forbidden by {_quoted(found.denied_by)}"
    reasons = [reason for name in found.denied_by if (reason := policy.rule(name).reason)]
    return f"{words}: {'; '.join(reasons)}" if reasons else words


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _refs(policy: Policy, names: Iterable[str]) -> tuple[RuleRef, ...]:
    return tuple(RuleRef(id=name, digest=policy.rule(name).digest) for name in sorted(set(names)))
