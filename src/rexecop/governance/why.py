"""Why: a decision in words, and what would have to differ. The lines are for people; codes are elsewhere."""

from __future__ import annotations

from typing import Final

from rexecop.governance.actions import action_of
from rexecop.governance.admission import Answer
from rexecop.governance.obligations import (
    approvals_in_words,
    budget_in_words,
    conflicts_in_words,
    duration_in_words,
)
from rexecop.proof.quorum import Tally
from rexecop.proof.records.decision import Decision, Obligations, PolicyRequest
from rexecop.proof.request import parts_of
from rexecop.proof.vocabulary import Verdict

CALLED_MAX: Final = 8  # Intents that a plan calls; it says all of them itself.


def of_decision(decision: Decision) -> tuple[str, ...]:
    """Return a recorded decision in words."""
    answer = Answer(
        terms=decision.terms,
        rules=decision.rules,
        packs=decision.packs,
        errors=decision.errors,
        reason=decision.reason,
        opinion=decision.opinion,
    )
    return of_answer(answer, decision.request)


def of_answer(answer: Answer, request: PolicyRequest) -> tuple[str, ...]:
    """Return the verdict, its rules, the facts they saw, what must be kept to, and what would change it."""
    reason = answer.reason.removeprefix(f"{answer.terms.verdict} ")
    whole, *called = parts_of(request)
    lines = [f"{answer.terms.verdict}: {reason}", f"asked: {_facts(whole)}"]
    lines += [f"asked for what it calls: {_facts(part)}" for part in called[:CALLED_MAX]]
    if answer.rules:
        lines.append("rules that took part: " + ", ".join(f"`{rule.id}`" for rule in answer.rules))
    lines += [f"error: {error}" for error in answer.errors]
    lines += [
        f"step `{one.step}` waits for approval by {approvals_in_words(one.approvals)} when it is due"
        for one in answer.terms.steps
    ]
    lines += [f"must keep to: {words}" for words in obligations_in_words(answer.terms.obligations)]
    if (said := answer.opinion) is not None:
        lines.append(
            f"asked outside: `{said.source}` {'does not deny' if said.allowed else 'denies'}: {said.reason}"
        )
    packs = ", ".join(f"`{pack.id}` {pack.version}" for pack in answer.packs) or "none"
    lines.append(f"packs in force: {packs}")
    lines.append(_what_would_help(answer, request))
    return tuple(lines)


def of_tally(tally: Tally) -> tuple[str, ...]:
    """Return who is counted, who is not and why, and whose word is missing."""
    lines = [f"`{person}` said no; it cannot run unless they take that back" for person in tally.denied_by]
    lines += [
        f"`{one.said_by}` approved {'with key' if one.signed else 'unsigned, as'} {one.credential}"
        for one in tally.counted
    ]
    lines += [f"not counted: {excluded.reason} ({excluded.code})" for excluded in tally.excluded]
    if tally.missing and not tally.denied_by:
        lines.append(f"missing: approval by {approvals_in_words(tally.missing)}")
    if not tally.membership_checked:
        lines.append("who is in which group was not checked: the policy pack is not at hand")
    return tuple(lines)


def obligations_in_words(obligations: Obligations) -> tuple[str, ...]:
    """Return each obligation as a short phrase."""
    phrases = (
        (obligations.output_bytes, f"at most {obligations.output_bytes} bytes of output per call"),
        (obligations.timeout_ms, f"at most {obligations.timeout_ms} ms per call"),
        (obligations.steps_max, f"at most {obligations.steps_max} steps"),
        (obligations.targets_max, f"at most {obligations.targets_max} targets"),
        (obligations.isolation, f"isolation of class `{obligations.isolation}` or stronger"),
        (obligations.no_network, "no network"),
        (obligations.receipt, "a receipt"),
        (obligations.output_digest, "a digest of every output"),
        (obligations.signed_profile, "a profile signed by an enrolled publisher"),
        (obligations.egress is not None, f"no other hosts than {', '.join(obligations.egress or ('none',))}"),
        (obligations.redaction, f"redaction of {', '.join(obligations.redaction)}"),
        (obligations.wave_max, f"at most {obligations.wave_max} targets at one time"),
        (obligations.notify, f"telling {', '.join(obligations.notify)}"),
        (
            obligations.review_ms,
            f"a review within {duration_in_words(obligations.review_ms or 1)} of its end",
        ),
        (obligations.budgets, ", ".join(map(budget_in_words, obligations.budgets))),
    )
    return tuple(phrase for value, phrase in phrases if value)


def _facts(request: PolicyRequest) -> str:
    targets = ", ".join(f"`{target.id}`" for target in request.targets[:5]) or "nothing"
    more = "" if len(request.targets) <= 5 else f" and {len(request.targets) - 5} more"
    call = "" if request.call is None else f" by `{action_of(request).name}`"
    return (
        f"`{request.principal.person}` (by {request.principal.established})"
        f" to {request.effect} {targets}{more}"
        f" with `{request.profile}/{request.intent}`{call} in mode `{request.mode}`, risk `{request.risk}`,"
        f" environment `{request.environment}`, {'scripted' if request.simulated else 'real'} calls,"
        f" {'facts pinned' if request.pinned else 'nothing pinned'}"
    )


def _what_would_help(answer: Answer, request: PolicyRequest) -> str:
    if answer.terms.verdict is Verdict.ALLOWED:
        return "no approval is needed" + (" to start" if answer.terms.steps else "")
    if answer.terms.verdict is Verdict.APPROVAL_REQUIRED:
        asked = approvals_in_words(answer.terms.approvals)
        who = (f"none of them `{request.principal.person}`", *conflicts_in_words(answer.terms))
        return f"it runs once approved by {asked}, {', '.join(who)}"
    if answer.opinion is not None and not answer.opinion.allowed:
        return f"no approval overrides this; `{answer.opinion.source}` has to agree"
    if answer.errors:
        return "the policy must be repaired; until it can be evaluated everything is denied"
    if answer.rules:
        named = ", ".join(f"`{rule.id}`" for rule in answer.rules)
        return f"no approval overrides this; the request must be one that {named} does not match"
    return "no approval overrides this; the request must differ in what is named above, or the policy must"
