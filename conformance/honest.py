"""Stories in which nothing is wrong, of every shape a bundle can have, and the rung each reaches."""

# ruff: noqa: ANN401 - see worlds

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from conformance.asked_anew import (
    approved_for_what_is_left,
    asked_for_in_the_course_of_another_call,
    refused_on_the_way_and_undone,
)
from conformance.delegations import (
    no_for_another_person_taken_back_by_them,
    step_approved_for_another_person,
    two_who_gave_each_other_their_votes_and_used_none,
    vote_before_it_was_taken_back,
    vote_for_a_person_the_verifier_does_not_know,
    vote_for_another_person,
    vote_with_groups_that_only_the_instance_knows,
)
from conformance.memory_signer import MemorySigner
from conformance.policies import BY_NAME, POLICY, decided_again, decided_change, with_policy
from conformance.signers import signer_of
from conformance.tamperings import Case, replace_contents
from conformance.windows import a_rewound_log, a_silent_window, a_week, an_open_window, cut_week
from conformance.worlds import (
    APPROVER_KEY,
    ENROLMENTS,
    FURTHER,
    INSTANCE,
    INSTANCE_KEY,
    JAN,
    LIMITS,
    MARA,
    NODE_KEY,
    NODE_TRUSTED,
    ONE_OF_OPS,
    ORIGIN,
    OTTO,
    PATHS,
    PINNED,
    PROFILE,
    SECOND_APPROVER_KEY,
    START,
    STRANGER_KEY,
    TARGET,
    TRUSTED,
    VALUES,
    WITNESS_KEY,
    Book,
    Made,
    a_bound_read,
    a_broken_glass,
    a_change,
    a_dry_run,
    a_lost_call,
    a_read,
    a_refusal,
    a_rollout,
    a_stream,
    a_wave_undone,
    approved_change,
    attested,
    change_step,
    cut,
    enrol,
    enrolled_with,
    erasing,
    halting,
    instance_chain,
    on_a_node,
    paused_change,
    pinned_change,
    planned_change,
    process,
    read_step,
    recorded,
    resumed_change,
    retaining,
    scripted_step,
    standing,
    used_change,
)
from rexecop.proof import note
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import seal
from rexecop.proof.principal import Principal
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import ApprovalLimit, ApprovalRule, Obligations, Opinion
from rexecop.proof.records.plan import CallStep, PlannedTarget, Retry, Rollout
from rexecop.proof.records.receipt import ObligationMet
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.validation import RuleVerdict
from rexecop.proof.suites import SUITES
from rexecop.proof.verify import NO_KEYS, Rung, TrustedKey, TrustedKeys
from rexecop.proof.vocabulary import Effect, Ended, Established, HaltScope, Mode, Role, State, Verdict

DORA_KEY: Final = MemorySigner(7)
DORA: Final = Principal(person="dora", established=Established.KEY, credential=DORA_KEY.key_id)
INSTANCE_ALONE: Final = TrustedKeys(keys=TRUSTED.keys[:1])


@dataclass(frozen=True)
class Story:
    """A case in which nothing is wrong: `rung` is the highest it reaches."""

    rung: Rung
    title: str
    name: str
    make: Callable[[], Case]


STORIES: Final[list[Story]] = []


def reaches(rung: Rung, title: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def listed(make: Callable[[], Case]) -> Callable[[], Case]:
        STORIES.append(Story(rung=rung, title=title, name=make.__name__, make=make))
        return make

    return listed


def logged(title: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    return reaches(Rung.LOGGED, title)


def bundled(book: Book, **more: Any) -> Case:
    return Case(bundle=cut(book, **more).bundle())


# --- operations from their first record to their last ---


@logged("Somebody read a line, one step computed from it, and the output is in the bundle.")
def read_with_outputs() -> Case:
    return bundled(a_read())


@logged("A read on a target that was attested as one of the classes its plan names.")
def target_attested() -> Case:
    return bundled(attested("node-key"))


@logged("A read on a node, whose signature under the outcome is by a key the verifier trusts for nodes.")
def outcome_of_a_node() -> Case:
    return replace(bundled(on_a_node(NODE_KEY)), trust=NODE_TRUSTED)


@logged("The same read by a verifier that trusts no node: that what it signed was not checked is said.")
def outcome_of_a_node_nobody_knows() -> Case:
    return bundled(on_a_node(NODE_KEY))


@logged("The same read, exported without its outputs: that they were not checked is said.")
def read_without_outputs() -> Case:
    return bundled(a_read(), with_outputs=False)


@logged("A change that one person of a group approved with a key the verifier knows.")
def change_with_approval() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("A change that was done, closed, and then undone on command: two receipts.")
def change_undone() -> Case:
    return bundled(a_change())


@logged("Two of one group and one of another had to approve, and three different people did.")
def change_with_two_of_ops_and_one_of_security() -> Case:
    book = Book("op_three")
    look = read_step()
    book.intent()
    book.plan((look,), Effect.READ)
    book.decision(
        Verdict.APPROVAL_REQUIRED,
        ApprovalRule(count=2, group="ops"),
        ApprovalRule(count=1, group="security"),
    )
    book.approve(MARA, APPROVER_KEY)
    book.approve(OTTO, SECOND_APPROVER_KEY)
    record = book.approve(DORA, DORA_KEY).record
    assert isinstance(record, Approval)
    book.records[-1] = seal(replace(record, groups=("security",)))
    book.ticket()
    book.run(look, facts=PATHS)
    book.validation()
    book.receipt(State.COMPLETED)
    chain = instance_chain((*ENROLMENTS, enrol("dora", Role.APPROVER, DORA_KEY)))
    keys = (
        *TRUSTED.keys,
        TrustedKey(role=Role.APPROVER, name="otto", public=SECOND_APPROVER_KEY.public),
        TrustedKey(role=Role.APPROVER, name="dora", public=DORA_KEY.public),
    )
    # No pack says who is in `security`, so what the instance recorded stands.
    made = cut(book, instance=chain)
    others = tuple(item for item in made.contents.inputs if item.role != "policy-pack")
    return Case(bundle=replace_contents(made, inputs=others).bundle(), trust=TrustedKeys(keys=keys))


@logged("A change that rests on pinned facts: they were observed once more just before, and were the same.")
def change_on_facts_observed_again() -> Case:
    book, change = pinned_change()
    again = replace(PINNED, operation="op_again", observation=digest_of(b"again"))
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1, observed=again))
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("A change that rests on pinned facts, and nothing says that they still held: that is said.")
def change_on_facts_not_observed_again() -> Case:
    book, change = pinned_change()
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("A change approved as ever, in a log where a key that issues policy packs is enrolled too.")
def change_beside_an_issuer() -> Case:
    issuer = enrol("ina", Role.ISSUER, STRANGER_KEY)
    return bundled(a_change(), instance=instance_chain((*ENROLMENTS, issuer)))


@logged("A read whose output was committed to in two parts while it came.")
def output_committed_to_while_it_came() -> Case:
    return bundled(a_stream(b"one\n", b"two\n"))


@logged("Two waves of hosts, of which one needed no change.")
def rolled_out_in_waves() -> Case:
    return bundled(a_rollout())


@logged("The check of a wave failed, and what the wave did was undone.")
def wave_undone() -> Case:
    return bundled(a_wave_undone())


@logged("A dry run: one scripted answer, one call previewed, nothing judged that was not looked at.")
def dry_run() -> Case:
    return bundled(a_dry_run())


@logged("Policy said no; the refusal is recorded and has its receipt.")
def blocked_by_policy() -> Case:
    return bundled(a_refusal())


@logged("A decision point outside said no to what policy would have allowed, and nothing was done.")
def blocked_by_an_outside_opinion() -> Case:
    book = Book("op_opinion")
    book.intent()
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.BLOCKED, opinion=_said("no to `host-1`"))
    book.receipt(State.BLOCKED)
    return bundled(book)


@logged("A decision point outside did not deny what policy allows.")
def allowed_with_an_outside_opinion() -> Case:
    book = Book("op_opinion")
    look = read_step()
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED, opinion=_said("yes"))
    book.ticket()
    book.run(look, facts=PATHS)
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


def _said(reason: str) -> Opinion:
    return Opinion(
        source="https://pdp.example",
        allowed=reason == "yes",
        reason=reason,
        answer=digest_of(reason.encode()),
    )


@logged("A person entitled to approve said no, and nothing was done.")
def refused_by_a_person() -> Case:
    book, _, _ = planned_change()
    book.approve(OTTO, SECOND_APPROVER_KEY, approves=False, reason="not before the audit")
    book.receipt(State.BLOCKED)
    return bundled(book)


@logged("A person said no and took it back; another approved, and the change was done.")
def a_no_taken_back() -> Case:
    book, look, change = planned_change()
    no = book.approve(OTTO, SECOND_APPROVER_KEY, approves=False)
    book.receipt(State.BLOCKED)
    book.approve(OTTO, SECOND_APPROVER_KEY, approves=False, withdraws=no.digest, reason="the audit is over")
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("One person approved, took it back and approved again; the last word counted.")
def a_yes_taken_back_and_given_again() -> Case:
    book, look, _ = planned_change()
    yes = book.approve(MARA, APPROVER_KEY)
    book.approve(MARA, APPROVER_KEY, approves=False, withdraws=yes.digest)
    again = book.approve(MARA, APPROVER_KEY)
    book.ticket(approvals=(again.digest,))
    book.run(look, facts=PATHS)
    return bundled(book)


@logged("A step waited for approval of its exact call, somebody took a no back, and the change was done.")
def approved_step() -> Case:
    book, step, call = paused_change(asks=(ONE_OF_OPS,))
    no = book.approve(OTTO, SECOND_APPROVER_KEY, approves=False, step="set", call=call)
    book.approve(OTTO, SECOND_APPROVER_KEY, approves=False, step="set", call=call, withdraws=no.digest)
    book.approve(MARA, APPROVER_KEY, step="set", call=call)
    resumed_change(book, step)
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("Somebody said no to a step, and the operation was cancelled before it.")
def refused_step() -> Case:
    book, _, call = paused_change()
    book.approve(OTTO, SECOND_APPROVER_KEY, approves=False, step="set", call=call)
    book.add(Command, by=JAN, verb=Verb.CANCEL, reason="then not")
    book.receipt(State.CANCELLED)
    return bundled(book)


@logged("An agent asked; its sponsor approved, which the terms allowed, and one of operations at most.")
def approved_by_the_agents_sponsor() -> Case:
    book = Book("op_agent")
    look, change = read_step(), change_step()
    book.intent(by=replace(JAN, person="robot"), sponsor="mara")
    book.plan((look, change), Effect.CHANGE)
    limits = (ApprovalLimit(at_most=1, group="ops"),)
    book.decision(
        Verdict.APPROVAL_REQUIRED,
        ApprovalRule(count=1, group="ops"),
        sponsor_may_approve=True,
        approval_limits=limits,
    )
    yes = book.approve(MARA, APPROVER_KEY)
    book.approve(OTTO, SECOND_APPROVER_KEY)
    book.ticket(approvals=(yes.digest,))
    book.run(look, facts=PATHS)
    return bundled(book)


@logged("A change within what was approved beforehand, as its second use; no one was asked again.")
def approved_beforehand() -> Case:
    book, _ = used_change(use=2)
    chain = instance_chain((*ENROLMENTS, recorded(*standing(book))))
    book.run(read_step(), facts=PATHS)
    return bundled(book, instance=chain)


for title, told in (
    ("Otto approved for Mara, who gave him her vote for this; both keys are known.", vote_for_another_person),
    (
        "Otto approved for somebody whose key this verifier does not know: whose vote it was is not proved.",
        vote_for_a_person_the_verifier_does_not_know,
    ),
    ("Otto approved for Mara, who took her vote back afterwards.", vote_before_it_was_taken_back),
    (
        "Two who had given each other their votes each approved for themselves.",
        two_who_gave_each_other_their_votes_and_used_none,
    ),
    (
        "Otto said no for Mara; she took it back, and he approved for her.",
        no_for_another_person_taken_back_by_them,
    ),
    (
        "A step waited for approval of its exact call, and Otto gave it for Mara.",
        step_approved_for_another_person,
    ),
    (
        "Otto approved for Mara; no pack says who is in which group, so what the instance recorded stands.",
        vote_with_groups_that_only_the_instance_knows,
    ),
    (
        "Policy came to ask for approval and for less output on the way; what was left went on under both.",
        approved_for_what_is_left,
    ),
    (
        "A lane had leave for a planned call in the course of another; what else it asked for was refused.",
        asked_for_in_the_course_of_another_call,
    ),
    (
        "Policy came to ask for approval on the way, Mara said no, and what had been done was undone.",
        refused_on_the_way_and_undone,
    ),
):
    logged(title)(told)


@logged("An approved change was given up before it acted.")
def cancelled_before_it_acted() -> Case:
    book, _, _ = approved_change()
    book.add(Command, by=JAN, verb=Verb.CANCEL, reason="not needed any more")
    book.receipt(State.CANCELLED)
    return bundled(book)


@logged("The answer to a change was lost; a probe found that it had happened.")
def unknown_settled_by_a_probe() -> Case:
    return bundled(a_lost_call())


@logged("The answer to a change was lost; a person stated that it had not happened, and it was made again.")
def unknown_settled_by_a_person() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    lost = book.attempt(change, values=VALUES, target_n=1)
    book.outcome("set", lost, Ended.UNKNOWN, message="no answer", measured=None)
    book.add(Reconciliation, by=JAN, attempt=lost.digest, happened=False, reason="the file is unchanged")
    book.add(Command, by=JAN, verb=Verb.RETRY)
    again = book.attempt(change, values=VALUES, number=2, target_n=2, target_prev=lost.digest)
    book.outcome("set", again)
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("The answer to a change was lost and nobody could tell: it is handed to people, still unknown.")
def unknown_and_escalated() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    lost = book.attempt(change, values=VALUES, target_n=1)
    book.outcome("set", lost, Ended.UNKNOWN, measured=None)
    book.add(Command, by=JAN, verb=Verb.ESCALATE, reason="the console is down")
    book.receipt(State.ESCALATED)
    return bundled(book)


@logged("A step failed and was tried again within its plan.")
def read_that_worked_the_second_time() -> Case:
    book = Book("op_retry")
    look = read_step(retry=Retry(attempts=3, on=("timeout",)))
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.outcome("look", book.attempt(look), Ended.FAILED, error_class="timeout")
    book.outcome("look", book.attempt(look, number=2), facts=PATHS)
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("A step looked again until the answer was what it waited for.")
def read_that_waited() -> Case:
    book = Book("op_waits")
    look = read_step(retry=Retry(attempts=3, on=("not_yet", "validation_failed")))
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.outcome("look", book.attempt(look), Ended.FAILED, error_class="not_yet")
    book.outcome("look", book.attempt(look, number=2), facts=PATHS)
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("A step failed for good, and the receipt says so.")
def failed() -> Case:
    book, look, _ = approved_change()
    book.outcome("look", book.attempt(look), Ended.FAILED, error_class="exit", status=1)
    book.receipt(State.FAILED)
    return bundled(book)


@logged("Everything ran and the validation failed, and the receipt says so.")
def failed_by_validation() -> Case:
    book = a_read()
    del book.records[-2:]
    book.validation(RuleVerdict.FAILED)
    book.receipt(State.FAILED)
    return bundled(book)


@logged("A scripted connector answered for real: it can do no I/O and is no less an outcome.")
def scripted() -> Case:
    book = Book("op_scripted")
    ask = scripted_step()
    book.intent(mode=Mode.READ_ONLY)
    book.plan((ask,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(ask, facts={"up": True})
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("Policy asked for bounds on top, and the receipt says how each was kept.")
def obligations_kept() -> Case:
    book = Book("op_obliged")
    look = read_step()
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    kept = Obligations(output_bytes=4096, steps_max=5, isolation="bubblewrap", no_network=True, receipt=True)
    book.decision(Verdict.ALLOWED, obligations=kept)
    book.ticket()
    book.run(look, output=b"line\n", facts=PATHS)
    book.validation()
    named = ("output_bytes", "steps", "isolation", "no_network", "receipt")
    met = tuple(ObligationMet(name=name, met=True, how="kept") for name in named)
    book.receipt(State.COMPLETED, obligations=met)
    return bundled(book)


@logged(
    "Policy asked for digests, hosts, redaction, waves, telling, a review and budgets: all is said and kept."
)
def further_obligations_kept() -> Case:
    return bundled(a_bound_read(FURTHER))


@logged("An emergency: the glass was broken with a reason, and somebody else reviewed it afterwards.")
def glass_broken_and_reviewed() -> Case:
    return bundled(a_broken_glass(by=MARA))


@logged("A change that may only be made within a window was made within it.")
def change_within_its_window() -> Case:
    book, look, change = planned_change(
        not_before=START + timedelta(minutes=30), not_after=START + timedelta(hours=4), tzdata="2026a"
    )
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("The requester asked to be held to no window, and everybody who approved it saw that and why.")
def windows_set_aside() -> Case:
    book = Book("op_change")
    look, change = read_step(), change_step()
    book.intent(override_window="the customer is down")
    book.plan((look, change), Effect.CHANGE)
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS, tzdata="2026a")
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("Somebody halted everything, and it was lifted before the operation went on.")
def halted_and_lifted() -> Case:
    stopped, lifted = halting(lifted=False), halting(lifted=True)
    return bundled(a_change(), instance=instance_chain((*ENROLMENTS, stopped, lifted)))


@logged("Another target was halted, and everything once the operation had ended.")
def halted_elsewhere_and_afterwards() -> Case:
    elsewhere = halting(scope=HaltScope.TARGET, name="host-2")
    return bundled(a_change(), instance=instance_chain((*ENROLMENTS, elsewhere, halting())), late=1)


@logged("An operation that has not ended: its plan waits for approval, there is no receipt yet.")
def no_receipt_yet() -> Case:
    return bundled(planned_change()[0])


@logged("More steps than a preview tells one by one: the plan was approved, and the operation cancelled.")
def plan_told_in_groups_approved() -> Case:
    names = [f"host-{number}" for number in range(260)]
    steps: list[CallStep] = []
    for name in names:
        call = replace(process(Effect.READ, "/usr/bin/cat", f"/srv/{name}"), target=name)
        odd = LIMITS if name != "host-77" else replace(LIMITS, timeout_ms=1234)
        steps.append(read_step(f"look@{name}", target=name, call=call, limits=odd))
        if name != "host-9":
            steps.append(read_step(f"again@{name}", target=name, call=call, needs=(f"look@{name}",)))
    targets = [PlannedTarget(id=name, type="host", criticality="low", groups=("a,b",)) for name in names]
    targets[5:7] = [replace(one, criticality="high", connection=PROFILE.digest) for one in targets[5:7]]
    book = Book("op_groups")
    book.intent()
    rollout = Rollout(waves=(1, 100, 100, 59), targets_max=8, stop_after=3)
    book.plan(steps, Effect.READ, targets=tuple(targets), rollout=rollout)
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS)
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    book.add(Command, by=JAN, verb=Verb.CANCEL, reason="not needed any more")
    book.receipt(State.CANCELLED)
    return bundled(book)


@logged("An output was erased by a recorded rule: it is named as erased, not as missing.")
def output_erased() -> Case:
    book = a_read()
    (commitment,) = book.blobs

    return bundled(
        book,
        instance=instance_chain((*ENROLMENTS, erasing(commitment, START + timedelta(hours=3)))),
        with_outputs=False,
    )


@logged("Outputs went by their age: what is older than the record says is named as erased.")
def outputs_erased_by_age() -> Case:
    records = (retaining(START), retaining(START + timedelta(hours=2)))
    return bundled(a_read(), instance=instance_chain((*ENROLMENTS, *records)), with_outputs=False)


@logged("Outputs went by their age, and this one is younger: it is only not included.")
def output_younger_than_what_was_erased() -> Case:
    return bundled(a_read(), instance=instance_chain((*ENROLMENTS, retaining(START))), with_outputs=False)


# --- who asked, who approved, and whom the verifier knows ---


@logged("The requester is known by the operating system only: the instance vouches for who asked.")
def requester_known_by_session() -> Case:
    paul = Principal(person="paul", established=Established.OS_USER, credential="uid:1000")
    book = Book("op_session")
    look = read_step()
    book.intent(by=paul)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS)
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    book.run(look, facts=PATHS)
    book.validation()
    book.receipt(State.COMPLETED)
    return bundled(book)


@logged("The verifier trusts the instance alone: approvals count by the instance's word.")
def approver_unknown_to_the_verifier() -> Case:
    return replace(bundled(a_change()), trust=INSTANCE_ALONE)


@logged("The instance's key is trusted for one log by its note key, and this is that log.")
def key_kept_to_this_log() -> Case:
    kept = TrustedKey(role=Role.INSTANCE, name="instance", public=INSTANCE_KEY.public, note_name=ORIGIN)
    return replace(bundled(a_change()), trust=TrustedKeys(keys=(kept, *TRUSTED.keys[1:])))


@reaches(Rung.CONSISTENT, "No key is trusted: the records fit one another, and that is all that is shown.")
def no_trusted_key() -> Case:
    return replace(bundled(a_change()), trust=NO_KEYS)


@reaches(Rung.CONSISTENT, "No key is trusted and none is asked for: consistent is enough.")
def no_trusted_key_and_none_required() -> Case:
    return replace(bundled(a_change()), trust=NO_KEYS, require=Rung.CONSISTENT)


# --- the log ---


@logged("The verifier held a checkpoint from earlier, and the log is shown to extend it.")
def extends_a_checkpoint_held() -> Case:
    made = cut(a_change())
    return Case(bundle=made.bundle(), more={"checkpoint": made.held})


@logged("The verifier holds the very checkpoint of the bundle.")
def the_very_checkpoint_held() -> Case:
    made = cut(a_change())
    return Case(bundle=made.bundle(), more={"checkpoint": made.contents.checkpoint})


@logged("The checkpoint held is newer than the bundle's, and a proof shows that the log only grew.")
def older_than_the_checkpoint_held() -> Case:
    made, held, proof = a_rewound_log()
    return Case(bundle=made.bundle(), more={"checkpoint": held, "growth": proof})


@logged("The checkpoint held is of another epoch of the log: whether it was rewound is not shown.")
def a_checkpoint_held_of_another_epoch() -> Case:
    made = cut(a_change())
    other = made.log.checkpoint(origin=f"rexecop/{INSTANCE}/2")
    return Case(bundle=made.bundle(), more={"checkpoint": other})


def _witnessed() -> Made:
    made = cut(a_change())
    found = note.parse(made.contents.checkpoint)
    seen = note.cosign(found.text, "witness.example", WITNESS_KEY, at_seconds=1_772_000_000)
    return replace_contents(made, checkpoint=replace(found, signatures=(*found.signatures, seen)).encode())


@reaches(Rung.WITNESSED, "A witness the verifier trusts co-signed the checkpoint.")
def witnessed() -> Case:
    witness = TrustedKey(role=Role.WITNESS, name="witness.example", public=WITNESS_KEY.public)
    trust = TrustedKeys(keys=(*TRUSTED.keys, witness))
    return Case(bundle=_witnessed().bundle(), trust=trust, require=Rung.WITNESSED)


@logged("A witness co-signed whom the verifier does not know: witnessed was required, logged is reached.")
def witnessed_by_a_stranger() -> Case:
    return Case(bundle=_witnessed().bundle(), require=Rung.WITNESSED)


# --- a policy pack that can be asked again ---


@logged("The pack is in the bundle: whoever has a Cedar evaluator decides again, and finds the same.")
def decided_by_the_policy_included() -> Case:
    book, look, change = decided_change()
    book.approve(MARA, APPROVER_KEY)
    book.ticket(packs=(POLICY.digest,))
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED)
    return Case(bundle=with_policy(book).bundle())


@logged("A rule names the intent, another what a call does: the change that was due too late was stopped.")
def a_call_stopped_by_what_it_does() -> Case:
    book, look, change = decided_change(BY_NAME)
    book.approve(MARA, APPROVER_KEY)
    book.at = datetime(2026, 3, 1, 17, 59, 59, tzinfo=UTC)
    book.ticket(packs=(BY_NAME.ref.digest,))
    book.run(look, facts=PATHS)
    book.at += timedelta(minutes=1)
    decided_again(book, change, BY_NAME)
    book.outcome("set", None, Ended.REFUSED, error_class="policy_denied")
    book.receipt(State.FAILED)
    return Case(bundle=with_policy(book, BY_NAME).bundle())


# --- windows ---


@logged("Every change between two marks of the log, of all targets: none is missing, none is one too many.")
def window_of_all_targets() -> Case:
    return Case(bundle=cut_week().bundle())


@logged("Every change of one target between two marks of the log.")
def window_of_one_target() -> Case:
    return Case(bundle=cut_week(target=TARGET).bundle())


@logged("Every change from the beginning of the log to a mark.")
def window_from_the_beginning() -> Case:
    world, _, end = a_week()
    return Case(bundle=world.cut(None, end).bundle())


@logged("A window in which a change has no outcome yet: it is named as unknown.")
def window_with_an_open_change() -> Case:
    return Case(bundle=an_open_window().bundle())


@logged("A window whose heads do not say which operations had not ended.")
def window_with_silent_heads() -> Case:
    return Case(bundle=a_silent_window().bundle())


# --- approvers with keys of every kind ---


def _approved_with(suite: str) -> Case:
    key = signer_of(suite)
    files = {
        "instance.pub": f"{INSTANCE_KEY.public.line}\n".encode(),
        "approver.allowed_signers": f"mara {key.public.line}\n".encode(),
    }
    return Case(bundle=cut(a_change(key), instance=enrolled_with(key)).bundle(), files=files)


for _suite in SUITES.entries:
    _name = f"approved_with_{_suite.id.partition('@')[0].replace('-', '_')}"
    STORIES.append(
        Story(
            rung=Rung.LOGGED,
            title=f"The approver signed by `{_suite.id}`, with a key listed in an allowed_signers file.",
            name=_name,
            make=partial(_approved_with, _suite.id),
        )
    )


@logged("The approver is trusted by pattern, for approvals alone, and for a time the change lies within.")
def approver_trusted_for_a_time() -> Case:
    limits = 'namespaces="approval@rexecop",valid-after="20260101Z",valid-before="20270101Z"'
    files = {
        "instance.pub": f"{INSTANCE_KEY.public.line}\n".encode(),
        "approver.allowed_signers": f"m*,!max {limits} {APPROVER_KEY.public.line}\n".encode(),
    }
    return Case(bundle=cut(a_change()).bundle(), files=files)
