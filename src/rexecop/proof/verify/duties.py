"""Step 8: governance re-proved: who may say yes, how many did, in time, inside the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Final, TypeAlias

from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.delegation import persons_of
from rexecop.proof.errors import ProofError, RecordMalformed, RexecopError
from rexecop.proof.halts import Name, names_of
from rexecop.proof.kinship import person_key
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.quorum import Groups, ProvedBy, Tally, tally
from rexecop.proof.records import Approval, Attempt, Command, Decision, Halt, Intent, Plan, Ticket, Verb
from rexecop.proof.records.decision import Terms, terms_digest
from rexecop.proof.records.plan import CallStep
from rexecop.proof.steps import step_terms, unspent
from rexecop.proof.verify.evidence import PACK_ROLE, Evidence, Notes, Opened, call_steps, pack_groups
from rexecop.proof.vocabulary import Established, Gate, Phase, Verdict

_OBJECTIONS: Final = {
    "self-approval": "E08a",
    "sponsor-approval": "E08a",
    "approver-unknown": "E08b",
    "approver-not-established": "E08b",
    "approver-key-invalid": "E08b",
    "key-enrolled-after-plan": "E08b",
    "key-shared-with-requester": "E08k",
    "key-enrolled-by-requester": "E08k",
    "approval-expired": "E08e",
    "approval-other-terms": "E08e",
    "approval-other-preview": "E08e",
    "approval-from-the-future": "E08e",
    "approver-not-in-group": "E08h",
    "nonce-repeated": "E08l",
    "nonce-missing": "E08l",
    "person-repeated": "E08l",
    "approval-withdrawn": "E08o",
    "conflict-of-interest": "E08p",
    "standing-withdrawn": "E08q",
    "standing-outside": "E08q",
    "standing-used-up": "E08q",
    "approval-other-step": "E08s",
    "delegation-missing": "E08t",
    "session-may-not-approve": "E08x",
}


Said: TypeAlias = Sequence[tuple[Sealed, Approval]]


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 8."""
    intent, plan = evidence.first(Intent), evidence.first(Plan)
    decisions = evidence.of(Decision)
    packs = evidence.bundle.inputs(PACK_ROLE)
    for sealed, decision in decisions:
        against = decision.opinion is not None and not decision.opinion.allowed
        wrong = (decision.errors or against) and decision.terms.verdict is not Verdict.BLOCKED
        notes.when(wrong, "E08j", sealed, "had errors or an outside no, and did not block")
        _evaluated(sealed, decision, packs, evidence, notes)
    if intent is None or plan is None or plan[1].intent != intent[0].digest:
        return
    _commands(intent[1], evidence, notes)
    groups = _groups(evidence, decisions, packs, notes)
    by_digest = {sealed.digest: decision for sealed, decision in decisions}
    _asked_anew(evidence, notes)
    for sealed, ticket in evidence.of(Ticket):
        if ticket.decision in by_digest:
            decision = by_digest[ticket.decision]
            _ticket(sealed, ticket, decision, (intent[0], plan[0]), groups, evidence, notes)
            _steps(sealed.digest, decision.terms, (intent[0], plan[0]), groups, evidence, notes)
    said = evidence.of(Approval)
    notes.approvals_unsigned = {sealed.digest for sealed, approval in said if approval.by_session}
    notes.duties = _duties(intent[1], notes)
    counted = [one.statement for sealed, one in said if sealed.digest in notes.counted]
    notes.approvals_for = {one.said_by for one in counted if one.speaker is not None}
    if (sponsor := intent[1].sponsor) is not None:
        notes.approvals_sponsor = {
            sealed.digest
            for sealed, approval in said
            if person_key(sponsor) in persons_of(approval.statement)
        }


def check_bundle(opened: Opened, notes: Notes) -> None:
    """Step 8: no two operations are one use of a standing approval, and no call was made against a halt."""
    used: dict[tuple[str, int], str] = {}
    for sealed, approval in opened.of(Approval):
        if approval.use is not None:
            key = (approval.statement.nonce, approval.use)
            again = used.setdefault(key, approval.operation) != approval.operation
            notes.when(again, "E08l", sealed, "is a use of a standing approval that was made already")
    _halts(opened, notes)


def _halts(opened: Opened, notes: Notes) -> None:
    """Go through halts and attempts in the order of the log; a probe may look whatever stands."""
    places = zip(opened.instance, opened.contents.proofs.instance, strict=False)
    halts = [(place.leaf, sealed, sealed.record) for sealed, place in places]
    if not any(isinstance(record, Halt) for _, _, record in halts):
        return
    standing: set[Name] = set()
    stopped = {name: _stopped_by(records) for name, records in opened.operations.items()}
    attempts = [(leaf, sealed, sealed.record) for sealed, leaf in opened.leaves]
    for _, sealed, record in sorted((*attempts, *halts), key=itemgetter(0)):
        if isinstance(record, Halt):
            change = standing.discard if record.lifted else standing.add
            change((record.scope, record.name))
        elif isinstance(record, Attempt) and record.phase is not Phase.PROBE and standing:
            halted = standing & stopped.get(record.operation, frozenset())
            notes.when(halted, "E08r", sealed, "was made although a halt stood against it")


def _stopped_by(records: Sequence[Sealed]) -> frozenset[Name]:
    intent = next((one.record for one in records if isinstance(one.record, Intent)), None)
    plan = next((one.record for one in records if isinstance(one.record, Plan)), None)
    return frozenset() if intent is None or plan is None else names_of(intent, plan)


def _commands(intent: Intent, evidence: Evidence, notes: Notes) -> None:
    """A broken glass is a command of its own, with a reason, by who asked; nobody reviews their own."""
    broken = 0
    for sealed, command in evidence.of(Command):
        if command.verb is Verb.BREAK_GLASS:
            broken += 1
            wrong = command.by != intent.by or not command.reason or sealed.record.n != 2
            notes.when(
                wrong, "E08n", sealed, "does not say who breaks the glass, and why, before it is decided"
            )
        own = command.by.person in (intent.by.person, intent.sponsor)
        wrong = command.verb is Verb.REVIEW and (own or not command.reason)
        notes.when(wrong, "E08n", sealed, "is no review by somebody else")
    if broken != intent.break_glass:
        notes.fault(
            "E08n", f"the intent breaks a glass {int(intent.break_glass)} times, a command {broken} times"
        )


def _asked_anew(evidence: Evidence, notes: Notes) -> None:
    """What policy came to ask more of goes on under a new ticket, by a decision and a yes made since."""
    before: Sealed | None = None
    asked = False
    for sealed in evidence.records:
        record = sealed.record
        if isinstance(record, Decision) and record.request.gate is not Gate.CALL:
            asked = True
        elif isinstance(record, Ticket):
            spent = before is not None and {
                other.digest for other, _ in evidence.of(Approval) if other.record.n < before.record.n
            }.intersection(record.approvals)
            again = before is not None and not asked
            notes.when(again, "E08u", sealed, "goes on from another, and policy was not asked since")
            notes.when(spent, "E08u", sealed, "names an approval that came before another ticket")
            before, asked = sealed, False
        elif isinstance(record, Command) and record.verb is Verb.UNDO:
            asked = False  # What is undone goes back under the ticket that it was done under.
        elif isinstance(record, Attempt) and record.phase is not Phase.PROBE and before is not None:
            notes.when(asked, "E08v", sealed, "is made under a ticket that policy asks more than since")


def _ticket(
    sealed: Sealed,
    ticket: Ticket,
    decision: Decision,
    case: tuple[Sealed, Sealed],
    groups: Groups | None,
    evidence: Evidence,
    notes: Notes,
) -> None:
    terms = decision.terms
    if terms.verdict is Verdict.BLOCKED:
        notes.when(True, "E08d", sealed, "was minted although policy blocked the plan")
        return
    early = terms.not_before is not None and ticket.not_before < terms.not_before
    late = terms.not_after is not None and ticket.expires > terms.not_after
    notes.when(early or late, "E08f", sealed, "is valid outside the window of its terms")
    if terms.verdict is Verdict.ALLOWED and not terms.approvals:
        for other, approval in evidence.of(Approval):
            before = other.record.n < sealed.record.n
            _denied(sealed, approval.statement.said_by, before and approval.statement.refuses, notes)
        return
    try:
        found = _count(sealed, terms, case, groups, evidence)
    except ProofError as error:
        notes.when(True, "E08c", sealed, f"cannot be counted for: {error.message}")
        return
    _judge(sealed, ticket, found, notes)


def _steps(
    ticket: Digest,
    terms: Terms,
    case: tuple[Sealed, Sealed],
    groups: Groups | None,
    evidence: Evidence,
    notes: Notes,
) -> None:
    """A step that asks for approvals has them, for this very call, before it is attempted."""
    plan = evidence.plan
    steps = call_steps(plan) if plan is not None else ()
    asking = {(step.target, step.id): step for step in steps if step_terms(terms, step).approvals}
    for sealed, attempt in evidence.of(Attempt) if asking else ():
        step = asking.get((attempt.target, attempt.permit.step))
        if step is None or attempt.phase is not Phase.DO or attempt.permit.ticket != ticket:
            continue
        try:
            found = _count(sealed, terms, case, groups, evidence, step, attempt.permit.call)
        except ProofError as error:
            notes.when(True, "E08s", sealed, f"cannot be counted for: {error.message}")
            continue
        short = not found.satisfied
        notes.when(short, "E08s", sealed, f"is of step `{step.id:.64}`, whose approval is missing")
        if not short:
            notes.counted |= {entry.approval for entry in found.counted}


def _count(
    sealed: Sealed,
    terms: Terms,
    case: tuple[Sealed, Sealed],
    groups: Groups | None,
    evidence: Evidence,
    step: CallStep | None = None,
    call: Digest | None = None,
) -> Tally:
    """Return what the approvals before `sealed` come to, for the plan or for `call` of `step`.

    Raises:
        ProofError: they cannot be counted.
    """
    approvals = [found for found in evidence.of(Approval) if found[0].record.n < sealed.record.n]
    if step is None:
        earlier = [other for other, _ in evidence.of(Ticket) if other.record.n < sealed.record.n]
        mine = unspent((other for other, _ in approvals), earlier[-1] if earlier else None)
        kept = {other.digest for other in mine}
        approvals = [found for found in approvals if found[0].digest in kept]
    return tally(
        intent=case[0],
        plan=case[1],
        terms=terms,
        preview=preview_digest(preview(*case)),
        approvals=[other for other, _ in approvals],
        enrolments=evidence.bundle.enrolments,
        groups=_recorded(approvals) if groups is None else groups,
        at=sealed.record.at,
        instance=evidence.bundle.instance,
        step=step,
        call=call,
    )


def _judge(sealed: Sealed, ticket: Ticket, found: Tally, notes: Notes) -> None:
    for excluded in found.excluded:
        code = _OBJECTIONS.get(excluded.code)
        if code is not None and excluded.approval in ticket.approvals:
            notes.fault(code, excluded.reason, excluded.approval)
    for person in found.denied_by:
        _denied(sealed, person, True, notes)
    counted = {entry.approval for entry in found.counted}
    notes.counted |= counted & set(ticket.approvals)
    if not found.satisfied and not found.denied_by:
        missing = ", ".join(f"{rule.count} of `{rule.group:.64}`" for rule in found.missing) or "a quorum"
        notes.when(True, "E08c", sealed, f"was minted without approval by {missing}")
    else:
        more = counted - set(ticket.approvals)
        notes.when(more, "E08m", sealed, "leaves out an approval that counted")


def _denied(sealed: Sealed, person: str, said_no: bool, notes: Notes) -> None:
    notes.when(said_no, "E08g", sealed, f"was minted although `{person:.64}` said no")


def _groups(
    evidence: Evidence,
    decisions: Sequence[tuple[Sealed, Decision]],
    included: dict[Digest, bytes],
    notes: Notes,
) -> Groups | None:
    """Return who is in which group by the included packs, or None; what approvals recorded must agree."""
    named = {pack.digest for _, decision in decisions for pack in decision.packs}
    packs = {digest: included[digest] for digest in named if digest in included}
    groups: Groups | None = None
    if named and len(packs) == len(named):
        groups = pack_groups(list(packs.values()))
        try:
            groups = evidence.bundle.members(packs) if evidence.bundle.members else groups
        except RecordMalformed:  # What it lists is not what its own files say.
            groups = None
        except RexecopError:
            pass  # Unreadable to this reader: what it lists stands, as for whoever has no reader.
    for sealed, approval in evidence.of(Approval):
        if groups is None:
            notes.skip("who is in which group", "no policy pack that lists its groups is included")
            break
        for person, recorded in _memberships(approval):
            for group in recorded:
                foreign = person not in groups.get(group, ())
                notes.when(
                    foreign, "E08h", sealed, f"puts `{person:.64}` in `{group:.64}`, where they are not"
                )
    return groups


def _recorded(approvals: Said) -> Groups:
    """Return the groups the instance found the approvers in when it recorded them."""
    found: dict[str, frozenset[str]] = {}
    for person, named in (one for _, record in approvals for one in _memberships(record)):
        for group in named:
            found[group] = found.get(group, frozenset()) | {person}
    return found


def _memberships(approval: Approval) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the persons behind an approval, each with the groups that were recorded for them."""
    said = approval.statement
    return (said.voter, approval.groups), (said.approver.person, approval.delegate_groups)


def _evaluated(
    sealed: Sealed, decision: Decision, packs: dict[Digest, bytes], evidence: Evidence, notes: Notes
) -> None:
    named = {pack.digest: packs[pack.digest] for pack in decision.packs if pack.digest in packs}
    try:
        if evidence.bundle.evaluate is None:
            notes.skip("the decision itself", "no policy evaluator is at hand")
        elif len(named) != len(decision.packs):
            notes.skip("the decision itself", "the policy pack is not included")
        else:
            found = evidence.bundle.evaluate(decision, evidence.plan, named)
            # A plan that cannot keep an obligation is blocked beyond policy; a no is never too strict.
            blocked = decision.terms.verdict is Verdict.BLOCKED
            if not blocked and found.tzdata not in (None, decision.terms.tzdata):
                notes.skip("the windows of the packs", f"they are known here by tzdata {found.tzdata:.16}")
                found = _bare(found)
            other = not blocked and not _as_strict(decision.terms, found)
            notes.when(other, "E08i", sealed, "says other terms than its policy")
    except ProofError as error:
        notes.when(True, "E08i", sealed, f"rests on what contradicts itself: {error.message}")
    except RexecopError as error:
        notes.skip("the decision itself", error.message)


def _as_strict(said: Terms, found: Terms) -> bool:
    """Return whether `said` are the terms `found`, or those in less time: an environment has windows too."""
    first, last = found.not_before, found.not_after
    early = first is not None and (said.not_before is None or said.not_before < first)
    late = last is not None and (said.not_after is None or said.not_after > last)
    return not early and not late and terms_digest(_bare(said)) == terms_digest(_bare(found))


def _bare(terms: Terms) -> Terms:
    return replace(terms, not_before=None, not_after=None, tzdata=None)


def _duties(intent: Intent, notes: Notes) -> ProvedBy | None:
    """Return what separates who asked from who approved."""
    if not notes.counted:
        return None
    if not notes.counted <= notes.approvals_own | notes.approvals_unsigned:
        return ProvedBy.ASSERTED
    if notes.intent_proved and notes.counted <= notes.approvals_own:
        return ProvedBy.KEYS
    sessions = (Established.OIDC, Established.TOKEN, Established.OS_USER)
    shown = notes.intent_proved or intent.by.established in sessions
    return ProvedBy.SESSIONS if shown else ProvedBy.ASSERTED
