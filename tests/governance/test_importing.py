"""Packs of GovEngine as packs that mean the same: every operator, every effect, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Final

import pytest

from rexecop.governance.admission import Policy, decide
from rexecop.governance.errors import ImportRefused
from rexecop.governance.importing import Calls, convert
from rexecop.governance.lint import lint
from rexecop.governance.pack import Pack
from rexecop.proof.records.decision import ApprovalRule, Obligations, Recent, RequestCall, RequestTarget
from rexecop.proof.vocabulary import Effect, Gate, Mode
from tests.governance.cases import NOW, request

ALLOW = "{rule_id: all, effect: allow, conditions: {}}"


def imported(*rules: str, people: str = "") -> Policy:
    """Return the policy in force with the rules imported; `alice` is in `operators`, `bob` in nothing."""
    text = "policy_id: seed\nversion: '1'\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules)
    files = convert(text.encode(), source="seed.yaml", approvers="approvers")
    groups = "operators" if b"'operators'" in files["entities.yaml"] else "approvers"
    who = f"people: {{alice: {{groups: [{groups}]}}, bob: {{}}}}\n".encode()
    entities = (
        files["entities.yaml"].partition(b"people:")[0].replace(b"target_groups: []", b"target_groups: [web]")
    )
    pack = Pack.parse(files | {"entities.yaml": entities + who})
    assert [found for found in lint(pack) if found.severity == "error"] == []
    return Policy((pack,))


def verdict(policy: Policy, **changes: object) -> str:
    return str(decide(policy, request(**changes)).terms.verdict)


def denied(condition: str, **changes: object) -> bool:
    """Return whether a deny with this one condition matches a request."""
    return (
        verdict(imported(ALLOW, f"{{rule_id: no, effect: deny, conditions: [{condition}]}}"), **changes)
        == "blocked"
    )


ONCE, TWICE = (Recent(**dict.fromkeys((field.name for field in fields(Recent)), count)) for count in (1, 2))
ZONE = "path: context.parameters.zone"
A = {"parameters": {"zone": "a"}}
B = {"parameters": {"zone": "b"}}


@pytest.mark.parametrize(
    ("condition", "matches", "misses"),
    [
        (f"{{{ZONE}, operator: eq, value: a}}", [A], [B, {}]),
        (f"{{{ZONE}, operator: eq, value: true}}", [{"parameters": {"zone": True}}], [A, {}]),
        (f"{{{ZONE}, operator: eq, value: 3}}", [{"parameters": {"zone": 3}}], [A, {}]),
        # What is absent is not equal and in no list: here it matches, so leaving it out is no way round.
        (f"{{{ZONE}, operator: neq, value: a}}", [B, {}], [A]),
        (f"{{{ZONE}, operator: in, value: [a, c]}}", [A], [B, {}]),
        (f"{{{ZONE}, operator: not_in, value: [a, c]}}", [B, {}], [A]),
        (f"{{{ZONE}, operator: exists, value: true}}", [A, B], [{}]),
        (f"{{{ZONE}, operator: exists, value: false}}", [{}], [A, B]),
        (
            f"{{{ZONE}, operator: matches_namespace, value: a.*}}",
            [{"parameters": {"zone": "a.*"}}, {"parameters": {"zone": "a.*.x"}}],
            [{"parameters": {"zone": "a.b"}}, {"parameters": {"zone": "a.*x"}}, {}],
        ),
        ("{path: principal.role, operator: contains, value: operators}", [{}], []),
        ("{path: principal.role, operator: neq, value: operators}", [], [{}]),
        ("{path: principal.id, operator: in, value: [alice, bob]}", [{}], []),
        ("{path: principal.type, operator: eq, value: user}", [{}], []),
        ("{path: principal.type, operator: eq, value: service}", [], [{}]),
        ("{path: action.mode, operator: eq, value: mutating}", [{}], [{"effect": Effect.READ}]),
        ("{path: action.destructive, operator: eq, value: false}", [{}], []),
        ("{path: action.intent, operator: eq, value: restart}", [{}], [{"intent": "start"}]),
        ("{path: action.risk, operator: not_in, value: [low]}", [{"risk": "high"}], [{}]),
        ("{path: resource.target_ref, operator: subset_of, value: [host-1, host-2]}", [{}], []),
        ("{path: resource.groups, operator: contains, value: web}", [], [{}]),
        ("{path: request_context.environment, operator: eq, value: here}", [{}], [{"environment": "there"}]),
        ("{path: context.simulated, operator: eq, value: true}", [{"simulated": True}], [{}]),
        ("{path: context.step, operator: exists, value: true}", [{"step": "x"}], [{}]),
        (
            "{path: context.recent.same_hour, operator: gte, value: 2}",
            [{"recent": TWICE}],
            [{"recent": ONCE}],
        ),
        ("{path: context.recent.same_hour, operator: lt, value: 2}", [{"recent": ONCE}], [{"recent": TWICE}]),
        ("{path: context.now, operator: lt, value: '2026-01-31T09:30:00Z'}", [], [{}]),
        ("{path: context.now, operator: lte, value: '2026-01-31T09:30:00Z'}", [{}], []),
        ("{path: context.now, operator: gte, value: '2026-01-31T09:30:00Z'}", [{}], []),
        ("{path: context.now, operator: gt, value: '2026-01-31T09:30:00Z'}", [], [{}]),
    ],
)
def test_every_operator_matches_what_it_matched(
    condition: str, matches: list[Mapping[str, object]], misses: list[Mapping[str, object]]
) -> None:
    assert [denied(condition, **one) for one in matches] == [True] * len(matches)
    assert [denied(condition, **one) for one in misses] == [False] * len(misses)


def test_effects_and_controls_become_verdicts_approvals_and_obligations() -> None:
    controls = (
        "obligations: [{id: a, kind: receipt}, {id: b, kind: output_digest_required}],"
        " constraints: [{id: c, kind: timeout, value: 30}, {id: d, kind: max_steps, value: 4},"
        " {id: e, kind: output_limit, value: 100}, {id: f, kind: no_raw_shell},"
        " {id: g, kind: allowed_network_egress, value: []}]"
    )
    policy = imported(
        f"{{rule_id: one, effect: allow_with_obligations, conditions: {{action.risk: low}}, {controls}}}",
        "{rule_id: two, effect: approval_required, conditions: {context.environment: there}}",
        "{rule_id: no, effect: deny, reason_code: too_risky, conditions: {action.risk: high}}",
    )
    terms = decide(policy, request()).terms

    assert terms.obligations == Obligations(
        receipt=True, output_digest=True, timeout_ms=30_000, steps_max=4, output_bytes=100, no_network=True
    )
    assert verdict(policy) == "allowed"
    assert decide(policy, request(environment="there")).terms.approvals == (
        ApprovalRule(count=1, group="approvers"),
    )
    assert verdict(policy, risk="high") == verdict(policy, risk="medium") == "blocked"
    assert "too_risky" in decide(policy, request(risk="high")).reason


def test_what_the_engine_did_before_its_rules_is_done_here_as_well() -> None:
    critical = (RequestTarget(id="a", type="host", criticality="high"),)

    assert verdict(imported(ALLOW), effect=Effect.DESTROY) == "blocked"
    assert verdict(imported(ALLOW), targets=critical) == "approval_required"
    assert verdict(imported(ALLOW), targets=critical, effect=Effect.READ, mode=Mode.READ_ONLY) == "allowed"


def test_controls_that_shape_rules_do_so() -> None:
    reads = "{rule_id: r, effect: allow, conditions: {}, constraints: [{id: x, kind: read_only_required}]}"
    asks = reads.replace("read_only_required", "mutation_requires_approval")

    assert (verdict(imported(reads)), verdict(imported(reads), effect=Effect.READ)) == ("blocked", "allowed")
    assert (verdict(imported(asks)), verdict(imported(asks), effect=Effect.READ)) == (
        "approval_required",
        "allowed",
    )


def test_a_pack_inside_an_environment_with_issuer_and_validity_is_found() -> None:
    text = (
        '{"id": "x", "policy_pack": {"policy_id": "p", "version": 1.10, "issuer_ref": "team:o\'neil",'
        ' "validity": {"not_before": "2026-01-01T00:00:00Z", "expires_at": "2026-02-01T00:00:00Z"},'
        f' "rules": [{ALLOW}]}}}}'
    )
    pack = Pack.parse(convert(text.encode(), source="env.json", approvers="sre"))

    assert (pack.ref.id, pack.ref.version) == ("p", "1.10")
    assert pack.invalid_at(NOW) is None
    assert pack.not_after is not None and pack.not_after.month == 2


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("  - {rule_id: a, effect: permit, conditions: {}}", "seed.yaml:4: `effect` is `permit`"),
        ("  - {rule_id: a b, effect: allow, conditions: {}}", "seed.yaml:4: `rule_id`"),
        ("  - {rule_id: a, effect: allow, condition: {}}", "seed.yaml:4: unknown field `condition`"),
        ("  - {rule_id: a, effect: allow, conditions: 3}", "seed.yaml:4: `conditions`"),
        ("  - {rule_id: a, effect: allow, conditions: {action.colour: red}}", "`action.colour` is nothing"),
        ("  - {rule_id: a, effect: allow, conditions: {action.mode: dance}}", "`dance` is no effect"),
        ("  - {rule_id: a, effect: allow, conditions: {context.simulated: 'yes'}}", "`yes` is no flag"),
        ("  - {rule_id: a, effect: allow, conditions: {action.risk: 1.5}}", "`1.5` is not text"),
        (
            "  - {rule_id: a, effect: allow, conditions: [{path: action.risk, operator: lt, value: x}]}",
            "`lt` cannot",
        ),
        (
            "  - {rule_id: a, effect: allow, conditions: [{path: action.risk, operator: like, value: x}]}",
            "`like`",
        ),
        (
            "  - {rule_id: a, effect: allow, conditions: [{path: context.parameters.x,"
            " operator: contains, value: x}]}",
            "`contains` cannot",
        ),
        (
            "  - {rule_id: a, effect: allow, conditions: [{path: action.risk, operator: in, value: x}]}",
            "takes a list",
        ),
        (
            "  - {rule_id: a, effect: allow, conditions: [{path: context.step, operator: exists, value: 1}]}",
            "exists",
        ),
        ("  - {rule_id: a, effect: deny, conditions: {}, obligations: [{id: x, kind: receipt}]}", "denies"),
        (
            "  - {rule_id: a, effect: allow, conditions: {}, constraints: [{id: x, kind: nice}]}",
            "`nice` cannot be kept",
        ),
        (
            "  - {rule_id: a, effect: allow, conditions: {}, constraints: [{id: x, kind: timeout}]}",
            "is from 1 to",
        ),
        (
            "  - {rule_id: a, effect: allow, conditions: {}, constraints:"
            " [{id: x, kind: allowed_network_egress, value: [outbound_http]}]}",
            "allowed_network_egress",
        ),
        ("  - {rule_id: a, effect: allow, conditions: {context.now: today}}", "`today` is no UTC time"),
        ("  - {rule_id: a, effect: allow, conditions: {resource.group: 'a b'}}", "`a b` cannot be a group"),
        (f"  - {ALLOW}\n  - {ALLOW}", "seed.yaml:5: `rule_id` `all` is used already"),
        ("  []", "`rules` is a list"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_place(rules: str, words: str) -> None:
    text = f"policy_id: seed\nversion: '1'\nrules:\n{rules}\n"

    with pytest.raises(ImportRefused, match=words) as refused:
        convert(text.encode(), source="seed.yaml", approvers="approvers")

    assert refused.value.message.startswith("seed.yaml:")


def test_text_that_is_a_quote_or_a_pattern_stays_text() -> None:
    odd = 'x" || true || "\\\\*'
    condition = f"{{{ZONE}, operator: eq, value: '{odd}'}}"

    assert denied(condition, parameters={"zone": odd})
    assert not denied(condition, parameters={"zone": "x"})


# --- operations and calls, as the seed's rules tell them apart ---

CALLS: Final[Calls] = {
    ("host", "read"): "ssh_readonly",
    ("host", "write"): "ssh_readonly",
    ("api", "get"): "http_api",
}
OPERATIONS: Final = "{rule_id: operations, effect: allow, conditions: {action.category: operation}}"


def within(*rules: str, calls: Calls | None = CALLS) -> Policy:
    """Return the policy in force with the rules of an environment imported; `alice` asks."""
    text = "environment:\n  id: lab\n  policy_pack:\n    policy_id: seed\n    version: '1'\n    rules:\n"
    text += "".join(f"      - {rule}\n" for rule in rules)
    files = convert(text.encode(), source="env.yaml", approvers="approvers", profile="lab", calls=calls)
    entities = files["entities.yaml"].replace(b"people: {}", b"people: {alice: {}}")
    pack = Pack.parse(files | {"entities.yaml": entities})
    assert [found for found in lint(pack) if found.severity == "error"] == []
    return Policy((pack,))


def called(connector: str, action: str, effect: Effect = Effect.READ) -> dict[str, object]:
    one = RequestCall(connector=connector, action=action, effect=effect)
    return {"profile": "lab", "gate": Gate.CALL, "call": one}


def allowed(condition: str, *more: str, calls: Calls | None = CALLS) -> set[str]:
    """Return what a rule with this one condition allows: `operation`, and calls by their action."""
    policy = within(f"{{rule_id: some, effect: allow, conditions: [{condition}]}}", *more, calls=calls)
    found = {
        action for connector, action in CALLS if verdict(policy, **called(connector, action)) == "allowed"
    }
    return found | ({"operation"} if verdict(policy, profile="lab") == "allowed" else set())


@pytest.mark.parametrize(
    ("condition", "about"),
    [
        ("{path: action.category, operator: eq, value: operation}", {"operation"}),
        ("{path: action.category, operator: neq, value: connector}", {"operation"}),
        ("{path: action.category, operator: eq, value: connector}", {"read", "write", "get"}),
        (
            "{path: action.category, operator: in, value: [connector, operation]}",
            {"operation", "read", "write", "get"},
        ),
        ("{path: action.connector, operator: eq, value: host}", {"read", "write"}),
        ("{path: action.name, operator: in, value: [read, get]}", {"read", "get"}),
        ("{path: action.backend, operator: eq, value: http_api}", {"get"}),
        ("{path: action.backend, operator: matches_namespace, value: ssh_readonly}", {"read", "write"}),
        ("{path: action.connector, operator: exists, value: true}", {"read", "write", "get"}),
        ("{path: action.connector, operator: exists, value: false}", {"operation"}),
        # An operation has no connector, and so not that one either.
        ("{path: action.connector, operator: neq, value: host}", {"operation", "get"}),
        ("{path: action.name, operator: not_in, value: [read, get]}", {"operation", "write"}),
    ],
)
def test_a_rule_is_about_the_operation_or_the_calls_it_was_about(condition: str, about: set[str]) -> None:
    assert allowed(condition) == about


def test_what_nothing_allows_is_denied_for_each_call_as_it_was() -> None:
    conditions = "{action.category: connector, action.connector: host, action.name: read}"
    read = f"{{rule_id: r, effect: allow, conditions: {conditions}}}"
    policy = within(OPERATIONS, read)

    assert verdict(policy, profile="lab") == "allowed"
    assert verdict(policy, **called("host", "read")) == "allowed"
    assert verdict(policy, **called("host", "write")) == verdict(policy, **called("api", "get")) == "blocked"
    assert verdict(policy, **called("new", "one")) == "blocked"
    denied = within(OPERATIONS, read, "{rule_id: no, effect: deny, conditions: {action.name: read}}")
    assert verdict(denied, **called("host", "read")) == "blocked"
    asks = within(OPERATIONS, read.replace("effect: allow", "effect: approval_required"))
    assert verdict(asks, **called("host", "read")) == "approval_required"
    assert verdict(asks, profile="lab") == "allowed"


def test_without_its_environment_a_pack_tells_operations_and_calls_apart_and_no_more() -> None:
    every = "{path: action.category, operator: eq, value: connector}"

    assert allowed(every, calls=None) == {"read", "write", "get"}
    assert allowed("{path: action.category, operator: eq, value: operation}", calls=None) == {"operation"}
    for path in ("action.connector", "action.name", "action.backend"):
        with pytest.raises(ImportRefused, match=f"env.yaml:7: `{path}` is about single calls"):
            within(f"{{rule_id: a, effect: allow, conditions: {{{path}: x}}}}", calls=None)


def test_a_rule_about_a_call_that_is_not_there_says_so_and_matches_nothing() -> None:
    rule = "{rule_id: gone, effect: deny, conditions: {action.category: connector, action.name: gone}}"
    pack = f"{{policy_id: seed, version: '1', rules: [{OPERATIONS}, {rule}]}}"
    text = f"environment: {{id: lab, policy_pack: {pack}}}"
    files = convert(text.encode(), source="env.yaml", approvers="approvers", profile="lab", calls=CALLS)

    assert b"// gone is about no operation and no call there is." in files["rules.cedar"]
    assert verdict(within(OPERATIONS, rule), profile="lab") == "allowed"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("conditions: [{path: action.name, operator: contains, value: x}]", "`contains` of `action.name`"),
        (
            "conditions: [{path: action.category, operator: eq, value: 3}]",
            "`eq` of `action.category` with `3`",
        ),
        (
            "conditions: {action.name: read}, constraints: [{id: t, kind: timeout, value: 3}]",
            "is about calls",
        ),
        ("conditions: {request_context.operation_id: x}", "`request_context.operation_id` is nothing policy"),
        ("conditions: {action.mode: dance}", "`action.mode`: `dance` is no effect"),
        ("conditions: {resource.criticality: [x]}", "`resource.criticality`: "),
    ],
)
def test_what_cannot_be_said_of_operations_and_calls_names_field_and_line(rule: str, words: str) -> None:
    with pytest.raises(ImportRefused, match=f"env.yaml:7: .*{words}"):
        within(f"{{rule_id: a, effect: allow, {rule}}}")
