"""What a pack says and most likely does not mean."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.governance import demo_pack, starter
from rexecop.governance.admission import Policy, decide
from rexecop.governance.errors import AnnotationWrong
from rexecop.governance.lint import NEVER, SILENCED, UNBOUNDED, UNREACHABLE, lint
from rexecop.governance.pack import Pack
from rexecop.proof.vocabulary import Verdict
from tests.governance.cases import pack_files, request

FORBID = '@id("f") forbid (principal, action, resource) '
PERMIT = '@id("p") permit (principal is User, action, resource);\n'
PEOPLE = "groups: [sre, empty]\nagents: {bot: {sponsor: alice}}\npeople: {alice: {groups: [sre]}}\n"
STEP = 'context has step && context.step == "x"'
ZONE = 'context.parameters.hasTag("zone") && context.parameters.getTag("zone") == "a"'


def codes(rules: str, requirements: str = "") -> list[str]:
    """Return what lint finds, or that loading refuses a rule which is silent as a whole."""
    try:
        return [found.code for found in lint(Pack.parse(pack_files(rules, requirements, PEOPLE)))]
    except AnnotationWrong as refused:
        assert "absent" in refused.message
        return [SILENCED]


@pytest.mark.parametrize(
    "silenced",
    [
        f"when {{ {STEP} }};",
        f"when {{ {ZONE} }};",
        f'when {{ ({STEP}) || context.mode == "apply" }};',
        f'when {{ context.mode == "apply" }} when {{ {STEP} }};',
        "unless { !(context has step) };",
        "when { (context has step) == true };",
        f"when {{ if {STEP} then true else false }};",
        'when { principal has sponsor && principal.sponsor == User::"alice" };',
    ],
)
def test_a_forbid_that_a_request_escapes_by_leaving_something_out_is_an_error(silenced: str) -> None:
    assert codes(FORBID + silenced) == [SILENCED]
    assert codes(f'@absent("permits") {FORBID}{silenced}') == []
    assert codes(
        PERMIT, f'@id("r") @obligations("receipt") permit (principal, action, resource) {silenced}'
    ) == [SILENCED]


@pytest.mark.parametrize(
    "heard",
    [
        f"unless {{ {STEP} }};",
        f"when {{ !({ZONE}) }};",
        'when { if context has step then context.step == "x" else true };',
        f'when {{ context.mode == "apply" && (({STEP}) || !(context has step)) }};',
        'when { context.mode == "apply" };',
    ],
)
def test_a_forbid_that_absence_does_not_silence_is_none(heard: str) -> None:
    assert codes(FORBID + heard) == []


def test_a_permit_may_need_something_to_be_there() -> None:
    assert codes(f'@id("p") permit (principal is User, action, resource) when {{ {ZONE} }};') == []


@given(
    condition=st.recursive(
        st.sampled_from([STEP, ZONE, 'context.mode == "apply"', "context.pinned", "true", "false"]),
        lambda inner: st.one_of(
            inner.map(lambda one: f"!({one})"),
            st.tuples(inner, inner).map(lambda two: f"({two[0]}) && ({two[1]})"),
            st.tuples(inner, inner).map(lambda two: f"({two[0]}) || ({two[1]})"),
            st.tuples(inner, inner, inner).map(lambda three: "if ({}) then ({}) else ({})".format(*three)),
        ),
        max_leaves=5,
    ),
    pinned=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_where_lint_is_silent_leaving_something_out_never_turns_no_into_yes(
    condition: str, pinned: bool
) -> None:
    rules = f"{PERMIT}{FORBID}when {{ {condition} }};"
    if SILENCED in codes(rules):
        return
    pack = Pack.parse(pack_files(rules, entities=PEOPLE))
    policy = Policy((pack,))
    for step in (None, "x"):
        for zone in ({"zone": "a"}, None):
            for full, less in (
                ({"step": "x"}, {"step": None}),
                ({"parameters": {"zone": "a"}}, {"parameters": None}),
            ):
                base = {"pinned": pinned, "step": step, "parameters": zone}
                whole, without = (decide(policy, request(**(base | part))) for part in (full, less))
                assert whole.terms.verdict is not Verdict.BLOCKED or without.terms.verdict is Verdict.BLOCKED


@pytest.mark.parametrize(
    ("code", "rules", "words"),
    [
        (NEVER, FORBID + "when { false };", "always false"),
        (NEVER, FORBID + 'when { context.mode == "aply" };', "`aply`"),
        (NEVER, FORBID + 'when { ["plan", "tickets"].contains(context.gate) };', "`tickets`"),
        (NEVER, '@id("p") permit (principal is Service, action, resource);', "no service"),
        (NEVER, '@id("p") permit (principal in Group::"empty", action, resource);', "nobody"),
        (UNBOUNDED, '@id("p") permit (principal, action, resource);', "everybody everything"),
        (UNREACHABLE, '@approvals("2 of sre") ' + PERMIT, "has 1 in it"),
    ],
)
def test_a_rule_that_says_less_or_more_than_it_seems_is_a_warning(code: str, rules: str, words: str) -> None:
    found = lint(Pack.parse(pack_files(rules, entities=PEOPLE)))

    assert [(one.code, one.severity, one.file, one.line) for one in found] == [
        (code, "warning", "rules.cedar", 1)
    ]
    assert words in found[0].message


def test_the_shipped_packs_hold_no_error() -> None:
    for files in (starter.files("alice", ("bob",)), starter.commented_files("new", "alice"), demo_pack.FILES):
        assert [found.severity for found in lint(Pack.parse(files)) if found.severity == "error"] == []
