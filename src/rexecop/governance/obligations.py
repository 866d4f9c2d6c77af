"""Obligations: what the executor must keep to. Merged to the strictest, compared, and held against a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from rexecop.proof.call import ExchangeRequest, ScriptedRequest, is_attended
from rexecop.proof.egress import keeps_to
from rexecop.proof.publishing import why_unsigned
from rexecop.proof.records.decision import ApprovalLimit, ApprovalRule, Budget, Obligations, Terms
from rexecop.proof.records.plan import CallStep, Plan, Step
from rexecop.proof.steps import asked_for, merge_approvals
from rexecop.proof.vocabulary import Isolation, Verdict

ISOLATION_ORDER: Final = (
    Isolation.NONE,
    Isolation.RLIMITS,
    Isolation.LANDLOCK_SECCOMP,
    Isolation.BUBBLEWRAP,
    Isolation.BUBBLEWRAP_CGROUP,
    Isolation.GVISOR,
)
VERDICT_ORDER: Final = (Verdict.ALLOWED, Verdict.APPROVAL_REQUIRED, Verdict.BLOCKED)
NO_OBLIGATIONS: Final = Obligations()
REDACTIONS: Final = ("secrets",)  # What every output passes here: the secrets of its call are taken out.
DURATIONS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Able:
    """What is kept beside what a plan shows: rules of redaction by name, and groups that can be told.

    `unsigned` says why no signature of the profile of a plan counts at a moment, None where one does.
    """

    redactions: frozenset[str] = frozenset()
    tells: Callable[[str], bool] = lambda _: True
    unsigned: Callable[[Plan, datetime], str | None] = lambda plan, at: why_unsigned(plan, (), at)


def merge_obligations(parts: Iterable[Obligations]) -> Obligations:
    """Return the strictest of all: limits take the minimum, the rest holds if any part says so."""
    told = [part for part in parts if part is not NO_OBLIGATIONS]
    if len(told) < 2:
        return told[0] if told else NO_OBLIGATIONS
    return Obligations(
        output_bytes=_least(part.output_bytes for part in told),
        timeout_ms=_least(part.timeout_ms for part in told),
        steps_max=_least(part.steps_max for part in told),
        targets_max=_least(part.targets_max for part in told),
        isolation=max((part.isolation for part in told), key=_rank),
        no_network=any(part.no_network for part in told),
        receipt=any(part.receipt for part in told),
        output_digest=any(part.output_digest for part in told),
        egress=_common([set(part.egress) for part in told if part.egress is not None]),
        redaction=_union(part.redaction for part in told),
        wave_max=_least(part.wave_max for part in told),
        notify=_union(part.notify for part in told),
        review_ms=_least(part.review_ms for part in told),
        budgets=merge_budgets(part.budgets for part in told),
        signed_profile=any(part.signed_profile for part in told),
    )


def merge_budgets(parts: Iterable[Sequence[Budget]]) -> tuple[Budget, ...]:
    """Return the least count of each scope and time."""
    found: dict[tuple[str, int], Budget] = {}
    for budget in sorted(budget for part in parts for budget in part):
        found.setdefault((budget.scope, budget.per_ms), budget)
    return tuple(found[key] for key in sorted(found))


def merge_limits(parts: Iterable[Sequence[ApprovalLimit]]) -> tuple[ApprovalLimit, ...]:
    """Return the smallest number of each group."""
    most: dict[str, int] = {}
    for limits in parts:
        for limit in limits:
            most[limit.group] = min(limit.at_most, most.get(limit.group, limit.at_most))
    return tuple(ApprovalLimit(at_most=most[group], group=group) for group in sorted(most))


def conflicts_in_words(terms: Terms) -> tuple[str, ...]:
    """Return whose approval does not count, or does although it else would not."""
    limits = (
        f"nobody of `{limit.group}`" if limit.at_most <= 0 else f"at most {limit.at_most} of `{limit.group}`"
        for limit in terms.approval_limits
    )
    sponsor = ("the agent's sponsor may be one of them",) if terms.sponsor_may_approve else ()
    session = ("whom the identity provider vouches for may say it unsigned",)
    return (*limits, *sponsor, *(session if terms.session_may_approve else ()))


def approvals_in_words(rules: Sequence[ApprovalRule]) -> str:
    """Return like ``1 of `sre` and 2 of `security```."""
    return " and ".join(f"{rule.count} of `{rule.group}`" for rule in rules)


def tighter(old: Terms, new: Terms) -> str | None:
    """Return what `new` asks beyond `old`, in words, or None when it asks the same or less."""
    if VERDICT_ORDER.index(new.verdict) > VERDICT_ORDER.index(old.verdict):
        return f"the answer is `{new.verdict}`, it was `{old.verdict}`"
    before = {rule.group: rule.count for rule in old.approvals}
    for rule in new.approvals:
        if rule.count > before.get(rule.group, 0):
            return f"{rule.count} of `{rule.group}` must approve, it was {before.get(rule.group, 0)}"
    most = {limit.group: limit.at_most for limit in old.approval_limits}
    for limit in new.approval_limits:
        if limit.group not in most or limit.at_most < most[limit.group]:
            return f"at most {limit.at_most} of `{limit.group}` may approve"
    if old.sponsor_may_approve and not new.sponsor_may_approve and new.approvals:
        return "the agent's sponsor may not approve any more"
    if old.session_may_approve and not new.session_may_approve and new.approvals:
        return "an approval has to be signed, it had not"
    for step in new.steps:
        stricter = tighter(_bare(old, step.step), _bare(new, step.step))
        if stricter is not None:
            return f"step `{step.step}`: {stricter}"
    if new.not_before is not None and (old.not_before is None or new.not_before > old.not_before):
        return "it may start only later"
    if new.not_after is not None and (old.not_after is None or new.not_after < old.not_after):
        return "it must end earlier"
    return _tighter_obligations(old.obligations, new.obligations)


def _bare(terms: Terms, step: str) -> Terms:
    """Return what `terms` ask for `step` alone, as terms of their own."""
    asked = asked_for(terms, step)
    return Terms(
        verdict=Verdict.APPROVAL_REQUIRED,
        approvals=asked.approvals,
        obligations=NO_OBLIGATIONS,
        approval_limits=asked.approval_limits,
        sponsor_may_approve=asked.sponsor_may_approve,
        session_may_approve=asked.session_may_approve,
    )


def at_call(terms: Terms, step: str) -> Terms:
    """Return what `terms` ask in all where `step` is called: of the operation, and of the step."""
    asked = asked_for(terms, step)
    if not asked.approvals:
        return terms
    return replace(
        terms,
        verdict=Verdict.APPROVAL_REQUIRED,
        approvals=merge_approvals((terms.approvals, asked.approvals)),
        approval_limits=merge_limits((terms.approval_limits, asked.approval_limits)),
        sponsor_may_approve=asked.sponsor_may_approve,
        session_may_approve=asked.session_may_approve,
    )


def unmet(
    obligations: Obligations, plan: Plan, able: Able | None = None, steps: Iterable[Step] | None = None
) -> tuple[str, ...]:
    """Return what of `obligations` the plan as made cannot keep to, in words; empty when it can.

    Timeout and output are not looked at: every call is cut to them when it is made. Names of
    rules and groups are looked at with `able` only: who asked policy with it did that. Of the steps
    of the plan all are looked at, or just `steps`.
    """
    found = list(_unable(obligations, able)) if able is not None else []
    for what, count, most in (
        ("steps", len(plan.steps), obligations.steps_max),
        ("targets", len(plan.targets), obligations.targets_max),
    ):
        if most is not None and count > most:
            found.append(f"{count} {what}, at most {most} are allowed")
    for step in () if obligations == NO_OBLIGATIONS else plan.steps if steps is None else steps:
        if isinstance(step, CallStep):
            found.extend(f"step `{step.id}`: {what}" for what in _unmet_by_step(obligations, step))
    return tuple(found)


def _unable(obligations: Obligations, able: Able) -> Iterable[str]:
    active = sorted({*REDACTIONS, *able.redactions})
    for name in obligations.redaction:
        if name not in active:
            yield f"redaction `{name}` is not active here, only {', '.join(active)}"
    for group in obligations.notify:
        if not able.tells(group):
            yield f"nobody can be told for group `{group}`: `notify.yaml` of the root names no sender"


def _unmet_by_step(obligations: Obligations, step: CallStep) -> Iterable[str]:
    if by_rule := sorted({*obligations.redaction} - {*REDACTIONS}):
        request = step.call.request
        if is_attended(step.call):
            yield f"what a terminal shows is kept as it comes, not after redaction `{by_rule[0]}`"
        if isinstance(request, ExchangeRequest) and request.protocol == "node/1":
            yield f"its node signs the output as it is, before redaction `{by_rule[0]}`"
    if isinstance(step.call.request, ScriptedRequest):
        return  # It cannot do I/O at all, so isolation and network have nothing to bound.
    if obligations.isolation is not None and _rank(step.isolation) < _rank(obligations.isolation):
        yield f"isolation `{step.isolation}`, at least `{obligations.isolation}` is required"
    if obligations.no_network and not keeps_to(step, ()):
        yield "no network is allowed, and nothing keeps this call from it"
    if obligations.egress is not None and not keeps_to(step, obligations.egress):
        hosts = " or ".join(f"`{host}`" for host in obligations.egress) or "no host"
        yield f"egress to {hosts} only, and nothing holds this call to that"


def _tighter_obligations(old: Obligations, new: Obligations) -> str | None:
    limits = (
        ("output_bytes", old.output_bytes, new.output_bytes),
        ("timeout_ms", old.timeout_ms, new.timeout_ms),
        ("steps", old.steps_max, new.steps_max),
        ("targets", old.targets_max, new.targets_max),
        ("wave", old.wave_max, new.wave_max),
        ("time to review in ms", old.review_ms, new.review_ms),
    )
    for name, before, now in limits:
        if now is not None and (before is None or now < before):
            return f"{name} is limited to {now}, it was {'not limited' if before is None else before}"
    if _rank(new.isolation) > _rank(old.isolation):
        return f"isolation must be at least `{new.isolation}`, it was `{old.isolation or 'free'}`"
    if new.no_network and not old.no_network:
        return "no network is allowed, it was"
    for name, asked, was in (
        ("a receipt", new.receipt, old.receipt),
        ("a digest of every output", new.output_digest, old.output_digest),
        ("a signed profile", new.signed_profile, old.signed_profile),
    ):
        if asked and not was:
            return f"{name} is required, it was not"
    if new.egress is not None and (old.egress is None or not set(old.egress) <= set(new.egress)):
        return f"egress is limited to {', '.join(new.egress) or 'no host'}, it was not"
    for name, names, known in (
        ("redaction", new.redaction, old.redaction),
        ("notifying", new.notify, old.notify),
    ):
        if more := sorted(set(names) - set(known)):
            return f"{name} `{more[0]}` is required, it was not"
    counts = {(budget.scope, budget.per_ms): budget.count for budget in old.budgets}
    for budget in new.budgets:
        if budget.count < counts.get((budget.scope, budget.per_ms), budget.count + 1):
            return f"the budget is {budget_in_words(budget)}, it was more"
    return None


def budget_in_words(budget: Budget) -> str:
    """Return like `budget(intent)<=5/1h`."""
    return f"budget({budget.scope})<={budget.count}/{duration_in_words(budget.per_ms)}"


def duration_in_words(milliseconds: int) -> str:
    """Return like `1h` or `90s`, in the largest unit that fits."""
    for name, unit in reversed(DURATIONS.items()):
        if milliseconds % unit == 0:
            return f"{milliseconds // unit}{name}"
    raise LookupError("every whole number of milliseconds fits `ms`")


def _common(sets: Sequence[set[str]]) -> tuple[str, ...] | None:
    return tuple(sorted(set.intersection(*sets))) if sets else None


def _union(parts: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for part in parts for name in part}))


def _least(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _rank(isolation: str | None) -> int:
    """Return how strong a class is; what is no class of isolation ranks below all."""
    return next((rank for rank, known in enumerate(ISOLATION_ORDER) if known == isolation), -1)
