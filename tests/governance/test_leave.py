"""Leave to run and to call: approvals asked for, tickets and permits minted, and every way to be refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.governance import approvals, permits, tickets, why
from rexecop.governance.errors import GovernanceError
from rexecop.governance.obligations import merge_budgets, merge_obligations, tighter
from rexecop.governance.permits import PERMIT_SECONDS_MAX
from rexecop.governance.tickets import TICKET_VALID_MAX, Case, Place
from rexecop.proof.call import Call, ProcessRequest, call_digest, fill
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.message import Scalar
from rexecop.proof.permit import Permit
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.records.decision import Budget, Obligations, Terms
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.scope import scope_root, undo_scope_root
from rexecop.proof.steps import merge_approvals
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Effect, Established, Grade, Isolation, Mode, Phase
from tests.governance import cases
from tests.governance.cases import (
    ENROLMENTS,
    GROUPS,
    MINUTE,
    NOW,
    STEP,
    approval,
    by_key,
    enrolled,
    statement,
)

AT = NOW + 5 * MINUTE
HOUR = timedelta(hours=1)
INTENT = cases.intent()
PLAN = cases.plan(INTENT)
ONE = cases.terms((1, "approvers"))
PLACE = Place(n=4, prev=cases.SOME, at=AT, by=ENGINE)


def case(terms: Terms = ONE, *said: Sealed, intent: Sealed = INTENT, plan: Sealed = PLAN) -> Case:
    return Case(
        intent=intent,
        plan=plan,
        decision=cases.decision(plan, terms),
        answer=cases.answer(terms),
        preview=cases.PREVIEW,
        approvals=said,
        enrolments=ENROLMENTS,
        groups=GROUPS,
    )


BOB = approval(statement(PLAN, ONE, "bob"))
GOOD = case(ONE, BOB)


def minted(of: Sealed = PLAN, **changes: object) -> Sealed:
    ticket = tickets.mint(case(cases.terms(), plan=of), PLACE, valid_for=HOUR)
    return seal(replace(ticket, **changes))  # type: ignore[arg-type]


def test_a_ticket_binds_plan_terms_approvals_mode_scope_and_time() -> None:
    ticket = tickets.mint(GOOD, PLACE, valid_for=HOUR)

    assert (ticket.plan, ticket.decision) == (PLAN.digest, GOOD.decision.digest)
    assert ticket.approvals == (BOB.digest,)
    assert ticket.mode is Mode.APPLY
    assert (ticket.not_before, ticket.expires) == (AT, AT + HOUR)
    tickets.require_fits(seal(ticket), PLAN)


def test_what_is_allowed_needs_no_approval_and_names_none() -> None:
    assert tickets.mint(case(cases.terms(), BOB), PLACE, valid_for=HOUR).approvals == ()


def test_a_ticket_never_outlives_the_time_the_terms_allow() -> None:
    terms = replace(cases.terms(), not_before=AT + MINUTE, not_after=AT + 3 * MINUTE)

    ticket = tickets.mint(case(terms), PLACE, valid_for=HOUR)

    assert (ticket.not_before, ticket.expires) == (AT + MINUTE, AT + 3 * MINUTE)


TWO = cases.terms((2, "approvers"))
NO = approval(statement(PLAN, ONE, "carol", approves=False), n=5)
BUSY = cases.terms(obligations=Obligations(steps_max=1))
OTHER_INTENT = cases.intent(mode=Mode.DRY_RUN)
REFUSED: dict[str, tuple[str, Callable[[], Case]]] = {
    "nobody said yes": ("approvals-missing", lambda: case(ONE)),
    "only the requester said yes": (
        "approvals-missing",
        lambda: case(ONE, approval(statement(PLAN, ONE, "alice"))),
    ),
    "one of two said yes": ("approvals-missing", lambda: case(TWO, approval(statement(PLAN, TWO, "bob")))),
    "somebody said no": ("approval-denied", lambda: case(ONE, BOB, NO)),
    "policy said no": ("decision-blocked", lambda: case(cases.BLOCKED, BOB)),
    "policy says no now": ("decision-blocked", lambda: replace(GOOD, answer=cases.answer(cases.BLOCKED))),
    "policy asks more now": ("terms-stricter", lambda: replace(GOOD, answer=cases.answer(TWO))),
    "policy asks people now": (
        "terms-stricter",
        lambda: replace(case(cases.terms()), answer=cases.answer(ONE)),
    ),
    "too many steps": (
        "obligation-unmet",
        lambda: case(BUSY, plan=cases.plan(INTENT, STEP, replace(STEP, id="again"))),
    ),
    "weaker isolation": (
        "obligation-unmet",
        lambda: case(cases.terms(obligations=Obligations(isolation="bubblewrap"))),
    ),
    "a network": ("obligation-unmet", lambda: case(cases.terms(obligations=Obligations(no_network=True)))),
    "another intent": ("ticket-unfit", lambda: replace(GOOD, intent=OTHER_INTENT)),
    "another plan": ("ticket-unfit", lambda: replace(GOOD, plan=cases.plan(INTENT, replace(STEP, id="x")))),
    "a decision in another mode": (
        "ticket-unfit",
        lambda: replace(GOOD, decision=cases.decision(PLAN, ONE, Mode.DRY_RUN)),
    ),
    "no decision": ("ticket-unfit", lambda: replace(GOOD, decision=PLAN)),
    "time is over": ("ticket-refused", lambda: case(replace(cases.terms(), not_after=AT))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_ticket_is_minted_where_anything_is_missing(name: str) -> None:
    code, make = REFUSED[name]

    with pytest.raises(GovernanceError) as refused:
        tickets.mint(make(), PLACE, valid_for=HOUR)

    assert refused.value.code == code


@pytest.mark.parametrize("valid_for", [timedelta(0), -HOUR, TICKET_VALID_MAX + MINUTE])
def test_a_ticket_is_for_a_bounded_time(valid_for: timedelta) -> None:
    with pytest.raises(GovernanceError, match="24 hours"):
        tickets.mint(GOOD, PLACE, valid_for=valid_for)


def test_wider_terms_at_minting_go_on() -> None:
    wider = replace(GOOD, answer=cases.answer(cases.terms()))

    assert tickets.mint(wider, PLACE, valid_for=HOUR).approvals == (BOB.digest,)


@pytest.mark.parametrize("changes", [{"plan": cases.SOME}, {"scope": cases.SOME}, {"undo_scope": None}])
def test_a_ticket_that_does_not_fit_its_plan_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(GovernanceError) as refused:
        tickets.require_fits(minted(PLAN, **changes), PLAN)

    assert refused.value.code == "ticket-unfit"


# --- permits ---

VALUES: dict[str, Scalar] = {"unit": "cache"}
CALL = fill(STEP.call, VALUES)


def permit(ticket: Sealed | None = None, **changes: object) -> Permit:
    found: dict[str, object] = {
        "ticket": ticket or minted(),
        "plan": PLAN,
        "phase": Phase.DO,
        "step": "restart",
        "call": CALL,
        "values": VALUES,
        "mode": Mode.APPLY,
        "attempt": 1,
        "fence": 7,
        "now": AT,
        "permit_seconds": 30,
        "halted": None,
    } | changes
    return permits.mint(**found)  # type: ignore[arg-type]


def test_a_permit_names_the_very_call_and_expires_with_the_minute_or_the_ticket() -> None:
    found = permit()

    assert (found.call, found.step, found.attempt, found.fence) == (call_digest(CALL), "restart", 1, 7)
    assert found.expires == AT + timedelta(seconds=30)
    last = AT + HOUR - timedelta(seconds=1)
    assert permit(now=last, permit_seconds=60).expires == AT + HOUR


def test_undoing_and_probing_have_permits_of_their_own() -> None:
    assert STEP.undo is not None and STEP.probe is not None

    assert permit(phase=Phase.UNDO, call=STEP.undo, values={}).call == call_digest(STEP.undo)
    assert permit(phase=Phase.PROBE, call=STEP.probe.call, values={}).call == call_digest(STEP.probe.call)


READING = minted(mode=Mode.READ_ONLY)
BAD_PROBE = cases.plan(INTENT, replace(STEP, probe=replace(STEP.probe, call=STEP.undo)))  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("code", "ticket", "changes"),
    [
        ("permit-outside-scope", None, {"step": "format"}),
        ("permit-outside-scope", None, {"call": replace(CALL, target="host-2")}),
        ("permit-outside-scope", None, {"call": replace(CALL, action="other")}),
        ("permit-outside-scope", None, {"call": fill(STEP.call, {"unit": "other"})}),
        ("permit-outside-scope", None, {"values": {}}),
        (
            "permit-outside-scope",
            None,
            {"values": {"unit": "CACHE"}, "call": fill(STEP.call, {"unit": "CACHE"})},
        ),
        ("permit-outside-scope", None, {"values": {"unit": "cache", "more": "x"}}),
        ("permit-outside-scope", None, {"phase": Phase.UNDO}),
        (
            "permit-outside-scope",
            minted(undo_scope=None),
            {"phase": Phase.UNDO, "call": STEP.undo, "values": {}},
        ),
        ("permit-outside-scope", minted(plan=cases.SOME), {}),
        ("permit-outside-scope", None, {"attempt": 0}),
        ("permit-mode-mismatch", None, {"mode": Mode.DRY_RUN}),
        ("permit-mode-mismatch", minted(mode=Mode.DRY_RUN), {"mode": Mode.APPLY}),
        ("permit-mode-mismatch", READING, {"mode": Mode.READ_ONLY}),
        (
            "permit-mode-mismatch",
            minted(BAD_PROBE),
            {"plan": BAD_PROBE, "phase": Phase.PROBE, "call": STEP.undo, "values": {}},
        ),
        ("permit-too-long", None, {"permit_seconds": PERMIT_SECONDS_MAX + 1}),
        ("permit-too-long", None, {"permit_seconds": 0}),
        ("ticket-not-yet-valid", None, {"now": AT - MINUTE}),
        ("ticket-expired", None, {"now": AT + HOUR}),
    ],
)
def test_no_permit_is_minted_for_anything_else(
    code: str, ticket: Sealed | None, changes: dict[str, object]
) -> None:
    with pytest.raises(GovernanceError) as refused:
        permit(ticket, **changes)

    assert refused.value.code == code


def test_a_dry_run_has_permits_to_render_a_change() -> None:
    assert permit(minted(mode=Mode.DRY_RUN), mode=Mode.DRY_RUN).call == call_digest(CALL)


# --- asking somebody ---


@pytest.mark.parametrize(
    ("code", "approver", "enrolments"),
    [
        ("self-approval", by_key("alice"), ENROLMENTS),
        ("approver-unknown", by_key("mallory"), ENROLMENTS),
        ("approver-not-established", replace(by_key("bob"), established=Established.TOKEN), ENROLMENTS),
        ("key-enrolled-by-requester", by_key("bob"), (enrolled("bob", by=cases.ALICE),)),
        ("key-enrolled-after-plan", by_key("bob"), (enrolled("bob", since=NOW),)),
        ("key-shared-with-requester", by_key("bob"), (enrolled("bob"), enrolled("alice", key="bob"))),
        ("approver-key-invalid", by_key("bob"), (enrolled("bob", revoked=NOW),)),
        ("approver-not-in-group", by_key("mallory"), (enrolled("mallory"),)),
    ],
)
def test_who_may_not_approve_is_told_before_signing(
    code: str, approver: Principal, enrolments: tuple[Enrolment, ...]
) -> None:
    with pytest.raises(GovernanceError) as refused:
        approvals.require_may_approve(
            approver, intent=INTENT, plan=PLAN, terms=ONE, enrolments=enrolments, groups=GROUPS, at=AT
        )

    assert refused.value.code == code


BY_SESSION = Principal(person="bob", established=Established.OIDC, credential="https://login.example#b")
LENIENT = replace(ONE, session_may_approve=True)


@pytest.mark.parametrize(
    ("code", "approver", "terms", "word"),
    [
        (None, BY_SESSION, LENIENT, True),
        (None, BY_SESSION, ONE, False),
        (None, BY_SESSION, ONE, None),
        ("session-may-not-approve", BY_SESSION, ONE, True),
        ("self-approval", replace(BY_SESSION, person="Alice"), LENIENT, True),
        ("self-approval", replace(BY_SESSION, credential=cases.ALICE.credential), LENIENT, False),
        ("approver-not-in-group", replace(BY_SESSION, person="mallory"), LENIENT, True),
    ],
)
def test_who_does_not_sign_is_held_to_every_rule_but_those_about_keys(
    code: str | None, approver: Principal, terms: Terms, word: bool | None
) -> None:
    try:
        approvals.require_may_approve(
            approver, intent=INTENT, plan=PLAN, terms=terms, enrolments=(), groups=GROUPS, at=AT,
            word=word, signs=False,
        )  # fmt: skip
    except GovernanceError as refused:
        assert refused.code == code
    else:
        assert code is None


@pytest.mark.parametrize("terms", [cases.terms(), cases.BLOCKED])
def test_where_nobody_is_asked_nobody_approves(terms: Terms) -> None:
    with pytest.raises(GovernanceError) as refused:
        approvals.require_may_approve(
            by_key("bob"), intent=INTENT, plan=PLAN, terms=terms, enrolments=ENROLMENTS, groups=GROUPS, at=AT
        )

    assert refused.value.code == "approval-not-asked"


def test_the_statement_that_is_signed_counts() -> None:
    said = approvals.approval_statement(
        plan=PLAN,
        terms=ONE,
        preview=cases.PREVIEW,
        approver=by_key("bob"),
        approves=True,
        nonce="n",
        now=NOW,
        valid_for=HOUR,
        reason=None,
    )

    assert tickets.mint(case(ONE, approval(said)), PLACE, valid_for=HOUR).approvals


# --- terms ---

counts = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from("ab")), max_size=2, unique_by=lambda rule: rule[1]
)
limits = st.none() | st.integers(1, 3)
names = st.sets(st.sampled_from(["a", "b", "c"])).map(lambda found: tuple(sorted(found)))
obligations = st.builds(
    Obligations,
    output_bytes=limits,
    timeout_ms=limits,
    steps_max=limits,
    targets_max=limits,
    isolation=st.sampled_from([None, "none", "rlimits", "bubblewrap"]),
    no_network=st.booleans(),
    receipt=st.booleans(),
    output_digest=st.booleans(),
    signed_profile=st.booleans(),
    egress=st.none() | names,
    redaction=names,
    wave_max=st.none() | st.integers(1, 5),
    notify=names,
    review_ms=st.none() | st.integers(1, 5),
    budgets=st.lists(
        st.builds(
            Budget,
            scope=st.sampled_from(["agent", "intent"]),
            per_ms=st.sampled_from([1000, 60_000]),
            count=st.integers(1, 3),
        ),
        max_size=3,
    ).map(lambda found: merge_budgets([found])),
)


@pytest.mark.parametrize("parts", [[(1, "a"), (2, "a")], [(2, "a"), (1, "a")]])
def test_approvals_of_one_group_take_the_highest_count_and_groups_add_up(
    parts: list[tuple[int, str]],
) -> None:
    asked = [cases.terms(part).approvals for part in [*parts, (1, "b")]]

    assert merge_approvals(asked) == cases.terms((2, "a"), (1, "b")).approvals


@given(obligations, obligations, obligations)
def test_merging_is_the_same_in_any_order_and_never_wider_than_a_part(
    one: Obligations, two: Obligations, three: Obligations
) -> None:
    merged = merge_obligations([one, two, three])

    assert merged == merge_obligations([three, one, two, one])
    assert merge_obligations([one]) == one
    for part in (one, two, three):
        assert tighter(cases.terms(obligations=merged), cases.terms(obligations=part)) is None


@given(counts, obligations, counts, obligations)
def test_terms_are_tighter_exactly_when_merging_them_adds_something(
    old_counts: list[tuple[int, str]], old: Obligations, new_counts: list[tuple[int, str]], new: Obligations
) -> None:
    before, after = cases.terms(*old_counts, obligations=old), cases.terms(*new_counts, obligations=new)
    most = {group: count for count, group in old_counts}
    more = any(count > most.get(group, 0) for count, group in new_counts)

    adds = more or merge_obligations([old, new]) != merge_obligations([old])

    assert (tighter(before, after) is not None) == adds


def test_why_says_who_is_missing_and_that_approval_cannot_lift_a_no() -> None:
    waiting = why.of_answer(cases.answer(ONE), cases.request())
    blocked = why.of_answer(cases.answer(cases.BLOCKED), cases.request())

    assert any("1 of `approvers`" in line for line in waiting)
    assert any("no approval overrides" in line for line in blocked)


def test_scopes_in_a_ticket_are_those_a_verifier_computes() -> None:
    ticket = minted().record
    assert isinstance(ticket, Ticket)
    plan = PLAN.record
    assert isinstance(plan, Plan)

    assert (ticket.scope, ticket.undo_scope) == (scope_root(plan), undo_scope_root(plan))


def test_a_change_held_to_hosts_that_are_allowed_keeps_the_obligation_of_egress() -> None:
    assert isinstance(CALL.request, ProcessRequest)
    held = replace(CALL, request=replace(CALL.request, egress=("db.example:5432",)))
    step = replace(STEP, call=held, isolation=Isolation.BUBBLEWRAP, probe=None, undo=None)
    plan = cases.plan(INTENT, step)
    for allowed in (("db.example",), ("db.example:5432", "other.example")):
        strict = cases.terms(obligations=Obligations(egress=allowed))
        assert tickets.mint(case(strict, plan=plan), PLACE, valid_for=HOUR).mode is Mode.APPLY

    for other in ((), ("other.example",), ("db.example:5433",)):
        strict = cases.terms(obligations=Obligations(egress=other))
        with pytest.raises(GovernanceError, match="egress"):
            tickets.mint(case(strict, plan=plan), PLACE, valid_for=HOUR)


def test_a_contained_read_keeps_the_obligation_of_no_network() -> None:
    strict = cases.terms(obligations=Obligations(no_network=True, isolation="rlimits"))
    contained: Call = replace(CALL, effect=Effect.READ)
    step = replace(STEP, call=contained, grade=Grade.CONTAINED, isolation=Isolation.BUBBLEWRAP, slots=None)

    ticket = tickets.mint(case(strict, plan=cases.plan(INTENT, step)), PLACE, valid_for=HOUR)

    assert ticket.mode is Mode.APPLY
