"""Admission by example: what is known, what is in force, what is named in the answer."""

from dataclasses import replace
from datetime import timedelta
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.governance import demo_pack, starter
from rexecop.governance.admission import Policy, decide
from rexecop.governance.errors import PackRefused
from rexecop.governance.obligations import tighter
from rexecop.governance.pack import Pack
from rexecop.proof.canonical import Json
from rexecop.proof.principal import Principal
from rexecop.proof.records.decision import ApprovalLimit, ApprovalRule, PolicyRequest, RequestTarget
from rexecop.proof.request import request_of_call
from rexecop.proof.vocabulary import Effect, Established, Mode, Verdict
from tests.governance.cases import ALICE, NOW, SOME, pack_files, request, terms

ALL = '@id("all") permit (principal, action, resource);\n'
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
WITH_GROUPS = "people: {alice: {}}\ntarget_groups: [prod]\n"
READS_ALL = Pack.parse(
    pack_files(
        '@id("a") permit (principal, action, resource) when { {all: context}.all.simulated == false };'
    )
)


def misplaced() -> RequestTarget:
    return replace(request().targets[0], groups=("prdo",))


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
        (Policy([allowing()]), request(effect="erase"), "no policy can speak about `erase`"),
        (Policy([allowing(WITH_GROUPS)]), request(targets=(misplaced(),)), "`host-1` is in group `prdo`"),
        *(
            (Policy([READS_ALL]), request(**{fact: value}), f"`{fact}`")
            for fact, value in (
                ("risk", 3),
                ("risk", None),
                ("simulated", "no"),
                ("pinned", 1),
                ("step", True),
            )
        ),
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


def test_a_conflict_is_in_the_terms_where_only_a_step_will_ask() -> None:
    people = "groups: [team]\npeople: {alice: {groups: [team]}}\n"
    rules = '@id("a") @approvals("no_peers of team") permit (principal, action, resource);'
    policy = Policy([Pack.parse(pack_files(rules, entities=people))])

    found = decide(policy, request(principal=ALICE)).terms

    assert (found.verdict, found.approvals) == (Verdict.ALLOWED, ())
    assert found.approval_limits == (ApprovalLimit(at_most=0, group="team"),)


def test_a_sponsor_may_not_approve_where_any_rule_that_asks_does_not_say_so() -> None:
    people = "groups: [g]\npeople: {alice: {}}\nagents: {robot: {sponsor: alice}}\n"
    rules = CONFLICTS.replace("no_peers of team, ", "")
    more = '@id("r") @approvals("1 of g") permit (principal, action, resource);'
    policy = Policy([Pack.parse(pack_files(rules, more, people))])

    found = decide(policy, request(principal=replace(ALICE, person="robot"), sponsor="alice"))

    assert found.terms.approvals and not found.terms.sponsor_may_approve


WORD = ", session_may_approve"


@pytest.mark.parametrize(
    ("first", "second", "may"),
    [
        (f"1 of g{WORD}", f"2 of g{WORD}", True),
        (f"1 of g{WORD}", "at_most 3 of g", True),
        (f"1 of g{WORD}", "1 of g", False),
        ("1 of g", f"2 of g{WORD}", False),
        ("1 of g", "session_may_approve", False),
        ("at_most 3 of g", "session_may_approve", False),
    ],
)
def test_sessions_may_approve_only_where_every_rule_that_asks_says_so(
    first: str, second: str, may: bool
) -> None:
    rules, more = (
        f'@id("{name}") @approvals("{text}") permit (principal, action, resource);'
        for name, text in (("a", first), ("b", second))
    )
    policy = Policy([Pack.parse(pack_files(rules, more, "groups: [g]\npeople: {alice: {}}\n"))])

    assert decide(policy, request(principal=ALICE)).terms.session_may_approve is may


def test_who_breaks_the_glass_is_approved_with_signatures() -> None:
    rule = f'@id("a") @approvals("1 of g{WORD}") @break_glass("1 of g") permit (principal, action, resource);'
    policy = Policy([Pack.parse(pack_files(rule, entities="groups: [g]\npeople: {alice: {}}\n"))])

    usual, broken = (decide(policy, request(principal=ALICE, break_glass=one)).terms for one in (False, True))

    assert (usual.session_may_approve, broken.session_may_approve) == (True, False)


@pytest.mark.parametrize("text", [f"1 of g{WORD}", "session_may_approve"])
def test_an_emergency_does_not_ask_for_less_than_a_signature(text: str) -> None:
    rule = f'@id("a") @approvals("1 of g") @break_glass("{text}") permit (principal, action, resource);'

    with pytest.raises(PackRefused, match="says more than whose approval"):
        Pack.parse(pack_files(rule, entities="groups: [g]\npeople: {alice: {}}\n"))


def test_to_want_signatures_where_sessions_might_is_stricter_and_to_take_sessions_is_not() -> None:
    old = replace(terms((1, "g")), session_may_approve=True)
    new = replace(old, session_may_approve=False)

    assert tighter(old, new) == "an approval has to be signed, it had not"
    assert tighter(new, old) is None and tighter(old, replace(terms(), session_may_approve=False)) is None


def test_a_conflict_or_a_sponsor_who_may_not_any_more_makes_terms_stricter() -> None:
    old = replace(terms((1, "g")), approval_limits=(ApprovalLimit(at_most=2, group="g"),))
    for new in (
        replace(old, approval_limits=(ApprovalLimit(at_most=1, group="g"),)),
        replace(old, approval_limits=(*old.approval_limits, ApprovalLimit(at_most=9, group="h"))),
    ):
        assert tighter(old, new) and not tighter(new, old)
    assert tighter(replace(old, sponsor_may_approve=True), old)


def test_to_ask_for_a_signed_profile_is_stricter_and_not_to_ask_any_more_is_not() -> None:
    old = terms((1, "g"))
    new = replace(old, obligations=replace(old.obligations, signed_profile=True))
    assert tighter(old, new) == "a signed profile is required, it was not"
    assert tighter(new, old) is None and tighter(new, new) is None


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


def test_each_request_is_judged_by_its_own_parameters_and_targets() -> None:
    policy = Policy([Pack.parse(pack_files(
        '@id("a") permit (principal, action, resource) when { context.parameters.hasTag("yes") };'
    ))])  # fmt: skip
    critical = replace(request().targets[0], criticality="high")

    for parameters, verdict in (({"yes": 1}, Verdict.ALLOWED), ({"no": 1}, Verdict.BLOCKED)) * 2:
        assert decide(policy, request(parameters=parameters)).terms.verdict is verdict
    only_low = '@id("a") permit (principal, action, resource) when { resource.criticality == "low" };'
    policy = Policy([Pack.parse(pack_files(only_low))])
    assert decide(policy, request()).terms.verdict is Verdict.ALLOWED
    assert decide(policy, request(targets=(critical,))).terms.verdict is Verdict.BLOCKED


def test_a_name_is_the_same_however_a_policy_spells_it() -> None:
    target = replace(request().targets[0], id='h\xe9 "x"\\')
    for spelt in ('h\xe9 \\"x\\"\\\\', 'h\\u{e9} \\"\\x78\\"\\\\'):
        forbid = f'@id("f") forbid (principal, action, resource == Target::"{spelt}");'
        policy = Policy([Pack.parse(pack_files(ALL + forbid))])

        assert decide(policy, request(targets=(target,))).reason == "forbidden by `test/f`"
        assert decide(policy, request()).terms.verdict is Verdict.ALLOWED


def test_groups_of_targets_are_free_where_no_pack_lists_any() -> None:
    assert decide(Policy([allowing()]), request(targets=(misplaced(),))).terms.verdict is Verdict.ALLOWED


def test_a_remembered_answer_is_given_to_the_same_request_only() -> None:
    policy = Policy([Pack.parse(pack_files(
        '@id("a") permit (principal, action, resource) when { context.mode == "apply" };'
    ))])  # fmt: skip
    fresh = decide(policy, request())

    assert decide(policy, request(now=NOW + timedelta(minutes=1))) == fresh
    for changes in ({"mode": Mode.DRY_RUN}, {"principal": replace(ALICE, person="bob")}, {"targets": ()}):
        assert decide(policy, request(**changes)).terms.verdict is Verdict.BLOCKED
    assert decide(policy, request()) == fresh


def test_parameters_that_no_policy_reads_make_no_other_request() -> None:
    policy = Policy([allowing()])
    fresh = decide(policy, request(parameters={"port": 80}))

    for parameters in (None, {}, {"port": 81}, {"list": [1, "a"]}):
        assert policy.remembered(request(parameters=parameters))[1] == fresh
        assert decide(policy, request(parameters=parameters)) == fresh
    broken = decide(policy, request(parameters={"port": cast("Json", 0.5)}))
    assert broken.terms.verdict is Verdict.BLOCKED and broken.errors


def test_a_pack_that_reads_a_parameter_is_asked_about_each() -> None:
    rule = """@id("a") permit (principal, action, resource)
    when { context.parameters.hasTag("port") && context.parameters.getTag("port") == "80" };"""
    policy = Policy([Pack.parse(pack_files(rule))])

    assert decide(policy, request(parameters={"port": 80})).terms.verdict is Verdict.ALLOWED
    for parameters in ({"port": 81}, {}, None):
        assert decide(policy, request(parameters=parameters)).terms.verdict is Verdict.BLOCKED


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


RULES = (
    '@id("one") @approvals("1 of g") permit (principal, action, resource in TargetGroup::"a");\n',
    '@id("two") @approvals("2 of g, at_most 1 of h")\n'
    'permit (principal, action, resource in TargetGroup::"b");\n',
    '@id("three") @obligations("targets<=3, timeout<=5s") permit (principal, action, resource);\n',
    '@id("four") forbid (principal, action, resource in TargetGroup::"c") when { context.gate == "plan" };\n',
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from(("a", "b", "c", "")), min_size=2, max_size=4), st.sets(st.sampled_from(RULES))
)
def test_no_more_is_asked_of_the_call_on_one_target_than_was_of_all(
    groups: list[str], chosen: set[str]
) -> None:
    entities = "groups: [g, h]\ntarget_groups: [a, b, c]\npeople: {alice: {}}"
    rules = [one for one in sorted(chosen) if "@approvals" not in one]
    required = [one for one in sorted(chosen) if "@approvals" in one]
    policy = Policy([Pack.parse(pack_files(ALL + "".join(rules), "".join(required), entities))])
    targets = tuple(
        RequestTarget(id=f"h{n}", type="host", criticality="low", groups=(group,) if group else ())
        for n, group in enumerate(groups)
    )
    whole = decide(policy, request(targets=targets))

    for target in targets:
        asked = request_of_call(request(targets=targets), target, "s", None, NOW, ())
        one = decide(policy, asked)
        assert (asked.targets, asked.targets_planned) == ((target,), len(targets))
        assert whole.terms.verdict is Verdict.BLOCKED or tighter(whole.terms, one.terms) is None
        # How many there are is held against the plan, and not against the one that is asked about.
        many = len(targets) > 3 and RULES[2] in chosen
        assert (one.terms.verdict is Verdict.BLOCKED) is many


def test_where_glass_is_broken_a_call_is_asked_about_with_all_targets() -> None:
    broken = '@id("b") @approvals("2 of g") @break_glass("1 of g")\n'
    broken += 'permit (principal, action, resource in TargetGroup::"t");'
    entities = "groups: [g]\ntarget_groups: [t]\npeople: {alice: {}}"
    policy = Policy([Pack.parse(pack_files(ALL, broken, entities))])
    targets = tuple(
        RequestTarget(id=f"h{n}", type="host", criticality="low", groups=groups)
        for n, groups in enumerate((("t",), ()))
    )
    whole = replace(request(targets=targets), break_glass=True)
    asked = request_of_call(whole, targets[1], "s", None, NOW, ())

    assert asked.targets == targets and asked.targets_planned is None
    assert decide(policy, asked).terms == decide(policy, whole).terms
    assert decide(policy, whole).terms.verdict is not Verdict.BLOCKED
    assert decide(policy, replace(asked, targets=targets[1:])).terms.verdict is Verdict.BLOCKED
