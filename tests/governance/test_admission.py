"""The decision rule, held against a second, plain implementation."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.governance import demo_pack, starter
from rexecop.governance.admission import Answer, Policy, decide
from rexecop.governance.obligations import tighter
from rexecop.governance.pack import Pack
from rexecop.proof.principal import Principal
from rexecop.proof.records.decision import ApprovalLimit, ApprovalRule, PolicyRequest, RequestTarget
from rexecop.proof.vocabulary import Effect, Established, Mode, Verdict
from tests.governance.cases import ALICE, NOW, SOME, pack_files, request, terms
from tests.spec import decision as spec
from tests.spec.decision import ToyRequest, ToyRule

PEOPLE = (
    "groups: [g, h, k]\ntarget_groups: [t, u]\npeople: {{alice: {{groups: [{}]}}, bob: {{groups: [k]}}}}\n"
)
ALL = '@id("all") permit (principal, action, resource);\n'

toy_rules = st.builds(
    ToyRule,
    word=st.sampled_from(["permit", "permit", "forbid", "require"]),
    effect=st.sampled_from([None, None, "read", "change"]),
    person_in=st.sampled_from([None, None, "g", "h"]),
    target_in=st.sampled_from([None, None, "t", "u"]),
    mode=st.sampled_from([None, None, "dry_run", "apply"]),
    broken=st.sampled_from([False, False, False, False, True]),
    approvals=st.sampled_from([None, None, (1, "g"), (2, "g"), (1, "h")]),
    output_bytes=st.sampled_from([None, None, 10, 20]),
).map(lambda rule: replace(rule, approvals=None, output_bytes=None) if rule.word == "forbid" else rule)
toy_requests = st.builds(
    ToyRequest,
    effect=st.sampled_from(["read", "change"]),
    groups=st.frozensets(st.sampled_from("gh")),
    targets=st.lists(st.frozensets(st.sampled_from("tu")), min_size=1, max_size=3).map(tuple),
    mode=st.sampled_from(["dry_run", "apply"]),
)


def pack(rules: Sequence[ToyRule], groups: frozenset[str], name: str = "test") -> Pack:
    texts = {True: "", False: ""}
    for number, rule in enumerate(rules):
        texts[rule.word == "require"] += spec.cedar(rule, f"r{number}")
    files = pack_files(texts[False], texts[True], PEOPLE.format(", ".join(sorted(groups))))
    return Pack.parse(files | {"pack.yaml": f"id: {name}\nversion: '1'\n".encode()})


def real(toy: ToyRequest) -> PolicyRequest:
    targets = tuple(
        RequestTarget(id=f"host-{n}", type="host", criticality="low", groups=tuple(sorted(groups)))
        for n, groups in enumerate(toy.targets)
    )
    return request(effect=Effect(toy.effect), mode=Mode(toy.mode), targets=targets)


def toy(answer: Answer) -> spec.ToyAnswer:
    return spec.ToyAnswer(
        verdict=str(answer.terms.verdict),
        approvals=frozenset((rule.count, rule.group) for rule in answer.terms.approvals),
        output_bytes=answer.terms.obligations.output_bytes,
    )


@given(st.lists(toy_rules, max_size=6), toy_requests)
def test_the_answer_is_that_of_the_plain_implementation(rules: list[ToyRule], asked: ToyRequest) -> None:
    answer = decide(Policy([pack(rules, asked.groups)]), real(asked))

    assert toy(answer) == spec.decide(rules, asked)


@given(st.lists(toy_rules, max_size=5), toy_requests, st.data())
def test_order_and_duplicates_do_not_matter(
    rules: list[ToyRule], asked: ToyRequest, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rules + rules[:2]))

    one = decide(Policy([pack(rules, asked.groups)]), real(asked))
    other = decide(Policy([pack(shuffled, asked.groups)]), real(asked))

    assert one.terms == other.terms


@given(st.lists(toy_rules, max_size=5), toy_rules, toy_requests)
def test_a_new_forbid_or_requirement_never_turns_no_into_yes(
    rules: list[ToyRule], added: ToyRule, asked: ToyRequest
) -> None:
    for word in ("forbid", "require"):
        more = [*rules, replace(added, word=word)]
        before = decide(Policy([pack(rules, asked.groups)]), real(asked))
        after = decide(Policy([pack(more, asked.groups)]), real(asked))

        order = (Verdict.BLOCKED, Verdict.APPROVAL_REQUIRED, Verdict.ALLOWED)
        assert order.index(after.terms.verdict) <= order.index(before.terms.verdict)


@given(st.lists(toy_rules, max_size=4), st.lists(toy_rules, max_size=4), toy_requests)
def test_the_pack_of_a_profile_adds_only_forbids_and_requirements(
    operator: list[ToyRule], proposed: list[ToyRule], asked: ToyRequest
) -> None:
    policy = Policy([pack(operator, asked.groups)], [pack(proposed, frozenset("gh"), "proposed")])

    without_permits = [rule for rule in proposed if rule.word != "permit"]
    assert toy(decide(policy, real(asked))) == spec.decide([*operator, *without_permits], asked)


BROKEN = '@id("broken") {} (principal, action, resource) when {{ 9223372036854775807 + 1 == 0 }};\n'


@pytest.mark.parametrize(
    ("rules", "requirements"),
    [
        (ALL + BROKEN.format("forbid"), ""),
        (ALL + BROKEN.format("permit"), ""),
        (ALL, '@obligations("receipt") ' + BROKEN.format("permit")),
    ],
)
def test_a_rule_that_fails_to_evaluate_denies_and_the_error_is_recorded(
    rules: str, requirements: str
) -> None:
    answer = decide(Policy([Pack.parse(pack_files(rules, requirements))]), request())

    assert answer.terms.verdict is Verdict.BLOCKED
    assert answer.errors
    assert "test/broken" in answer.errors[0]
    assert "\n" not in answer.reason


def allowing(entities: str = "people: {alice: {}}\n", **files: str) -> Pack:
    return Pack.parse(pack_files(ALL, entities=entities, **files))


def test_a_requirement_for_one_of_several_targets_is_required_of_the_whole() -> None:
    only_t = '@id("r") @approvals("1 of g") permit (principal, action, resource in TargetGroup::"t");'
    entities = "groups: [g]\ntarget_groups: [t]\npeople: {alice: {}}"
    policy = Policy([Pack.parse(pack_files(ALL, only_t, entities))])
    targets = tuple(
        RequestTarget(id=f"host-{n}", type="host", criticality="low", groups=groups)
        for n, groups in enumerate(((), ("t",), ()))
    )

    answer = decide(policy, request(targets=targets))

    assert answer.terms.approvals == (ApprovalRule(count=1, group="g"),)


def test_no_packs_and_empty_packs_deny() -> None:
    assert decide(Policy([]), request()).terms.verdict is Verdict.BLOCKED
    assert decide(Policy([], [allowing()]), request()).terms.verdict is Verdict.BLOCKED
    assert decide(Policy([Pack.parse(pack_files(""))]), request()).terms.verdict is Verdict.BLOCKED


AGENT = Principal(person="bot", established=Established.TOKEN, credential="t1")
WITH_AGENT = "people: {alice: {}, bob: {}}\nagents: {bot: {sponsor: alice}}\n"


@pytest.mark.parametrize(
    ("policy", "asked", "words"),
    [
        (Policy([allowing()], (), ["`ops` is damaged"]), request(), "ops"),
        (Policy([allowing(), allowing()]), request(), "two policy packs"),
        (Policy([allowing()]), request(principal=replace(ALICE, person="eve")), "eve"),
        (Policy([allowing()]), request(principal=replace(ALICE, person="ALICE")), "ALICE"),
        (Policy([allowing()]), request(principal=replace(ALICE, person="engine")), "engine"),
        (Policy([allowing()]), request(targets=()), "target"),
        (Policy([allowing()]), request(targets=request().targets * 2), "twice"),
        (Policy([allowing()]), request(mode=Mode.OBSERVE), "only reads"),
        (Policy([allowing(WITH_AGENT)]), request(principal=AGENT), "acts for"),
        (Policy([allowing(WITH_AGENT)]), request(principal=AGENT, sponsor="bob"), "acts for"),
        (Policy([allowing()]), request(parameters={"x": "\ud800"}), "evaluated"),
    ],
)
def test_what_is_unknown_or_contradictory_is_denied_and_named(
    policy: Policy, asked: PolicyRequest, words: str
) -> None:
    answer = decide(policy, asked)

    assert answer.terms.verdict is Verdict.BLOCKED
    assert words in answer.reason


def test_an_agent_with_its_sponsor_is_judged_like_anybody() -> None:
    asked = request(principal=AGENT, sponsor="alice")

    assert decide(Policy([allowing(WITH_AGENT)]), asked).terms.verdict is Verdict.ALLOWED


ASKED = "1 of g, no_peers of team, sponsor_may_approve"
CONFLICTS = f'@id("a") @approvals("{ASKED}") permit (principal, action, resource);'


@pytest.mark.parametrize(
    ("person", "sponsor", "limits", "may"),
    [
        ("alice", None, (("g", 3), ("team", 0)), False),
        ("bob", None, (("g", 3),), False),
        ("robot", "alice", (("g", 3), ("team", 0)), True),
    ],
)
def test_who_asks_decides_which_conflicts_hold_and_the_terms_carry_them(
    person: str, sponsor: str | None, limits: tuple[tuple[str, int], ...], may: bool
) -> None:
    people = (
        "groups: [g, team]\npeople: {alice: {groups: [team]}, bob: {}}\nagents: {robot: {sponsor: alice}}\n"
    )
    more = '@id("r") @approvals("at_most 3 of g") permit (principal, action, resource);'
    policy = Policy([Pack.parse(pack_files(CONFLICTS, more, people))])

    terms = decide(policy, request(principal=replace(ALICE, person=person), sponsor=sponsor)).terms

    assert tuple((one.group, one.at_most) for one in terms.approval_limits) == limits
    assert terms.sponsor_may_approve is may


def test_a_sponsor_may_not_approve_where_any_rule_that_asks_does_not_say_so() -> None:
    people = "groups: [g]\npeople: {alice: {}}\nagents: {robot: {sponsor: alice}}\n"
    rules = CONFLICTS.replace("no_peers of team, ", "")
    more = '@id("r") @approvals("1 of g") permit (principal, action, resource);'
    policy = Policy([Pack.parse(pack_files(rules, more, people))])

    found = decide(policy, request(principal=replace(ALICE, person="robot"), sponsor="alice"))

    assert found.terms.approvals and not found.terms.sponsor_may_approve


def test_a_conflict_or_a_sponsor_who_may_not_any_more_makes_terms_stricter() -> None:
    old = replace(terms((1, "g")), approval_limits=(ApprovalLimit(at_most=2, group="g"),))
    for new in (
        replace(old, approval_limits=(ApprovalLimit(at_most=1, group="g"),)),
        replace(old, approval_limits=(*old.approval_limits, ApprovalLimit(at_most=9, group="h"))),
    ):
        assert tighter(old, new) and not tighter(new, old)
    assert tighter(replace(old, sponsor_may_approve=True), old)


def test_a_profile_makes_nobody_an_approver_and_may_not_name_unknown_groups() -> None:
    proposed = Pack.parse(
        pack_files("", "", "groups: [approvers]\npeople: {mallory: {groups: [approvers]}}")
        | {"pack.yaml": b"id: proposed\nversion: '1'\n"}
    )
    asking = Pack.parse(
        pack_files("", '@id("r") @approvals("1 of approvers") permit (principal, action, resource);',
                   "groups: [approvers]")
        | {"pack.yaml": b"id: asking\nversion: '1'\n"}
    )  # fmt: skip

    assert Policy([allowing()], [proposed]).groups() == {}
    answer = decide(Policy([allowing()], [asking]), request())
    assert answer.terms.verdict is Verdict.BLOCKED
    assert "approvers" in answer.reason


def test_a_pack_outside_its_validity_denies_everything_from_that_instant_on() -> None:
    manifest = (
        "id: test\nversion: '1'\nvalidity: {not_before: 2026-01-01, not_after: '2026-01-31T09:30:00Z'}\n"
    )
    policy = Policy([Pack.parse(pack_files(ALL) | {"pack.yaml": manifest.encode()})])
    moment = timedelta(milliseconds=1)

    assert decide(policy, request(now=NOW - moment)).terms.verdict is Verdict.ALLOWED
    assert decide(policy, request(now=NOW)).terms.verdict is Verdict.BLOCKED
    assert decide(policy, request(now=NOW - timedelta(days=60))).terms.verdict is Verdict.BLOCKED


def test_a_limit_on_targets_refuses_a_request_that_is_larger() -> None:
    limited = '@id("r") @obligations("targets<=1") permit (principal, action, resource);'
    policy = Policy([Pack.parse(pack_files(ALL, limited))])
    more = tuple(replace(request().targets[0], id=f"host-{n}") for n in range(2))

    assert decide(policy, request()).terms.verdict is Verdict.ALLOWED
    assert "at most 1" in decide(policy, request(targets=more)).reason


@pytest.mark.parametrize(
    ("condition", "changes"),
    [
        ('context.intent == "hello/restart"', {}),
        ('context.parameters.hasTag("n") && context.parameters.getTag("n") == "3"', {"parameters": {"n": 3}}),
        ('context.parameters.hasTag("s") && context.parameters.getTag("s") like "web-*"',
         {"parameters": {"s": "web-1"}}),
        ('context has grade && context.grade == "contained"', {"grade": "contained"}),
        ('context.now > datetime("2026-01-31") && context.now < datetime("2026-02-01")', {}),
        ('context.principal_established == "os-user"', {}),
        ('resource.criticality == "low" && resource.kind == "host"', {}),
        ('principal == User::"alice" && User::"bob" in Group::"g"', {}),
    ],
)  # fmt: skip
def test_a_policy_sees_the_facts_of_the_request(condition: str, changes: dict[str, object]) -> None:
    rule = f'@id("a") permit (principal, action, resource) when {{ {condition} }};'
    entities = "groups: [g]\npeople: {alice: {}, bob: {groups: [g]}}"
    other = rule.replace("when", "unless")

    for text, verdict in ((rule, Verdict.ALLOWED), (other, Verdict.BLOCKED)):
        policy = Policy([Pack.parse(pack_files(text, entities=entities))])
        assert decide(policy, request(**changes)).terms.verdict is verdict


def test_a_remembered_answer_is_given_to_the_same_request_only() -> None:
    policy = Policy([Pack.parse(pack_files(
        '@id("a") permit (principal, action, resource) when { context.mode == "apply" };'
    ))])  # fmt: skip
    fresh = decide(policy, request())

    assert decide(policy, request(now=NOW + timedelta(minutes=1))) == fresh
    for changes in ({"mode": Mode.DRY_RUN}, {"principal": replace(ALICE, person="bob")}, {"targets": ()}):
        assert decide(policy, request(**changes)).terms.verdict is Verdict.BLOCKED
    assert decide(policy, request()) == fresh


def test_a_pack_that_looks_at_the_time_is_asked_every_time() -> None:
    rule = '@id("a") permit (principal, action, resource) when { context.now < datetime("2100-01-01") };'
    policy = Policy([Pack.parse(pack_files(rule))])

    assert decide(policy, request()).terms.verdict is Verdict.ALLOWED
    later = request(now=NOW.replace(year=2100) + timedelta(days=400))
    assert decide(policy, later).terms.verdict is Verdict.BLOCKED


def test_a_pack_that_ran_out_denies_what_it_allowed_before() -> None:
    files = pack_files('@id("a") permit (principal, action, resource);')
    files["pack.yaml"] = b"id: test\nversion: '1'\nvalidity: {not_after: '2090-01-01'}\n"
    policy = Policy([Pack.parse(files)])

    assert decide(policy, request()).terms.verdict is Verdict.ALLOWED
    assert decide(policy, request(now=NOW.replace(year=2095))).terms.verdict is Verdict.BLOCKED


def test_the_answer_names_packs_rules_and_their_digests() -> None:
    found = allowing()
    answer = decide(Policy([found]), request())

    assert answer.packs == (found.ref,)
    assert [(rule.id, rule.digest) for rule in answer.rules] == [("test/all", found.rules[0].digest)]
    assert found.rules[0].digest != SOME


STARTER = Policy([Pack.parse(starter.files("alice", ["bob"])), Pack.parse(demo_pack.FILES)])


@pytest.mark.parametrize(
    ("effect", "mode", "simulated", "verdict", "count"),
    [
        (Effect.READ, Mode.READ_ONLY, False, Verdict.ALLOWED, 0),
        (Effect.CHANGE, Mode.APPLY, False, Verdict.APPROVAL_REQUIRED, 1),
        (Effect.DESTROY, Mode.APPLY, False, Verdict.APPROVAL_REQUIRED, 2),
        (Effect.CHANGE, Mode.RECOVERY, False, Verdict.APPROVAL_REQUIRED, 1),
        (Effect.CHANGE, Mode.APPLY, True, Verdict.ALLOWED, 0),
        (Effect.DESTROY, Mode.APPLY, True, Verdict.ALLOWED, 0),
        (Effect.CHANGE, Mode.DRY_RUN, False, Verdict.ALLOWED, 0),
        (Effect.CHANGE, Mode.READ_ONLY, True, Verdict.BLOCKED, 0),
    ],
)
def test_the_starter_pack_does_what_it_says(
    effect: Effect, mode: Mode, simulated: bool, verdict: Verdict, count: int
) -> None:
    answer = decide(STARTER, request(effect=effect, mode=mode, simulated=simulated))

    assert answer.terms.verdict is verdict
    assert sum(rule.count for rule in answer.terms.approvals) == count


@pytest.mark.parametrize(
    ("intent", "effect", "mode", "verdict"),
    [
        ("echo", Effect.READ, Mode.READ_ONLY, Verdict.ALLOWED),
        ("add", Effect.READ, Mode.READ_ONLY, Verdict.ALLOWED),
        ("remove", Effect.READ, Mode.READ_ONLY, Verdict.BLOCKED),
        ("echo", Effect.CHANGE, Mode.APPLY, Verdict.BLOCKED),
        ("echo", Effect.READ, Mode.DRY_RUN, Verdict.BLOCKED),
    ],
)
def test_the_demo_service_may_do_its_two_actions_and_nothing_else(
    intent: str, effect: Effect, mode: Mode, verdict: Verdict
) -> None:
    service = Principal(person=demo_pack.SERVICE, established=Established.ENGINE, credential="execute")
    asked = request(principal=service, profile=demo_pack.PROFILE, intent=intent, effect=effect, mode=mode)

    assert decide(STARTER, asked).terms.verdict is verdict
