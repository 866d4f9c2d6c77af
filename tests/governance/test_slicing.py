"""Which policies are asked at all, how often sets of them are made, and how much is kept."""

from collections.abc import Iterable

import cedarpy
import pytest
from cedarpy import pst

from rexecop.governance import slicing
from rexecop.governance.admission import Policy, decide
from rexecop.governance.pack import Pack
from rexecop.governance.slicing import ITSELF, OPEN, Heads, Index, heads_of
from rexecop.proof.vocabulary import Verdict
from tests.governance.cases import pack_files, request

READ = heads_of(("Action", "read"), {})
HOST = heads_of(("Target", "host-1"), {})


def index(*scopes: str) -> Index:
    return Index({f"p{number}": template(scope) for number, scope in enumerate(scopes)})


def template(scope: str) -> pst.Template:
    (parsed,) = cedarpy.policies_to_pst(f"permit ({scope});").static_policies.values()
    return parsed


def names(sets: Iterable[cedarpy.PolicySet]) -> set[str]:
    return {name for policies in sets for name in policies.to_pst().static_policies}


def user(*groups: str) -> Heads:
    return heads_of(("User", "alice"), {("User", "alice"): [("Group", group) for group in groups]})


def test_the_heads_of_an_entity_are_open_its_type_itself_and_all_it_is_in_however_far() -> None:
    parents = {
        ("User", "a"): [("Group", "x")],
        ("Group", "x"): [("Group", "y")],
        ("Group", "y"): [("Group", "x")],
    }

    alone = ("User", "a", ITSELF)
    above = {("Group", "x"), ("Group", "y")}
    assert heads_of(("User", "a"), parents) == {OPEN, "User", ("User", "a"), alone, *above}


def test_a_slice_holds_what_matches_and_nothing_of_others() -> None:
    made = index(
        "principal, action, resource",
        'principal == User::"alice", action, resource',
        'principal == User::"bob", action, resource',
        'principal in Group::"g", action == Action::"read", resource',
        'principal in Group::"h", action, resource',
        'principal is User in Group::"g", action, resource',
        "principal is Agent, action, resource",
        'principal is User, action in [Action::"change", Action::"read"], resource is Target',
        'principal, action == Action::"change", resource',
        "principal, action in [], resource",
        'principal, action, resource == Target::"host-2"',
        'principal, action, resource in Target::"host-1"',
        'principal == Group::"g", action, resource',
    )

    assert names(made.slice((user("g"), READ, HOST))) == {"p0", "p1", "p3", "p5", "p7", "p11"}


def test_what_finding_a_policy_does_not_say_of_its_scope_is_still_asked() -> None:
    made = index('principal is Agent in Group::"g", action == Action::"read", resource == Target::"host-1"')

    (policies,) = made.slice((user("g"), READ, HOST))
    (policy,) = policies.to_pst().static_policies.values()

    assert policy.principal == template('principal is Agent in Group::"g", action, resource').principal
    assert (policy.action, policy.resource) == (pst.ScopeAny(), pst.ScopeAny())


def test_somebody_in_many_groups_is_asked_about_under_each() -> None:
    groups = [f"g{number}" for number in range(300)]
    made = index(
        *(f'principal in Group::"{group}", action, resource in TargetGroup::"{group}"' for group in groups)
    )
    target = heads_of(("Target", "t"), {("Target", "t"): [("TargetGroup", group) for group in groups]})

    assert len(names(made.slice((user(*groups), READ, target)))) == 300


def test_the_same_slice_is_made_once_and_not_too_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "POLICIES_KEPT_MAX", 8)
    made = index(
        "principal, action, resource", *(f'principal in Group::"{n}", action, resource' for n in range(9))
    )

    first = made.slice((user("1"), READ, HOST))
    assert made.slice((user("1", "unheard of"), READ, HOST)) is first
    for n in range(9):
        assert names(made.slice((user(str(n)), READ, HOST))) == {"p0", f"p{n + 1}"}
    assert made.slice((user("1"), READ, HOST)) is not first


def test_many_policies_of_one_scope_are_prepared_once_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "CELL_MERGED_MAX", 1)
    made = index(*["principal, action, resource"] * 3, 'principal in Group::"g", action, resource')

    open_to_all, of_group = made.slice((user("g"), READ, HOST))
    assert names([open_to_all]) == {"p0", "p1", "p2"} and names([of_group]) == {"p3"}
    assert made.slice((user(), READ, HOST)) == (open_to_all,)


def test_a_forbid_that_is_asked_apart_from_the_permits_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "CELL_MERGED_MAX", 0)
    permit, forbid = "permit (principal, action, resource);", "forbid (principal is User, action, resource);"
    rules = f'@id("p") {permit}\n@id("f") {forbid}'

    answer = decide(Policy([Pack.parse(pack_files(rules))]), request())

    assert answer.terms.verdict is Verdict.BLOCKED
    assert [rule.id for rule in answer.rules] == ["test/f"]
