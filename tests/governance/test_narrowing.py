"""Rules that an environment of the seed carries: in force, and never a grant."""

from __future__ import annotations

from typing import Any

import pytest

from rexecop.governance.admission import Policy, decide
from rexecop.governance.errors import ImportRefused
from rexecop.governance.importing import Calls
from rexecop.governance.lint import lint
from rexecop.governance.narrowing import narrow
from rexecop.governance.pack import Pack
from rexecop.proof.records.decision import RequestCall, RequestTarget
from rexecop.proof.vocabulary import Effect, Gate, Mode
from tests.governance.cases import NOW, request

OPERATOR = {
    "pack.yaml": b"id: house\nversion: '1'\n",
    "entities.yaml": b"groups: [approvers]\ntarget_groups: [web]\npeople: {alice: {groups: [approvers]}}\n",
    "rules.cedar": b'@id("all")\npermit (principal, action, resource);\n',
}
CALLS: Calls = {("host", "read"): "ssh_readonly", ("api", "get"): "http_api"}


def pack(*rules: str) -> Pack:
    text = "environment:\n  policy_pack:\n    policy_id: env\n    version: '1'\n    rules:\n"
    text += "".join(f"      - {rule}\n" for rule in rules) or "      []\n"
    found = Pack.parse(narrow(text.encode(), source="env.yaml", profile="lab", calls=CALLS))
    assert [one for one in lint(found) if one.severity == "error"] == []
    return found


def verdict(*rules: str, operator: bool = True, **changes: object) -> str:
    policy = Policy((Pack.parse(OPERATOR),) if operator else (), (pack(*rules),))
    return str(decide(policy, request(profile="lab", **changes)).terms.verdict)


def call(connector: str, action: str, effect: Effect = Effect.READ) -> dict[str, Any]:
    return {"gate": Gate.CALL, "call": RequestCall(connector=connector, action=action, effect=effect)}


ALLOW = "{rule_id: all, effect: allow, conditions: {action.category: operation}}"
READS = "{rule_id: reads, effect: allow, conditions: {action.category: connector, action.name: read}}"


def test_what_no_rule_allows_is_denied_the_operation_and_each_call() -> None:
    assert verdict() == "blocked"
    assert verdict(ALLOW) == "allowed"
    assert verdict(ALLOW, **call("host", "read")) == "blocked"
    assert verdict(ALLOW, READS, **call("host", "read")) == "allowed"
    assert verdict(ALLOW, READS, **call("api", "get")) == "blocked"
    assert verdict(READS) == "blocked"


def test_without_a_pack_of_the_operator_nothing_it_says_allows() -> None:
    assert verdict("{rule_id: all, effect: allow, conditions: {}}", operator=False) == "blocked"


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ("{path: action.connector, operator: eq, value: host}", ["host"]),
        ("{path: action.connector, operator: neq, value: host}", ["api"]),
        ("{path: action.backend, operator: in, value: [http_api, ssh]}", ["api"]),
        ("{path: action.backend, operator: not_in, value: [http_api]}", ["host"]),
        ("{path: action.category, operator: eq, value: connector}", ["host", "api"]),
    ],
)
def test_a_rule_about_calls_is_about_those_it_says(condition: str, allowed: list[str]) -> None:
    rule = f"{{rule_id: some, effect: allow, conditions: [{condition}]}}"

    found = [
        name
        for name, action in (("host", "read"), ("api", "get"))
        if verdict(ALLOW, rule, **call(name, action)) == "allowed"
    ]

    assert found == allowed


def test_a_deny_stands_for_operations_and_calls_alike() -> None:
    everything = "{rule_id: any, effect: allow, conditions: {}}"
    deny = "{rule_id: no, effect: deny, reason_code: x, conditions: {action.mode: mutating}}"
    change: dict[str, Any] = {"effect": Effect.CHANGE, "mode": Mode.APPLY}

    assert verdict(everything, deny, effect=Effect.READ, mode=Mode.READ_ONLY) == "allowed"
    assert verdict(everything, deny, **change) == "blocked"
    assert verdict(everything, **change) == "allowed"
    assert verdict(everything, deny, **change, **call("host", "read", Effect.CHANGE)) == "blocked"


def test_what_it_asks_for_is_asked_on_top() -> None:
    asking = "{rule_id: ask, effect: approval_required, conditions: {}}"
    obliging = (
        "{rule_id: small, effect: allow_with_obligations, conditions: {}, "
        "obligations: [{id: r, kind: receipt}], constraints: [{id: s, kind: max_steps, value: 3}]}"
    )
    critical = (RequestTarget(id="db", type="host", criticality="critical", groups=()),)

    assert verdict(asking) == "approval_required"
    policy = Policy((Pack.parse(OPERATOR),), (pack(obliging),))
    terms = decide(policy, request(profile="lab")).terms
    assert (terms.obligations.receipt, terms.obligations.steps_max) == (True, 3)
    more: dict[str, Any] = {"effect": Effect.CHANGE, "mode": Mode.APPLY, "targets": critical}
    assert verdict(obliging, **more) == "approval_required"
    assert verdict(obliging, effect=Effect.DESTROY, mode=Mode.APPLY) == "blocked"


def test_a_pack_out_of_date_denies() -> None:
    text = (
        "environment: {policy_pack: {policy_id: env, version: '1', "
        "validity: {expires_at: '2000-01-01T00:00:00Z'}, "
        "rules: [{rule_id: any, effect: allow, conditions: {}}]}}"
    )
    old = Pack.parse(narrow(text.encode(), source="env.yaml", profile="lab", calls=CALLS))

    policy = Policy((Pack.parse(OPERATOR),), (old,))
    assert str(decide(policy, request(now=NOW)).terms.verdict) == "blocked"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            "{rule_id: a, effect: allow, conditions: [{path: action.name, operator: regex, value: x}]}",
            "regex",
        ),
        ("{rule_id: a, effect: allow, conditions: {action.phase: x}}", "action.phase"),
        ("{rule_id: a, effect: allow, conditions: {}, obligations: [{id: x, kind: dance}]}", "dance"),
        (
            "{rule_id: a, effect: allow, conditions: {action.category: connector}, "
            "obligations: [{id: x, kind: receipt}]}",
            "on top",
        ),
        ("{rule_id: a, effect: perhaps, conditions: {}}", "perhaps"),
    ],
)
def test_what_cannot_be_said_here_is_refused_with_its_line(rule: str, words: str) -> None:
    with pytest.raises(ImportRefused, match=words) as refused:
        pack(rule)

    assert refused.value.facts["line"] == 6
