"""What ends an operation: the validation of its facts, and the receipt over its outcomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rexecop.engines.session import Session
from rexecop.governance.obligations import duration_in_words
from rexecop.operations.fold import Operation
from rexecop.operations.judging import judge
from rexecop.operations.ports import Signature, Store
from rexecop.operations.profile_model import Profile
from rexecop.operations.queue import locks_of, touched
from rexecop.operations.step_output import StepOutput
from rexecop.operations.validation import Facts, gather
from rexecop.proof.canonical import Digest, canonical_bytes, digest_of
from rexecop.proof.egress import within
from rexecop.proof.receipts import record_envelope
from rexecop.proof.records.decision import Obligations
from rexecop.proof.records.outcome import EGRESS_LIST, PEERS, Outcome
from rexecop.proof.records.plan import CallStep, Pinned, Plan
from rexecop.proof.records.receipt import ObligationMet, Receipt
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.records.validation import RuleResult, RuleVerdict, Validation
from rexecop.proof.signer import Signer
from rexecop.proof.vocabulary import Ended, State

HOSTS_NAMED_MAX: Final = 100  # In a receipt; its outcomes name all.


def close(session: Session, signer: Signer, *, told: ObligationMet | None = None) -> None:
    """Write the receipt of the terminal state reached, signed, and give target locks back.

    `told` says how those were told whom the terms oblige to tell.
    """
    op = session.op
    head = op.head
    if head is None:
        raise LookupError("an operation without records has no receipt")
    facts = None if op.validation is None else op.validation.record
    sealed = session.add(
        Receipt,
        state=op.state,
        head=head.digest,
        attempts=op.tries,
        outcomes=outcome_counts(op),
        reason=op.reason or str(op.state),
        facts=facts.facts if isinstance(facts, Validation) else None,
        obligations=obligations_met(op, told),
    )
    session.attached.signatures.append(
        Signature(digest=sealed.digest, form="dsse", data=record_envelope(sealed, signer))
    )
    if op.leaves:
        session.attached.locks.extend(replace(lock, release=True) for lock in locks_of(op))


def changed_targets(plan: Plan) -> tuple[str, ...]:
    """Return the targets `plan` changes, in the one order locks are taken in."""
    return tuple(sorted(target for target, changes in touched(plan).items() if changes))


def outcomes(op: Operation) -> list[Outcome]:
    """Return the newest outcome of every step that has one."""
    found = (progress.outcome.record for progress in op.steps.values() if progress.outcome is not None)
    return [record for record in found if isinstance(record, Outcome)]


def facts_of(op: Operation, profile: Profile) -> Facts:
    """Return the facts the validation rules of `op` look at."""
    found = {outcome.step: outcome.facts for outcome in outcomes(op)}
    return gather(op.the_plan, profile.normalizers, found, op.the_intent.parameters)


def pinned_facts(op: Operation) -> Pinned | None:
    """Return the facts of the observation `op` as a plan pins them; None where it did not succeed."""
    validated = None if op.validation is None else op.validation.record
    observed = [item.outcome for item in op.steps.values() if item.outcome is not None]
    if op.state is not State.COMPLETED or not isinstance(validated, Validation) or not observed:
        return None
    return Pinned(operation=op.id, observation=observed[-1].digest, facts=validated.facts)


def validate(op: Operation, profile: Profile) -> tuple[RuleVerdict, tuple[RuleResult, ...], Digest]:
    """Return the verdict over all rules, each rule's result, and the digest of the facts."""
    asked, found = op.the_intent, outcomes(op)
    verdict, results, facts = judge(
        op.the_plan,
        asked.intent,
        profile,
        {outcome.step: outcome.facts for outcome in found},
        asked.parameters,
        evaluated=all(outcome.ended is not Ended.PREVIEWED for outcome in found),
        skipped={outcome.step for outcome in found if outcome.ended is Ended.SKIPPED},
    )
    return verdict, results, digest_of(canonical_bytes(facts))


def outcome_counts(op: Operation) -> Mapping[str, int]:
    """Return how many attempts and derivations ended which way, every record counted once."""
    return dict(sorted(Counter(str(ended) for ended in op.ends).items()))


def obligations_met(op: Operation, told: ObligationMet | None = None) -> tuple[ObligationMet, ...]:
    """Return, for each obligation of the terms, how it was met; `told` for the one to tell people."""
    if op.decision is None:
        return ()
    kept = op.obligations if op.leaves else op.terms.obligations
    met: list[ObligationMet] = []
    if kept.receipt:
        met.append(ObligationMet(name="receipt", met=True, how="this receipt"))
    if kept.steps_max is not None:
        count = len(op.the_plan.steps)
        met.append(ObligationMet(name="steps", met=count <= kept.steps_max, how=f"{count} steps planned"))
    if kept.targets_max is not None:
        count = len(op.the_plan.targets)
        met.append(
            ObligationMet(name="targets", met=count <= kept.targets_max, how=f"{count} targets planned")
        )
    if kept.timeout_ms is not None:
        met.append(
            _within(
                "timeout", max((item.duration_ms for item in outcomes(op)), default=0), "longest call", "ms"
            )
        )
    if kept.output_bytes is not None:
        met.append(_within("output_bytes", _largest_kept(op), "largest output kept", "bytes"))
    if kept.isolation is not None:
        met.append(_isolation(op, kept.isolation))
    if kept.no_network:
        met.append(_network("no_network", op, ()))
    return (*met, *_further(op, kept, told))


def _further(op: Operation, kept: Obligations, told: ObligationMet | None) -> Iterator[ObligationMet]:
    refs = [ref for item in outcomes(op) for ref in (item.blobs or {}).values()]
    if kept.output_digest:
        cut = sum(ref.truncated for ref in refs)
        yield ObligationMet(
            name="output_digest", met=True, how=f"{len(refs)} outputs named, {cut} of them cut"
        )
    if kept.signed_profile:
        signed = op.the_plan.signed
        by = None if signed is None else signed.person
        how = "by nobody who counts" if signed is None or by is None else f"by {by}, {signed.fingerprint}"
        yield ObligationMet(name="signed_profile", met=by is not None, how=how)
    if kept.egress is not None:
        yield _network("egress", op, kept.egress)
    if kept.redaction:
        # Every output of a call names what was taken out of all of them.
        each = [[ref.redactions for ref in (item.blobs or {}).values()] for item in outcomes(op)]
        count, names = sum(max(found, default=0) for found in each), ", ".join(kept.redaction)
        yield ObligationMet(name="redaction", met=True, how=f"{names}: {count} places taken out of outputs")
    if kept.wave_max is not None:
        rollout = op.the_plan.rollout if op.plan is not None else None
        most = 1 if rollout is None else min(rollout.targets_max, kept.wave_max)
        words = "one target" if most == 1 else f"at most {most} targets"
        yield ObligationMet(name="wave", met=True, how=f"{words} at a time")
    if kept.notify:
        how = "nothing was begun" if not op.leaves else "nobody was told"
        yield told or ObligationMet(name="notify", met=not op.leaves, how=how)
    if kept.review_ms is not None:
        how = f"due within {duration_in_words(kept.review_ms)}, recorded by `rexecop review done`"
        yield ObligationMet(name="review", met=True, how=how if op.tries else "nothing was done to review")
    if kept.budgets:
        ticket = op.ticket.record if op.ticket is not None else None
        uses = ticket.uses if isinstance(ticket, Ticket) else ()
        how = "; ".join(f"{use.scope} {use.subject}: use {use.n}" for use in uses)
        yield ObligationMet(name="budget", met=True, how=how or "nothing was used of it")


def _within(name: str, value: int, what: str, unit: str) -> ObligationMet:
    """The lane cut every call to the obliged limit; what it came to is stated."""
    return ObligationMet(name=name, met=True, how=f"enforced by the lane; {what} {value} {unit}")


def _largest_kept(op: Operation) -> int:
    sizes = [ref.kept_bytes for item in outcomes(op) for ref in (item.blobs or {}).values()]
    return max(sizes, default=0)


def _isolation(op: Operation, least: str) -> ObligationMet:
    reached = sorted({item.measured.isolation for item in outcomes(op) if item.measured is not None})
    planned = {str(step.isolation) for step in op.the_plan.steps if isinstance(step, CallStep)}
    fits = set(reached) <= planned | {"not-applicable"}
    return ObligationMet(
        name="isolation", met=fits, how=f"asked {least}, measured {', '.join(reached) or 'nothing'}"
    )


def _network(name: str, op: Operation, hosts: Sequence[str]) -> ObligationMet:
    measured = [item.measured for item in outcomes(op) if item.measured is not None]
    used = sorted({item.network for item in measured})
    listed = [(item.facts or {}).get("egress") for item in measured if item.network == EGRESS_LIST]
    reached = sorted({str(host) for each in listed if isinstance(each, list) for host in each})
    named = ", ".join(reached[:HOSTS_NAMED_MAX])
    more = f" and {len(reached) - HOSTS_NAMED_MAX} more" if len(reached) > HOSTS_NAMED_MAX else ""
    how = f"measured {', '.join(used) or 'nothing'}" + (f": {named}{more}" if reached else "")
    beyond = {"host"} if hosts else {"host", PEERS, EGRESS_LIST}
    return ObligationMet(name=name, met=beyond.isdisjoint(used) and within(reached, hosts), how=how)


def stored_output(op: Operation, store: Store, step: str) -> StepOutput:
    """Return what `step` put out, read back from its kept, redacted blobs."""
    progress = op.course.named[step]
    record = progress.outcome.record if progress.outcome is not None else None
    if not isinstance(record, Outcome):
        return StepOutput(ended=Ended.REFUSED)
    texts = {}
    for stream, ref in (record.blobs or {}).items():
        blob = store.blob(ref.commitment)
        texts[stream] = blob.data.decode("utf-8", "replace") if blob is not None else ""
    return StepOutput(
        ended=record.ended,
        status=record.status,
        stdout=texts.get("stdout", ""),
        stderr=texts.get("stderr", ""),
        data=record.facts,
        at=progress.tried,
    )
