"""Operations whose plan calls another intent, which has a target and approvals of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from conformance.delegations import BOTH, chain_of, giving
from conformance.honest import logged
from conformance.policies import PEOPLE, REQUIREMENTS, RULES, with_policy
from conformance.tamperings import Case, earns, of
from conformance.worlds import (
    APPROVER_KEY,
    ENROLMENTS,
    MARA,
    ONE_OF_OPS,
    OTTO,
    PATHS,
    SECOND_APPROVER_KEY,
    TARGET,
    VALUES,
    Book,
    change_step,
    cut,
    halting,
    instance_chain,
    process,
    read_step,
    rolled_out,
)
from rexecop.app.verifying import Packs
from rexecop.governance.admission import Policy
from rexecop.governance.pack import Pack
from rexecop.governance.steps import admit
from rexecop.proof.chain import seal
from rexecop.proof.records.decision import ApprovalRule, Decision, RequestIntent, RequestTarget
from rexecop.proof.records.plan import CalledIntent, CallStep, PlannedTarget
from rexecop.proof.vocabulary import Effect, HaltScope, State, Verdict

BALANCER: Final = "balancer-1"
ONE_OF_NETWORK: Final = ApprovalRule(count=1, group="network")
DRAIN: Final = CalledIntent(
    prefix="drain",
    intent="drain",
    targets=(BALANCER,),
    effect=Effect.CHANGE,
    risk="high",
    parameters={"pool": "blue"},
)
TARGETS: Final = (
    PlannedTarget(id=TARGET, type="host", criticality="low"),
    PlannedTarget(id=BALANCER, type="balancer", criticality="high", groups=("network",)),
)
WITHIN: Final = Pack.parse(
    {
        "pack.yaml": b'id: small\nversion: "1"\n',
        "rules.cedar": RULES,
        "entities.yaml": PEOPLE.replace(b"[ops]\npeople", b"[ops, network]\npeople").replace(
            b"mara: {groups: [ops]}", b"mara: {groups: [ops, network]}"
        )
        + b"actions: {'intent:hello/*': change, 'intent:hello/drain': change}\n",
        "requirements/approvals.cedar": REQUIREMENTS
        + b'@id("network-agrees")\n@approvals("1 of network")\n'
        + b'permit (principal, action == Action::"intent:hello/drain", resource == Target::"balancer-1");\n',
    }
)


def nested(
    *called: CalledIntent, steps: tuple[CallStep, ...] | None = None, **more: object
) -> tuple[Book, dict[str, CallStep]]:
    """Return a change that has another intent done first, up to the decision."""
    book = Book("op_nested")
    made = steps or within()
    book.intent()
    fields: dict[str, Any] = {"targets": TARGETS, "called": called or (DRAIN,)}
    book.plan(made, Effect.CHANGE, **(fields | more))
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS)
    return book, {step.id: step for step in made}


def within(target: str = BALANCER) -> tuple[CallStep, ...]:
    """Return the steps of what is called, on `target`, and those of who calls."""
    away = process(Effect.CHANGE, "/usr/bin/true")
    drain = change_step("drain/take_out", slots=None, call=away, probe=None, needs=("drain/look",))
    return (
        _on(target, read_step("drain/look")),
        _on(target, drain),
        replace(read_step(), needs=("drain/take_out",)),
        replace(change_step(), needs=("look",)),
    )


def _on(target: str, step: CallStep) -> CallStep:
    undo = None if step.undo is None else replace(step.undo, target=target)
    return replace(step, target=target, call=replace(step.call, target=target), undo=undo)


def carried_out(book: Book, steps: dict[str, CallStep], **ticket: object) -> None:
    """Do all of it."""
    book.ticket(**ticket)
    book.run(steps["drain/look"])
    book.outcome("drain/take_out", book.attempt(steps["drain/take_out"], target_n=1))
    book.run(steps["look"], facts=PATHS)
    book.outcome("set", book.attempt(steps["set"], values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED)


def decided_by(book: Book, pack: Pack) -> Decision:
    """Put what `pack` answers in the place of the decision, and return it."""
    record, plan = book.records[-1].record, book.records[1].record
    assert isinstance(record, Decision)
    found = admit(Policy([pack]), record.request, plan)  # type: ignore[arg-type]
    decided = replace(
        record, terms=found.terms, rules=found.rules, packs=found.packs, errors=(), reason=found.reason
    )
    book.records[-1] = seal(decided)
    return decided


@logged("Another intent was called on another target, and both were decided on.")
def an_intent_that_was_called() -> Case:
    book, steps = nested()
    book.approve(MARA, APPROVER_KEY)
    carried_out(book, steps)
    return Case(bundle=cut(book).bundle())


@logged("What is called needs people of its own, as a pack says that can be asked again.")
def a_called_intent_with_approvals_of_its_own() -> Case:
    book, steps = nested()
    assert decided_by(book, WITHIN).terms.approvals == (ONE_OF_NETWORK, ONE_OF_OPS)
    said = book.approve(MARA, APPROVER_KEY).record
    book.records[-1] = seal(replace(said, groups=("network", "ops")))  # type: ignore[call-arg]
    book.approve(OTTO, SECOND_APPROVER_KEY)
    carried_out(book, steps, packs=(WITHIN.ref.digest,))
    return Case(bundle=with_policy(book, WITHIN).bundle())


@logged("On three hosts one intent was called with three parameters.")
def an_intent_called_on_each_host() -> Case:
    return Case(bundle=cut(_on_each_host()).bundle())


def _on_each_host(*hosts: str) -> Book:
    book, steps = rolled_out()
    named = {f"call/{name}": step for name, step in steps.items() if not name.startswith("check")}
    renamed = tuple(
        replace(
            step,
            id=f"call/{name}" if f"call/{name}" in named else name,
            needs=tuple(f"call/{need}" for need in step.needs),
            when=tuple(replace(guard, step=f"call/{guard.step}") for guard in step.when),
        )
        for name, step in steps.items()
    )
    called = tuple(
        replace(DRAIN, prefix="call", targets=(host,), parameters={"host": host})
        for host in hosts or ("host-1", "host-2", "host-3")
    )
    planned = book.records[1].record
    del book.records[1:]
    book.plan(
        renamed,
        Effect.CHANGE,
        targets=planned.targets,  # type: ignore[attr-defined]
        rollout=planned.rollout,  # type: ignore[attr-defined]
        called=called,
    )
    book.decision(Verdict.ALLOWED)
    return book


# --- what the plan says that its steps do not ---


@earns("E07ag")
def a_step_of_an_intent_that_is_not_called() -> Case:
    book, _ = nested(replace(DRAIN, prefix="drains"))
    return of(cut(book))


@earns("E07ag")
def an_intent_called_without_a_step() -> Case:
    book, _ = nested(DRAIN, replace(DRAIN, prefix="fill", intent="fill"))
    return of(cut(book))


@earns("E07ag")
def an_intent_called_as_less_than_its_steps_do() -> Case:
    book, _ = nested(replace(DRAIN, effect=Effect.READ))
    return of(cut(book))


@earns("E07ag")
def an_intent_called_on_another_target_than_its_steps() -> Case:
    book, _ = nested(replace(DRAIN, targets=(TARGET,)))
    return of(cut(book))


@earns("E07ag")
def an_intent_called_twice_under_one_name() -> Case:
    book, _ = nested(DRAIN, replace(DRAIN, intent="fill"))
    return of(cut(book))


@earns("E07ag")
def an_intent_called_on_two_of_three_hosts_it_works_on() -> Case:
    return of(cut(_on_each_host("host-1", "host-2")))


@earns("E07ag")
def a_call_within_a_call_that_is_not_there() -> Case:
    steps = tuple(replace(step, id=step.id.replace("drain/", "drain/again/"), needs=()) for step in within())
    book, _ = nested(replace(DRAIN, prefix="drain/again"), steps=steps)
    return of(cut(book))


@earns("E07ag")
def a_step_of_its_own_on_a_target_that_is_not_its_own() -> Case:
    look, drain, *own = within()
    book, _ = nested(steps=(look, drain, *(_on(BALANCER, step) for step in own[:1])))
    return of(cut(book))


@earns("E07ag")
def a_target_that_nobody_works_on() -> Case:
    stray = PlannedTarget(id="stray", type="host", criticality="low")
    book, _ = nested(targets=(*TARGETS, stray))
    return of(cut(book))


# --- what policy was asked ---


def _asked(**changes: object) -> Case:
    """Return a nested change whose decision was made on a request with `changes` to what is called."""
    book, _ = nested()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    asked = record.request.called
    called = tuple(replace(one, **changes) for one in asked)  # type: ignore[arg-type]
    book.records[-1] = seal(replace(record, request=replace(record.request, called=called)))
    return of(cut(book))


@earns("E07c")
def a_decision_that_leaves_out_what_is_called() -> Case:
    book, _ = nested()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    book.records[-1] = seal(replace(record, request=replace(record.request, called=())))
    return of(cut(book))


@earns("E07c")
def a_decision_on_another_intent_than_is_called() -> Case:
    return _asked(intent="fill")


@earns("E07c")
def a_decision_on_other_parameters_of_what_is_called() -> Case:
    return _asked(parameters={"pool": "green"})


@earns("E07c")
def a_decision_on_another_target_of_what_is_called() -> Case:
    return _asked(targets=(RequestTarget(id=TARGET, type="host", criticality="low"),))


@earns("E07c")
def a_decision_on_more_than_is_called() -> Case:
    book, _ = nested()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    more = RequestIntent(prefix="fill", intent="fill", effect=Effect.READ, risk="low", simulated=False)
    request = replace(record.request, called=(*record.request.called, more))
    book.records[-1] = seal(replace(record, request=request))
    return of(cut(book))


@earns("E08i")
def terms_without_the_approvals_of_what_is_called() -> Case:
    book, _ = nested()
    decided = decided_by(book, WITHIN)
    book.records[-1] = seal(replace(decided, terms=replace(decided.terms, approvals=(ONE_OF_OPS,))))
    book.approve(MARA, APPROVER_KEY)
    book.ticket(packs=(WITHIN.ref.digest,))
    return Case(bundle=with_policy(book, WITHIN).bundle(), more={"evaluate": Packs().evaluate})


# --- votes and halts that name an intent ---


def _voted(*intents: str) -> Case:
    book, steps = nested()
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara")
    book.ticket()
    book.run(steps["drain/look"])
    return Case(bundle=cut(book, instance=chain_of(giving(intents=intents))).bundle(), trust=BOTH)


@logged("A vote was given for two intents, of which one calls the other.")
def a_vote_for_an_intent_and_for_what_it_calls() -> Case:
    return _voted("hello/set_line", "drain")


@earns("E08t")
def a_vote_that_is_not_for_what_is_called() -> Case:
    return _voted("hello/set_line")


@earns("E08r")
def a_call_of_an_intent_that_was_halted() -> Case:
    book, steps = nested()
    book.approve(MARA, APPROVER_KEY)
    carried_out(book, steps)
    stopped = halting(scope=HaltScope.INTENT, name="hello/drain")
    return Case(bundle=cut(book, instance=instance_chain((*ENROLMENTS, stopped))).bundle())
