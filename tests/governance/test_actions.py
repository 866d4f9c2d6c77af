"""Actions: intents and calls in their groups, what a rule about one means, and which are known."""

from dataclasses import replace

import pytest

from rexecop.governance import authzen
from rexecop.governance.actions import action_of
from rexecop.governance.admission import Policy, decide
from rexecop.governance.errors import EvaluationRefused, PackRefused
from rexecop.governance.golden import read_cases, run_cases
from rexecop.governance.pack import Pack
from rexecop.governance.schema import EARLIER, SCHEMA, schema
from rexecop.governance.steps import admit
from rexecop.governance.why import of_answer
from rexecop.proof.canonical import digest_of
from rexecop.proof.payload import Value, parse_payload
from rexecop.proof.records.decision import ApprovalRule, PolicyRequest, RequestCall
from rexecop.proof.records.plan import Plan
from rexecop.proof.vocabulary import Effect, Gate, Mode, Verdict
from tests.governance.cases import NOW, STEP, call, intent, pack_files, plan, request

RESTART, DO = "intent:hello/restart", "call:hello/host/do"
LISTED = (
    "people: {alice: {}}\ngroups: [g]\n"
    f"actions: {{{RESTART}: destroy, 'call:hello/*': destroy, {DO}: destroy}}\n"
)
ALL = '@id("all") permit (principal, action, resource);\n'
BROKEN = '@id("broken") permit (principal, action, resource) when { 9223372036854775807 + 1 == 0 };\n'


def policy(rules: str, requirements: str = "", entities: str = LISTED) -> Policy:
    return Policy([Pack.parse(pack_files(rules, requirements, entities))])


def due(does: Effect = Effect.CHANGE, action: str = "do", **more: object) -> PolicyRequest:
    """Return the request about one call of the operation that `request` is about."""
    made = RequestCall(connector="host", action=action, effect=does)
    return replace(request(gate=Gate.CALL, step="restart", call=made), **more)  # type: ignore[arg-type]


def allowed(rules: str, asked: PolicyRequest) -> bool:
    answer = decide(policy(rules), asked)
    assert not answer.errors, answer.errors
    return answer.terms.verdict is Verdict.ALLOWED


def test_an_operation_is_its_intent_and_a_call_is_itself_in_the_intent_and_by_what_it_does() -> None:
    operation, single = action_of(request()), action_of(due(Effect.READ))

    assert operation.name == RESTART and single.name == DO
    assert operation.parents == {("Action", RESTART): [("Action", "change")]}
    assert single.parents[("Action", DO)] == [("Action", RESTART), ("Action", "call:read")]
    assert {("Action", name) for name in (DO, RESTART, "call:read", "change")} <= single.heads
    assert ("Action", "read") not in single.heads and ("Action", "call:change") not in operation.heads


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request(profile="a", intent="same"), request(profile="b", intent="same")),
        (due(action="x.y"), due(call=RequestCall(connector="host.x", action="y", effect=Effect.CHANGE))),
        (due(), due(profile="other")),
        (request(profile="call:a", intent="b"), due(profile="a")),
        (request(profile="a", intent="change"), request(intent="change")),
    ],
)
def test_no_two_actions_have_one_name_and_none_that_of_a_group(
    one: PolicyRequest, other: PolicyRequest
) -> None:
    names = {action_of(one).name, action_of(other).name}

    assert len(names) == 2
    assert names.isdisjoint({*Effect, *(f"call:{effect}" for effect in Effect)})


CONDITIONED = "permit (principal, action, resource) when {{ {} }};"


@pytest.mark.parametrize(
    "rule",
    [
        'permit (principal, action == Action::"{}", resource);',
        'permit (principal, action in Action::"{}", resource);',
        'permit (principal, action in [Action::"{}"], resource);',
        CONDITIONED.format('action == Action::"{}"'),
        CONDITIONED.format('Action::"{}" == action'),
        CONDITIONED.format('action in [Action::"{}"]'),
        CONDITIONED.format('[Action::"{}"].contains(action)'),
        CONDITIONED.format('!(action != Action::"{}")'),
        CONDITIONED.format('if action == Action::"{}" then true else false'),
        'permit (principal, action, resource) unless {{ Action::"{}" != action }};',
    ],
)
@pytest.mark.parametrize(
    ("name", "operation", "single"),
    [
        ("change", True, True),
        ("read", False, False),
        (RESTART, True, True),
        ("call:change", False, True),
        ("call:read", False, False),
        (DO, False, True),
    ],
)
def test_to_be_an_action_is_to_be_in_it_however_it_is_written(
    rule: str, name: str, operation: bool, single: bool
) -> None:
    text = f'@id("r") {rule.replace("{{", "{").replace("}}", "}").replace("{}", name)}\n'

    assert (allowed(text, request()), allowed(text, due())) == (operation, single)
    forbid = ALL + text.replace("permit", "forbid")
    assert (allowed(forbid, request()), allowed(forbid, due())) == (not operation, not single)


@pytest.mark.parametrize(
    "condition",
    [
        '{a: action}.a == Action::"change"',
        '[action].contains(Action::"change")',
        'Action::"change" in action',
        'Action::"change" in [action]',
        '[Action::"change"].containsAny([action])',
        'action == (if context.simulated then Action::"change" else Action::"read")',
        '(if context.simulated then action else action) == Action::"read"',
        "action has x",
        "action == principal",
        'Action::"read" in Action::"change"',
    ],
)
def test_a_use_of_the_action_that_cannot_be_followed_is_refused_with_its_place(condition: str) -> None:
    with pytest.raises(PackRefused) as refused:
        policy(f'// first\n@id("r") forbid (principal, action, resource) when {{ {condition} }};\n')

    assert (refused.value.code, refused.value.facts["line"]) == ("policy-invalid", 2)
    assert "action" in refused.value.message


@pytest.mark.parametrize(
    "name", ["intent:hello/restrat", "intent:other/restart", "call:hello/host/dont", "call:hello/*"]
)
def test_a_rule_names_no_action_that_its_pack_does_not_list(name: str) -> None:
    with pytest.raises(PackRefused, match="does not list") as refused:
        policy(f'@id("r") forbid (principal, action == Action::"{name}", resource);\n')

    assert name in refused.value.message


@pytest.mark.parametrize(
    ("listed", "asked", "words"),
    [
        ("intent:hello/other: destroy", request(), f"`{RESTART}` is not among them"),
        (f"{RESTART}: read", request(), f"`{RESTART}` is listed as `read`, and this would change"),
        ("intent:hello/*: read", request(), f"`{RESTART}` is listed as `read`"),
        ("call:hello/host/other: destroy", due(), f"`{DO}` is not among them"),
        (f"{DO}: read", due(), f"`{DO}` is listed as `read`, and this would change"),
        ("intent:hello/other: destroy", due(), f"`{RESTART}` is not among them"),
        ("intent:elsewhere/other: read", request(intent="a/b"), "no action"),
        ("intent:elsewhere/other: read", request(profile=""), "no action"),
        ("intent:elsewhere/other: read", request(intent="*"), "no action"),
        ("intent:elsewhere/other: read", due(action="a/b"), "no action"),
        ("intent:elsewhere/other: read", due(effect="erase"), "no policy can speak about `erase`"),
    ],
)
def test_an_action_that_is_in_no_schema_is_denied_before_any_policy_is_asked(
    listed: str, asked: PolicyRequest, words: str
) -> None:
    answer = decide(policy(ALL + BROKEN, entities=f"people: {{alice: {{}}}}\nactions: {{{listed}}}\n"), asked)

    assert answer.terms.verdict is Verdict.BLOCKED
    assert words in answer.reason
    assert not answer.rules and not answer.errors


@pytest.mark.parametrize(
    "listed",
    [
        f"{RESTART}: change, {DO}: change",
        f"{RESTART}: destroy, 'call:hello/*': destroy",
        "intent:hello/*: change",
        "intent:elsewhere/other: read, call:elsewhere/host/do: read",
    ],
)
def test_an_action_is_known_as_listed_as_one_of_the_rest_or_where_its_profile_is_not_listed(
    listed: str,
) -> None:
    known = policy(ALL, entities=f"people: {{alice: {{}}}}\nactions: {{{listed}}}\n")

    for asked in (request(), due(), request(effect=Effect.READ)):
        assert decide(known, asked).terms.verdict is Verdict.ALLOWED


def test_what_one_pack_lists_another_does_not_open_and_neither_does_that_of_a_profile() -> None:
    def listing(name: str, actions: str) -> Pack:
        files = pack_files(ALL, entities=f"people: {{alice: {{}}}}\nactions: {{{actions}}}\n")
        return Pack.parse(files | {"pack.yaml": f"id: {name}\nversion: '1'\n".encode()})

    closed, wide = listing("closed", "intent:hello/other: read"), listing("open", "intent:hello/*: destroy")

    assert decide(Policy([wide]), request()).terms.verdict is Verdict.ALLOWED
    for both in (Policy([wide, closed]), Policy([closed], [wide]), Policy([wide], [closed])):
        assert decide(both, request()).terms.verdict is Verdict.BLOCKED


@pytest.mark.parametrize(
    "actions",
    [
        "change: change",
        "call:read: read",
        "intent:restart: change",
        "intent:hello/a/b: change",
        "call:hello/do: change",
        "'intent:*/*': change",
        "'intent:hello/re*': change",
        "intent:hello/restart: erase",
        "intent:hello/restart: [change]",
        "intent:hello/restart: ",
    ],
)
def test_what_is_no_action_cannot_be_listed(actions: str) -> None:
    with pytest.raises(PackRefused) as refused:
        policy("", entities=f"people: {{}}\nactions:\n  {actions}\n")

    assert (refused.value.code, refused.value.facts["line"]) == ("entities-wrong", 3)


def test_the_schema_of_a_policy_has_the_actions_it_names_and_no_others() -> None:
    listing = {"intent:hello": {"restart": Effect.CHANGE, "stop": Effect.DESTROY, "*": Effect.READ}}

    assert schema(listing) is schema()
    assert schema(listing, [("Action", "intent:hello/nothing"), ("User", RESTART)]) is schema()
    assert schema(listing, [("Action", RESTART)]) is schema(listing, [("Action", RESTART)]) is not schema()


def test_a_pack_with_the_schema_shipped_before_is_read_and_one_with_another_is_not() -> None:
    applies = SCHEMA[SCHEMA.rindex(" appliesTo") :]
    earlier = (
        SCHEMA.partition("// What an operation does")[0] + 'action "read", "change", "destroy"' + applies
    )

    assert digest_of(earlier.encode()) in EARLIER
    for text in (SCHEMA, earlier):
        assert Pack.parse(pack_files(ALL) | {"schema.cedarschema": text.encode()}).rules
    with pytest.raises(PackRefused, match="not the schema in use"):
        Pack.parse(pack_files(ALL) | {"schema.cedarschema": (earlier + "\n").encode()})


# --- a plan, and the calls in it ---

LOOK = replace(
    STEP,
    id="look",
    call=replace(call("look", effect=Effect.READ), action="look"),
    slots=None,
    probe=None,
    undo=None,
)
RESTARTED = replace(
    STEP,
    probe=STEP.probe and replace(STEP.probe, call=replace(STEP.probe.call, action="probe")),
    undo=STEP.undo and replace(STEP.undo, action="undo"),
)
EVERY = {"look": "look", "do": "restart", "probe": "restart", "undo": "restart"}
OPEN = "people: {alice: {}}\ngroups: [g]\nactions: {'call:hello/*': destroy, 'intent:hello/*': destroy"
NAMED = OPEN + "".join(f", call:hello/host/{name}: change" for name in EVERY) + "}\n"


def planned() -> Plan:
    record = plan(intent(), LOOK, RESTARTED).record
    assert isinstance(record, Plan)
    return record


@pytest.mark.parametrize("name", EVERY)
def test_a_plan_with_a_call_that_is_forbidden_is_blocked_whatever_kind_of_call_it_is(name: str) -> None:
    forbid = f'@id("f") forbid (principal, action == Action::"call:hello/host/{name}", resource);\n'

    answer = admit(policy(ALL + forbid, entities=NAMED), request(), planned())

    assert answer.terms.verdict is Verdict.BLOCKED
    assert answer.reason == f"step `{EVERY[name]}`: forbidden by `test/f`"
    assert [rule.id for rule in answer.rules] == ["test/f"]


def test_a_plan_with_a_call_that_is_not_listed_is_blocked() -> None:
    entities = f"people: {{alice: {{}}}}\nactions: {{{DO}: change}}\n"

    answer = admit(policy(ALL, entities=entities), request(), planned())

    assert answer.terms.verdict is Verdict.BLOCKED
    assert "step `look`" in answer.reason and "`call:hello/host/look` is not among them" in answer.reason


def test_what_a_call_asks_for_is_asked_just_before_it_and_what_it_obliges_to_binds_the_whole() -> None:
    more = (
        '@id("a") @approvals("1 of g") permit (principal, action in Action::"call:change", resource);\n'
        '@id("b") @obligations("output_bytes<=5")\n'
        'permit (principal, action == Action::"call:hello/host/undo", resource);\n'
    )

    answer = admit(policy(ALL, more, NAMED), request(), planned())

    (asking,) = answer.terms.steps
    assert (asking.step, asking.approvals) == ("restart", (ApprovalRule(count=1, group="g"),))
    assert (answer.terms.verdict, answer.terms.approvals) == (Verdict.ALLOWED, ())
    assert answer.terms.obligations.output_bytes == 5


def test_packs_that_do_not_speak_of_calls_are_asked_about_the_whole_alone() -> None:
    at_plan = (
        '@id("p") permit (principal, action in Action::"change", resource) when { context.gate == "plan" };'
    )

    answer = admit(policy(at_plan, entities="people: {alice: {}}\n"), request(), planned())

    assert answer.terms.verdict is Verdict.ALLOWED and not answer.terms.steps


def test_a_call_that_a_record_does_not_name_is_that_of_its_step() -> None:
    forbid = f'@id("f") forbid (principal, action == Action::"{DO}", resource);\n'
    unnamed = request(gate=Gate.CALL, step="restart")

    answer = admit(policy(ALL + forbid), unnamed, planned())

    assert answer == admit(policy(ALL + forbid), due(), planned())
    assert answer.terms.verdict is Verdict.BLOCKED


def test_a_denied_call_is_named_in_words() -> None:
    answer = decide(policy(""), due())

    assert f"no rule allows `alice` to change `host-1` by `{DO}` in mode `apply`" in answer.reason
    assert f"with `hello/restart` by `{DO}` in mode `apply`" in of_answer(answer, due())[1]


def test_a_pack_written_for_effect_classes_decides_about_every_operation_as_it_did() -> None:
    rules = (
        '@id("reads") permit (principal, action == Action::"read", resource);\n'
        '@id("changes") permit (principal, action == Action::"change", resource);\n'
        '@id("no") forbid (principal, action, resource)\n'
        'when { action == Action::"change" && context.mode == "recovery" };\n'
    )
    made = policy(rules, entities="people: {alice: {}}\n")

    def verdict(**more: object) -> Verdict:
        return decide(made, request(**more)).terms.verdict

    assert verdict(effect=Effect.READ, mode=Mode.READ_ONLY) is Verdict.ALLOWED
    assert verdict() is Verdict.ALLOWED
    assert verdict(gate=Gate.CALL, step="restart") is Verdict.ALLOWED
    assert verdict(mode=Mode.RECOVERY) is Verdict.BLOCKED
    assert verdict(effect=Effect.DESTROY) is Verdict.BLOCKED
    # What a single call of a destroying operation does is not what the rule was written about.
    assert decide(made, due(Effect.CHANGE, effect=Effect.DESTROY)).terms.verdict is Verdict.BLOCKED


# --- AuthZEN ---


def test_a_point_outside_is_told_the_effect_class_and_the_very_action() -> None:
    _, body = authzen.question(due(Effect.READ))

    assert parsed(body)["action"] == {
        "name": "change",
        "properties": {"action": DO, "intent": "hello/restart", "call_effect": "read"},
    }


def test_who_asks_from_outside_may_name_the_intent_as_the_action() -> None:
    body = parsed(authzen.question(request())[1])
    actions: list[dict[str, Value]] = [
        {"name": RESTART, "properties": {"effect": "change"}},
        {"name": "change", "properties": {"intent": "hello/restart"}},
    ]
    for action in actions:
        (asked,) = authzen.requests(body | {"action": action}, caller="gate", now=NOW)
        assert isinstance(asked, PolicyRequest)
        assert (asked.profile, asked.intent, asked.effect) == ("hello", "restart", Effect.CHANGE)


@pytest.mark.parametrize(
    "action",
    [
        {"name": RESTART},
        {"name": RESTART, "properties": {"effect": "erase"}},
        {"name": DO, "properties": {"intent": "hello/restart"}},
        {"name": "change"},
    ],
)
def test_an_action_from_outside_that_says_not_all_of_it_is_no_question(action: dict[str, Value]) -> None:
    body = parsed(authzen.question(request())[1])

    (asked,) = authzen.requests(body | {"action": action}, caller="gate", now=NOW)

    assert isinstance(asked, EvaluationRefused)
    assert str(asked.facts["field"]).startswith("action.")


def parsed(body: bytes) -> dict[str, Value]:
    found = parse_payload(body, bytes_max=authzen.ANSWER_BYTES_MAX)
    assert isinstance(found, dict)
    return found


def test_a_golden_case_may_be_about_one_call() -> None:
    cases = """\
cases:
  the-call-is-forbidden:
    request:
      {person: alice, effect: change, mode: apply, profile: hello, intent: restart, gate: call, step: x,
       call: {connector: host, action: do, effect: change}}
    verdict: blocked
    rules: [f]
  the-intent-is-not:
    request: {person: alice, effect: change, mode: apply, profile: hello, intent: restart}
    verdict: allowed
"""
    forbid = f'@id("f") forbid (principal, action == Action::"{DO}", resource);\n'
    files = pack_files(ALL + forbid, entities=LISTED) | {"tests/cases.yaml": cases.encode()}
    pack = Pack.parse(files)

    assert [one.differences for one in run_cases(read_cases(files, pack), pack)] == [(), ()]
